"""What should not be sent and is: events that break a rule of the schema, unreadable records, rows in another partition's place."""

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pyarrow as pa

from tests.faults.campaign.sent import ARROW, JSON, Sent
from tests.faults.campaign.setting import HOUR
from tests.faults.campaign.story import Event

SHARE_DAMAGED = 0.04
SHARE_MISROUTED = 0.01
SHARE_UNREADABLE = 0.02

Said = dict[str, Any]

ABSENT = object()
LONG = "x" * 600

OF_BOTH: tuple[Said, ...] = (
    {"id": ABSENT},
    {"id": ""},
    {"id": 7},
    {"id": None},
    {"id": LONG},
    {"time": "yesterday"},
    {"time": "2023-01-01T00:00:00"},
    {"time": "2023-02-30T00:00:00Z"},
    {"time": 1_700_000_000_000.5},
    {"time": -1},
    {"time": True},
    {"time": [1]},
    {"model": "ghost"},
    {"model": 3},
    {"model": ""},
    {"arrival": "soon"},
    {"surplus": 1, "more": None},
)
OF_PREDICTIONS: tuple[Said, ...] = (
    {"time": ABSENT},
    {"model": ABSENT},
    {"version": ABSENT},
    {"version": 1},
    {"version": 1.5},
    {"version": {}},
    {"features": ABSENT},
    {"features": None},
    {"features": []},
    {"features": {}},
    {"features": {"age": "old", "plan": ["pro"], "size": {}, "kind": 2, "unheard_of": 1}},
    {"features": {"age": True, "plan": 3.0, "size": 10**30, "kind": False}},
    {"segments": 5},
    {"segments": {"region": {}, "planet": "earth"}},
    {"prediction": "perhaps"},
    {"prediction": 1},
    {"prediction": True},
    {"prediction": 7},
    {"prediction": ["yes"]},
    {"prediction": ABSENT, "score": ABSENT, "scores": ABSENT},
    {"prediction": ABSENT, "score": "high", "scores": None},
    {"score": 17, "prediction": 0},
    {"scores": {"yes": True, "mid": 0.25, "unknown": 0.5}, "prediction": 0},
)
OF_LABELS: tuple[Said, ...] = (
    {"label": ABSENT},
    {"label": None},
    {"label": "perhaps"},
    {"label": 0},
    {"label": 2},
    {"label": 2, "model": ABSENT},
    {"label": 1, "model": ABSENT},
    {"label": True},
    {"label": ["yes"]},
    {"label": 1.0},
    {"label": 0.5},
)


def damaged(draw: random.Random, event: Event) -> Event:
    """A copy that breaks a rule, or nearly."""
    changes = draw.choice((*OF_BOTH, *(OF_PREDICTIONS if event.stream == "predictions" else OF_LABELS)))
    if draw.random() < 0.05:
        changes = {"arrival": event.arrival + 3 * HOUR}  # an hour would be believed, and leave all that follows out of order
    said = {key: value for key, value in (event.said | changes).items() if value is not ABSENT}
    return replace(event, said=said, is_plain=False)


def misrouted(draw: random.Random, event: Event, partitions: int) -> Event:
    """The same event where its twin is not."""
    others = [partition for partition in range(partitions) if partition != event.partition]
    return replace(event, partition=draw.choice(others)) if others else event


def unreadable(draw: random.Random, stream: str, partition: int, timestamp: int) -> Sent:
    """A record of which nothing, or only a part, can be decoded."""
    content_type, value = draw.choice(tuple(_unreadable_values()))
    return Sent(stream, partition, timestamp, content_type, value() if callable(value) else value)


def _unreadable_values() -> Iterator[tuple[str | None, bytes | Callable[[], bytes] | None]]:
    yield from ((JSON, value) for value in (None, b"", b"  ", b"{", b"[]", b"null", b"42", b'"text"', b"[1, null, []]", b"\xff\xfe{}"))
    yield JSON, b'{"id": "a", "label": NaN}'
    yield JSON, b'{"id": "a", "score": 1e999}'
    yield JSON, b'{"id": "a"} {"id": "b"}'
    yield None, b"not for us"
    yield "text/csv", b"id,label\na,yes\n"
    yield ARROW, b""
    yield ARROW, b"garbage"
    yield ARROW, b'{"id": "a"}'
    yield ARROW, lambda: _arrow()[:-9]
    yield ARROW, lambda: _arrow() + b"\0"
    yield ARROW, lambda: _arrow(rows=0)
    yield ARROW, lambda: _arrow(compression="zstd")
    yield JSON, _arrow


def _arrow(rows: int = 3, compression: str | None = None) -> bytes:
    batch = pa.record_batch({"id": pa.array([f"arrow-{row}" * 30 for row in range(rows)]), "label": pa.array(["yes"] * rows)})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_batch(batch)
    value: bytes = sink.getvalue().to_pybytes()
    return value
