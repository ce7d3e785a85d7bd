"""Members of a group on a real broker: who owns what, whose commit is refused, and what a commit of unknown end turns out to be."""

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pytest
from kafka import KafkaProducer
from kafka.admin import MemberToRemove, NewTopic
from kafka.errors import KafkaTimeoutError

from monitor.errors import Fenced, LogAway, LogDamaged, LogError, OwnedElsewhere, Reassigned
from monitor.events import Stream
from monitor.log import JSON, Commit, DeadLetter
from monitor.log.kafka.connection import Connection
from monitor.log.kafka.names import Names
from monitor.log.kafka.ownership import KafkaOwnership

Result = TypeVar("Result")

PARTITIONS = 4
SESSION_MS = 6_000
PREDICTIONS, LABELS = Stream.PREDICTIONS, Stream.LABELS


@dataclass
class Member:
    """One owner, driven by a thread of its own as a daemon drives it; `run` does something in that thread."""

    make: Callable[[], KafkaOwnership]
    owner: KafkaOwnership = field(init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stop: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.owner = self.make()
        self._thread = threading.Thread(target=self._drive, daemon=True)
        self._thread.start()

    def _drive(self) -> None:
        while not self._stop.wait(0.01):
            with self._lock, suppress(LogError):
                self.owner.refresh()

    def run(self, step: Callable[[KafkaOwnership], Result]) -> Result:
        with self._lock:
            return step(self.owner)

    def owns(self) -> set[int]:
        return set(self.owner.partitions)

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self.owner.close()


@dataclass
class Group:
    """A deployment of its own on the shared broker."""

    connection: Connection
    names: Names
    members: list[Member] = field(default_factory=list)

    def owner(self, *, instance_id: str | None = None, alone: bool = False, log_identity: str = "the log") -> KafkaOwnership:
        return KafkaOwnership(
            self.connection,
            self.names,
            PARTITIONS,
            instance_id=instance_id,
            session_timeout_ms=SESSION_MS,
            log_identity=log_identity,
            check_topics=lambda: None,
            alone=alone,
        )

    def member(self, instance_id: str | None = None) -> Member:
        member = Member(lambda: self.owner(instance_id=instance_id))
        self.members.append(member)
        return member


@pytest.fixture
def group(kafka: str) -> Iterator[Group]:
    group = Group(Connection((kafka,)), Names(f"test-{uuid.uuid4().hex[:8]}-"))
    with closing(group.connection.admin()) as admin:
        admin.create_topics([NewTopic(topic, PARTITIONS, 1) for topic in group.names.topics])
    yield group
    for member in group.members:
        member.close()


def commit(partition: int, offset: int = 1, letters: tuple[DeadLetter, ...] = (), **panes: bytes) -> Commit:
    return Commit(
        partition,
        {PREDICTIONS: offset, LABELS: 0},
        {key.encode(): value for key, value in panes.items()},
        f"state {offset}".encode(),
        letters,
    )


def until(holds: Callable[[], bool], what: str, seconds: float = 20.0) -> None:
    """What other members and the broker do takes a while."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.02)


def is_current(owner: KafkaOwnership) -> bool:
    """Whether it may speak for the assignment that it knows of."""
    with suppress(Fenced):
        return owner.is_current(owner.refresh())
    return False


def told(member: Member, partition: int, state: bytes) -> dict[bytes, bytes]:
    """The panes that a member hears with a partition's state."""
    panes: dict[bytes, bytes] = {}

    def has_heard() -> bool:
        for change in member.run(lambda owner: owner.changes()):
            if change.partition == partition:
                panes.update(change.panes)
                if change.state == state:
                    return True
        return False

    until(has_heard, f"{state!r} of partition {partition}")
    return panes


def test_members_share_the_partitions_and_hear_of_each_other(group: Group) -> None:
    first = group.member()
    assert first.owns() == set(range(PARTITIONS))
    second = group.member()
    until(lambda: len(first.owns()) == len(second.owns()) == 2, "half of them each")
    assert first.owns() | second.owns() == set(range(PARTITIONS))
    until(lambda: is_current(first.owner) and is_current(second.owner), "both may speak for theirs")
    (partition, *_) = second.owns()
    second.run(lambda owner: owner.committed(partition))
    second.run(lambda owner: owner.commit([commit(partition, kept=b"1", gone=b"2")]))
    second.run(lambda owner: owner.commit([commit(partition, 2, gone=b"")]))
    assert told(first, partition, b"state 2") == {b"kept": b"1", b"gone": b""}
    assert partition in first.run(lambda owner: owner.live_partitions())
    assert dict(first.run(lambda owner: list(owner.panes(partition)))) == {b"kept": b"1"}


def test_what_went_to_another_cannot_be_committed_for_and_what_stayed_is_unchanged(group: Group) -> None:
    first = group.member()
    first.run(lambda owner: [owner.committed(partition) for partition in range(PARTITIONS)])
    first.run(lambda owner: owner.commit([commit(partition) for partition in range(PARTITIONS)]))
    # It goes on as if it had not heard of the other one, as a daemon would that is busy: with the proof of its former assignment.
    stale = first.owner._assignment
    second = group.member()
    until(lambda: len(second.owns()) == 2 and len(first.owns()) == 2, "half of them each")
    moved, kept = min(second.owns()), min(first.owns())
    present, first.owner._assignment = first.owner._assignment, stale
    with pytest.raises(Reassigned):
        first.owner.commit([commit(moved, 99)])
    first.owner._assignment = present
    assert first.run(lambda owner: owner.is_unchanged(kept))
    assert second.run(lambda owner: owner.committed(moved)).offsets[PREDICTIONS] == 1
    second.run(lambda owner: owner.commit([commit(moved, 2)]))
    assert not first.run(lambda owner: owner.is_unchanged(moved))
    first.run(lambda owner: owner.commit([commit(kept, 2)]))
    assert told(second, kept, b"state 2") == {}


def test_a_member_that_was_thrown_out_says_so_at_once_and_comes_back(group: Group) -> None:
    owner = group.owner()
    with closing(owner):
        until(lambda: is_current(owner), "it may speak for its partitions")
        owner.committed(0)
        member_id = owner._assignment.metadata.member_id if owner._assignment else ""
        with closing(group.connection.admin()) as admin:
            admin.remove_group_members(group.names.group_id, [MemberToRemove(member_id=member_id)])
        with pytest.raises(Reassigned):
            owner.commit([commit(0)])
        assert not owner.is_current(1)
        until(lambda: owner.refresh() > 1 and is_current(owner), "it is a member again")
        assert owner.is_unchanged(0)
        owner.commit([commit(0)])
        assert owner.committed(0).offsets[PREDICTIONS] == 1


def test_another_with_the_same_instance_id_takes_the_place_for_good(group: Group) -> None:
    former = group.owner(instance_id="one")
    former.committed(0)
    former.commit([commit(0)])
    with closing(group.owner(instance_id="one")) as owner:
        assert owner.committed(0).state == b"state 1"
        with pytest.raises(Fenced, match="taken the place"):
            former.commit([commit(0, 7)])
        with pytest.raises(Fenced):
            former.refresh()
        assert not former.is_current(1)
        former.close()
        owner.commit([commit(0, 2)])
        assert owner.committed(0).offsets[PREDICTIONS] == 2


def test_one_whose_place_is_taken_hears_of_it_though_it_has_nothing_to_commit(group: Group) -> None:
    former = group.owner(instance_id="one")
    until(lambda: is_current(former), "it may speak for its partitions")
    with closing(group.owner(instance_id="one")):
        until(lambda: not former.is_current(1), "it may speak no more", SESSION_MS / 2_000)
        with pytest.raises(Fenced, match="taken the place"):
            former.refresh()
    former.close()


def losing_the_answer(real: Callable[[], None]) -> Callable[[], None]:
    """The step is done, and nobody hears of it."""

    def step() -> None:
        real()
        raise KafkaTimeoutError("no answer")

    return step


def losing_the_request(_: Callable[[], None]) -> Callable[[], None]:
    """The step never gets there."""

    def step() -> None:
        raise KafkaTimeoutError("no way")

    return step


@pytest.mark.parametrize("losing", [losing_the_answer, losing_the_request])
def test_a_commit_whose_end_was_not_seen_is_made_exactly_once(group: Group, losing: Callable[[Callable[[], None]], Any]) -> None:
    letter = DeadLetter(LABELS, 3, 1_000, JSON, "undecodable", "no JSON", (0,), b"{")
    with closing(group.owner()) as owner, closing(group.connection.consumer(auto_offset_reset="earliest")) as reader:
        owner.committed(0)
        owner.commit([commit(0, 1)])
        producer = owner._transactions._producer
        assert producer is not None
        producer.commit_transaction = losing(producer.commit_transaction)
        made = commit(0, 2, (letter,), pane=b"value")
        with pytest.raises(LogError, match=r"no (answer|way)"):
            owner.commit([made])
        owner.commit([made])
        owner.commit([made])
        assert owner.committed(0).state == b"state 2"
        assert dict(owner.panes(0)) == {b"pane": b"value"}
        assert owner.is_unchanged(0)
        reader.assign([group.names.of(Stream.DEAD_LETTERS, 0)])
        end = reader.end_offsets(reader.assignment())
        found: list[object] = []
        while any(reader.position(place) < end[place] for place in end):
            for records in reader.poll(100).values():
                found += records
        assert len(found) == 1


def test_a_producer_that_is_given_up_with_something_under_way_leaves_nothing_behind(group: Group) -> None:
    with closing(group.owner()) as owner:
        owner.committed(0)
        owner.commit([commit(0)])
        producer = owner._transactions._producer
        assert producer is not None
        producer.begin_transaction()
        producer.send(group.names.panes, b"a pane", b"key", partition=0)
        owner._transactions._give_up()
        until(lambda: not producer._sender.is_alive(), "its thread has ended")
        owner.commit([commit(0, 2)])
        assert dict(owner.panes(0)) == {}


def test_transactions_that_cannot_be_started_leave_nothing_in_doubt(group: Group, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(group.owner()) as owner:
        owner.committed(0)
        with monkeypatch.context() as patched:
            patched.setattr(KafkaProducer, "init_transactions", lambda _: losing_the_request(lambda: None)())
            with pytest.raises(LogAway, match=r"starting transactions of .*no way"):
                owner.commit([commit(0)])
        assert owner._doubtful == []
        owner.commit([commit(0)])
        assert owner.committed(0).state == b"state 1"


def test_panes_that_were_cut_short_are_not_followed_any_further(group: Group) -> None:
    with closing(group.owner()) as owner:
        owner.committed(0)
        owner.commit([commit(0)])
        owner.committed(0)
        with closing(group.connection.admin()) as admin:
            admin.delete_topics([group.names.panes])
            until(lambda: admin.describe_topics([group.names.panes])[0]["error_code"] != 0, "the topic is gone")
            admin.create_topics([NewTopic(group.names.panes, PARTITIONS, 1)])
        with pytest.raises(LogDamaged, match="panes ends before what was read of it"):
            until(lambda: owner.changes() is None, "they are shorter")


def test_offsets_that_were_reset_do_not_count_anything_twice(group: Group) -> None:
    with closing(group.owner()) as owner:
        owner.committed(1)
        owner.commit([commit(1, 5)])
    with closing(group.connection.admin()) as admin:
        until(lambda: not admin.describe_groups([group.names.group_id])[group.names.group_id]["members"], "it has left")
        admin.delete_groups([group.names.group_id])
    with closing(group.owner()) as owner:
        assert owner.committed(1).offsets == {PREDICTIONS: 5, LABELS: 0}


def test_panes_of_topics_that_were_made_anew_are_refused(group: Group) -> None:
    with closing(group.owner()) as owner:
        owner.committed(0)
        owner.commit([commit(0)])
    with closing(group.owner(log_identity="another")) as owner:
        assert owner.committed(1).state == b""
        with pytest.raises(LogDamaged, match="deleted and made anew"):
            owner.committed(0)


def test_alone_is_refused_beside_a_member_that_is_named(group: Group) -> None:
    with closing(group.owner()), pytest.raises(OwnedElsewhere, match=r"has members already: model-monitor-.* on /"):
        group.owner(alone=True)
    with closing(group.owner(alone=True)) as owner:
        assert owner.partitions == tuple(range(PARTITIONS))


def test_two_groups_on_the_same_topics_do_not_overwrite_each_other_for_long(group: Group) -> None:
    other = Group(group.connection, Names(group.names.prefix, "another"))
    with closing(group.owner()) as owner, closing(other.owner()) as stranger:
        owner.committed(0)
        owner.commit([commit(0)])
        until(lambda: bool(owner.changes()), "it has seen its own")
        stranger.committed(0)
        stranger.commit([commit(0, 2)])

        def hears_of_it() -> bool:
            owner._view.poll(100)
            return owner._view.group(0) == other.names.group_id

        until(hears_of_it, "the stranger's commit is visible")
        with pytest.raises(Fenced, match=r"another commits to .*panes-0 as well"):
            owner.changes()
        assert not is_current(owner)
        with pytest.raises(Fenced):
            owner.commit([commit(0, 3)])


def test_a_closed_owner_speaks_for_nothing(group: Group) -> None:
    owner = group.owner()
    until(lambda: is_current(owner), "it may speak for its partitions")
    owner.close()
    assert not is_current(owner)
    with pytest.raises(Fenced, match="gave its partitions up"):
        owner.commit([commit(0)])
