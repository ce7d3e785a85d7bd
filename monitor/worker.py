"""The loop of one replica: take what is assigned, read, take in, commit; and how a partition comes back after a stop, a crash or a move.

It knows the log by its protocol and the pipeline by its state, nothing of HTTP or metrics. One thread drives it.
"""

from collections.abc import Callable, Mapping
from threading import Event
from typing import Protocol

import structlog

from monitor.clock import Clock, Milliseconds
from monitor.errors import Fenced, LogDamaged, LogError, OwnedElsewhere, Reassigned, SnapshotError
from monitor.events import SOURCES, Stream
from monitor.join import JoinTable
from monitor.log import TIME_MARK, Follower, Log, Message, Ownership
from monitor.pace import Pace, Progress
from monitor.pipeline import Pipeline
from monitor.refused import RefusedEvents
from monitor.share import Share

_IDLE_WAIT_S = 0.1
"""The longest wait for new records: so often an idle loop goes round."""
_RETRY_WAIT_S = 1.0
"""Between two tries of what the log refused (disk full, file busy, broker away)."""
_SNAPSHOTS_A_TURN_MS = 2_000
"""None is begun later in a turn of the loop: the others wait for the next, so that a slow store holds up neither commits nor membership."""
_LAST_SNAPSHOTS_MS = 5_000
"""A daemon that is stopped begins no snapshot after so long: it has 30 s, and a store that is slow takes half of them for one."""

_logger = structlog.get_logger(__name__)


class Snapshots(Protocol):
    """Join tables on disk. A snapshot spares replaying the log; without one the retained log is replayed."""

    def write(self, partition: int, offsets: Mapping[Stream, int], table: JoinTable) -> None:
        """Raises `SnapshotError` where it cannot be kept."""
        ...

    def newest(
        self, partition: int, at_most: Mapping[Stream, int], empty: Callable[[], JoinTable]
    ) -> tuple[Mapping[Stream, int], JoinTable] | None:
        """The newest good one whose offsets are at or below these; `empty` makes the table to fill."""
        ...


class Worker:
    """Drives the pipelines of the partitions it owns: `run`, or `drain` for a log that is to be read once; `close`.

    Everything but `turned_at`, `assignment` and `is_restored` is for the one thread that drives it.
    """

    def __init__(
        self,
        log: Log,
        ownership: Ownership,
        follower: Follower,
        pipeline_of: Callable[[int], Pipeline],
        snapshots: Snapshots,
        clock: Clock,
        pace: Pace,
    ) -> None:
        self._log = log
        self._ownership = ownership
        self._follower = follower
        self._pipeline_of = pipeline_of
        self._snapshots = snapshots
        self._clock = clock
        self._pace = pace
        self.assignment = 0
        """The number of the present assignment, as of the last look at it."""
        self._taken_on = 0
        """The number of the assignment that was taken on last."""
        self._shares: dict[int, Share] = {}
        self._last_commit = clock.now()
        self._tick = pace.tick
        self._refused = RefusedEvents(clock)
        self.progress = Progress()
        self.turned_at = clock.now()
        """When the loop last went round, for a watchdog."""
        self.is_restored = False
        """Whether every partition that is assigned is worked on."""
        self._is_refused = False
        """Whether the log refused what was last asked of it."""

    @property
    def partitions(self) -> tuple[int, ...]:
        """Those that are worked on or being restored."""
        return tuple(sorted(self._shares))

    def pipeline(self, partition: int) -> Pipeline:
        """That of a partition which is worked on."""
        return self._shares[partition].pipeline

    # Taking partitions on

    def take_on(self, on_turn: Callable[[], None] = lambda: None, stop: Event | None = None) -> None:
        """Takes on the present assignment: what went to others is dropped, what stays goes on, what is new is restored.

        `on_turn` is called first and as the restoring goes on, which may take long. Once `stop` is set, or the assignment has changed
        again, it leaves off. Raises `LogError`; the next call goes on from there.
        """
        number = self._refresh()
        if number == self._taken_on and self.is_restored:
            return
        self.is_restored = False
        owned = self._ownership.partitions
        for partition in [partition for partition in self._shares if partition not in owned]:
            self._drop(partition)
        on_turn()  # what is shown follows the assignment at once, however long the restoring takes
        for partition in owned:
            kept = self._shares.get(partition)
            if kept is not None and kept.is_sound and (number == self._taken_on or self._ownership.is_unchanged(partition)):
                continue
            self._drop(partition)
            if not self._restore(partition, number, on_turn, stop or Event()):
                return
        if number == 0:  # the log has not let this member in yet
            return
        if number != self._taken_on and not owned:
            _logger.warning("no partition is assigned to this replica: there are more replicas than partitions")
        elif number != self._taken_on:
            _logger.info("assigned", partitions=list(owned))
        self._taken_on = number
        self.is_restored = True

    def _refresh(self) -> int:
        self.assignment = self._ownership.refresh()
        return self.assignment

    def _may_go_on(self, number: int, on_turn: Callable[[], None], stop: Event) -> bool:
        """A turn within a restore, which may take long; whether it is still wanted."""
        self.turned_at = self._clock.now()
        on_turn()
        return not stop.is_set() and self._refresh() == number

    def _drop(self, partition: int) -> None:
        if self._shares.pop(partition, None) is not None:
            self._follower.leave(partition)
            _logger.info("partition given up", partition=partition)

    def _restore(self, partition: int, number: int, on_turn: Callable[[], None], stop: Event) -> bool:
        """Brings a partition to its last commit: panes and counters as committed, the join table from a snapshot and a silent replay.

        Whether it got there, before `stop` and in the same assignment.
        """
        if not self._may_go_on(number, on_turn, stop):
            return False
        pipeline, now = self._pipeline_of(partition), self._clock.now()
        committed = self._ownership.committed(partition)
        panes = list(self._ownership.panes(partition))
        found = self._snapshots.newest(partition, committed.offsets, pipeline.empty_join)
        offsets: Mapping[Stream, int] = dict.fromkeys(SOURCES, 0) if found is None else found[0]
        pipeline.restore(committed, panes, None if found is None else found[1])
        until = {stream: committed.offsets.get(stream, 0) for stream in SOURCES}
        try:
            for stream in SOURCES:
                self._follower.place(stream, partition, until[stream])  # whether the log still reaches that far
                self._follower.place(stream, partition, offsets[stream])
        except LogError:
            self._follower.leave(partition)  # else it would be read, by nobody, once another owns it
            raise
        share = self._shares[partition] = Share(pipeline, until, dict.fromkeys(SOURCES, now), now, offsets, now)
        replayed = 0
        while (behind := self._behind(partition, until)) is not None:
            if not self._may_go_on(number, on_turn, stop):
                self._drop(partition)
                return False
            read = self._follower.read(behind, partition, self._pace.poll_bytes)
            records = [record for record in read if record.offset < until[behind]]
            if records:
                pipeline.replay(behind, records)
                replayed += len(records)
            elif not read:  # there are some, on their way
                self._follower.wait(_IDLE_WAIT_S, [(behind, partition)])
        for stream in SOURCES:
            self._follower.place(stream, partition, until[stream])
        pipeline.restored()
        share.is_sound = True
        _logger.info("restored", partition=partition, panes=len(panes), snapshot=found is not None, replayed_records=replayed)
        return True

    # Taking events in

    def _behind(self, partition: int, until: Mapping[Stream, int]) -> Stream | None:
        """Which stream to read next, None where both are at `until`: the one with the lower watermark.

        Read to its end first, one stream would fill the join table with rows that wait for the other.
        """
        join = self._shares[partition].pipeline.join
        unread = [stream for stream in SOURCES if self._follower.position(stream, partition) < until[stream]]
        return min(unread, key=lambda stream: join.watermark(stream) or 0, default=None)

    def _wait(self) -> None:
        """Until there may be something that the next `poll` would read."""
        wanted: list[tuple[Stream, int]] = []
        for partition in self._shares:
            behind = self._behind(partition, self._readable(partition))
            wanted += [(stream, partition) for stream in SOURCES if behind in {None, stream}]
        self._follower.wait(_IDLE_WAIT_S, wanted)

    def _readable(self, partition: int) -> dict[Stream, int]:
        return {stream: self._follower.ends(stream, partition).readable for stream in SOURCES}

    def poll(self) -> int:
        """Takes in one read of each partition, of one stream; how many records that was."""
        taken = 0
        for partition, share in self._shares.items():
            stream = self._behind(partition, self._readable(partition))
            if stream is None:
                continue
            records = self._follower.read(stream, partition, self._pace.poll_bytes)
            if not records:
                continue
            share.is_sound = False  # until all of it is taken in: half a batch must never be committed
            share.pipeline.take(stream, records)
            share.is_sound = True
            share.grew_at[stream] = self._clock.now()
            share.has_changed = True
            taken += len(records)
        return taken

    # Making it durable

    def commit(self) -> None:
        """Makes everything taken in durable. Raises `LogError`; a later call tries the same again before anything else is read."""
        if not any(share.unsent for share in self._shares.values()):
            for partition, share in self._shares.items():
                if not share.has_changed and not self._is_silent(share):
                    continue
                share.is_sound = False  # until the pipeline has handed over what it will not hand over again
                share.unsent = share.pipeline.commit({stream: self._follower.position(stream, partition) for stream in SOURCES})
                share.has_changed = False
                share.is_sound = True
        unsent = [share.unsent for share in self._shares.values() if share.unsent]
        began = self._clock.now()
        if unsent:
            self._ownership.commit(unsent)
        self._last_commit = self.progress.committed_at = self._clock.now()
        if unsent:
            took = self.progress.commit_took = self._last_commit - began
            size = sum(commit.panes_bytes for commit in unsent)
            self._tick = self._pace.tick_after(self._tick, took=took, size=size, partitions=len(self._shares))
        for commit in unsent:
            share = self._shares[commit.partition]
            share.committed, share.committed_at, share.unsent = dict(commit.offsets), self._last_commit, None
        self._refused.committed(unsent)

    def _is_silent(self, share: Share) -> bool:
        limit = self._pace.sign_of_life
        return limit is not None and self._clock.now() - share.committed_at >= limit

    def snapshot(self, *, begin_within: Milliseconds | None = None, older_than: Milliseconds = 0) -> None:
        """Writes join tables as of the last commit: those whose last snapshot is that old, the oldest first, none begun after that time.

        One that cannot be written is logged: the log can be replayed without it.
        """
        began = self._clock.now()
        for partition, share in sorted(self._shares.items(), key=lambda item: item[1].snapshot_at):
            if began - share.snapshot_at < older_than or (begin_within is not None and self._clock.now() - began > begin_within):
                break
            if share.unsent or share.has_changed or not share.is_sound:
                continue
            self.turned_at = share.snapshot_at = self._clock.now()  # each may take as long as a store that is slow is waited for
            if share.committed == share.snapshot_offsets:
                continue
            try:
                self._snapshots.write(partition, share.committed, share.pipeline.join)
                share.snapshot_offsets = share.committed
                share.is_saved = True
            except SnapshotError as error:
                share.is_saved = False
                _logger.warning("snapshot not written", partition=partition, reason=str(error))
        self.progress.unsaved_partitions = sum(not share.is_saved for share in self._shares.values())
        if all(share.committed == share.snapshot_offsets for share in self._shares.values()):
            self.progress.snapshots_at = self._clock.now()

    # What is told of it

    def lag(self) -> dict[tuple[str, int], int]:
        """Records not yet committed, by stream and partition."""
        return {
            (stream, partition): self._follower.ends(stream, partition).appended - share.committed[stream]
            for partition, share in self._shares.items()
            for stream in SOURCES
        }

    def unread(self) -> int:
        """Records not yet taken in."""
        places = [(stream, partition) for partition in self._shares for stream in SOURCES]
        return sum(self._follower.ends(*place).readable - self._follower.position(*place) for place in places)

    # The loops

    def drain(self, on_progress: Callable[[], None] = lambda: None) -> None:
        """Takes in everything up to the log's present end and commits it, tick by tick, so that neither memory nor dead letters pile up.

        Raises `OwnedElsewhere` when a part of it goes to another member, `LogError` where the log refuses.
        """
        while not self.is_restored:
            self.take_on()
        drained = self.partitions
        ends = {(stream, partition): self._log.end_offset(stream, partition) for stream in SOURCES for partition in drained}
        while any(self._follower.position(*place) < end for place, end in ends.items()):
            self.take_on()
            if self.partitions != drained:
                raise OwnedElsewhere("another member took partitions of this log over while it was read to its end. Stop it, and try again")
            if not self.poll():
                self._wait()
            if self._clock.now() - self._last_commit >= self._tick:
                self.commit()
            on_progress()
        self.commit()

    def run(self, stop: Event, on_turn: Callable[[], None]) -> None:
        """Goes round until `stop` is set, calling `on_turn` each time. What the log refuses is tried again.

        Raises `Fenced` when another has taken its place, and `LogDamaged`.
        """
        waits_since = -1
        while not stop.is_set():
            self.turned_at = self._clock.now()
            try:
                on_turn()
                self.take_on(on_turn, stop)
                if not (self.is_restored and self._turn()):
                    self._wait()
                self._is_refused = False
            except Reassigned as error:
                if waits_since != self.assignment:
                    waits_since = self.assignment
                    _logger.info("the commit waits for the next assignment", reason=str(error))
                stop.wait(_IDLE_WAIT_S)
            except LogError as error:
                if isinstance(error, Fenced | LogDamaged) or self._has_failed_half_way():
                    raise
                self._is_refused = True
                _logger.warning("the log refused; trying again", reason=str(error), retry_seconds=_RETRY_WAIT_S)
                stop.wait(_RETRY_WAIT_S)

    def _has_failed_half_way(self) -> bool:
        """While partitions are restored they are unsound and nothing is lost; they are only begun anew."""
        return self.is_restored and not all(share.is_sound for share in self._shares.values())

    def _turn(self) -> int:
        """One round of the loop; how many records it took in."""
        is_waiting = any(share.unsent for share in self._shares.values())
        taken = 0 if is_waiting else self.poll()
        if is_waiting or self._clock.now() - self._last_commit >= self._tick:
            self.commit()
            self.snapshot(begin_within=_SNAPSHOTS_A_TURN_MS, older_than=self._pace.snapshot_every)
            self._mark_idle_logs()
        return taken

    def close(self) -> None:
        """Commits what was taken in, writes a snapshot and gives the partitions up.

        After a failure half-way nothing is committed: the log has it all. Nor is a log waited for once more that refuses just then.
        """
        try:
            if self.is_restored and not self._is_refused and not self._has_failed_half_way():
                self.commit()
                self.snapshot(begin_within=_LAST_SNAPSHOTS_MS)
        except LogError as error:
            _logger.warning("the last commit was refused; the next start makes it again from the log", reason=str(error))
        finally:
            self._ownership.close()
            self._follower.close()

    def _mark_idle_logs(self) -> None:
        """Tells logs that are read to their end and got nothing for long what time it is, so that silence frees memory too."""
        if self._pace.idle_after is None:
            return
        now = self._clock.now()
        for partition, share in self._shares.items():
            for stream, grew_at in share.grew_at.items():
                is_at_end = self._follower.position(stream, partition) >= self._follower.ends(stream, partition).appended
                if now - grew_at < self._pace.idle_after or not is_at_end:
                    continue
                if self._log.newest_timestamp(stream, partition) is not None:  # else it never held an event
                    self._log.append(stream, [Message(partition, now, b"", TIME_MARK)])
                share.grew_at[stream] = now
