"""The right to commit for the partitions that the group assigned: membership, view and transactions put together."""

import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from itertools import count
from typing import Final

import structlog

from monitor.clock import Milliseconds
from monitor.errors import Fenced, OwnedElsewhere, Reassigned
from monitor.events import SOURCES
from monitor.log import Commit, Committed, PaneKey
from monitor.log.admission import check_partition
from monitor.log.kafka.connection import Connection
from monitor.log.kafka.members import refuse_company
from monitor.log.kafka.membership import Assignment, Membership
from monitor.log.kafka.names import Names
from monitor.log.kafka.pane_view import Mark, PaneView
from monitor.log.kafka.sessions import transaction_timeout_ms
from monitor.log.kafka.transactions import InDoubt, Overtaken, Replaced, Transactions

FIRST_ASSIGNMENT_SECONDS: Final = 5.0
"""How long `acquire` waits for the group. The assignment may come later too: a member that died holds it up for its session."""
ALONE_WITHIN_SECONDS: Final = 30.0
"""How long it waits to be the only member: who asks for that has nothing to do without the partitions."""
SHOWN_WITHIN_SECONDS: Final = 5.0
"""A transaction's records become visible some milliseconds after it was committed."""
SHOW_MS: Final = 20
CHECK_SECONDS: Final = 30.0
"""Between two looks whether the topics are still the same."""
SIGNS_OF_LIFE_MISSED: Final = 30.0
"""Seconds beyond a session without a commit after which nobody is taken to work on a partition."""

_logger = structlog.get_logger(__name__)


class KafkaOwnership:
    """See `monitor.log.Ownership`. `check_topics` raises where they are not what they were; `log_identity` names them."""

    def __init__(
        self,
        connection: Connection,
        names: Names,
        partitions: int,
        *,
        instance_id: str | None,
        session_timeout_ms: Milliseconds,
        log_identity: str,
        check_topics: Callable[[], None],
        alone: bool,
    ) -> None:
        self._names = names
        self._count = partitions
        self._log_identity = log_identity
        self._check_topics = check_topics
        self._checked_at = time.monotonic()
        self._heard_seconds = session_timeout_ms / 1_000 + SIGNS_OF_LIFE_MISSED
        self._incarnation = uuid.uuid4().hex
        self._number = 0
        self._assignment: Assignment | None = None
        self._marks: dict[int, Mark] = {}
        """Of the last commit known here, by partition: read, or made."""
        self._made: dict[int, Commit] = {}
        """The last commit made here that is durable, by partition."""
        self._unseen: dict[int, Mark] = {}
        """Of commits made here that have not come back from the view yet."""
        self._doubtful: list[tuple[Commit, Mark]] = []
        """What a transaction held that was not seen to end."""
        self._ours: set[int] = set()
        """Partitions of which a commit of this group was the last to be seen; before that, it may have had another name."""
        self._numbers = count(1)
        self._refused: Assignment | None = None
        """The assignment that the broker has said to be over, perhaps before the next one is here."""
        self._fenced: Fenced | None = None
        if alone:
            refuse_company(connection, names.group_id)
        with ExitStack() as opened:
            transactional_id = f"{names.group_id}-{instance_id or self._incarnation}"
            timeout_ms = transaction_timeout_ms(session_timeout_ms)
            self._transactions = Transactions(connection, names, transactional_id, timeout_ms, log_identity)
            opened.callback(self._transactions.close)
            if instance_id is not None:
                self._transactions.open()  # ends what a killed predecessor left open, which would hold up the view
            self._view = PaneView(connection, names, partitions)
            opened.callback(self._view.close)
            self._view.catch_up(range(partitions))
            self._membership = Membership(connection, names, instance_id, session_timeout_ms)
            opened.callback(self._membership.close)
            until = time.monotonic() + (ALONE_WITHIN_SECONDS if alone else FIRST_ASSIGNMENT_SECONDS)
            while not self._take_assignment() and time.monotonic() < until:
                pass
            if alone and len(self.partitions) != partitions:
                raise OwnedElsewhere(f"another member of the group {names.group_id} came at the same time. Stop it, or wait for it to end")
            self._opened = opened.pop_all()  # for `close`, in reverse: the group is left first

    @property
    def partitions(self) -> tuple[int, ...]:
        return () if self._assignment is None else self._assignment.partitions

    def refresh(self) -> int:
        if self._fenced is not None:
            raise self._fenced
        if time.monotonic() - self._checked_at > CHECK_SECONDS:
            self._check_topics()
            self._checked_at = time.monotonic()
        self._take_assignment()
        return self._number

    def _take_assignment(self) -> bool:
        self._membership.poll()
        if self._membership.is_replaced:
            raise self._displaced()
        if self._membership.assignment is self._assignment:
            return False
        # Whoever was shown for these partitions until now had read no further than this: no count goes backwards.
        self._view.catch_up(range(self._count))
        self._number += 1  # before anyone can see the assignment: it is not the former number's
        self._assignment = self._membership.assignment
        return True

    def is_current(self, number: int) -> bool:
        assignment = self._membership.assignment
        is_present = number == self._number and assignment is self._assignment and assignment is not self._refused
        return self._fenced is None and is_present and self._membership.is_current()

    def is_unchanged(self, partition: int) -> bool:
        self._resolve_doubts()
        self._view.catch_up([partition])
        return self._view.mark(partition) == self._marks.get(partition)

    def live_partitions(self) -> frozenset[int]:
        return self._view.heard_within(self._heard_seconds) | frozenset(self.partitions)

    def committed(self, partition: int) -> Committed:
        check_partition(partition, self._count)
        # First the offsets: they are told once no transaction of a former owner is pending on them. The panes' end after that holds
        # all of it, and whatever comes later is refused.
        offsets = {stream: self._membership.committed_offset(self._names.of(stream, partition)) for stream in SOURCES}
        self._view.catch_up([partition])
        committed = self._view.committed(partition, self._log_identity)
        self._marks[partition] = self._view.mark(partition)
        told = {stream: offset or 0 for stream, offset in offsets.items()}
        if told != committed.offsets:
            _logger.warning(
                "the group's offsets are not those of the panes, which hold: they were reset, or have expired",
                partition=partition,
                group=told,
                panes=dict(committed.offsets),
            )
        return committed

    def panes(self, partition: int) -> Iterator[tuple[PaneKey, bytes]]:
        check_partition(partition, self._count)
        self._view.catch_up([partition])
        return self._view.panes(partition)

    def commit(self, commits: Sequence[Commit]) -> None:
        if self._fenced is not None:
            raise self._fenced
        for commit in commits:
            check_partition(commit.partition, self._count)
        if self._assignment is None:
            raise Reassigned("no partition is assigned yet")
        try:
            self._make_all(commits, self._assignment)
        except Overtaken:
            self._make_all(commits, self._assignment)  # with the latest producer of this id: now the group decides whose place it is

    def _make_all(self, commits: Sequence[Commit], assignment: Assignment) -> None:
        self._resolve_doubts()
        unmade = [commit for commit in commits if self._made.get(commit.partition) is not commit]
        for group in self._transactions.groups(unmade):
            self._make(group, assignment)

    def _make(self, commits: Sequence[Commit], assignment: Assignment) -> None:
        marks = [Mark(self._incarnation, next(self._numbers)) for _ in commits]
        try:
            self._transactions.commit(commits, marks, assignment.metadata)
        except InDoubt:
            self._doubtful = list(zip(commits, marks, strict=True))
            raise
        except Reassigned as error:
            self._refused = assignment
            if isinstance(error, Replaced) and self._membership.is_latest(assignment):
                raise self._displaced() from error
            raise
        for commit, mark in zip(commits, marks, strict=True):
            self._settle(commit, mark)

    def _displaced(self) -> Fenced:
        self._fenced = Fenced("another replica has taken the place of this one: give each a log.instance_id of its own")
        return self._fenced

    def _settle(self, commit: Commit, mark: Mark) -> None:
        self._marks[commit.partition] = self._unseen[commit.partition] = mark
        self._made[commit.partition] = commit

    def _resolve_doubts(self) -> None:
        """Finds out which commits of a transaction that was not seen to end are durable. Raises `LogError` while that cannot be told."""
        if not self._doubtful:
            return
        self._transactions.open()  # ends that transaction, one way or the other
        self._view.catch_up([commit.partition for commit, _ in self._doubtful])
        for commit, mark in self._doubtful:
            if self._view.mark(commit.partition) == mark:
                self._settle(commit, mark)
        self._doubtful = []

    def changes(self) -> Sequence[Commit]:
        """A commit of one's own is there too, unless the broker takes long to show it: then with a later call."""
        self._view.poll()
        until = time.monotonic() + SHOWN_WITHIN_SECONDS
        while self._has_unseen() and time.monotonic() < until:
            self._view.poll(SHOW_MS)
        self._unseen.clear()
        self._see_that_no_other_group_commits()
        return self._view.take()

    def _has_unseen(self) -> bool:
        """Whether the view lacks a commit that was made here since the last look."""
        self._unseen = {partition: mark for partition, mark in self._unseen.items() if self._view.mark(partition) != mark}
        return bool(self._unseen)

    def _see_that_no_other_group_commits(self) -> None:
        """Members of one group cannot own a partition at the same time; two groups over the same topics can, and overwrite each other."""
        self._ours &= set(self.partitions)
        for partition in self.partitions:
            group = self._view.group(partition)
            if group == self._names.group_id:
                self._ours.add(partition)
            elif partition in self._ours:
                self._fenced = Fenced(
                    f"the group {group} commits to {self._names.panes}-{partition} as well as this one's, {self._names.group_id}: a group "
                    "of its own needs topics of its own, so give one of them another log.topic_prefix"
                )
                raise self._fenced

    def close(self) -> None:
        """From here on `is_current` says no and commits raise `Fenced`; then the group is left."""
        if self._fenced is None:
            self._fenced = Fenced("this owner gave its partitions up")
        self._opened.close()
