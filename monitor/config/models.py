"""One entry of `models`: what its events look like, how long its labels take, and what is expected of its readings."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import BeforeValidator, Field, WithJsonSchema, field_validator, model_validator

from monitor.config.objectives import OWN_FEATURES, Objective, Window, WindowOfText
from monitor.events import FeatureKind, Task
from monitor.strict_yaml.quantities import (
    DURATION_PATTERN,
    ClassName,
    Duration,
    FolderName,
    Lenient,
    Names,
    Segment,
    Share,
    Text,
    duration_ms,
    duration_text,
)
from monitor.strict_yaml.section import Complaint, Disagreement, Section

SEGMENT_VALUES: Final = 50 + 3
"""Values a dimension can take: the 50 kept ones, `other`, `missing`, and everything."""

SEGMENT_CODES: Final = 2**31
"""A row's segment is one int32 code over all dimensions of its model."""

LATER_TASKS: Final = ("regression", "multilabel")

Corrections = Literal["last_wins", "first_wins", "conflict"]
"""Which of several labels for one prediction counts; `conflict` sets the pair aside."""


def _task_of_today(value: object) -> object:
    if value in LATER_TASKS:
        raise ValueError(f"{value} models come with a later release; use binary or multiclass")
    return value


def _policy_of_today(value: object) -> object:
    if isinstance(value, dict) and "negative_after" in value:
        raise ValueError("negative_after comes with a later release; use explicit, and send the negative labels")
    return value


def _mature_after(value: object) -> object:
    return None if value == "learned" else duration_ms(value)


class LabelSettings(Section):
    """How labels answer predictions. Times are milliseconds."""

    horizon: Duration = Field(default="14d", validate_default=True)
    policy: Annotated[Literal["explicit"], BeforeValidator(_policy_of_today)] = "explicit"
    corrections: Corrections = "last_wins"
    mature_after: Annotated[
        int | None,
        BeforeValidator(_mature_after),
        WithJsonSchema({"anyOf": [{"const": "learned"}, {"type": "string", "pattern": DURATION_PATTERN}]}),
    ] = Field(default="learned", validate_default=True)
    """The mature clock's shift; None: learned from the delays of the labels themselves."""
    min_maturity: Share = 0.9

    @model_validator(mode="after")
    def _mature_within_the_horizon(self) -> Self:
        if self.mature_after is not None and self.mature_after > self.horizon:
            longer, shorter = duration_text(self.mature_after), duration_text(self.horizon)
            why = f"{longer} is longer than horizon ({shorter}), after which no label is accepted; shorten the one or lengthen the other"
            raise Disagreement([(("mature_after",), why)])
        return self


class TapSettings(Section):
    """What of a model's predictions goes to the log. For features and segments alike; personal data need not leave the process."""

    sample: float = Field(default=1.0, gt=0.0, le=1.0)
    """The share of predictions that are logged, chosen by the hash of their ids: the same ones as `join.sample` of that share."""
    allow: Names | None = None
    """The only features and dimensions that are logged; None: all."""
    drop: Names = ()
    """Those that are not logged."""
    hash: Names = ()
    """Categorical ones that are logged as keyed hashes of their values."""
    salt_file: Annotated[Path, Lenient] | None = None
    """The key of the hashes, at least 16 bytes; another one makes other hashes."""

    @model_validator(mode="after")
    def _hashes_have_a_salt(self) -> Self:
        if self.hash and self.salt_file is None:
            raise Disagreement([(("salt_file",), "is missing: `hash` needs a file with at least 16 random bytes as its key")])
        return self


class Model(Section):
    """What one model's events look like and what its readings are held against."""

    name: FolderName = Field(examples=["flights"])
    task: Annotated[Task, Lenient, BeforeValidator(_task_of_today)] = Field(examples=["binary"])
    owner: Text | None = None
    alert_labels: Mapping[Text, Text] = Field(default_factory=dict)
    positive_class: ClassName | None = None
    classes: Annotated[tuple[ClassName, ...], Lenient] = ()
    threshold: Share = 0.5
    features: Mapping[Text, Annotated[FeatureKind, Lenient]] = Field(default_factory=dict)
    """Empty: as the reference has them."""
    reference: Text | None = None
    """A path in which `{version}` stands for the model's version; `monitor.reference.paths` fills it in."""
    tap: TapSettings = Field(default_factory=TapSettings)
    windows: Annotated[tuple[WindowOfText, ...], Lenient] = Field(min_length=1, default=["1h", "1d", "7d"], validate_default=True)
    labels: LabelSettings = Field(default_factory=LabelSettings)
    segments: Annotated[tuple[Segment, ...], Lenient] = ()
    objectives: Mapping[Text, Objective] = Field(default_factory=dict)

    @property
    def horizon(self) -> int:
        """How long after its prediction a label is accepted, in milliseconds."""
        return self.labels.horizon

    @property
    def dimensions(self) -> tuple[str, ...]:
        """The distinct base dimensions of the segments, in the order of their first mention."""
        return tuple(dict.fromkeys(dimension for segment in self.segments for dimension in segment))

    def relative_to(self, folder: Path) -> Self:
        salt, reference = self.tap.salt_file, self.reference
        return self.model_copy(
            update={
                "reference": None if reference is None else str(folder / reference),
                "tap": self.tap.model_copy(update={"salt_file": None if salt is None else folder / salt}),
            }
        )

    @field_validator("classes")
    @classmethod
    def _classes_differ(cls, classes: tuple[str, ...]) -> tuple[str, ...]:
        return _distinct(classes, "class")

    @field_validator("windows")
    @classmethod
    def _windows_differ(cls, windows: tuple[Window, ...]) -> tuple[Window, ...]:
        _distinct(tuple(window.text for window in windows), "window")
        return windows

    @field_validator("segments")
    @classmethod
    def _segments_fit(cls, segments: tuple[tuple[str, ...], ...]) -> tuple[tuple[str, ...], ...]:
        for segment in segments:
            _distinct(segment, "dimension")
        _distinct(tuple("[" + ", ".join(segment) + "]" for segment in segments), "segment")
        dimensions = {dimension for segment in segments for dimension in segment}
        if SEGMENT_VALUES ** len(dimensions) >= SEGMENT_CODES:
            raise ValueError(
                f"{len(dimensions)} dimensions of {SEGMENT_VALUES} values each are {SEGMENT_VALUES ** len(dimensions):,} combinations, "
                f"more than the {SEGMENT_CODES:,} that a row's segment code can tell apart: name at most 5 dimensions"
            )
        return segments

    @model_validator(mode="after")
    def _parts_agree(self) -> Self:
        Disagreement.check([*self._class_complaints(), *self._objective_complaints()])
        return self

    def _class_complaints(self) -> Iterator[Complaint]:
        if len(self.classes) < 2:
            yield ("classes",), "expected at least two, in the order of the model's outputs, such as [on_time, late]"
        elif self.task is Task.BINARY and len(self.classes) > 2:
            yield ("classes",), f"a binary model has two, not {len(self.classes)}; is its task multiclass?"
        elif self.task is Task.BINARY and self.positive_class is None:
            yield ("positive_class",), f"missing; which of {_either(self.classes)} does the score speak of?"
        elif self.task is Task.MULTICLASS and self.positive_class is not None:
            yield ("positive_class",), "only a binary model has one; leave it out"
        elif self.positive_class is not None and self.positive_class not in self.classes:
            yield ("positive_class",), f'"{self.positive_class}" is not among classes; expected {_either(self.classes)}'

    def _objective_complaints(self) -> Iterator[Complaint]:
        windows = [window.text for window in self.windows]
        for name, objective in self.objectives.items():
            if objective.class_name is not None and objective.class_name not in self.classes:
                yield ("objectives", name, "class"), f'"{objective.class_name}" is not among classes; expected {_either(self.classes)}'
            if objective.needs_a_class and self.task is Task.MULTICLASS:
                yield ("objectives", name, "class"), f"missing; expected {_either(self.classes)}, or an average instead"
            for window in objective.windows:
                if window.text not in windows:
                    yield (
                        ("objectives", name, "window"),
                        f"{window.text} is not among the model's windows; add it there, or use {_either(windows)}",
                    )
            for segment in objective.segments:
                if segment not in self.segments:
                    yield ("objectives", name, "segments"), f"[{', '.join(segment)}] is not among the model's segments; add it there"
            for feature in objective.features:
                if self.features and feature not in self.features and feature not in OWN_FEATURES:
                    yield ("objectives", name, "features"), f'"{feature}" is not among the model\'s features, nor {_either(OWN_FEATURES)}'


def _distinct(names: tuple[str, ...], what: str) -> tuple[str, ...]:
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise ValueError(f"the {what} {repeated[0]} is listed twice; leave one out")
    return names


def _either(names: Sequence[str]) -> str:
    return " or ".join(names)
