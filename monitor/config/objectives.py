"""Windows, and the objectives that a model's readings over them are held against."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Final, Literal, Self

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from monitor.stats.windows import step_of
from monitor.strict_yaml.quantities import DURATION_PATTERN, ClassName, Lenient, Segment, Text, as_tuple, duration_ms
from monitor.strict_yaml.section import Complaint, Disagreement, Section

BY_CLASS: Final = ("precision", "recall", "f1")
LOSSES: Final = ("log_loss", "brier_score")
Metric = Literal["precision", "recall", "f1", "accuracy", "roc_auc", "average_precision", "log_loss", "brier_score", "drift"]
OWN_FEATURES: Final = ("@score", "@prediction", "@label")
"""What a model gives out and what comes back: watched like features where an objective lists them."""

ObjectiveClock = Literal["cohort", "mature", "feedback"]
Average = Literal["macro", "weighted", "micro"]


@dataclass(frozen=True, slots=True)
class Window:
    """A window as its `window` label spells it, its length, and the width of its panes, in milliseconds."""

    text: str
    milliseconds: int
    step_ms: int

    @classmethod
    def of(cls, text: object) -> Self:
        """Raises ValueError for what is no length of time, or one that whole panes cannot fill."""
        milliseconds = duration_ms(text)
        return cls(str(text), milliseconds, step_of(milliseconds))


_WINDOW_SCHEMA: Final = {"type": "string", "pattern": DURATION_PATTERN, "examples": ["1h", "1d", "7d"]}
WindowOfText = Annotated[Window, BeforeValidator(Window.of), WithJsonSchema(_WINDOW_SCHEMA)]


class Objective(Section):
    """What one metric has to be. The key it stands under is its `objective` label.

    `windows` (the file's `window`, one or a list): degraded only if it is in every one. `segments`: the segmentations whose
    every value is judged; none means the whole. `class_name` and `average` are for precision, recall and F1.
    """

    metric: Metric = Field(examples=["recall"])
    class_name: ClassName | None = Field(default=None, alias="class")
    average: Average | None = None
    min: float | None = None
    max: float | None = None
    max_features: int | None = Field(default=None, ge=0)
    features: Annotated[tuple[Text, ...], Lenient] = ()
    segments: Annotated[tuple[Segment, ...], Lenient] = ()
    windows: Annotated[
        tuple[WindowOfText, ...],
        Lenient,
        BeforeValidator(as_tuple),
        Field(alias="window", min_length=1, examples=["[1d, 7d]"]),
        WithJsonSchema({"anyOf": [_WINDOW_SCHEMA, {"type": "array", "items": _WINDOW_SCHEMA, "minItems": 1}]}),
    ]
    severity: Text = "ticket"
    clock: ObjectiveClock = "mature"

    @model_validator(mode="after")
    def _keys_fit_the_metric(self) -> Self:
        Disagreement.check(self._drift_complaints() if self.metric == "drift" else self._quality_complaints())
        return self

    def _drift_complaints(self) -> Iterator[Complaint]:
        for key, value in (("min", self.min), ("max", self.max), ("class", self.class_name), ("average", self.average)):
            if value is not None:
                yield (key,), "a drift objective has none; leave it out (max_features says how many features may drift)"
        if self.max_features is None:
            yield ("max_features",), "missing; say how many features may drift, such as 0"

    def _quality_complaints(self) -> Iterator[Complaint]:
        if self.min is None and self.max is None:
            yield ("max" if self.metric in LOSSES else "min",), f"missing; say what {self.metric} has to be"
        if self.min is not None and self.max is not None:
            yield ("max",), "an objective has min or max, not both; write two objectives"
        for key, value in (("min", self.min), ("max", self.max)):
            if value is not None and self.metric not in LOSSES and not 0.0 <= value <= 1.0:
                yield (key,), f"{self.metric} is between 0 and 1, not {value:g}"
        if self.max_features is not None or self.features:
            yield ("features" if self.features else "max_features",), "only a drift objective has it; leave it out"
        if self.class_name is not None and self.average is not None:
            yield ("average",), "an objective has class or average, not both; write two objectives"
        for key, chosen in (("class", self.class_name), ("average", self.average)):
            if chosen is not None and self.metric not in BY_CLASS:
                yield (key,), f"{self.metric} has none; leave it out"

    @property
    def needs_a_class(self) -> bool:
        """True where the metric exists once a class and the objective does not say which."""
        return self.metric in BY_CLASS and self.class_name is None and self.average is None
