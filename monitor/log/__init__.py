"""The durable log and its atomic commit: what the worker, the doors and the command line ask of it.

A *log* holds two streams of records (predictions, labels) in the same number of partitions, and what a worker made of
them: panes, counters, dead letters, and the offsets up to which they account for the streams. Offsets start at 0, grow by
at least 1 a record within a stream and partition, and name the record itself; "the offset up to which" is always that of the
next record to read.

*Append* returns once the records are durable (or raises, and then none of that call's are). A record's timestamp is its arrival, in
milliseconds; it need not be monotonous, and one more than an hour ahead of the clock is refused.

*Following.* A worker reads each stream and partition on from where it was placed. What is there is told from what came with the last
answer, so asking is free; `wait` is the only call that waits for more.

*Ownership.* One member owns a partition at a time. `acquire` makes the caller the owner of whatever is assigned to it. Where a log gives
its partitions out among several members, the assignment changes as they come and go: `refresh` tells, and keeps the member alive. Whoever
does not own a partition any more cannot commit for it: `commit` raises `Fenced` where there is no way back (displaced, or closed), and
`Reassigned` where the next assignment may return it; it changes nothing then. A killed owner leaves nothing that stops the next one.

*Commit* is atomic: either all of the panes, counters, dead letters and offsets of a `Commit` are visible to every later reader, or
none. Panes are absolute values under their key; an empty value removes the pane. Counters and `state` are absolute too. Dead letters are
appended to a third stream, `Stream.DEAD_LETTERS`, which is read like the others but takes no appends. Several commits given at once may
become visible one by one.

*Changes.* Every owner sees everybody's commits, whole and in their order, its own as soon as they are durable: what is shown to the world
comes from there, so that nothing that is not committed is ever shown.

*Retention* is the log's own matter; reading from an offset that is gone starts at the oldest that is there, as the record's offset tells.
Logs that run it themselves (embedded, memory) remove the oldest records past the age limit, counted from the newest record of that stream
and partition, or past the size limit; never one that is not committed yet (dead letters, which nobody commits, may always go, and hold a
tenth of the size limit at most; the newest one stays). It runs as commits and full appends need it.

Any number of threads may use a log at once. Every error is a `LogError` that names the place and the remedy.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, NamedTuple, Protocol

from monitor.clock import Milliseconds
from monitor.events import Stream

JSON = "application/json"
ARROW = "application/vnd.apache.arrow.stream"
CLOUDEVENTS = "application/cloudevents+json"
TIME_MARK = "application/vnd.model-monitor.time-mark"
"""Content type of a record that carries nothing but its timestamp: it moves an idle log's watermark and is in no count."""

NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Message:
    """Something to append: its partition, arrival time and bytes. `headers` are kept as they are, beside the content type."""

    partition: int
    timestamp: Milliseconds
    value: bytes
    content_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)


class Record(NamedTuple):
    """What was appended, with the offset the log gave it.

    A tuple, because there is one for each event that comes by itself: it takes half the time to make that a frozen dataclass does.
    """

    offset: int
    timestamp: Milliseconds
    value: bytes
    content_type: str = JSON
    headers: Mapping[str, str] = NO_HEADERS


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record that could not be used, kept whole: where it stood, why, and its bytes. `rows` are the positions concerned."""

    stream: Stream
    offset: int
    timestamp: Milliseconds
    content_type: str
    outcome: str
    reason: str
    rows: tuple[int, ...]
    value: bytes


PaneKey = bytes
"""Opaque to the log; `monitor.panes` gives it its meaning."""


@dataclass(frozen=True, slots=True)
class Commit:
    """Everything a worker made of one partition since its last commit."""

    partition: int
    offsets: Mapping[Stream, int]
    panes: Mapping[PaneKey, bytes]
    state: bytes
    dead_letters: Sequence[DeadLetter] = ()

    @property
    def panes_bytes(self) -> int:
        """What its panes and state take."""
        return len(self.state) + sum(len(key) + len(value) for key, value in self.panes.items())


@dataclass(frozen=True, slots=True)
class Committed:
    """What a partition's last commit left: where to go on reading, and `state` (counters, dictionaries, watermarks) as its owner wrote it.

    A partition that never committed has the offsets 0 and an empty `state`.
    """

    partition: int
    offsets: Mapping[Stream, int]
    state: bytes


@dataclass(frozen=True, slots=True)
class Ends:
    """Where a stream and partition ends, as far as is known by now."""

    readable: int
    """After the last record that can be read: those of a transaction cannot before it has ended."""
    appended: int
    """After the last record that is there: what lag is counted to."""


class Follower(Protocol):
    """Reads partitions on, each stream from where it was placed. One thread drives it; only `place` and `wait` wait for a broker."""

    def place(self, stream: Stream, partition: int, offset: int) -> None:
        """Says which record to read next. An offset that is gone stands for the oldest one. Raises `LogDamaged` if the log ends before."""
        ...

    def leave(self, partition: int) -> None:
        """Ends the reading of a partition's streams."""
        ...

    def position(self, stream: Stream, partition: int) -> int:
        """The offset of the next record to be read: where whatever was read so far has ended."""
        ...

    def ends(self, stream: Stream, partition: int) -> Ends: ...

    def read(self, stream: Stream, partition: int, bytes_limit: int) -> list[Record]:
        """Records from the position on, at least one if one is at hand, then as many as fit the limit. Raises `LogError`."""
        ...

    def wait(self, seconds: float, places: Collection[tuple[Stream, int]] = ()) -> None:
        """Until there may be something to read at one of the places, or anywhere if none are named; at most that long."""
        ...

    def close(self) -> None: ...


class Ownership(Protocol):
    """The right to commit for some partitions, until somebody else acquires them. One thread drives it; `is_current` any may ask."""

    @property
    def partitions(self) -> tuple[int, ...]:
        """Those assigned, as of the last `refresh`."""
        ...

    def refresh(self) -> int:
        """Keeps this member alive, and takes a new assignment if there is one; its number, 0 before the first. Raises `Fenced`, `LogError`.

        It is to be called at least every few seconds. `changes` has everything that a former owner can have shown once it has returned.
        """
        ...

    def is_current(self, number: int) -> bool:
        """Whether the assignment of that number still holds, and nobody else can own any of its partitions at this moment.

        What was true of them may be shown only then.
        """
        ...

    def is_unchanged(self, partition: int) -> bool:
        """Whether nobody else has committed for the partition since this owner read its state or committed last: then its state goes on."""
        ...

    def live_partitions(self) -> frozenset[int]:
        """Those that some owner, this one or another, has been working on lately."""
        ...

    def committed(self, partition: int) -> Committed: ...

    def panes(self, partition: int) -> Iterator[tuple[PaneKey, bytes]]:
        """Every pane of the partition as of one commit, however many follow while it is iterated."""
        ...

    def commit(self, commits: Sequence[Commit]) -> None:
        """Makes them durable, each atomically. Raises `Fenced`, `Reassigned` or another `LogError`; the same may be tried again then.

        What an earlier try has made durable after all is not made twice.
        """
        ...

    def changes(self) -> Sequence[Commit]:
        """What became durable since the last call: one commit a partition, with everything new in it. The first call gives all there is."""
        ...

    def close(self) -> None:
        """Gives the partitions up."""
        ...


class Log(Protocol):
    """See the module's docstring for what each word means."""

    @property
    def partitions(self) -> int: ...

    @property
    def identity(self) -> str:
        """Made with the log and never given to another: offsets of one log mean nothing in the next, though it has the same name."""
        ...

    def append(self, stream: Stream, messages: Sequence[Message]) -> list[int]:
        """Makes the messages durable, in order within a partition; their offsets. Raises `LogFull`, `FutureTimestamp`, `LogError`."""
        ...

    def read(self, stream: Stream, partition: int, offset: int, bytes_limit: int) -> list[Record]:
        """Records from `offset` on, at least one if there is one, then as many as fit the limit; empty at the end of the log."""
        ...

    def begin_offset(self, stream: Stream, partition: int) -> int: ...

    def end_offset(self, stream: Stream, partition: int) -> int:
        """The offset the next record will have."""
        ...

    def offset_for_time(self, stream: Stream, partition: int, timestamp: Milliseconds) -> int:
        """The first offset whose record's timestamp is at or after `timestamp`; the end offset where there is none."""
        ...

    def newest_timestamp(self, stream: Stream, partition: int) -> Milliseconds | None:
        """The greatest timestamp ever appended there, time marks left out; None where nothing was."""
        ...

    def dead_letters(self, partitions: Iterable[int]) -> Iterator[tuple[int, DeadLetter]]:
        """Dead letters with their partitions: by timestamp among partitions, within one in the order of their offsets."""
        ...

    def follow(self) -> Follower:
        """A reader of its own, of nothing before it is placed."""
        ...

    def acquire(self, *, displace: bool = False, alone: bool = False) -> Ownership:
        """Become the owner. Raises `OwnedElsewhere` where a live owner must not be displaced (an embedded log's other daemon).

        `displace` fences that one all the same: for a lock that outlived its holder, which only a network file system can bring about.
        `alone` asks for every partition, and raises `OwnedElsewhere` where any member is there already.
        """
        ...

    def close(self) -> None: ...
