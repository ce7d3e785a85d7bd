"""The durable log in one SQLite file, for one machine: the server, the daemon and the command line use it at the same time.

Appends of concurrent threads share a transaction (and its fsync), those of several processes take turns; readers never wait.
"""

import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from monitor.clock import Clock, Milliseconds
from monitor.errors import LogError, LogFull
from monitor.events import Stream
from monitor.log import DeadLetter, Message, Record, dead_letters
from monitor.log import embedded_records as records
from monitor.log import embedded_retention as retention
from monitor.log.admission import check_messages
from monitor.log.embedded_file import LogFile
from monitor.log.embedded_ownership import EmbeddedOwnership
from monitor.log.placed import PlacedReading

GROUP_BYTES = 32 * 1024 * 1024
"""Appends that wait are merged up to this size; one that is larger by itself goes alone."""

BUSY_WAIT_S = 30.0


@dataclass(slots=True, eq=False)
class _Append:
    """One call of `append` on its way through a shared transaction."""

    stream: Stream
    messages: Sequence[Message]
    size: int
    offsets: list[int]
    error: LogError | None = None
    settled: bool = False


class EmbeddedLog:
    """See `monitor.log.Log`. `retention_ms` and `max_bytes` are the age and size limits (None: no limit).

    Raises `LogError` where the file cannot be used (damaged, another version, another number of partitions, no permission). An
    operation gives up with `LogError` after `busy_wait_s` behind another process.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        partitions: int,
        clock: Clock,
        retention_ms: Milliseconds | None = None,
        max_bytes: int | None = None,
        busy_wait_s: float = BUSY_WAIT_S,
    ) -> None:
        self._clock = clock
        self._layout = records.Layout(partitions)
        self._limits = retention.Limits(retention_ms, max_bytes)
        self._file = LogFile(Path(path), partitions, busy_wait_s)
        self._waiting: deque[_Append] = deque()
        self._turn = threading.Condition()
        self._is_led = False

    @property
    def partitions(self) -> int:
        return self._layout.partitions

    @property
    def identity(self) -> str:
        return self._file.identity

    def append(self, stream: Stream, messages: Sequence[Message]) -> list[int]:
        check_messages(stream, messages, self.partitions, self._clock.now())
        if not messages:
            return []
        append = _Append(stream, messages, records.stored_size(messages), [])
        self._settle(append)
        if append.error is not None:
            raise type(append.error)(*append.error.args) from append.error
        return append.offsets

    def read(self, stream: Stream, partition: int, offset: int, bytes_limit: int) -> list[Record]:
        slot = self._layout.slot(stream, partition)
        with self._file.reading(f"reading {stream}-{partition}") as sql:
            return records.read(sql, slot, offset, bytes_limit)

    def begin_offset(self, stream: Stream, partition: int) -> int:
        slot = self._layout.slot(stream, partition)
        with self._file.snapshot(f"reading {stream}-{partition}") as sql:
            begin = records.begin_offset(sql, slot)
            return records.Slot.load(sql, slot).next_offset if begin is None else begin

    def end_offset(self, stream: Stream, partition: int) -> int:
        return self._slot(stream, partition).next_offset

    def offset_for_time(self, stream: Stream, partition: int, timestamp: Milliseconds) -> int:
        slot = self._layout.slot(stream, partition)
        with self._file.snapshot(f"searching {stream}-{partition}") as sql:
            return records.offset_for_time(sql, records.Slot.load(sql, slot), timestamp)

    def newest_timestamp(self, stream: Stream, partition: int) -> Milliseconds | None:
        return self._slot(stream, partition).newest

    def dead_letters(self, partitions: Iterable[int]) -> Iterator[tuple[int, DeadLetter]]:
        return dead_letters.oldest_first(self.read, partitions)

    def follow(self) -> PlacedReading:
        return PlacedReading(self.read, self.begin_offset, self.end_offset)

    def acquire(self, *, displace: bool = False, alone: bool = True) -> EmbeddedOwnership:
        return EmbeddedOwnership(self._file, self._layout, self._limits, displace=displace)

    def remove_retained(self) -> int:
        """Applies the retention limits now; how many records went."""
        removed = 0
        for stream, number in self._layout.slots():
            while step := self._removal_step(stream, number):
                removed += step
        while step := self._shrink_step():
            removed += step
        return removed

    def close(self) -> None:
        self._file.close()

    def _slot(self, stream: Stream, partition: int) -> records.Slot:
        number = self._layout.slot(stream, partition)
        with self._file.reading(f"reading {stream}-{partition}") as sql:
            return records.Slot.load(sql, number)

    def _removal_step(self, stream: Stream, number: int) -> int:
        with self._file.transaction("retention") as sql:
            removed = retention.remove_expired(sql, stream, number, self._limits)
            if not removed and stream is Stream.DEAD_LETTERS:
                removed = retention.trim_dead_letters(sql, number, self._limits, self.partitions)
            return removed

    def _shrink_step(self) -> int:
        with self._file.transaction("retention") as sql:
            return retention.shrink(sql, self._layout, self._limits)

    def _settle(self, append: _Append) -> None:
        """Returns once the append was written or refused: by this thread, for all that wait, or by one that leads already."""
        with self._turn:
            self._waiting.append(append)
        while True:
            with self._turn:
                while self._is_led and not append.settled:
                    self._turn.wait()
                if append.settled:
                    return
                self._is_led = True
                group = self._take_group()
            try:
                self._write(group)
            finally:
                with self._turn:
                    self._is_led = False
                    self._turn.notify_all()

    def _write(self, group: Sequence[_Append]) -> None:
        """Writes appends in one transaction. One that does not fit the log is refused by itself."""
        error: LogError | None = LogError(f"{self._file.path}: the append was interrupted")
        try:
            with self._file.transaction("an append") as sql:
                for append in group:
                    if retention.make_room(sql, self._layout, self._limits, append.size):
                        append.offsets = records.insert(sql, self._layout, append.stream, append.messages)
                    else:
                        append.error = self._full(append, retention.used_bytes(sql))
            error = None
        except LogError as failure:
            error = failure
        finally:
            for append in group:
                append.error = append.error or error
                append.settled = True

    def _take_group(self) -> list[_Append]:
        """What waits, in its order, up to `GROUP_BYTES`."""
        group = [self._waiting.popleft()]
        size = group[0].size
        while self._waiting and size + self._waiting[0].size <= GROUP_BYTES:
            group.append(self._waiting.popleft())
            size += group[-1].size
        return group

    def _full(self, append: _Append, used: int) -> LogFull:
        return LogFull(
            f"{self._file.path}: an append of {append.size} bytes to {append.stream} was refused: the log holds {used} of at most "
            f"{self._limits.max_bytes} bytes, and what could be removed is gone already. Raise `log.max_bytes`, or see why the daemon "
            "(`model-monitor watch`) does not account for what waits"
        )
