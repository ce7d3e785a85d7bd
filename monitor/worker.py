"""The loop of one replica: read, take in, commit; and how it comes back after a stop or a crash.

It knows the log by its protocol and the pipeline by its state, nothing of HTTP or metrics. One thread drives it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from threading import Event
from typing import Protocol

import structlog

from monitor.clock import Clock, Milliseconds
from monitor.errors import Fenced, LogDamaged, LogError, SnapshotError
from monitor.events import Stream
from monitor.join import JoinTable
from monitor.log import TIME_MARK, Commit, Committed, Log, Message, Ownership
from monitor.pipeline import Pipeline

SOURCES = (Stream.PREDICTIONS, Stream.LABELS)
_IDLE_WAIT_S = 0.1
"""Between two looks at a log that had nothing new."""
_RETRY_WAIT_S = 1.0
"""Between two tries of what the log refused (disk full, file busy)."""

_logger = structlog.get_logger(__name__)


class Snapshots(Protocol):
    """Join tables on disk. A snapshot spares replaying the log; without one the retained log is replayed."""

    def write(self, partition: int, offsets: Mapping[Stream, int], table: JoinTable) -> None:
        """Raises `SnapshotError` where it cannot be kept."""
        ...

    def newest(self, partition: int, at_most: Mapping[Stream, int]) -> tuple[Mapping[Stream, int], JoinTable] | None:
        """The newest good one whose offsets are at or below these."""
        ...


@dataclass(frozen=True, slots=True)
class Pace:
    """How much is read at a time, and how often what happens."""

    poll_bytes: int
    tick: Milliseconds
    """Between two commits."""
    snapshot_every: Milliseconds
    idle_after: Milliseconds | None
    """After so long a silence a log is told the time; None: never."""


class Worker:
    """Drives the pipelines of the partitions it owns: `restore` first, then `run` (or `drain`, for a log that is to be read once), `close`.

    `on_commit` is shown each commit once it is durable. Everything but `turned_at` is for the one thread that drives it.
    """

    def __init__(
        self,
        log: Log,
        ownership: Ownership,
        pipelines: Mapping[int, Pipeline],
        snapshots: Snapshots,
        clock: Clock,
        pace: Pace,
        on_commit: Callable[[Commit], None],
    ) -> None:
        self._log = log
        self._ownership = ownership
        self._pipelines = dict(pipelines)
        self._snapshots = snapshots
        self._clock = clock
        self._pace = pace
        self._on_commit = on_commit
        self._positions: dict[tuple[Stream, int], int] = {}
        self._committed: dict[tuple[Stream, int], int] = {}
        self._changed: set[int] = set()
        self._unsent: list[Commit] = []
        self._snapshot_offsets: dict[int, Mapping[Stream, int]] = {}
        self._last_commit = self._last_snapshot = clock.now()
        self._grew_at = dict.fromkeys(((stream, partition) for stream in SOURCES for partition in self._pipelines), clock.now())
        self._is_sound = False
        """Whether the pipelines stand exactly at the positions: not before they are restored, nor once a step failed half-way."""
        self.turned_at = clock.now()
        """When the loop last went round, for a watchdog."""

    def restore(self, on_state: Callable[[Committed, Sequence[tuple[bytes, bytes]]], None], stop: Event | None = None) -> None:
        """Brings every partition to its last commit: panes and counters as committed, the join table from a snapshot and a silent replay.

        `on_state` is shown what each partition had committed. Once `stop` is set it leaves off, and `run` and `close` do nothing any more.
        """
        stop = stop or Event()
        for partition, pipeline in self._pipelines.items():
            committed = self._ownership.committed(partition)
            panes = list(self._ownership.panes(partition))
            on_state(committed, panes)
            found = self._snapshots.newest(partition, committed.offsets)
            offsets: Mapping[Stream, int] = dict.fromkeys(SOURCES, 0) if found is None else found[0]
            pipeline.restore(committed, panes, None if found is None else found[1])
            self._snapshot_offsets[partition] = offsets
            for stream in SOURCES:
                self._positions[stream, partition] = offsets[stream]
            until = {stream: committed.offsets.get(stream, 0) for stream in SOURCES}
            replayed = self._replay(partition, until, stop)
            if stop.is_set():
                return
            for stream in SOURCES:
                self._positions[stream, partition] = self._committed[stream, partition] = until[stream]
            pipeline.restored()
            _logger.info("restored", partition=partition, panes=len(panes), snapshot=found is not None, replayed_records=replayed)
        self._is_sound = True

    def _replay(self, partition: int, until: Mapping[Stream, int], stop: Event) -> int:
        replayed = 0
        while not stop.is_set() and (stream := self._behind(partition, until)) is not None:
            found = self._log.read(stream, partition, self._positions[stream, partition], self._pace.poll_bytes)
            records = [record for record in found if record.offset < until[stream]]
            if not records:
                self._positions[stream, partition] = until[stream]
                continue
            self._pipelines[partition].replay(stream, records)
            self._positions[stream, partition] = records[-1].offset + 1
            self.turned_at = self._clock.now()
            replayed += len(records)
        return replayed

    def _behind(self, partition: int, until: Mapping[Stream, int]) -> Stream | None:
        """Which stream to read next, None where both are at `until`: the one with the lower watermark.

        Read to its end first, one stream would fill the join table with rows that wait for the other.
        """
        join = self._pipelines[partition].join
        unread = [stream for stream in SOURCES if self._positions[stream, partition] < until[stream]]
        return min(unread, key=lambda stream: join.watermark(stream) or 0, default=None)

    def poll(self) -> int:
        """Takes in one read of each partition, of one stream; how many records that was."""
        taken = 0
        for partition, pipeline in self._pipelines.items():
            ends = {stream: self._log.end_offset(stream, partition) for stream in SOURCES}
            stream = self._behind(partition, ends)
            if stream is None:
                continue
            records = self._log.read(stream, partition, self._positions[stream, partition], self._pace.poll_bytes)
            if not records:
                continue
            self._is_sound = False  # until all of it is taken in: half a batch must never be committed
            pipeline.take(stream, records)
            self._is_sound = True
            self._positions[stream, partition] = records[-1].offset + 1
            self._grew_at[stream, partition] = self._clock.now()
            self._changed.add(partition)
            taken += len(records)
        return taken

    def commit(self) -> None:
        """Makes everything taken in durable. Raises `LogError`; a later call tries the same again before anything else is read."""
        if self._changed and not self._unsent:
            self._is_sound = False  # until every pipeline has handed over what it will not hand over again
            for partition in sorted(self._changed):
                self._unsent.append(self._pipelines[partition].commit({stream: self._positions[stream, partition] for stream in SOURCES}))
            self._changed.clear()
            self._is_sound = True
        if self._unsent:
            self._ownership.commit(self._unsent)
        for commit in self._unsent:
            for stream, offset in commit.offsets.items():
                self._committed[stream, commit.partition] = offset
            self._on_commit(commit)
        self._unsent = []
        self._last_commit = self._clock.now()

    def snapshot(self) -> None:
        """Writes the join tables as of the last commit. One that cannot be written is logged: the log can be replayed without it."""
        self._last_snapshot = self._clock.now()
        if self._unsent or self._changed:
            return
        for partition, pipeline in self._pipelines.items():
            offsets = {stream: self._committed[stream, partition] for stream in SOURCES}
            if offsets == self._snapshot_offsets.get(partition):
                continue
            try:
                self._snapshots.write(partition, offsets, pipeline.join)
                self._snapshot_offsets[partition] = offsets
            except SnapshotError as error:
                _logger.warning("snapshot not written", partition=partition, reason=str(error))

    def lag(self) -> dict[tuple[str, int], int]:
        """Records not yet committed, by stream and partition."""
        return {
            (stream, partition): self._log.end_offset(stream, partition) - self._committed.get((stream, partition), 0)
            for partition in self._pipelines
            for stream in SOURCES
        }

    def unread(self) -> int:
        """Records not yet taken in."""
        return sum(self._log.end_offset(stream, partition) - position for (stream, partition), position in self._positions.items())

    def pending(self) -> dict[str, int]:
        """Predictions that wait for their label, by model, in all partitions."""
        waiting: dict[str, int] = {}
        for pipeline in self._pipelines.values():
            for index, model in enumerate(pipeline.models):
                waiting[model.schema.name] = waiting.get(model.schema.name, 0) + pipeline.join.pending(index)
        return waiting

    def drain(self, on_progress: Callable[[], None] = lambda: None) -> None:
        """Takes in everything up to the log's present end and commits it, tick by tick, so that neither memory nor dead letters pile up."""
        ends = {(stream, partition): self._log.end_offset(stream, partition) for stream in SOURCES for partition in self._pipelines}
        while any(self._positions[key] < end for key, end in ends.items()):
            if not self.poll():
                break
            if self._clock.now() - self._last_commit >= self._pace.tick:
                self.commit()
            on_progress()
        self.commit()

    def run(self, stop: Event, on_tick: Callable[[], None]) -> None:
        """Goes round until `stop` is set, calling `on_tick` each time. What the log refuses is tried again.

        Raises `Fenced` when a partition has another owner, and `LogDamaged`.
        """
        while not stop.is_set():
            self.turned_at = self._clock.now()
            try:
                on_tick()
                taken = self._turn()
            except LogError as error:
                if isinstance(error, Fenced | LogDamaged) or not self._is_sound:
                    raise
                _logger.warning("the log refused; trying again", reason=str(error), retry_seconds=_RETRY_WAIT_S)
                stop.wait(_RETRY_WAIT_S)
            else:
                if not taken:
                    stop.wait(_IDLE_WAIT_S)

    def _turn(self) -> int:
        """One round of the loop; how many records it took in."""
        taken = 0 if self._unsent else self.poll()
        if self._unsent or self._clock.now() - self._last_commit >= self._pace.tick:
            self.commit()
            if self._clock.now() - self._last_snapshot >= self._pace.snapshot_every:
                self.snapshot()
            self._mark_idle_logs()
        return taken

    def close(self) -> None:
        """Commits what was taken in, writes a snapshot and gives the partitions up.

        After a failure half-way nothing is committed: the log has it all.
        """
        try:
            if self._is_sound:
                self.commit()
                self.snapshot()
        except LogError as error:
            _logger.warning("the last commit was refused; the next start makes it again from the log", reason=str(error))
        finally:
            self._ownership.close()

    def _mark_idle_logs(self) -> None:
        """Tells logs that are read to their end and got nothing for long what time it is, so that silence frees memory too."""
        if self._pace.idle_after is None:
            return
        now = self._clock.now()
        for (stream, partition), grew_at in self._grew_at.items():
            if now - grew_at < self._pace.idle_after or self._positions[stream, partition] < self._log.end_offset(stream, partition):
                continue
            if self._log.newest_timestamp(stream, partition) is None:
                continue  # it never held an event
            self._log.append(stream, [Message(partition, now, b"", TIME_MARK)])
            self._grew_at[stream, partition] = now
