"""The loop: where it reads on, what it commits when, and how it comes back. On a log in memory and a clock that stands still."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from threading import Event

import pytest

from monitor.clock import ManualClock
from monitor.errors import Fenced, LogError, SnapshotError
from monitor.events import Outcome, Stream
from monitor.join import JoinTable
from monitor.log import TIME_MARK, Commit, Committed, Message, Ownership, Record
from monitor.log.memory import MemoryLog, MemoryOwnership
from monitor.pipeline import Pipeline
from monitor.worker import SOURCES, Pace, Worker
from tests.worlds import BINARY, DAY, HOUR, START, label, model_of, pipeline, prediction, record

PREDICTIONS, LABELS = Stream.PREDICTIONS, Stream.LABELS
TICK = 2_000
PACE = Pace(poll_bytes=1_000_000, tick=TICK, snapshot_every=HOUR, idle_after=None)


class SnapshotsInMemory:
    """Keeps the last table as bytes; `refusing` is a full disk."""

    def __init__(self, *, refusing: bool = False) -> None:
        self.kept: tuple[dict[Stream, int], bytes] | None = None
        self.refusing = refusing

    def write(self, partition: int, offsets: Mapping[Stream, int], table: JoinTable) -> None:
        if self.refusing:
            raise SnapshotError("no room")
        self.kept = (dict(offsets), table.to_bytes())

    def newest(self, partition: int, at_most: Mapping[Stream, int]) -> tuple[Mapping[Stream, int], JoinTable] | None:
        if self.kept is None or any(self.kept[0][stream] > at_most[stream] for stream in SOURCES):
            return None
        table = pipeline(model_of(BINARY)).empty_join()
        table.load(memoryview(self.kept[1]))
        return self.kept[0], table


class RefusingLog(MemoryLog):
    """Refuses as many commits as it is told to, and remembers what was read."""

    def __init__(self, clock: ManualClock, partitions: int = 1) -> None:
        super().__init__(partitions=partitions, clock=clock)
        self.refusals = 0
        self.reads: list[tuple[Stream, int]] = []

    def read(self, stream: Stream, partition: int, offset: int, bytes_limit: int) -> list[Record]:
        self.reads.append((stream, offset))
        return super().read(stream, partition, offset, bytes_limit)

    def acquire(self, *, displace: bool = False) -> "RefusingOwnership":
        return RefusingOwnership(self)


class RefusingOwnership(MemoryOwnership):
    """That of a `RefusingLog`."""

    def __init__(self, log: RefusingLog) -> None:
        super().__init__(log._contents)
        self._log = log

    def commit(self, commits: Sequence[Commit]) -> None:
        if self._log.refusals:
            self._log.refusals -= 1
            raise LogError("no room")
        super().commit(commits)


@dataclass
class World:
    """A log, a clock, and workers that come and go."""

    clock: ManualClock = field(default_factory=lambda: ManualClock(START + DAY))
    snapshots: SnapshotsInMemory = field(default_factory=SnapshotsInMemory)
    commits: list[Commit] = field(default_factory=list)
    loaded: list[Committed] = field(default_factory=list)
    pace: Pace = PACE
    log: RefusingLog = field(init=False)
    pipelines: dict[int, Pipeline] = field(init=False)

    def __post_init__(self) -> None:
        self.log = RefusingLog(self.clock)

    def append(self, stream: Stream, *events: object, arrival: int | None = None) -> None:
        records = [record(0, event) for event in events]
        self.log.append(stream, [Message(0, each.timestamp if arrival is None else arrival, each.value) for each in records])

    def worker(self, *, restored: bool = True, stop: Event | None = None) -> Worker:
        ownership: Ownership = self.log.acquire()
        self.pipelines = {
            partition: pipeline(model_of(BINARY), partition=partition, partitions=self.log.partitions) for partition in ownership.partitions
        }
        worker = Worker(self.log, ownership, self.pipelines, self.snapshots, self.clock, self.pace, self.commits.append)
        if restored:
            self.log.reads.clear()
            worker.restore(lambda committed, _: self.loaded.append(committed), stop)
        return worker

    def committed(self, stream: Stream = PREDICTIONS) -> int:
        """The offset up to which the log's present state accounts for the stream."""
        return self.log.acquire().committed(0).offsets[stream]

    def counted(self) -> dict[str, int]:
        """Events of the partition by outcome, as its pipeline has them."""
        counts: dict[str, int] = {}
        for (_, _, outcome), count in self.pipelines[0].counters.events.items():
            counts[outcome] = counts.get(outcome, 0) + count
        return counts

    def marks(self, stream: Stream) -> list[int]:
        """Arrivals of the time marks in a stream."""
        return [found.timestamp for found in self.log.read(stream, 0, 0, 1 << 30) if found.content_type == TIME_MARK]


def stopping(after: int, then: Callable[[], None] = lambda: None) -> tuple[Event, Callable[[], None]]:
    """A stop that is set after so many rounds of the loop, and what to call each round."""
    stop, rounds = Event(), iter(range(after))

    def on_tick() -> None:
        then()
        if next(rounds, None) is None:
            stop.set()

    return stop, on_tick


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop's pauses are between looks, never for a result."""
    monkeypatch.setattr("monitor.worker._IDLE_WAIT_S", 0.0)
    monkeypatch.setattr("monitor.worker._RETRY_WAIT_S", 0.0)


def some(count: int) -> list[dict[str, object]]:
    return [prediction(number, START + number) for number in range(count)]


def test_what_was_taken_in_is_committed_with_its_offsets(world: World) -> None:
    world.append(PREDICTIONS, *some(5))
    world.append(LABELS, label(1, START + HOUR))
    worker = world.worker()
    assert worker.unread() == 6
    worker.drain()
    assert (worker.unread(), world.committed(PREDICTIONS), world.committed(LABELS)) == (0, 5, 1)
    assert [dict(commit.offsets) for commit in world.commits] == [{PREDICTIONS: 5, LABELS: 1}]


def test_lag_counts_what_is_not_committed_and_unread_what_is_not_taken_in(world: World) -> None:
    world.append(PREDICTIONS, *some(5))
    worker = world.worker()
    assert (worker.lag(), worker.unread()) == ({("predictions", 0): 5, ("labels", 0): 0}, 5)
    worker.poll()
    assert (worker.lag(), worker.unread()) == ({("predictions", 0): 5, ("labels", 0): 0}, 0)
    worker.commit()
    assert worker.lag() == {("predictions", 0): 0, ("labels", 0): 0}


def test_pending_are_the_predictions_without_a_label(world: World) -> None:
    world.append(PREDICTIONS, *some(5))
    world.append(LABELS, label(1, START + HOUR))
    worker = world.worker()
    worker.drain()
    assert worker.pending() == {"late": 4}


def test_without_a_snapshot_the_log_is_replayed_and_nothing_is_counted_twice(world: World) -> None:
    world.append(PREDICTIONS, *some(5))
    world.worker().drain()
    world.append(LABELS, label(1, START + HOUR))
    worker = world.worker()
    worker.drain()
    assert world.counted() == {Outcome.ACCEPTED: 6}
    assert worker.pending() == {"late": 4}


def test_a_snapshot_spares_what_lies_before_it(world: World) -> None:
    world.append(PREDICTIONS, *some(5))
    worker = world.worker()
    worker.drain()
    worker.snapshot()
    world.append(PREDICTIONS, *[prediction(number, START + number) for number in range(5, 8)])
    worker.drain()
    world.append(LABELS, label(1, START + HOUR), label(6, START + HOUR))

    worker = world.worker()
    assert world.log.reads == [(PREDICTIONS, 5)]
    assert world.loaded[-1].offsets == {PREDICTIONS: 8, LABELS: 0}
    worker.drain()
    assert worker.pending() == {"late": 6}


def test_a_snapshot_that_cannot_be_written_is_done_without(world: World) -> None:
    world.snapshots.refusing = True
    world.append(PREDICTIONS, *some(5))
    worker = world.worker()
    worker.drain()
    worker.snapshot()
    worker.close()
    assert world.committed() == 5


def test_a_snapshot_is_written_only_of_what_is_committed_and_only_once(world: World) -> None:
    world.append(PREDICTIONS, *some(5))
    worker = world.worker()
    worker.poll()
    worker.snapshot()
    assert world.snapshots.kept is None
    worker.commit()
    worker.snapshot()
    assert world.snapshots.kept is not None
    world.snapshots.kept = None
    worker.snapshot()
    assert world.snapshots.kept is None


def test_no_snapshot_holds_more_than_the_offsets_it_names(world: World) -> None:
    world.append(PREDICTIONS, *some(5))
    worker = world.worker()
    worker.drain()
    world.append(PREDICTIONS, prediction(9, START))
    worker.poll()
    worker.snapshot()
    world.log.refusals = 1
    with pytest.raises(LogError):
        worker.commit()
    worker.snapshot()
    assert world.snapshots.kept is None


def test_what_retention_removed_is_not_waited_for() -> None:
    world = World()
    world.append(PREDICTIONS, *some(5))
    world.worker().drain()
    world.log._contents.slot(PREDICTIONS, 0).remove_before(3)
    worker = world.worker()
    assert worker.pending() == {"late": 2}
    assert worker.unread() == 0


def test_a_refused_commit_is_made_again_and_nothing_is_read_until_it_is(world: World) -> None:
    world.append(PREDICTIONS, *some(5))
    worker = world.worker()
    worker.poll()
    world.append(PREDICTIONS, prediction(9, START))
    world.log.refusals = 1
    with pytest.raises(LogError):
        worker.commit()
    assert world.commits == []
    worker.commit()
    assert [dict(commit.offsets) for commit in world.commits] == [{PREDICTIONS: 5, LABELS: 0}]
    assert worker.unread() == 1


def test_the_loop_outlives_refusals_and_keeps_ticking(world: World) -> None:
    world.append(PREDICTIONS, *some(5))
    worker = world.worker()
    world.log.refusals = 3
    seen = []

    def look() -> None:
        seen.append((worker.lag()["predictions", 0], worker.unread()))
        world.clock.advance(TICK)
        if len(seen) == 2:
            world.append(PREDICTIONS, prediction(9, START))

    worker.run(*stopping(6, look))
    assert seen == [(5, 5), (5, 0), (6, 1), (6, 1), (1, 1), (0, 0), (0, 0)]
    assert world.counted() == {Outcome.ACCEPTED: 6}


def test_a_log_that_cannot_be_read_is_tried_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.append(PREDICTIONS, *some(5))
    worker = world.worker()
    read = world.log.read

    def failing(*_: object) -> list[Record]:
        monkeypatch.setattr(world.log, "read", read)
        raise LogError("busy")

    monkeypatch.setattr(world.log, "read", failing)
    worker.run(*stopping(3, lambda: world.clock.advance(TICK)))
    assert world.committed() == 5


def test_the_loop_commits_every_tick_and_not_before(world: World) -> None:
    worker = world.worker()
    world.append(PREDICTIONS, *some(3))
    worker.run(*stopping(4, lambda: world.clock.advance(TICK // 4)))
    assert len(world.commits) == 1


def test_a_former_owner_is_told_and_changes_nothing(world: World) -> None:
    world.append(PREDICTIONS, *some(5))
    former = world.worker()
    world.worker().drain()
    with pytest.raises(Fenced):
        former.run(*stopping(10, lambda: world.clock.advance(TICK)))
    former.close()
    assert [dict(commit.offsets) for commit in world.commits] == [{PREDICTIONS: 5, LABELS: 0}]


def test_half_a_batch_is_never_committed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.append(PREDICTIONS, *some(5))
    worker = world.worker()
    worker.drain()
    world.append(PREDICTIONS, prediction(7, START))
    join = world.pipelines[0].join

    def out_of_memory(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(type(join), "add_predictions", out_of_memory)
    with pytest.raises(MemoryError):
        worker.run(*stopping(10))
    worker.close()
    assert len(world.commits) == 1
    assert world.snapshots.kept is None
    monkeypatch.undo()
    world.worker().drain()
    assert world.counted() == {Outcome.ACCEPTED: 6}


def test_what_a_pipeline_failed_to_hand_over_is_never_committed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.append(PREDICTIONS, *some(5))
    worker = world.worker()
    worker.poll()

    def out_of_memory(*_: object) -> dict[bytes, bytes]:
        raise MemoryError

    monkeypatch.setattr(type(world.pipelines[0].panes), "free", out_of_memory)  # after the panes were flushed
    with pytest.raises(MemoryError):
        worker.commit()
    worker.close()
    monkeypatch.undo()
    assert world.committed() == 0


def test_a_worker_that_was_never_restored_commits_nothing(world: World) -> None:
    world.append(PREDICTIONS, *some(5))
    world.worker(restored=False).close()
    assert (world.commits, world.snapshots.kept) == ([], None)


def test_a_stop_ends_a_replay_and_leaves_the_committed_state_alone() -> None:
    world = World(pace=replace(PACE, poll_bytes=1))
    world.append(PREDICTIONS, *some(5))
    world.worker().drain()
    before = len(world.commits)
    stop = Event()
    stop.set()
    worker = world.worker(stop=stop)
    worker.run(stop, lambda: None)
    worker.close()
    assert world.log.reads == []
    assert (len(world.commits), world.snapshots.kept, world.committed()) == (before, None, 5)


def test_a_stop_ends_the_loop_and_closing_commits_and_writes_a_snapshot(world: World) -> None:
    world.append(PREDICTIONS, *some(5))
    worker = world.worker()
    worker.run(*stopping(2))
    assert world.commits == []
    worker.close()
    assert world.snapshots.kept is not None
    assert (world.committed(), world.snapshots.kept[0]) == (5, {PREDICTIONS: 5, LABELS: 0})


def test_a_last_commit_that_is_refused_is_no_crash(world: World) -> None:
    world.append(PREDICTIONS, *some(5))
    worker = world.worker()
    worker.poll()
    world.log.refusals = 1
    worker.close()
    assert world.committed() == 0
    world.worker().drain()
    assert world.counted() == {Outcome.ACCEPTED: 5}


def test_the_stream_whose_watermark_is_lower_is_read_first() -> None:
    world = World(pace=replace(PACE, poll_bytes=1))
    for hour in range(3):
        world.append(PREDICTIONS, prediction(hour, START + hour * HOUR))
        world.append(LABELS, label(hour, START + hour * HOUR + HOUR // 2))
    worker = world.worker()
    while worker.poll():
        pass
    assert [stream for stream, _ in world.log.reads] == [PREDICTIONS, LABELS] * 3


def test_a_long_drain_commits_on_its_way() -> None:
    world = World(pace=replace(PACE, poll_bytes=1))
    world.append(PREDICTIONS, *some(6))
    seen: list[int] = []
    worker = world.worker()

    def on_progress() -> None:
        seen.append(worker.unread())
        world.clock.advance(TICK // 2)

    worker.drain(on_progress)
    assert seen == [5, 4, 3, 2, 1, 0]
    assert [commit.offsets[PREDICTIONS] for commit in world.commits] == [3, 5, 6]


def test_a_drain_ends_at_the_end_that_it_found() -> None:
    world = World(pace=replace(PACE, poll_bytes=1))
    world.append(PREDICTIONS, *some(2))
    world.worker().drain(lambda: world.append(PREDICTIONS, prediction(50, START)))
    assert world.committed() == 2


def idle(after: int) -> World:
    return World(pace=replace(PACE, idle_after=after))


def rounds(world: World, count: int, step: int) -> tuple[Event, Callable[[], None]]:
    return stopping(count, lambda: world.clock.advance(step))


def test_an_idle_log_is_told_the_time_once_an_idle_while() -> None:
    world = idle(HOUR)
    world.append(PREDICTIONS, *some(3))
    worker = world.worker()
    worker.run(*rounds(world, 10, HOUR // 4))
    first = world.marks(PREDICTIONS)
    assert len(first) == 2
    assert first[1] - first[0] >= HOUR
    assert world.marks(LABELS) == []  # it never held an event
    assert world.pipelines[0].join.watermark(PREDICTIONS) == first[-1]
    assert world.counted() == {Outcome.ACCEPTED: 3}


def test_a_log_that_grows_is_not_told_the_time() -> None:
    world = idle(HOUR)
    numbers = iter(range(100))

    def grow() -> None:
        world.append(PREDICTIONS, prediction(next(numbers), START))
        world.clock.advance(HOUR // 4)

    world.worker().run(*stopping(9, grow))
    assert world.marks(PREDICTIONS) == []


def test_a_log_that_is_not_read_to_its_end_is_not_told_the_time() -> None:
    world = World(pace=replace(PACE, idle_after=1, poll_bytes=1))
    world.append(PREDICTIONS, *some(9))
    world.worker().run(*rounds(world, 7, HOUR))
    assert world.marks(PREDICTIONS) == []


@pytest.mark.parametrize("hours", [1, 1_000])
def test_without_an_idle_while_no_log_is_told_the_time(world: World, hours: int) -> None:
    """So it is in `--once`, and where the clock is the watermark."""
    world.append(PREDICTIONS, *some(3))
    world.worker().run(*rounds(world, 4, hours * HOUR))
    assert world.marks(PREDICTIONS) == []


def test_the_loop_shows_that_it_turns(world: World) -> None:
    worker = world.worker()
    worker.run(*rounds(world, 3, TICK))
    assert worker.turned_at == world.clock.now() - TICK
