"""Events to records: JSON singles and arrays, Arrow micro-batches, in the order of sending, as producers of many kinds would make them."""

import json
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pyarrow as pa

from tests.faults.campaign.sent import ARROW, JSON, Sent
from tests.faults.campaign.story import Event

MOST_A_RECORD = 12
_SPELLINGS = (None, UTC, timezone(timedelta(hours=5, minutes=30)))
"""How a JSON time is written: as milliseconds, in UTC, with another offset."""


@dataclass(slots=True)
class _Filling:
    """A record that waits for more events of its stream and partition."""

    form: str
    size: int
    events: list[Event] = field(default_factory=list)


def pack(draw: random.Random, events: Iterable[Event]) -> Iterator[tuple[int, Sent]]:
    """Records with the moment at which each is sent. Events of a stream and partition keep their order."""
    fillings: dict[tuple[str, int], _Filling] = {}
    for event in events:
        place = (event.stream, event.partition)
        filling = fillings.get(place)
        if not event.is_plain and filling is not None and filling.form == ARROW:
            yield event.at, _record(draw, fillings.pop(place))
            filling = None
        if filling is None:
            filling = fillings[place] = _begin(draw, event)
        filling.events.append(event)
        if len(filling.events) == filling.size:
            yield event.at, _record(draw, fillings.pop(place))
    for filling in fillings.values():
        yield filling.events[-1].at, _record(draw, filling)


def _begin(draw: random.Random, event: Event) -> _Filling:
    form = draw.choice((JSON, JSON, ARROW)) if event.is_plain else JSON
    single = form == JSON and draw.random() < 0.7
    return _Filling(form, 1 if single else draw.randrange(1, MOST_A_RECORD))


def _record(draw: random.Random, filling: _Filling) -> Sent:
    events, first = filling.events, filling.events[0]
    latest = max(event.arrival for event in events)
    if filling.form == ARROW:
        write = _predictions if first.stream == "predictions" else _labels
        return Sent(first.stream, first.partition, latest, ARROW, _stream(draw, write(draw, events)))
    said = [_spelled(draw, event, stamped=len(events) > 1 or draw.random() < 0.3) for event in events]
    text = json.dumps(said[0] if len(said) == 1 and draw.random() < 0.9 else said)
    content_type = draw.choice((None, JSON, "application/json; charset=utf-8"))
    return Sent(first.stream, first.partition, latest, content_type, text.encode())


def _spelled(draw: random.Random, event: Event, *, stamped: bool) -> dict[str, Any]:
    """What a JSON event says. Now and then one of an array has no arrival of its own, and takes its record's."""
    said = dict(event.said)
    if event.is_plain and "time" in said:
        zone = draw.choice(_SPELLINGS)
        if zone is not None:
            moment = datetime.fromtimestamp(said["time"] // 1_000, zone) + timedelta(milliseconds=said["time"] % 1_000)
            said["time"] = moment.isoformat(timespec="milliseconds")
    if stamped and draw.random() < 0.9:
        said.setdefault("arrival", event.arrival)
    return said


Columns = dict[str, pa.Array]


def _predictions(draw: random.Random, events: Sequence[Event]) -> Columns:
    said = [event.said for event in events]
    columns = _shared(draw, events) | {
        "version": pa.array([row["version"] for row in said]),
        "prediction": pa.array([row.get("prediction") for row in said], pa.string()),
        "score": pa.array([_unsound(draw, row.get("score")) for row in said], pa.float64()),
        "feature.age": pa.array([_unsound(draw, row["features"].get("age")) for row in said], pa.float64()),
        "feature.size": pa.array([row["features"].get("size") for row in said], draw.choice((pa.float64(), pa.float32()))),
        "feature.plan": _texts(draw, [row["features"].get("plan") for row in said]),
        "feature.kind": _texts(draw, [row["features"].get("kind") for row in said]),
        "segment.region": _texts(draw, [row.get("segments", {}).get("region") for row in said]),
        "segment.plan": _texts(draw, [row.get("segments", {}).get("plan") for row in said]),
    }
    for name in ("yes", "no", "low", "mid", "high"):
        columns[f"score.{name}"] = pa.array([row.get("scores", {}).get(name) for row in said], pa.float64())
    if draw.random() < 0.1:
        columns["feature.surplus"] = pa.array(range(len(said)))
    return columns


def _labels(draw: random.Random, events: Sequence[Event]) -> Columns:
    return _shared(draw, events) | {"label": _texts(draw, [event.said["label"] for event in events])}


def _shared(draw: random.Random, events: Sequence[Event]) -> Columns:
    kind = draw.choice((pa.int64(), pa.timestamp("ms", "UTC")))
    return {
        "id": pa.array([event.said["id"] for event in events]),
        "time": pa.array([event.said.get("time") for event in events], pa.int64()).cast(kind),
        "arrival": pa.array([event.arrival for event in events], pa.int64()).cast(kind),
        "model": _texts(draw, [event.said.get("model") for event in events]),
    }


def _texts(draw: random.Random, values: Sequence[str | None]) -> pa.Array:
    texts = pa.array(values, pa.string())
    return texts.dictionary_encode() if draw.random() < 0.3 else texts


def _unsound(draw: random.Random, value: float | None) -> float | None:
    """Now and then what JSON cannot say."""
    return value if draw.random() < 0.98 else draw.choice((float("nan"), float("inf"), float("-inf"), None))


def _stream(draw: random.Random, columns: Columns) -> bytes:
    """One message; a model that all rows share may be said once, in the schema."""
    names = set(columns["model"].to_pylist())
    metadata = {"schema_version": "1"}
    if len(names) == 1 and None not in names and draw.random() < 0.5:
        del columns["model"]
        metadata["model"] = names.pop()
    batch = pa.record_batch(columns).replace_schema_metadata(metadata)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    value: bytes = sink.getvalue().to_pybytes()
    return value
