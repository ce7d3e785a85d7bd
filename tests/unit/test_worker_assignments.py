"""What a worker does when the partitions are given out anew: what stays, what goes, what is restored. Replicas on a log in memory."""

from dataclasses import replace

import pytest
import structlog
from structlog.testing import capture_logs

from monitor.errors import LogError, Reassigned
from monitor.events import Outcome, Stream
from monitor.worker import Worker
from tests.unit.worker_worlds import LABELS, PACE, PREDICTIONS, TICK, World, counted, pending, some, stopping

BOTH = (0, 1)


@pytest.fixture
def world() -> World:
    """Two partitions, each with the same five predictions, half of which are misrouted there."""
    world = World(partitions=2)
    for partition in BOTH:
        world.append(PREDICTIONS, *some(5), partition=partition)
    return world


@pytest.fixture(autouse=True)
def a_logger_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was used before keeps the way out of that time."""
    monkeypatch.setattr("monitor.worker._logger", structlog.get_logger())


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop's pauses are between looks, never for a result."""
    monkeypatch.setattr("monitor.worker._IDLE_WAIT_S", 0.0)
    monkeypatch.setattr("monitor.worker._RETRY_WAIT_S", 0.0)


def taken_in(worker: Worker) -> None:
    """Everything that is there, not committed."""
    worker.take_on()
    while worker.poll():
        pass


def received(worker: Worker, partition: int) -> int:
    return sum(counted(worker, partition).values())


def test_before_the_first_assignment_there_is_nothing_to_do_and_nothing_is_ready(world: World) -> None:
    worker, _ = world.member()
    worker.run(*stopping(3))
    assert (worker.assignment, worker.is_restored, worker.partitions, world.log.reads) == (0, False, (), [])


def test_a_partition_that_went_to_another_is_dropped_with_its_unsent_commit(world: World) -> None:
    worker, member = world.only_member()
    taken_in(worker)
    member.refusals = 1
    with pytest.raises(LogError):
        worker.commit()
    world.fleet.assign((1,))
    worker.take_on()
    assert worker.partitions == (1,)
    worker.commit()
    assert [commit.partition for commit in world.commits] == [1]
    assert set(worker.lag()) == {(PREDICTIONS, 1), (LABELS, 1)}


def test_a_partition_that_stays_and_that_nobody_else_touched_goes_on_with_what_it_had(world: World) -> None:
    worker, member = world.only_member()
    taken_in(worker)
    kept = worker.pipeline(1)
    member.refusals = 1
    with pytest.raises(LogError):
        worker.commit()
    world.append(PREDICTIONS, *some(5, first=5), partition=1)
    world.log.reads.clear()
    world.fleet.assign((1,))
    worker.take_on()
    assert worker.is_restored
    assert worker.pipeline(1) is kept
    assert world.log.reads == []
    worker.commit()
    worker.drain()
    assert [commit.offsets[PREDICTIONS] for commit in world.commits] == [5, 10]


def test_a_partition_that_another_changed_meanwhile_is_restored(world: World) -> None:
    first, member = world.only_member()
    second, _ = world.member()
    world.fleet.assign(BOTH, ())
    taken_in(first)
    world.fleet.assign((0,), (1,))
    second.drain()
    world.fleet.assign(BOTH, ())  # the first was away for both: it never took the assignment between
    assert not member.is_unchanged(1)
    kept = first.pipeline(0)
    first.take_on()
    assert first.pipeline(0) is kept
    first.drain()
    assert (received(first, 0), received(first, 1)) == (5, 5)
    assert [(commit.partition, commit.offsets[PREDICTIONS]) for commit in world.commits] == [(1, 5), (0, 5)]


def test_a_commit_that_comes_during_a_rebalance_waits_and_is_made_after_it(world: World) -> None:
    worker, _ = world.only_member()
    taken_in(worker)
    world.fleet.assign(BOTH)
    with pytest.raises(Reassigned):
        worker.commit()
    with capture_logs() as logs:
        worker.run(*stopping(2, lambda: world.clock.advance(TICK)))
    assert [(commit.partition, commit.offsets[PREDICTIONS]) for commit in world.commits] == [(0, 5), (1, 5)]
    assert [entry["log_level"] for entry in logs if entry["event"] != "events refused"] == ["info"]


def test_a_commit_refused_again_and_again_by_a_rebalance_is_no_alarm(world: World) -> None:
    worker, member = world.only_member()
    taken_in(worker)

    def rebalancing() -> None:
        world.clock.advance(TICK)
        member.refresh = lambda: member.number  # type: ignore[method-assign]  # the group has not come to an end with it

    world.fleet.assign(BOTH)
    with capture_logs() as logs:
        worker.run(*stopping(3, rebalancing))
    assert world.commits == []
    assert {entry["log_level"] for entry in logs} == {"info"}


def test_an_assignment_that_changes_during_a_restore_begins_it_anew() -> None:
    world = World(pace=replace(PACE, poll_bytes=1), partitions=2)
    for partition in BOTH:
        world.append(PREDICTIONS, *some(5), partition=partition)
    world.worker().drain()
    worker, _ = world.only_member()
    turns = 0

    def on_turn() -> None:
        nonlocal turns
        turns += 1
        if turns == 4:  # in the middle of the first partition
            assert (worker.partitions, worker.is_restored) == ((0,), False)
            world.fleet.assign((1,))

    worker.take_on(on_turn)
    assert (worker.partitions, worker.is_restored) == ((), False)
    worker.take_on(on_turn)
    assert (worker.partitions, worker.is_restored) == ((1,), True)
    assert counted(worker, 1) == {Outcome.ACCEPTED: pending(worker, 1), Outcome.MISROUTED: 5 - pending(worker, 1)}


@pytest.mark.parametrize("where", ["the owner", "the log"])
def test_a_restore_that_the_log_refuses_is_tried_again(world: World, where: str) -> None:
    world.worker().drain()
    worker, member = world.only_member()
    if where == "the owner":
        member.refusals = 2
    else:
        world.log.refusals = 2
    with capture_logs() as logs:
        worker.run(*stopping(20))
    assert worker.is_restored
    assert [entry["event"] for entry in logs].count("the log refused; trying again") == 2
    assert received(worker, 0) == received(worker, 1) == 5
    worker.close()
    assert [commit.partition for commit in world.commits] == [0, 1]  # those of the first worker: nothing was counted again


def test_a_partition_that_could_not_be_placed_whole_is_not_followed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.worker().drain()
    worker, _ = world.only_member()
    follower = worker._follower
    place = follower.place

    def placed(stream: Stream, partition: int, offset: int) -> None:
        if stream is LABELS:
            raise LogError("no leader")
        place(stream, partition, offset)

    monkeypatch.setattr(follower, "place", placed)
    with pytest.raises(LogError, match="no leader"):
        worker.take_on()
    with pytest.raises(KeyError):
        follower.position(PREDICTIONS, 0)


def test_what_was_restored_before_a_refusal_is_not_restored_again(world: World) -> None:
    world.worker().drain()
    worker, member = world.only_member()
    worker.take_on()
    world.fleet.assign(())
    worker.take_on()
    restored = []
    inner = member.committed

    def failing_once(partition: int) -> object:
        restored.append(partition)
        if restored == [0, 1]:
            raise LogError("away")
        return inner(partition)

    member.committed = failing_once  # type: ignore[method-assign, assignment]  # one refusal, of the second partition
    world.fleet.assign(BOTH)
    worker.run(*stopping(20))
    assert restored == [0, 1, 1]
    assert worker.is_restored


def test_a_replica_to_which_nothing_is_assigned_is_ready_and_says_so_once(world: World) -> None:
    world.only_member()
    worker, _ = world.member()
    world.fleet.assign(BOTH, ())
    with capture_logs() as logs:
        worker.run(*stopping(5))
    assert worker.is_restored
    assert [(entry["log_level"], entry["event"]) for entry in logs] == [
        ("warning", "no partition is assigned to this replica: there are more replicas than partitions")
    ]


def test_snapshots_are_only_of_what_is_worked_on(world: World) -> None:
    worker, member = world.only_member()
    taken_in(worker)
    worker.commit()
    world.fleet.assign((1,))
    worker.take_on()
    worker.snapshot()
    assert set(world.snapshots.kept) == {1}
    assert worker.progress.snapshots_at is not None
    world.append(PREDICTIONS, *some(1, first=9), partition=1)
    worker.poll()
    member.refusals = 1
    worker.close()
    assert world.snapshots.kept[1][0] == {PREDICTIONS: 5, LABELS: 0}


def test_the_taker_finds_the_snapshot_of_the_former_owner(world: World) -> None:
    first, _ = world.only_member()
    second, _ = world.member()
    world.fleet.assign(BOTH, ())
    first.drain()
    first.snapshot()
    world.fleet.assign((0,), (1,))
    first.take_on()
    world.log.reads.clear()
    second.take_on()
    assert (second.partitions, world.log.reads) == ((1,), [])
    assert received(second, 1) == 5


def test_what_is_shown_follows_an_assignment_before_anything_is_restored(world: World) -> None:
    world.worker().drain()
    worker, _ = world.only_member()
    seen: list[tuple[int, bool, tuple[int, ...]]] = []

    def look() -> None:
        seen.append((worker.assignment, worker.is_restored, worker.partitions))

    worker.take_on(look)
    assert seen[0] == (1, False, ())
    seen.clear()
    world.fleet.assign((1,))
    worker.take_on(look)  # though nothing is to be restored
    assert seen == [(2, False, (1,))]


def test_events_of_a_moved_partition_are_counted_once(world: World) -> None:
    """To and fro, with commits that are lost on the way."""
    first, _ = world.only_member()
    second, _ = world.member()
    for turn in range(6):
        world.append(PREDICTIONS, *some(3, first=10 + 3 * turn), partition=1)
        owners = [((0,), BOTH[1:]), (BOTH, ())][turn % 2]
        world.fleet.assign(*owners)
        for worker in (first, second):
            taken_in(worker)
            if turn % 3:
                worker.commit()
    first.drain()
    assert received(first, 0) == 5
    assert received(first, 1) == 5 + 6 * 3
    assert world.committed(partition=1) == 5 + 6 * 3
