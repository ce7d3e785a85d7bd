"""JSON lines to messages: one event a line (or an array of events), gathered into one array a partition, their bytes as they were.

A line that is not JSON, or no event, becomes a record of its own, so that the daemon refuses that one and counts it.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, BinaryIO

import orjson
import pyarrow as pa

from monitor.codec.cells import Cells
from monitor.codec.identity import ID_BYTES_LIMIT, partitions_of
from monitor.codec.times import times_of
from monitor.log import JSON, Message
from monitor.transfer.arrivals import Arrivals
from monitor.transfer.batches import Batch

LINES_A_BATCH = 5_000
LINES_BYTES_HINT = 8 * 1024 * 1024
EVENTS_A_RECORD = 500
RECORD_BYTES = 512 * 1024
"""A record takes no further event beyond this: half of what Kafka takes by default."""

LOG_KEYS = ("partition", "offset")
"""What `log export` adds to an event."""


@dataclass(frozen=True, slots=True)
class _Row:
    """One event: where it stood, its bytes, and what they say; `event` is None where they are no event."""

    place: str
    raw: bytes
    event: dict[str, Any] | None


def read_jsonl(file: BinaryIO, name: str, arrivals: Arrivals, partitions: int) -> Iterator[Batch]:
    """Batches of messages. `name` is the file's, for errors. Raises what `Arrivals.of` does."""
    number = size = 0
    lines = iter(file)
    while chunk := list(_some(lines)):
        rows = [row for line_number, line in enumerate(chunk, number + 1) for row in _rows(line, f"{name}:{line_number}")]
        number += len(chunk)
        size += sum(map(len, chunk))
        yield Batch(_messages(rows, arrivals, partitions), len(rows), size)


def _some(lines: Iterator[bytes]) -> Iterator[bytes]:
    size = 0
    for line in islice(lines, LINES_A_BATCH):
        yield line
        size += len(line)
        if size > LINES_BYTES_HINT:
            return


def _rows(line: bytes, place: str) -> Iterable[_Row]:
    raw = line.strip()
    if not raw:
        return []
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return [_Row(place, raw, None)]
    if isinstance(value, dict):
        return [_Row(place, raw, value)]
    if isinstance(value, list) and value:
        return [_Row(place, orjson.dumps(event), event if isinstance(event, dict) else None) for event in value]
    return [_Row(place, raw, None)]


def _messages(rows: Sequence[_Row], arrivals: Arrivals, partitions: int) -> list[Message]:
    if not rows:
        return []
    events = [row.event for row in rows]
    # A line that is no event is refused for that, not for lacking a time: an object in its place is a time that cannot be used.
    times = times_of(Cells.of_values([{} if event is None else event.get("time") for event in events]))
    own_arrivals = times_of(Cells.of_values([None if event is None else event.get("arrival") for event in events]))
    arrived = arrivals.of(own_arrivals, times, lambda row: rows[row].place)
    to = partitions_of(pa.array([_id(event) for event in events], pa.string()), partitions).tolist()
    gathered = [_Gathered(partition) for partition in range(partitions)]
    messages: list[Message] = []
    for row, partition, at, own in zip(rows, to, arrived.at.tolist(), arrived.own.tolist(), strict=True):
        if row.event is None:
            messages.append(Message(0, at, row.raw))
            continue
        needs_stamp = own and (arrivals.is_now or row.event.get("arrival") is None)
        raw = _stamped(row.raw, row.event, at if needs_stamp else None)
        if gathered[partition].is_full_with(raw):
            messages.append(gathered[partition].message())
            gathered[partition] = _Gathered(partition)
        gathered[partition].add(raw, at)
    return messages + [one.message() for one in gathered if one.events]


def _id(event: dict[str, Any] | None) -> str:
    """The id as far as it can be hashed; which partition has a row that the daemon refuses does not matter."""
    found = None if event is None else event.get("id")
    return found if isinstance(found, str) and len(found) <= ID_BYTES_LIMIT else ""


def _stamped(raw: bytes, event: dict[str, Any], arrival: int | None) -> bytes:
    """The event's bytes with this arrival in them, and without what an export added; as they were, where that is possible."""
    if not any(key in event for key in LOG_KEYS):
        if arrival is None:
            return raw
        if "arrival" not in event:
            return b'%b,"arrival":%d}' % (raw[:-1], arrival)
    event = {key: value for key, value in event.items() if key not in LOG_KEYS}
    return orjson.dumps(event if arrival is None else event | {"arrival": arrival})


class _Gathered:
    """Events of one partition on their way into one record, whose timestamp is their greatest arrival."""

    __slots__ = ("_latest", "_partition", "_size", "events")

    def __init__(self, partition: int) -> None:
        self._partition = partition
        self.events: list[bytes] = []
        self._latest: int | None = None
        self._size = 0

    def is_full_with(self, raw: bytes) -> bool:
        return bool(self.events) and (len(self.events) == EVENTS_A_RECORD or self._size + len(raw) > RECORD_BYTES)

    def add(self, raw: bytes, arrival: int) -> None:
        self.events.append(raw)
        self._size += len(raw)
        self._latest = arrival if self._latest is None else max(self._latest, arrival)

    def message(self) -> Message:
        assert self._latest is not None
        return Message(self._partition, self._latest, b"[%b]" % b",".join(self.events), JSON)
