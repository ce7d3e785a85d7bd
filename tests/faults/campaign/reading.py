"""Records to events, one by one, for the oracle: every rule of the schema in plain Python. It shares no code with `monitor`.

What is no usable event is an outcome with the model that it named; what is one is a `Prediction` or a `Label`.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from tests.faults.campaign.sent import ARROW, JSON, Sent
from tests.faults.campaign.setting import HOUR, Rules

ID_BYTES, NAME_BYTES, CATEGORY_BYTES = 512, 128, 256
LAST_MILLISECOND = 253_402_300_799_999
END_OF_STREAM = b"\xff\xff\xff\xff\x00\x00\x00\x00"
PREDICTION_KEYS = {"id", "time", "arrival", "model", "version", "prediction", "score", "scores", "features", "segments"}
LABEL_KEYS = {"id", "label", "time", "arrival", "model"}
RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Said = Mapping[str, Any]


class Refused(Exception):
    """What became of an event that decoding settles; `model` is the configured one that it named, or ""."""

    def __init__(self, outcome: str, model: str = "") -> None:
        super().__init__(outcome)
        self.outcome = outcome
        self.model = model


@dataclass(frozen=True, slots=True)
class Prediction:
    """`content` is everything it says, in a form that compares; `inputs` names what each input is instead of a usable value, or is ""."""

    id: str
    time: int
    arrival: int
    model: str
    version: str
    predicted: str
    segments: Mapping[str, str]
    inputs: Mapping[str, str]
    content: tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Label:
    """`model` is "" where it names none."""

    id: str
    time: int
    arrival: int
    model: str
    value: str


class Reader:
    """Reads the records of one stream; `unknown_keys` counts what nothing asked for, by partition."""

    def __init__(self, models: Sequence[Rules]) -> None:
        self._models = {rules.name: rules for rules in models}
        self._readable = _readable(models)
        self.unknown_keys: dict[tuple[str, int], int] = {}

    def events(self, record: Sent) -> Iterator[Prediction | Label | Refused]:
        """What a record holds, row by row."""
        try:
            rows = self._rows(record)
        except Refused as refused:
            yield refused
            return
        for said in rows:
            try:
                if not isinstance(said, dict):
                    raise Refused("undecodable")
                if record.stream == "predictions":
                    yield self._prediction(record, said)
                else:
                    yield self._label(record, said)
            except Refused as refused:
                yield refused

    def _rows(self, record: Sent) -> list[Any]:
        content_type = (record.content_type or JSON).split(";")[0].strip().lower() or JSON
        value = record.value or b""
        if content_type == JSON:
            return _json_rows(value)
        if content_type != ARROW:
            raise Refused("undecodable")
        table, constants = _arrow_table(value)
        fields = (PREDICTION_KEYS - {"features", "segments", "scores"}) | self._readable if record.stream == "predictions" else LABEL_KEYS
        left_out = [name for name in table.column_names if name not in fields]
        self._count_unknown(record, len(left_out) * table.num_rows)
        return [constants | _nested(row, fields) for row in table.to_pylist()]

    def _count_unknown(self, record: Sent, count: int) -> None:
        place = (record.stream, record.partition)
        self.unknown_keys[place] = self.unknown_keys.get(place, 0) + count

    def _prediction(self, record: Sent, said: Said) -> Prediction:
        self._count_unknown(record, _unknown(said, PREDICTION_KEYS))
        rules, identifier, arrival, time, version = self._placed(record, said)
        self._count_unknown(
            record,
            _unknown(said.get("features"), {*rules.features, *rules.dimensions})
            + _unknown(said.get("segments"), rules.dimensions)
            + _unknown(said.get("scores"), rules.classes),
        )
        scores = _scores(rules, said)
        predicted = _predicted(rules, said.get("prediction"), scores)
        features, segments = said.get("features") or {}, said.get("segments") or {}
        numbers = {name: _number(features.get(name)) for name in rules.numeric}
        texts = {name: _text(features.get(name)) for name in rules.categorical}
        within = {name: _text(segments[name] if segments.get(name) is not None else features.get(name)) for name in rules.dimensions}
        shown = scores[0] if rules.positive is not None else scores[rules.classes.index(predicted)]
        return Prediction(
            id=identifier,
            time=time,
            arrival=arrival,
            model=rules.name,
            version=version,
            predicted=predicted,
            segments={name: kept if kind == "text" else "missing" for name, (kind, kept) in within.items()},
            inputs={name: kind for name, (kind, _) in numbers.items()}
            | {name: "unseen" if kind == "text" else kind for name, (kind, _) in texts.items()}
            | {"@score": _kind_of_score(shown)},
            content=(time, predicted, *map(repr, scores), *numbers.values(), *texts.values(), *within.values()),
        )

    def _placed(self, record: Sent, said: Said) -> tuple[Rules, str, int, int, str]:
        """What every prediction needs: its model, id, arrival, time and version. The first thing that is wrong settles it."""
        name = self._model(said.get("model"))
        if name is None:
            raise Refused("invalid")
        identifier = _identifier(said.get("id"), name)
        if said.get("time") is None:
            raise Refused("invalid", name)
        time = _time(said["time"], name)
        arrival = _arrival(record, said, name)
        version = said.get("version")
        if isinstance(version, bool) or not isinstance(version, str | int) or not 0 < len(str(version).encode()) <= NAME_BYTES:
            raise Refused("invalid", name)
        features, segments = said.get("features"), said.get("segments")
        if not isinstance(features, dict) or not isinstance(segments, dict | None):
            raise Refused("invalid", name)
        return self._models[name], identifier, arrival, time, str(version)

    def _label(self, record: Sent, said: Said) -> Label:
        self._count_unknown(record, _unknown(said, LABEL_KEYS))
        name = self._model(said.get("model")) or ""
        identifier = _identifier(said.get("id"), name)
        arrival = _arrival(record, said, name)
        time = arrival if said.get("time") is None else _time(said["time"], name)
        value = said.get("label")
        if value is None:
            raise Refused("invalid", name)
        models = [self._models[name]] if name else list(self._models.values())
        meant = {found for rules in models if (found := _class(rules, value)) is not None}
        if len(meant) != 1:  # none, or models understand it differently
            raise Refused("invalid", name)
        return Label(identifier, time, arrival, name, meant.pop())

    def _model(self, said: object) -> str | None:
        """A configured model's name, None where the event names none."""
        if said is None:
            return None
        if not isinstance(said, str) or not 0 < len(said.encode()) <= NAME_BYTES:
            raise Refused("invalid")
        if said not in self._models:
            raise Refused("unknown_model")
        return said


def _readable(models: Sequence[Rules]) -> set[str]:
    """Arrow columns of groups that anything asks for."""
    dimensions = {name for rules in models for name in rules.dimensions}
    features = dimensions.union(*(rules.features for rules in models))
    classes = {name for rules in models for name in rules.classes}
    return {f"feature.{name}" for name in features} | {f"segment.{name}" for name in dimensions} | {f"score.{name}" for name in classes}


def _json_rows(value: bytes) -> list[Any]:
    try:
        document = json.loads(value.decode(), parse_constant=_no_number, parse_float=_finite)
    except ValueError as error:
        raise Refused("undecodable") from error
    rows = document if isinstance(document, list) else [document]
    if not rows or not isinstance(document, dict | list):
        raise Refused("undecodable")
    return rows


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is not JSON")


def _finite(text: str) -> float:
    if math.isinf(float(text)):
        raise ValueError(f"{text} is no float64")
    return float(text)


def _arrow_table(value: bytes) -> tuple[pa.Table, dict[str, str]]:
    """The rows, and what the schema says for all of them. A stream ends with its mark, is not compressed and holds a row."""
    source = pa.BufferReader(value)
    try:
        if not value.endswith(END_OF_STREAM):
            raise Refused("undecodable")
        table = pa.ipc.open_stream(source).read_all()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise Refused("undecodable") from error
    compressed = b"\x28\xb5\x2f\xfd" in value  # the magic number of a zstd frame
    if table.num_rows == 0 or compressed:
        raise Refused("undecodable")
    constants = {key.decode(): text.decode() for key, text in (table.schema.metadata or {}).items()}
    milliseconds = [
        column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column for column in table.columns
    ]  # timestamps here are in milliseconds
    return pa.table(milliseconds, table.column_names), {key: constants[key] for key in ("model", "version") if key in constants}


def _nested(row: Mapping[str, Any], fields: set[str]) -> dict[str, Any]:
    """An Arrow row as the JSON event that says the same."""
    groups = {"feature": "features", "segment": "segments", "score": "scores"}
    said: dict[str, Any] = {} if fields == LABEL_KEYS else {group: {} for group in groups.values()}
    for name, value in row.items():
        group, dot, entry = name.partition(".")
        if name in fields and dot:
            said[groups[group]][entry] = value
        elif name in fields:
            said[name] = value
    return said


def _unknown(entries: object, known: object) -> int:
    if not isinstance(entries, dict):
        return 0
    return sum(value is not None and key not in known for key, value in entries.items())  # type: ignore[operator]


def _identifier(said: object, model: str) -> str:
    if not isinstance(said, str) or not 0 < len(said.encode()) <= ID_BYTES:
        raise Refused("invalid", model)
    return said


def _time(said: object, model: str) -> int:
    milliseconds = -1
    if isinstance(said, bool):
        pass
    elif isinstance(said, int):
        milliseconds = said
    elif isinstance(said, float) and said.is_integer():
        milliseconds = int(said)
    elif isinstance(said, str) and RFC_3339.fullmatch(said):
        try:
            milliseconds = (datetime.fromisoformat(said.upper()) - EPOCH) // timedelta(milliseconds=1)
        except ValueError:
            milliseconds = -1
    if not 0 <= milliseconds <= LAST_MILLISECOND:
        raise Refused("invalid", model)
    return milliseconds


def _arrival(record: Sent, said: Said, model: str) -> int:
    if said.get("arrival") is None:
        return record.timestamp
    arrival = _time(said["arrival"], model)
    if arrival > record.timestamp + HOUR:
        raise Refused("bad_time", model)
    return arrival


def _class(rules: Rules, said: object) -> str | None:
    """The class that a value means."""
    if isinstance(said, str):
        return said if said in rules.classes else None
    if isinstance(said, float) and said.is_integer():
        said = int(said)
    if not isinstance(said, int):
        return None
    name = str(said).lower()
    if name in rules.classes:
        return name
    return rules.classes[said] if 0 <= said < len(rules.classes) else None


def _scores(rules: Rules, said: Said) -> list[float]:
    """P(positive) of a binary model, else one a class; NaN where there is none."""
    by_class = said.get("scores") if isinstance(said.get("scores"), dict) else {}
    assert isinstance(by_class, dict)
    if rules.positive is None:
        return [_probability(by_class.get(name)) for name in rules.classes]
    negative = next(name for name in rules.classes if name != rules.positive)
    found = (_probability(said.get("score")), _probability(by_class.get(rules.positive)), 1.0 - _probability(by_class.get(negative)))
    return [next((score for score in found if not math.isnan(score)), math.nan)]


def _probability(said: object) -> float:
    return float(said) if isinstance(said, int | float) and not isinstance(said, bool) else math.nan


def _predicted(rules: Rules, said: object, scores: Sequence[float]) -> str:
    """The class as sent, or else the one that the scores stand for."""
    if said is not None:
        found = _class(rules, said)
        if found is None:
            raise Refused("invalid", rules.name)
        return found
    finite = [score for score in scores if math.isfinite(score)]
    if not finite:
        raise Refused("invalid", rules.name)
    if rules.positive is not None:
        return next(name for name in rules.classes if (name == rules.positive) == (scores[0] >= rules.threshold))
    return rules.classes[next(place for place, score in enumerate(scores) if score == max(finite))]


def _number(said: object) -> tuple[str, str]:
    """What an input is instead of a number ("" for a number), and the number in a form that compares."""
    if said is None:
        return "missing", ""
    if not isinstance(said, int | float):
        return "mistyped", ""
    return ("" if math.isfinite(said) else "non_finite"), repr(float(said) + 0.0)


def _text(said: object) -> tuple[str, str]:
    """`text` and the text, or what the value is instead."""
    if said is None:
        return "missing", ""
    if isinstance(said, bool):
        return "text", str(said).lower()
    if isinstance(said, float) and said.is_integer():
        said = int(said)
    if not isinstance(said, str | int | float):
        return "mistyped", ""
    return "text", str(said).encode()[:CATEGORY_BYTES].decode(errors="ignore")


def _kind_of_score(score: float) -> str:
    if math.isnan(score):
        return "missing"
    if math.isinf(score):
        return "non_finite"
    return "" if 0.0 <= score <= 1.0 else "out_of_range"
