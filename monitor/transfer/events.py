"""Records to events in the shape of JSON version 1, with where they stand in the log: for people, files and other tools.

An event keeps what it says; `arrival` (milliseconds), `partition` and `offset` are added. What cannot be decoded is shown as it is.
"""

import base64
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from monitor.clock import Milliseconds
from monitor.codec.arrow_stream import read_stream, validated
from monitor.codec.cells import Cells
from monitor.codec.times import times_of
from monitor.errors import DecodeError
from monitor.events import Stream
from monitor.log import ARROW, TIME_MARK, DeadLetter, Log, Record
from monitor.log.dead_letters import from_record

Event = dict[str, Any]

READ_BYTES = 4 * 1024 * 1024
_GROUPS = {"feature": "features", "score": "scores", "segment": "segments"}
_MILLISECONDS = pa.timestamp("ms", "UTC")


def read_events(log: Log, stream: Stream, partition: int, offset: int, end: int) -> Iterator[Event]:
    """The events of the records in [offset, end), in their order."""
    while offset < end and (records := log.read(stream, partition, offset, READ_BYTES)):
        for record in records:
            if record.offset < end:
                yield from events_of(stream, partition, record)
        offset = records[-1].offset + 1


def newest(log: Log, stream: Stream, ends: Sequence[int], count: int) -> list[Event]:
    """The `count` events that arrived last before these offsets, a partition each; the latest comes last."""
    found: list[Event] = []
    for partition, end in enumerate(ends):
        found += _newest_of(log, stream, partition, end, count)
    found.sort(key=lambda event: event["arrival"])
    return found[len(found) - min(count, len(found)) :]


def _newest_of(log: Log, stream: Stream, partition: int, end: int, count: int) -> list[Event]:
    """At least `count` events that end one partition, if it has as many.

    A record holds at least one event, but not every offset has a record with one: time marks hold none, and of Kafka's offsets every
    commit takes one.
    """
    begin, reach = log.begin_offset(stream, partition), count
    while True:
        found = list(read_events(log, stream, partition, max(end - reach, begin), end))
        if len(found) >= count or end - reach <= begin:
            return found
        reach *= 2


def between(events: Iterable[Event], since: Milliseconds | None, until: Milliseconds | None) -> Iterator[Event]:
    """Those whose arrival is in [since, until)."""
    return (event for event in events if (since is None or event["arrival"] >= since) and (until is None or event["arrival"] < until))


def events_of(stream: Stream, partition: int, record: Record) -> list[Event]:
    """What one record holds: nothing for a time mark, one entry with the bytes for what cannot be decoded."""
    if record.content_type == TIME_MARK:
        return []
    place = {"partition": partition, "offset": record.offset}
    if stream is Stream.DEAD_LETTERS:
        return [_dead_letter(from_record(record), partition) | place]
    try:
        events = _of_arrow(record.value) if record.content_type == ARROW else _of_json(record.value)
    except DecodeError as error:
        unreadable = {"undecodable": str(error), "content_type": record.content_type, **_shown(record.value)}
        return [unreadable | {"arrival": record.timestamp} | place]
    arrivals = times_of(Cells.of_values([event.get("arrival") for event in events]))
    usable = ~(arrivals.absent | arrivals.malformed)
    return [
        event | {"arrival": arrival if own else record.timestamp} | place
        for event, arrival, own in zip(events, arrivals.milliseconds.tolist(), usable.tolist(), strict=True)
    ]


def _dead_letter(letter: DeadLetter, partition: int) -> Event:
    """A dead letter lies in the partition that its record came from."""
    origin = {
        "stream": letter.stream.value,
        "partition": partition,
        "offset": letter.offset,
        "rows": list(letter.rows),
        "time": f"{np.datetime64(letter.timestamp, 'ms')}Z",
    }
    what = {"reason": letter.reason, "outcome": letter.outcome, "origin": origin, "content_type": letter.content_type}
    return what | _shown(letter.value) | _concerned(letter) | {"arrival": letter.timestamp}


def _concerned(letter: DeadLetter) -> Event:
    """Which of a record's rows were refused; nothing where the record is one event, or its bytes give no rows."""
    try:
        rows = _of_arrow(letter.value) if letter.content_type == ARROW else orjson.loads(letter.value)
    except (DecodeError, orjson.JSONDecodeError):
        return {}
    return {"events": [rows[row] for row in letter.rows if row < len(rows)]} if isinstance(rows, list) else {}


def _shown(value: bytes) -> Event:
    try:
        return {"value": value.decode()}
    except UnicodeDecodeError:
        return {"value_base64": base64.b64encode(value).decode()}


def _of_json(value: bytes) -> list[Event]:
    try:
        parsed = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise DecodeError(f"not JSON: {error}") from error
    events = parsed if isinstance(parsed, list) else [parsed]
    if not all(isinstance(event, dict) for event in events):
        raise DecodeError("not an event, nor an array of events")
    return events


def _of_arrow(value: bytes) -> list[Event]:
    _, schema, batches = read_stream(value)
    metadata = schema.metadata or {}
    try:
        constants = {key: metadata[key.encode()].decode() for key in ("model", "version") if key.encode() in metadata}
        _names = schema.names  # those of the columns are decoded when they are asked for
    except UnicodeDecodeError as error:
        raise DecodeError("a column's name or the schema's metadata is not UTF-8") from error
    return [constants | _nested(row) for batch in batches for row in _with_milliseconds(validated(batch)).to_pylist()]


def _with_milliseconds(batch: pa.RecordBatch) -> pa.RecordBatch:
    columns = [
        column.cast(_MILLISECONDS, safe=False).cast(pa.int64()) if pa.types.is_timestamp(column.type) else column
        for column in batch.columns
    ]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _nested(row: Event) -> Event:
    """`feature.x` as `x` among `features`, and so on; what a row does not say is left out."""
    event: Event = {}
    for column, value in row.items():
        group, dot, name = column.partition(".")
        if value is None:
            continue
        if dot and group in _GROUPS:
            event.setdefault(_GROUPS[group], {})[name] = value
        else:
            event[column] = value
    return event


def flattened(event: Event) -> Event:
    """The inverse of `_nested`: the columns of a Parquet row. An object or array that has no column of its own becomes its JSON."""
    groups: Sequence[tuple[str, str]] = [(plural, singular) for singular, plural in _GROUPS.items()]
    row: Event = {}
    for key, value in event.items():
        prefix = dict(groups).get(key)
        if prefix is not None and isinstance(value, dict):
            row |= {f"{prefix}.{name}": _scalar(one) for name, one in value.items()}
        else:
            row[key] = _scalar(value)
    return row


def _scalar(value: object) -> object:
    return orjson.dumps(value).decode() if isinstance(value, dict | list) else value
