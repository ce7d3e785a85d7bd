"""A model's `config.yaml`: what its graph and the main configuration leave open, and how this model is run if not like the others.

It stands beside a version, for that one, or beside the versions, for all that have none of their own. The main configuration wins: what it
says about the same thing has to agree.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from monitor.errors import ModelError
from monitor.serving.versions import Latest, VersionPolicy
from monitor.strict_yaml.document import parse
from monitor.strict_yaml.explaining import complaints
from monitor.strict_yaml.quantities import ClassName, Lenient, Text, as_tuple, duration_ms, shown
from monitor.strict_yaml.section import Complaint, Disagreement, Key, Section

_EXAMPLE: Final = "classes: [on_time, late]"


def _delay_seconds(value: object) -> object:
    return 0.0 if value == "none" else duration_ms(value) / 1_000


def _versions(value: object) -> object:
    match value:
        case "all":
            return value
        case {"latest": int(count), **others} if not others and not isinstance(count, bool) and count > 0:
            return Latest(count)
        case str() | int() if not isinstance(value, bool):
            return (str(value),)
        case [*names] if names and all(isinstance(name, str | int) and not isinstance(name, bool) for name in names):
            return tuple(map(str, names))
    raise ValueError(f"expected all, {{latest: 2}} or a list of versions, not {shown(value)}")


def _version_names(value: object) -> object:
    names = value if isinstance(value, list) else [value]
    return tuple(str(name) if isinstance(name, int) and not isinstance(name, bool) else name for name in names)


Columns = Annotated[tuple[Text | None, ...], Lenient, BeforeValidator(as_tuple)]
Classes = Annotated[tuple[ClassName, ...], Lenient, Field(min_length=2)]
Count = Annotated[int, Field(ge=1)]


class _Overrides(Section):
    """Keys of a section that a model may have otherwise; those that are left out stay as they are configured."""

    def given(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.model_fields_set}


class _Batching(_Overrides):
    max_rows: Count = 1
    preferred_rows: Annotated[tuple[Count, ...], Lenient] = ()
    delay: Annotated[float, BeforeValidator(_delay_seconds)] = 0.0
    queue_rows: Count = 1
    concurrency: Count = 1

    def given(self) -> dict[str, Any]:
        return {"delay_seconds" if name == "delay" else name: value for name, value in super().given().items()}


class _Session(_Overrides):
    intra_op_threads: Count = 1
    inter_op_threads: Count = 1
    spinning: bool = False
    graph: Literal["disabled", "basic", "extended", "all"] = "all"


class _Device(_Overrides):
    kind: Literal["cpu", "cuda", "tensorrt"] = "cpu"
    id: Annotated[int, Field(ge=0)] = 0


class _Document(Section):
    inputs: dict[Text, Columns] = Field(default_factory=dict)
    classes: Classes | None = None
    labels: dict[Text, Classes] = Field(default_factory=dict)
    versions: Annotated[Any, BeforeValidator(_versions)] = None
    shadows: Annotated[tuple[Text, ...], BeforeValidator(_version_names)] = ()
    batching: _Batching = Field(default_factory=_Batching)
    session: _Session = Field(default_factory=_Session)
    device: _Device = Field(default_factory=_Device)

    @model_validator(mode="after")
    def _keys_agree(self) -> Self:
        Disagreement.check(self._complaints())
        return self

    def _complaints(self) -> Iterator[Complaint]:
        lists: list[tuple[Key, tuple[str, ...]]] = [(("labels", name), names) for name, names in self.labels.items()]
        for key, names in [(("classes",), self.classes or ()), *lists]:
            if twice := sorted({name for name in names if names.count(name) > 1}):
                yield key, f"{', '.join(twice)} is there twice; name each class once, in the order of the columns"


@dataclass(frozen=True, slots=True)
class EntryConfig:
    """What a `config.yaml` says; `path` is None where there is none.

    `inputs` names the feature in each column of an input (None: not a feature); `classes` is the order of the score columns where neither
    the graph nor the main configuration says it; `labels` names the columns of outputs, for clients that ask for classes. `shadows` are the
    versions that are scored on the same requests. `batching`, `session` and `device` hold what is otherwise than configured for all, by
    the fields of `Batching`, `RunOptions` and `Device`.
    """

    path: Path | None = None
    inputs: Mapping[str, tuple[str | None, ...]] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    versions: VersionPolicy | None = None
    shadows: tuple[str, ...] = ()
    batching: Mapping[str, Any] = field(default_factory=dict)
    session: Mapping[str, Any] = field(default_factory=dict)
    device: Mapping[str, Any] = field(default_factory=dict)


NO_CONFIG: Final = EntryConfig()


def read(path: Path) -> EntryConfig:
    """Raises `ModelError`, a line for each thing that is wrong."""
    try:
        document = _Document.model_validate(parse(path.read_bytes(), _EXAMPLE))
    except ValidationError as error:
        raise ModelError("\n".join(complaints(error, _Document, str(path), {}))) from None
    except ValueError as error:
        raise ModelError(f"{path}: {error}") from None
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from None
    return EntryConfig(
        path,
        document.inputs,
        document.classes or (),
        document.labels,
        document.versions,
        document.shadows,
        document.batching.given(),
        document.session.given(),
        document.device.given(),
    )
