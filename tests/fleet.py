"""Several replicas on one log in memory, whose partitions a test gives out and takes away: what a consumer group does, without a broker."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from monitor.errors import Fenced, LogError, Reassigned
from monitor.log import Commit, Committed, PaneKey
from monitor.log.memory import MemoryLog, MemoryOwnership
from monitor.log.own_changes import OwnChanges


class Fleet:
    """The log, its members, and all that became durable, in its order."""

    def __init__(self, log: MemoryLog) -> None:
        self.log = log
        self.contents = log.acquire()
        self.members: list[Member] = []
        self.commits: list[Commit] = []

    def join(self) -> "Member":
        """A member that has nothing yet, and sees everybody's commits from the first on."""
        member = Member(self, self.contents)
        for partition in range(self.log.partitions):
            member.unseen.found(self.contents.committed(partition), self.contents.panes(partition))
        self.members.append(member)
        return member

    def assign(self, *partitions: tuple[int, ...]) -> None:
        """A rebalance: each member in turn gets these partitions at its next `refresh`. Until then none of them is current."""
        for member, own in zip(self.members, partitions, strict=True):
            member.coming = own


@dataclass(eq=False)
class Member:
    """See `monitor.log.Ownership`; the attributes are for tests to set."""

    fleet: Fleet
    contents: MemoryOwnership
    partitions: tuple[int, ...] = ()
    number: int = 0
    coming: tuple[int, ...] | None = None
    """The assignment that it has not taken yet."""
    has_heartbeat: bool = True
    refusals: int = 0
    """How many commits, and how many reads of what was committed, are to be refused."""
    is_closed: bool = False
    read: set[int] = field(default_factory=set)
    """Partitions whose state it read, or committed, and nobody else has committed since."""
    unseen: OwnChanges = field(default_factory=OwnChanges)

    def refresh(self) -> int:
        if self.coming is not None:
            self.partitions, self.coming, self.number = self.coming, None, self.number + 1
        return self.number

    def is_current(self, number: int) -> bool:
        return self.has_heartbeat and self.coming is None and 0 < number == self.number and not self.is_closed

    def is_unchanged(self, partition: int) -> bool:
        return partition in self.read

    def live_partitions(self) -> frozenset[int]:
        return frozenset(partition for member in self.fleet.members if not member.is_closed for partition in member.partitions)

    def committed(self, partition: int) -> Committed:
        self._may_refuse()
        self.read.add(partition)
        return self.contents.committed(partition)

    def panes(self, partition: int) -> Iterator[tuple[PaneKey, bytes]]:
        return self.contents.panes(partition)

    def commit(self, commits: Sequence[Commit]) -> None:
        if self.is_closed:
            raise Fenced("this member has left")
        self._may_refuse()
        if self.coming is not None:
            raise Reassigned("the partitions are given out anew")
        assert {commit.partition for commit in commits} <= set(self.partitions)
        self.contents.commit(commits)
        self.fleet.commits += commits
        for member in self.fleet.members:
            member.unseen.committed(commits)
            if member is not self:
                member.read -= {commit.partition for commit in commits}

    def changes(self) -> Sequence[Commit]:
        return self.unseen.take()

    def close(self) -> None:
        self.is_closed = True

    def _may_refuse(self) -> None:
        if self.refusals:
            self.refusals -= 1
            raise LogError("the broker is away")
