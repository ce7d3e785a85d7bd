"""Where events from outside have to be before their sender is told 202: in the log, or at least on this machine's disk.

Here events become records: JSON arrays that a broker with the usual limits takes, in the partitions of their ids.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Protocol

import numpy as np
import orjson
import pyarrow as pa

from monitor.clock import Milliseconds
from monitor.codec.identity import partitions_of
from monitor.codec.json_frames import Event
from monitor.events import Int64s, Stream
from monitor.log import JSON, Message
from monitor.serving.delivery import Appender
from monitor.serving.privacy import Privacy, loggable
from monitor.serving.refusals import BadRequest

RECORD_BYTES_LIMIT: Final = 1_000_000
"""Just under what a Kafka broker takes that nobody configured; events are divided over several records where they would be more."""


class Durable(Protocol):
    """Keeps events of one stream, in their order within a partition, each with its arrival in it: `arrival` is (n,) milliseconds.

    Once `append` returns they outlive the process and the machine's sudden stop. Raises `LogError`: some may be kept all the same; and
    `BadRequest` for an event that no record can hold: none is.
    """

    def append(self, stream: Stream, events: Sequence[Event], arrival: Int64s) -> None: ...


class Outbox(Protocol):
    """A spool on disk that brings events to the log in their order. `append` returns once they are synced; raises `LogError`."""

    def append(self, stream: Stream, content_type: str, payload: bytes, rows: int, arrival: Milliseconds) -> None: ...


class InLog:
    """In the log itself."""

    def __init__(self, log: Appender) -> None:
        self._log = log

    def append(self, stream: Stream, events: Sequence[Event], arrival: Int64s) -> None:
        partitions = self._log.partitions
        if partitions == 1:
            of_event = np.zeros(len(events), dtype=np.int32)
        else:
            of_event = partitions_of(pa.array([event["id"] for event in events], pa.string()), partitions)
        messages = [
            Message(partition, int(arrival[rows].max()), value, JSON)
            for partition in np.unique(of_event).tolist()
            for rows, value in _records(events, np.flatnonzero(of_event == partition))
        ]
        self._log.append(stream, messages)


class InSpool:
    """On this machine's disk, from where they go on to the log. The spool knows ids, not partitions, which may be others by then."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox

    def append(self, stream: Stream, events: Sequence[Event], arrival: Int64s) -> None:
        for rows, value in list(_records(events, np.arange(len(events)))):
            self._outbox.append(stream, JSON, value, len(rows), int(arrival[rows].max()))


class Redacting:
    """What models' privacy rules allow of their predictions, elsewhere."""

    def __init__(self, durable: Durable, privacy: Mapping[str, Privacy]) -> None:
        self._durable = durable
        self._privacy = privacy

    def append(self, stream: Stream, events: Sequence[Event], arrival: Int64s) -> None:
        kept, rows = loggable(events, self._privacy)
        if kept:
            self._durable.append(stream, kept, arrival[rows])


def _records(events: Sequence[Event], rows: Int64s) -> Iterator[tuple[Int64s, bytes]]:
    """The events at these rows as few arrays, each within the limit, with the rows it holds."""
    value = _dumped([events[row] for row in rows.tolist()])
    if len(value) <= RECORD_BYTES_LIMIT:
        yield rows, value
    elif len(rows) > 1:
        middle = len(rows) // 2
        yield from _records(events, rows[:middle])
        yield from _records(events, rows[middle:])
    else:
        shown = str(events[int(rows[0])]["id"])[:60]
        raise BadRequest(f'the event with the id "{shown}" takes {len(value):,} bytes; a record of the log holds {RECORD_BYTES_LIMIT:,}')


def _dumped(events: list[Event]) -> bytes:
    try:
        return orjson.dumps(events)
    except orjson.JSONEncodeError as error:
        # The parser takes deeper nesting than the writer.
        raise BadRequest(f"an event cannot be written again ({error}): nest it less") from None
