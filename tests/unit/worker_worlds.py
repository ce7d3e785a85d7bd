"""A log that several workers share, a clock that stands still, and workers that come and go."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import Event

from monitor.clock import ManualClock
from monitor.errors import LogError, SnapshotError
from monitor.events import SOURCES, Stream
from monitor.join import JoinTable
from monitor.log import TIME_MARK, Commit, Message, Record
from monitor.log.memory import MemoryLog
from monitor.pace import Pace
from monitor.pipeline import Pipeline
from monitor.worker import Worker
from tests.fleet import Fleet, Member
from tests.worlds import BINARY, DAY, HOUR, START, model_of, pipeline, prediction, record

PREDICTIONS, LABELS = Stream.PREDICTIONS, Stream.LABELS
TICK = 2_000
PACE = Pace(poll_bytes=1_000_000, tick=TICK, snapshot_every=HOUR, idle_after=None)


class SnapshotsInMemory:
    """Keeps the last table of each partition as bytes; `refusing` is a full disk."""

    def __init__(self) -> None:
        self.kept: dict[int, tuple[dict[Stream, int], bytes]] = {}
        self.refusing = False

    def write(self, partition: int, offsets: Mapping[Stream, int], table: JoinTable) -> None:
        if self.refusing:
            raise SnapshotError("no room")
        self.kept[partition] = (dict(offsets), table.to_bytes())

    def newest(
        self, partition: int, at_most: Mapping[Stream, int], empty: Callable[[], JoinTable]
    ) -> tuple[Mapping[Stream, int], JoinTable] | None:
        if partition not in self.kept or any(self.kept[partition][0][stream] > at_most[stream] for stream in SOURCES):
            return None
        offsets, table = self.kept[partition][0], empty()
        table.load(memoryview(self.kept[partition][1]))
        return offsets, table


class ReadLog(MemoryLog):
    """Remembers what was read of it, and refuses as many reads as it is told to."""

    def __init__(self, clock: ManualClock, partitions: int) -> None:
        super().__init__(partitions=partitions, clock=clock)
        self.reads: list[tuple[Stream, int, int]] = []
        """Stream, partition and offset."""
        self.refusals = 0

    def read(self, stream: Stream, partition: int, offset: int, bytes_limit: int) -> list[Record]:
        if self.refusals:
            self.refusals -= 1
            raise LogError("busy")
        self.reads.append((stream, partition, offset))
        return super().read(stream, partition, offset, bytes_limit)


@dataclass
class World:
    """Workers on one log, each with snapshots that all can read."""

    pace: Pace = PACE
    partitions: int = 1
    clock: ManualClock = field(default_factory=lambda: ManualClock(START + DAY))
    snapshots: SnapshotsInMemory = field(default_factory=SnapshotsInMemory)
    log: ReadLog = field(init=False)
    fleet: Fleet = field(init=False)

    def __post_init__(self) -> None:
        self.log = ReadLog(self.clock, self.partitions)
        self.fleet = Fleet(self.log)

    def append(self, stream: Stream, *events: object, arrival: int | None = None, partition: int = 0) -> None:
        records = [record(0, event) for event in events]
        self.log.append(stream, [Message(partition, each.timestamp if arrival is None else arrival, each.value) for each in records])

    def member(self) -> tuple[Worker, Member]:
        """A worker to which nothing is assigned yet."""
        member = self.fleet.join()
        return Worker(self.log, member, self.log.follow(), self.pipeline, self.snapshots, self.clock, self.pace), member

    def only_member(self) -> tuple[Worker, Member]:
        """A worker that has everything; whoever was there before is gone without a word."""
        self.fleet.members.clear()
        worker, member = self.member()
        self.fleet.assign(tuple(range(self.partitions)))
        return worker, member

    def worker(self) -> Worker:
        """The same, restored."""
        worker, _ = self.only_member()
        self.log.reads.clear()
        worker.take_on()
        return worker

    def pipeline(self, partition: int) -> Pipeline:
        return pipeline(model_of(BINARY), partition=partition, partitions=self.partitions)

    @property
    def commits(self) -> list[Commit]:
        return self.fleet.commits

    def committed(self, stream: Stream = PREDICTIONS, partition: int = 0) -> int:
        """The offset up to which the log's present state accounts for the stream."""
        return self.fleet.contents.committed(partition).offsets[stream]

    def marks(self, stream: Stream) -> list[int]:
        """Arrivals of the time marks in a stream."""
        return [found.timestamp for found in self.log.read(stream, 0, 0, 1 << 30) if found.content_type == TIME_MARK]


def counted(worker: Worker, partition: int = 0) -> dict[str, int]:
    """Events of the partition by outcome, as the worker's pipeline has them."""
    counts: dict[str, int] = {}
    for (_, _, outcome), count in worker.pipeline(partition).counters.events.items():
        counts[outcome] = counts.get(outcome, 0) + count
    return counts


def pending(worker: Worker, partition: int = 0) -> int:
    """Predictions that wait in the partition's join table."""
    return worker.pipeline(partition).join.pending(0)


def stopping(after: int, then: Callable[[], None] = lambda: None) -> tuple[Event, Callable[[], None]]:
    """A stop that is set after so many calls, and what to call each turn."""
    stop, rounds = Event(), iter(range(after))

    def on_turn() -> None:
        then()
        if next(rounds, None) is None:
            stop.set()

    return stop, on_turn


def some(count: int, first: int = 0) -> list[dict[str, object]]:
    return [prediction(number, START + number) for number in range(first, first + count)]
