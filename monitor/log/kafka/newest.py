"""The greatest timestamp of a partition with time marks left out, though Kafka can tell only the greatest of all.

A time mark therefore carries what was the greatest before it, and up to which offset that holds. What came since is looked through, from
where the last look has ended: little, as a mark is written only after a long silence.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from monitor.clock import Milliseconds
from monitor.events import Stream
from monitor.log import TIME_MARK, Message, Record
from monitor.log.kafka.names import Names
from monitor.log.kafka.offsets import Offsets

NEWEST: Final = "model-monitor-newest"
"""Header of a mark: the greatest timestamp before it, empty where there was none."""
NEWEST_UNTIL: Final = "model-monitor-newest-until"
"""Header of a mark: the offset before which it is the greatest."""
LOOK_THROUGH_BYTES: Final = 4 * 1024 * 1024

Read = Callable[[Stream, int, int, int], list[Record]]
"""`Log.read`."""


@dataclass(frozen=True, slots=True)
class Newest:
    """The greatest timestamp of the records before an offset; None where there are none."""

    timestamp: Milliseconds | None = None
    until: int = 0


class NewestTimestamps:
    """Any thread may ask. Raises `LogError`."""

    def __init__(self, offsets: Offsets, read: Read, names: Names) -> None:
        self._offsets = offsets
        self._read = read
        self._names = names
        self._known: dict[tuple[Stream, int], Newest] = {}

    def of(self, stream: Stream, partition: int) -> Newest:
        """As of now."""
        place = self._names.of(stream, partition)
        end = self._offsets.end(place)
        greatest = self._offsets.greatest(place)
        if greatest is None:
            return self._known.get((stream, partition), Newest(until=end))
        offset, timestamp = greatest
        found = self._read(stream, partition, offset, 0)
        if found and found[0].offset == offset and found[0].content_type != TIME_MARK and timestamp > 0:
            newest = Newest(timestamp, end)
        else:
            newest = self._looked_through(stream, partition, found[0] if found else None)
        self._known[stream, partition] = newest
        return newest

    def on_marks(self, stream: Stream, messages: Sequence[Message]) -> Sequence[Message]:
        """The messages, with these headers on each time mark among them."""
        if not any(message.content_type == TIME_MARK for message in messages):
            return messages
        return [self._on_mark(stream, message) if message.content_type == TIME_MARK else message for message in messages]

    def _on_mark(self, stream: Stream, mark: Message) -> Message:
        newest = self.of(stream, mark.partition)
        told = {NEWEST: "" if newest.timestamp is None else str(newest.timestamp), NEWEST_UNTIL: str(newest.until)}
        return replace(mark, headers={**mark.headers, **told})

    def _looked_through(self, stream: Stream, partition: int, mark: Record | None) -> Newest:
        """From the latest offset before which the greatest is known: by the last look, or by what the mark tells."""
        newest = max(self._known.get((stream, partition), Newest()), _told_by(mark), key=lambda known: known.until)
        while records := self._read(stream, partition, newest.until, LOOK_THROUGH_BYTES):
            timestamps = [record.timestamp for record in records if record.content_type != TIME_MARK]
            if newest.timestamp is not None:
                timestamps.append(newest.timestamp)
            newest = Newest(max(timestamps, default=None), records[-1].offset + 1)
        return newest


def _told_by(mark: Record | None) -> Newest:
    if mark is None or NEWEST_UNTIL not in mark.headers:
        return Newest()
    timestamp = mark.headers[NEWEST]
    return Newest(int(timestamp) if timestamp else None, int(mark.headers[NEWEST_UNTIL]))
