"""Reading at any offset: what a command does, one partition after another, mostly onwards."""

import threading
import time
from typing import Final

from monitor.errors import LogError
from monitor.events import Stream
from monitor.log import Follower, Record
from monitor.log.kafka.buffer import Buffer
from monitor.log.kafka.names import Names
from monitor.log.kafka.offsets import Offsets

READ_FOR_S: Final = 20.0
LOOK_EVERY_S: Final = 0.2
AT_A_TIME_BYTES: Final = 4 * 1024 * 1024


class RandomReading:
    """Uses its follower for one partition at a time: reading on where the last read has ended is as fast as following."""

    def __init__(self, follower: Follower, offsets: Offsets, names: Names) -> None:
        self._follower = follower
        self._offsets = offsets
        self._names = names
        self._turn = threading.Lock()
        self._placed: tuple[Stream, int] | None = None
        self._next = 0
        self._buffer = Buffer()

    def read(self, stream: Stream, partition: int, offset: int, bytes_limit: int) -> list[Record]:
        """See `monitor.log.Log.read`."""
        if not self._turn.acquire(timeout=READ_FOR_S):
            raise LogError(f"reading {stream}-{partition} waited for another read for {READ_FOR_S:.0f} s: try again")
        try:
            if (self._placed != (stream, partition) or self._next != offset) and not self._found(stream, partition, offset):
                return []
            self._fill(stream, partition, bytes_limit)
            records = self._buffer.take(bytes_limit)
            if records:
                self._next = records[-1].offset + 1
            return records
        finally:
            self._turn.release()

    def close(self) -> None:
        with self._turn:
            self._follower.close()

    def _found(self, stream: Stream, partition: int, offset: int) -> bool:
        """Whether there is anything from that offset on; the follower is placed there then."""
        place = self._names.of(stream, partition)
        begin, end = self._offsets.begin(place), self._offsets.settled_end(place)
        if offset >= end:
            return False
        if self._placed is not None:
            self._follower.leave(self._placed[1])
            self._placed = None
            self._buffer.clear()
        self._follower.place(stream, partition, max(offset, begin))
        self._placed, self._next = (stream, partition), offset
        return True

    def _fill(self, stream: Stream, partition: int, bytes_limit: int) -> None:
        """Until what is at hand is more than the limit, or all there is."""
        until = time.monotonic() + READ_FOR_S
        while not self._buffer or self._buffer.value_bytes <= bytes_limit:
            if records := self._follower.read(stream, partition, AT_A_TIME_BYTES):
                self._buffer.add(records)
                until = time.monotonic() + READ_FOR_S
            elif self._is_at_the_end(stream, partition):
                return
            elif time.monotonic() > until:
                raise LogError(
                    f"{stream}-{partition} gave nothing for {READ_FOR_S:.0f} s though there is more: see whether its leader is up"
                )
            else:
                self._follower.wait(LOOK_EVERY_S)

    def _is_at_the_end(self, stream: Stream, partition: int) -> bool:
        """What the follower knows may be a moment old: whoever has just appended something is to find it."""
        position = self._follower.position(stream, partition)
        known = self._follower.ends(stream, partition).readable
        return position >= known and position >= self._offsets.settled_end(self._names.of(stream, partition))
