"""The log in memory: the same meaning as the durable ones, kept in plain lists, for laws, tests and benchmarks."""

import threading
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from monitor.clock import Clock, Milliseconds
from monitor.errors import Fenced, LogFull
from monitor.events import SOURCES, Stream
from monitor.log import TIME_MARK, Commit, Committed, DeadLetter, Message, PaneKey, Record, dead_letters
from monitor.log.admission import check_messages, check_partition
from monitor.log.own_changes import OwnChanges
from monitor.log.placed import PlacedReading


@dataclass(slots=True)
class _Slot:
    """One partition of one stream: its records from offset `begin` on, and what outlives their removal."""

    records: list[Record] = field(default_factory=list)
    begin: int = 0
    committed: int = 0
    newest: Milliseconds | None = None
    stored_bytes: int = 0

    @property
    def end(self) -> int:
        return self.begin + len(self.records)

    def append(self, message: Message) -> int:
        offset = self.end
        self.records.append(Record(offset, message.timestamp, message.value, message.content_type, dict(message.headers)))
        if message.content_type != TIME_MARK and (self.newest is None or message.timestamp > self.newest):
            self.newest = message.timestamp
        self.stored_bytes += len(message.value)
        return offset

    def read(self, offset: int, bytes_limit: int) -> list[Record]:
        first = max(offset - self.begin, 0)
        size = 0
        for last in range(first, len(self.records)):
            size += len(self.records[last].value)
            if size > bytes_limit and last > first:
                return self.records[first:last]
        return self.records[first:]

    def offset_for_time(self, timestamp: Milliseconds) -> int:
        return next((record.offset for record in self.records if record.timestamp >= timestamp), self.end)

    def remove_before(self, offset: int) -> int:
        removed = self.records[: max(offset - self.begin, 0)]
        del self.records[: len(removed)]
        self.begin += len(removed)
        self.stored_bytes -= sum(len(record.value) for record in removed)
        return len(removed)


class _Contents:
    """What the log and its owners share: slots, panes, states and the number of the present owner."""

    def __init__(self, partitions: int, retention_ms: Milliseconds | None, max_bytes: int | None) -> None:
        self.partitions = partitions
        self.retention_ms = retention_ms
        self.max_bytes = max_bytes
        self.slots = {(stream, partition): _Slot() for stream in Stream for partition in range(partitions)}
        self.panes: list[dict[PaneKey, bytes]] = [{} for _ in range(partitions)]
        self.states = [b""] * partitions
        self.identity = uuid.uuid4().hex
        self.epoch = 0
        self.lock = threading.RLock()

    def slot(self, stream: Stream, partition: int) -> _Slot:
        check_partition(partition, self.partitions)
        return self.slots[stream, partition]

    def make_room(self, stream: Stream, needed: int) -> None:
        """Raises `LogFull` where removing all that may go does not make enough."""
        while self.max_bytes is not None and self._stored_bytes() + needed > self.max_bytes:
            if not self._remove_oldest():
                raise LogFull(
                    f"an append of {needed} bytes to {stream} was refused: the log in memory holds {self._stored_bytes()} of at most "
                    f"{self.max_bytes} bytes, none of them removable. Raise `max_bytes`, or commit"
                )

    def remove_expired(self) -> int:
        """Age retention, and the dead letters' share of the size; how many records went."""
        removed = 0
        for (stream, _), slot in self.slots.items():
            if self.retention_ms is not None and slot.newest is not None:
                expired = slot.offset_for_time(slot.newest - self.retention_ms)
                removed += slot.remove_before(min(expired, _removable_end(stream, slot)))
            if stream is Stream.DEAD_LETTERS and self.max_bytes is not None:
                while slot.stored_bytes > self.max_bytes // dead_letters.DEAD_LETTER_SHARE // self.partitions and len(slot.records) > 1:
                    removed += slot.remove_before(slot.begin + 1)
        return removed

    def shrink(self) -> int:
        """Size retention; how many records went."""
        removed = 0
        while self.max_bytes is not None and self._stored_bytes() > self.max_bytes and self._remove_oldest():
            removed += 1
        return removed

    def _stored_bytes(self) -> int:
        return sum(slot.stored_bytes for slot in self.slots.values())

    def _remove_oldest(self) -> bool:
        """Removes the one record that is the oldest of those that may go; whether there was one."""
        removable = [slot for (stream, _), slot in self.slots.items() if slot.begin < _removable_end(stream, slot)]
        if not removable:
            return False
        oldest = min(removable, key=lambda slot: slot.records[0].timestamp)
        return oldest.remove_before(oldest.begin + 1) == 1


def _removable_end(stream: Stream, slot: _Slot) -> int:
    return slot.end if stream is Stream.DEAD_LETTERS else min(slot.committed, slot.end)


class MemoryLog:
    """See `monitor.log.Log`. Gone with its process; `acquire` always displaces, as if the former owner had been killed."""

    def __init__(self, *, partitions: int, clock: Clock, retention_ms: Milliseconds | None = None, max_bytes: int | None = None) -> None:
        self._clock = clock
        self._contents = _Contents(partitions, retention_ms, max_bytes)

    @property
    def partitions(self) -> int:
        return self._contents.partitions

    @property
    def identity(self) -> str:
        return self._contents.identity

    def append(self, stream: Stream, messages: Sequence[Message]) -> list[int]:
        check_messages(stream, messages, self.partitions, self._clock.now())
        with self._contents.lock:
            self._contents.make_room(stream, sum(len(message.value) for message in messages))
            return [self._contents.slot(stream, message.partition).append(message) for message in messages]

    def read(self, stream: Stream, partition: int, offset: int, bytes_limit: int) -> list[Record]:
        with self._contents.lock:
            return self._contents.slot(stream, partition).read(offset, bytes_limit)

    def begin_offset(self, stream: Stream, partition: int) -> int:
        return self._contents.slot(stream, partition).begin

    def end_offset(self, stream: Stream, partition: int) -> int:
        with self._contents.lock:
            return self._contents.slot(stream, partition).end

    def offset_for_time(self, stream: Stream, partition: int, timestamp: Milliseconds) -> int:
        with self._contents.lock:
            return self._contents.slot(stream, partition).offset_for_time(timestamp)

    def newest_timestamp(self, stream: Stream, partition: int) -> Milliseconds | None:
        return self._contents.slot(stream, partition).newest

    def dead_letters(self, partitions: Iterable[int]) -> Iterator[tuple[int, DeadLetter]]:
        return dead_letters.oldest_first(self.read, partitions)

    def follow(self) -> PlacedReading:
        return PlacedReading(self.read, self.begin_offset, self.end_offset)

    def acquire(self, *, displace: bool = False, alone: bool = True) -> "MemoryOwnership":
        return MemoryOwnership(self._contents)

    def remove_retained(self) -> int:
        """Applies the retention limits now; how many records went."""
        with self._contents.lock:
            return self._contents.remove_expired() + self._contents.shrink()

    def close(self) -> None:
        """Nothing to let go of."""


class MemoryOwnership:
    """The right to commit to a `MemoryLog`, until it is acquired again."""

    def __init__(self, contents: _Contents) -> None:
        with contents.lock:
            contents.epoch += 1
            self._epoch = contents.epoch
        self._contents = contents
        self._changes = OwnChanges()
        for partition in self.partitions:
            self._changes.found(self.committed(partition), self.panes(partition))

    @property
    def partitions(self) -> tuple[int, ...]:
        return tuple(range(self._contents.partitions))

    def refresh(self) -> int:
        """There is one assignment: every partition, from the acquiring on."""
        return 1

    def is_current(self, number: int) -> bool:
        return self._epoch == self._contents.epoch

    def is_unchanged(self, partition: int) -> bool:
        return True

    def live_partitions(self) -> frozenset[int]:
        return frozenset(self.partitions)

    def committed(self, partition: int) -> Committed:
        with self._contents.lock:
            offsets = {stream: self._contents.slot(stream, partition).committed for stream in SOURCES}
            return Committed(partition, offsets, self._contents.states[partition])

    def panes(self, partition: int) -> Iterator[tuple[PaneKey, bytes]]:
        check_partition(partition, self._contents.partitions)
        return iter(list(self._contents.panes[partition].items()))

    def commit(self, commits: Sequence[Commit]) -> None:
        """What can fail, the commit's own iterables included, runs before anything changes."""
        contents = self._contents
        with contents.lock:
            if self._epoch != contents.epoch:
                raise Fenced("another owner acquired this log in memory; what this one had not committed is discarded")
            letters: list[Message] = []
            for commit in commits:
                check_partition(commit.partition, contents.partitions)
                letters += [dead_letters.to_message(commit.partition, letter) for letter in commit.dead_letters]
            changes = [(commit.partition, dict(commit.panes)) for commit in commits]
            for partition, panes in changes:
                contents.panes[partition] |= panes
                for key in [key for key, value in panes.items() if not value]:
                    del contents.panes[partition][key]
            for commit in commits:
                contents.states[commit.partition] = commit.state
                for stream, offset in commit.offsets.items():
                    contents.slots[stream, commit.partition].committed = offset
            for letter in letters:
                contents.slots[Stream.DEAD_LETTERS, letter.partition].append(letter)
            contents.remove_expired()
        self._changes.committed(commits)

    def changes(self) -> Sequence[Commit]:
        return self._changes.take()

    def close(self) -> None:
        self._epoch = -1
