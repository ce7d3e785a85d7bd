"""The loop: where it reads on, what it commits when, and how it comes back. On a log in memory and a clock that stands still."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from threading import Event

import pytest

from monitor.errors import Fenced, LogDamaged, LogError, OwnedElsewhere
from monitor.events import Outcome, Stream
from monitor.join import JoinTable
from monitor.pace import LONGEST_TICK_MS
from monitor.worker import _LAST_SNAPSHOTS_MS, Worker
from tests.unit.worker_worlds import LABELS, PACE, PREDICTIONS, TICK, World, counted, pending, some, stopping
from tests.worlds import HOUR, START, label, prediction


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop's pauses are between looks, never for a result."""
    monkeypatch.setattr("monitor.worker._IDLE_WAIT_S", 0.0)
    monkeypatch.setattr("monitor.worker._RETRY_WAIT_S", 0.0)


def rounds(world: World, count: int, step: int) -> tuple[Event, Callable[[], None]]:
    return stopping(count, lambda: world.clock.advance(step))


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


def test_without_a_snapshot_the_log_is_replayed_and_nothing_is_counted_twice(world: World) -> None:
    world.append(PREDICTIONS, *some(5))
    world.worker().drain()
    world.append(LABELS, label(1, START + HOUR))
    worker = world.worker()
    worker.drain()
    assert counted(worker) == {Outcome.ACCEPTED: 6}
    assert pending(worker) == 4


def test_a_snapshot_spares_what_lies_before_it(world: World) -> None:
    world.append(PREDICTIONS, *some(5))
    worker = world.worker()
    worker.drain()
    worker.snapshot()
    world.append(PREDICTIONS, *some(3, first=5))
    worker.drain()
    world.append(LABELS, label(1, START + HOUR), label(6, START + HOUR))

    worker = world.worker()
    assert world.log.reads == [(PREDICTIONS, 0, 5)]
    worker.drain()
    assert pending(worker) == 6


def test_a_snapshot_that_cannot_be_written_is_done_without_and_shows(world: World) -> None:
    world.append(PREDICTIONS, *some(5))
    worker = world.worker()
    worker.drain()
    world.snapshots.refusing = True
    worker.snapshot()
    assert worker.progress.snapshots_at is None
    assert worker.progress.unsaved_partitions == 1
    world.snapshots.refusing = False
    worker.snapshot()
    assert worker.progress.unsaved_partitions == 0
    assert worker.progress.snapshots_at == world.clock.now()
    world.snapshots.refusing = True
    worker.close()
    assert world.committed() == 5


def test_a_snapshot_is_written_only_of_what_is_committed_and_only_once(world: World) -> None:
    world.append(PREDICTIONS, *some(5))
    worker = world.worker()
    worker.poll()
    worker.snapshot()
    assert not world.snapshots.kept
    worker.commit()
    worker.snapshot()
    assert world.snapshots.kept.pop(0)[0] == {PREDICTIONS: 5, LABELS: 0}
    worker.snapshot()
    assert not world.snapshots.kept


def test_snapshots_of_a_slow_store_take_turns_the_oldest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(partitions=3)
    worker = world.worker()
    for partition in range(3):
        world.append(PREDICTIONS, *some(5), partition=partition)
    worker.drain()
    written: list[int] = []

    def slowly(partition: int, *_: object) -> None:
        written.append(partition)
        world.clock.advance(5_000)

    monkeypatch.setattr(world.snapshots, "write", slowly)
    for _ in range(4):
        world.clock.advance(1)
        worker.snapshot(begin_within=2_000)
    assert written == [0, 1, 2]
    assert worker.progress.snapshots_at == world.clock.now()


def test_no_snapshot_holds_more_than_the_offsets_it_names(world: World) -> None:
    world.append(PREDICTIONS, *some(5))
    worker, member = world.only_member()
    worker.drain()
    world.append(PREDICTIONS, prediction(9, START))
    worker.poll()
    worker.snapshot()
    member.refusals = 1
    with pytest.raises(LogError):
        worker.commit()
    worker.snapshot()
    assert not world.snapshots.kept


@pytest.mark.parametrize("gone", [3, 5], ids=["some of it", "all of it"])
def test_what_retention_removed_is_not_waited_for(world: World, gone: int) -> None:
    world.append(PREDICTIONS, *some(5))
    world.worker().drain()
    world.log._contents.slot(PREDICTIONS, 0).remove_before(gone)
    worker = world.worker()
    assert pending(worker) == 5 - gone
    assert worker.unread() == 0


def test_a_log_that_ends_before_what_was_committed_stops_the_worker(world: World) -> None:
    world.append(PREDICTIONS, *some(5))
    world.worker().drain()
    del world.log._contents.slot(PREDICTIONS, 0).records[2:]
    worker, _ = world.only_member()
    with pytest.raises(LogDamaged, match="predictions-0 ends at the offset 2, but was read up to 5 before"):
        worker.run(*stopping(10))


def test_a_refused_commit_is_made_again_and_nothing_is_read_until_it_is(world: World) -> None:
    world.append(PREDICTIONS, *some(5))
    worker, member = world.only_member()
    worker.take_on()
    worker.poll()
    world.append(PREDICTIONS, prediction(9, START))
    member.refusals = 1
    with pytest.raises(LogError):
        worker.commit()
    assert world.commits == []
    worker.commit()
    assert [dict(commit.offsets) for commit in world.commits] == [{PREDICTIONS: 5, LABELS: 0}]
    assert worker.unread() == 1


def test_the_loop_outlives_refusals_and_keeps_turning(world: World) -> None:
    world.append(PREDICTIONS, *some(5))
    worker, member = world.only_member()
    worker.take_on()
    member.refusals = 3
    seen = []

    def look() -> None:
        seen.append((worker.lag()["predictions", 0], worker.unread()))
        world.clock.advance(TICK)
        if len(seen) == 2:
            world.append(PREDICTIONS, prediction(9, START))

    worker.run(*stopping(6, look))
    assert seen == [(5, 5), (5, 0), (6, 1), (6, 1), (1, 1), (0, 0), (0, 0)]
    assert counted(worker) == {Outcome.ACCEPTED: 6}


def test_a_log_that_cannot_be_read_is_tried_again(world: World) -> None:
    world.append(PREDICTIONS, *some(5))
    worker = world.worker()
    world.log.refusals = 1
    worker.run(*rounds(world, 3, TICK))
    assert world.committed() == 5


def test_the_loop_commits_every_tick_and_not_before(world: World) -> None:
    worker = world.worker()
    world.append(PREDICTIONS, *some(3))
    worker.run(*rounds(world, 4, TICK // 4))
    assert len(world.commits) == 1


@pytest.mark.parametrize(
    ("tick", "took", "following"),
    [(2_000, 4_999, 2_000), (2_000, 5_001, 1_000), (1_000, 3_000, 1_000), (1_000, 1_000, 2_000), (2_000, 0, 2_000), (200, 9_000, 125)],
)
def test_commits_come_more_often_while_they_take_long(tick: int, took: int, following: int) -> None:
    assert replace(PACE, longest_commit=10_000).tick_after(tick, took=took, size=1, partitions=1) == following


@pytest.mark.parametrize(
    ("size", "partitions", "following"),
    [(2_000_000, 1, 2 * TICK), (3_000, 1, 3_000), (6_000, 2, 3_000), (1_000, 1, TICK), (0, 0, TICK)],
    ids=["at most twice as long", "as long as the bytes last", "of each partition", "never below the tick", "nothing to work on"],
)
def test_commits_that_write_much_come_less_often(size: int, partitions: int, following: int) -> None:
    pace = replace(PACE, commit_bytes_a_second=1_000)
    assert pace.tick_after(TICK, took=1, size=size, partitions=partitions) == following
    assert pace.tick_after(LONGEST_TICK_MS, took=1, size=10**9, partitions=1) == LONGEST_TICK_MS


def test_a_partition_with_nothing_new_shows_that_it_is_worked_on() -> None:
    world = World(pace=replace(PACE, sign_of_life=5 * TICK), partitions=2)
    worker = world.worker()
    for turn in range(9):
        world.append(PREDICTIONS, prediction(turn, START))
        world.clock.advance(TICK)
        worker.poll()
        worker.commit()
    assert [commit.partition for commit in world.commits].count(0) == 9
    assert [commit.partition for commit in world.commits].count(1) == 1
    worker.snapshot()
    assert set(world.snapshots.kept) == {0}


def test_what_was_done_and_when_is_told(world: World) -> None:
    worker, member = world.only_member()
    worker.take_on()
    assert (worker.progress.committed_at, worker.progress.commit_took) == (None, None)
    worker.commit()
    assert (worker.progress.committed_at, worker.progress.commit_took) == (world.clock.now(), None)
    world.append(PREDICTIONS, *some(3))
    worker.poll()
    member.refusals = 1
    before = world.clock.now()
    world.clock.advance(TICK)
    with pytest.raises(LogError):
        worker.commit()
    assert worker.progress.committed_at == before


def test_a_former_owner_is_told_and_changes_nothing(world: World) -> None:
    world.append(PREDICTIONS, *some(5))
    log = world.log
    former, latter = (Worker(log, log.acquire(), log.follow(), world.pipeline, world.snapshots, world.clock, PACE) for _ in range(2))
    former.take_on()
    latter.drain()
    with pytest.raises(Fenced):
        former.run(*rounds(world, 10, TICK))
    former.close()
    assert not world.snapshots.kept


def test_half_a_batch_is_never_committed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.append(PREDICTIONS, *some(5))
    worker = world.worker()
    worker.drain()
    world.append(PREDICTIONS, prediction(7, START))

    def out_of_memory(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(type(worker.pipeline(0).join), "add_predictions", out_of_memory)
    with pytest.raises(MemoryError):
        worker.run(*stopping(10))
    worker.close()
    assert len(world.commits) == 1
    assert not world.snapshots.kept
    monkeypatch.undo()
    worker = world.worker()
    worker.drain()
    assert counted(worker) == {Outcome.ACCEPTED: 6}


def test_what_a_pipeline_failed_to_hand_over_is_never_committed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.append(PREDICTIONS, *some(5))
    worker = world.worker()
    worker.poll()

    def out_of_memory(*_: object) -> dict[bytes, bytes]:
        raise MemoryError

    monkeypatch.setattr(type(worker.pipeline(0).panes), "free", out_of_memory)  # after the panes were flushed
    with pytest.raises(MemoryError):
        worker.commit()
    worker.close()
    monkeypatch.undo()
    assert world.committed() == 0


def test_a_worker_that_was_never_restored_commits_nothing(world: World) -> None:
    world.append(PREDICTIONS, *some(5))
    worker, member = world.only_member()
    worker.close()
    assert (world.commits, world.snapshots.kept, member.is_closed) == ([], {}, True)


def test_a_stop_ends_a_replay_and_leaves_the_committed_state_alone() -> None:
    world = World(pace=replace(PACE, poll_bytes=1), partitions=2)
    for partition in range(2):
        world.append(PREDICTIONS, *some(5), partition=partition)
    world.worker().drain()
    before = len(world.commits)
    world.log.reads.clear()
    worker, _ = world.only_member()
    worker.run(*stopping(3))
    worker.close()
    assert len(world.log.reads) < 5
    assert not worker.is_restored
    assert (len(world.commits), world.snapshots.kept, world.committed()) == (before, {}, 5)


def test_a_stop_ends_the_loop_and_closing_commits_and_writes_a_snapshot(world: World) -> None:
    world.append(PREDICTIONS, *some(5))
    worker = world.worker()
    worker.run(*stopping(2))
    assert world.commits == []
    worker.close()
    assert (world.committed(), world.snapshots.kept[0][0]) == (5, {PREDICTIONS: 5, LABELS: 0})


def test_a_last_commit_that_is_refused_is_no_crash(world: World) -> None:
    world.append(PREDICTIONS, *some(5))
    worker, member = world.only_member()
    worker.take_on()
    worker.poll()
    member.refusals = 1
    worker.close()
    assert world.committed() == 0
    worker = world.worker()
    worker.drain()
    assert counted(worker) == {Outcome.ACCEPTED: 5}


def test_a_log_that_refuses_is_not_asked_for_a_last_commit(world: World) -> None:
    world.append(PREDICTIONS, *some(5))
    worker, member = world.only_member()
    worker.take_on()
    worker.poll()
    member.refusals = 1
    worker.run(*rounds(world, 0, TICK))
    worker.close()
    assert (world.committed(), world.snapshots.kept) == (0, {})


def test_stopping_begins_no_snapshot_that_a_slow_store_would_not_end_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(partitions=3)
    for partition in range(3):
        world.append(PREDICTIONS, *some(5), partition=partition)
    worker = world.worker()
    write = world.snapshots.write

    def slowly(partition: int, offsets: Mapping[Stream, int], table: JoinTable) -> None:
        world.clock.advance(_LAST_SNAPSHOTS_MS)
        write(partition, offsets, table)

    monkeypatch.setattr(world.snapshots, "write", slowly)
    worker.poll()
    worker.close()
    assert [commit.partition for commit in world.commits] == [0, 1, 2]
    assert sorted(world.snapshots.kept) == [0, 1]


def test_the_stream_whose_watermark_is_lower_is_read_first() -> None:
    world = World(pace=replace(PACE, poll_bytes=1))
    for hour in range(3):
        world.append(PREDICTIONS, prediction(hour, START + hour * HOUR))
        world.append(LABELS, label(hour, START + hour * HOUR + HOUR // 2))
    worker = world.worker()
    while worker.poll():
        pass
    assert [stream for stream, *_ in world.log.reads] == [PREDICTIONS, LABELS] * 3


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


def test_a_drain_that_is_not_alone_any_more_says_so() -> None:
    world = World(pace=replace(PACE, poll_bytes=1), partitions=2)
    world.append(PREDICTIONS, *some(6))
    with pytest.raises(OwnedElsewhere, match="another member took partitions of this log over"):
        world.worker().drain(lambda: world.fleet.assign((0,)))


def idle(after: int) -> World:
    return World(pace=replace(PACE, idle_after=after))


def test_an_idle_log_is_told_the_time_once_an_idle_while() -> None:
    world = idle(HOUR)
    world.append(PREDICTIONS, *some(3))
    worker = world.worker()
    worker.run(*rounds(world, 10, HOUR // 4))
    first = world.marks(PREDICTIONS)
    assert len(first) == 2
    assert first[1] - first[0] >= HOUR
    assert world.marks(LABELS) == []  # it never held an event
    assert worker.pipeline(0).join.watermark(PREDICTIONS) == first[-1]
    assert counted(worker) == {Outcome.ACCEPTED: 3}


def test_whether_an_idle_log_ever_held_an_event_is_asked_once_an_idle_while(monkeypatch: pytest.MonkeyPatch) -> None:
    world = idle(HOUR)
    asked = []
    monkeypatch.setattr(world.log, "newest_timestamp", lambda *place: asked.append(place))
    world.worker().run(*rounds(world, 10, HOUR // 4))
    assert len(asked) == 2 * 2


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
