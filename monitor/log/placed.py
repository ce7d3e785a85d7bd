"""Following a log that can be read at any offset at once: the positions are all there is to keep."""

import time
from collections.abc import Callable, Collection

from monitor.errors import LogDamaged
from monitor.events import Stream
from monitor.log import Ends, Record

LOOK_EVERY_S = 0.1
"""Between two looks at a log that had nothing new."""

Read = Callable[[Stream, int, int, int], list[Record]]
"""`Log.read`."""
Offset = Callable[[Stream, int], int]
"""`Log.begin_offset` or `Log.end_offset`."""


class PlacedReading:
    """See `monitor.log.Follower`. What is appended is readable here, so both ends are one."""

    def __init__(self, read: Read, begin_offset: Offset, end_offset: Offset) -> None:
        self._read = read
        self._begin_offset = begin_offset
        self._end_offset = end_offset
        self._positions: dict[tuple[Stream, int], int] = {}

    def place(self, stream: Stream, partition: int, offset: int) -> None:
        end = self._end_offset(stream, partition)
        if offset > end:
            raise LogDamaged(
                f"{stream}-{partition} ends at the offset {end}, but was read up to {offset} before: records are gone. "
                "Restore the log from a copy, or start a new one"
            )
        self._positions[stream, partition] = offset

    def leave(self, partition: int) -> None:
        for key in [key for key in self._positions if key[1] == partition]:
            del self._positions[key]

    def position(self, stream: Stream, partition: int) -> int:
        return self._positions[stream, partition]

    def ends(self, stream: Stream, partition: int) -> Ends:
        end = self._end_offset(stream, partition)
        return Ends(end, end)

    def read(self, stream: Stream, partition: int, bytes_limit: int) -> list[Record]:
        position = self._positions[stream, partition]
        records = self._read(stream, partition, position, bytes_limit)
        # Where there is none, retention may have removed all there was: nobody is to wait for that.
        self._positions[stream, partition] = records[-1].offset + 1 if records else max(position, self._begin_offset(stream, partition))
        return records

    def wait(self, seconds: float, places: Collection[tuple[Stream, int]] = ()) -> None:
        """Until one of the streams has grown, looking ten times a second."""
        until = time.monotonic() + seconds
        while not any(self.ends(*place).readable > self._positions[place] for place in places or self._positions):
            left = until - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(left, LOOK_EVERY_S))

    def close(self) -> None:
        self._positions.clear()
