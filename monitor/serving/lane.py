"""One stream's way to the log: straight while the log takes what comes, by way of the disk while it is away or slow.

The order is kept: what waits on disk is older than what waits in memory, and a thread of its own sends the oldest first. An append that
hangs holds up that thread alone; what it has under way moves to disk with everything behind it.
"""

import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Final

import structlog

from monitor.errors import FutureTimestamp, LogError, LogFull
from monitor.events import Stream
from monitor.serving.accounts import LaneCounts, Loss, SpoolState
from monitor.serving.delivery import Appender, Delivered, deliver
from monitor.serving.parcels import Parcel
from monitor.serving.spool.queue import Mark, Portion
from monitor.serving.spool.slots import Backlog

_logger = structlog.get_logger(__name__)

WAITING_BYTES: Final = 8 * 1024 * 1024
"""What may wait in memory for the log. A second of a busy server is less."""
SEND_BYTES: Final = 1024 * 1024
"""What is sent at a time, and sent twice if the process is killed meanwhile."""
SPILL_SECONDS: Final = 1.0
"""How long anything waits in memory: longer than a log that works takes for an append, now and then."""
PATIENCE_SECONDS: Final = 1.0
"""How long a door waits for the log before it is content with the disk."""
RETRY_FIRST_SECONDS: Final = 0.1
RETRY_LAST_SECONDS: Final = 5.0
LAST_TRY_SECONDS: Final = 1.0
"""For an append that is under way when the time is up; one to brokers that are away may take far longer."""


@dataclass(slots=True, eq=False)
class _Waiting:
    """A parcel in memory. `mark` is where it is on disk, once it has been moved there."""

    parcel: Parcel
    since: float
    mark: Mark | None = None


class Lane:
    """For any threads. Without a backlog nothing goes to disk."""

    def __init__(self, stream: Stream, log: Appender, backlog: Backlog | None, threads: Executor) -> None:
        self._stream = stream
        self._log = log
        self._backlog = backlog
        self._threads = threads
        self._changed = threading.Condition()
        self._waiting: deque[_Waiting] = deque()
        self._waiting_bytes = self._waiting_rows = 0
        self._in_flight = 0
        self._is_sending = False
        self._portion: Portion | None = None
        self._accepted = self._appended = self._written = 0
        self._lost: Counter[str] = Counter()
        self._trouble: LogError | None = None
        self._probe_at = 0.0
        self._away_until = 0.0
        self._pause = RETRY_FIRST_SECONDS
        self._is_stopping = self._is_closed = False
        self._counts = self._counted()
        self._thread = threading.Thread(target=self._send_all, name=f"send-{stream}", daemon=True)

    def start(self) -> None:
        """Begins with what earlier processes have left on disk."""
        with self._changed:
            if self._backlog is not None:
                try:
                    self._backlog.open()
                except LogError as error:
                    self._note(error)
            self._publish()
        self._thread.start()

    def counts(self) -> LaneCounts:
        """Never waits: the disk may be slow while they are asked for."""
        return self._counts

    def has_room(self) -> bool:
        """Whether a parcel may come. Always, where there is a disk: what neither it nor the memory takes is counted as lost.

        Else once the log has everything: until then what is new waits in the tap's queue, whose bound is configured.
        """
        return self._backlog is not None or not self._waiting

    def post(self, parcels: Sequence[Parcel]) -> None:
        """Takes parcels in their order, and never waits for the log. What waits for too long goes to disk, also when called with none."""
        now = time.monotonic()
        with self._changed:
            for parcel in parcels:
                self._accepted += parcel.rows
                self._waiting.append(_Waiting(parcel, now))
                self._waiting_bytes += len(parcel.payload)
                self._waiting_rows += parcel.rows
            mark = self._spill() if self._is_to_spill(now) else None
            self._probe(now)
            self._shed()
            self._publish()
        self._sync(mark)

    def append(self, parcel: Parcel) -> None:
        """Returns once the parcel is durable, in the log or on disk; after an append that took too long perhaps in both.

        Raises `LogError` where neither takes it, `FutureTimestamp` where the log refuses it for good.
        """
        if self._backlog is None:
            self._log.append(self._stream, parcel.messages(self._log.partitions))
            self._count_direct(parcel.rows)
        elif not self._is_straight() or not self._append_straight(parcel):
            self._append_to_disk(self._backlog, parcel)

    def stop(self, seconds: float) -> None:
        """Sends on for at most that long; what the log has not taken by then stays on disk, or is counted as lost."""
        with self._changed:
            self._changed.wait_for(self._is_settled, seconds)
            self._is_stopping = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._is_sending, LAST_TRY_SECONDS)
            self._is_closed = True
            mark = self._spill()
            self._lost[Loss.SHUTDOWN] += self._waiting_rows
            self._waiting.clear()
            self._waiting_bytes = self._waiting_rows = 0
            self._publish()
        self._sync(mark)
        self._thread.join(LAST_TRY_SECONDS)

    def _is_straight(self) -> bool:
        return time.monotonic() >= self._away_until and self._backlog is not None and self._backlog.is_empty and not self._waiting

    def _append_straight(self, parcel: Parcel) -> bool:
        """Whether the log has taken it, within the time that a client is kept waiting."""
        messages = parcel.messages(self._log.partitions)
        appended = self._threads.submit(self._log.append, self._stream, messages)
        try:
            appended.result(PATIENCE_SECONDS)
        except FutureTimestamp:
            raise
        except TimeoutError:
            appended.cancel()
            error = LogError(f"{self._stream}: the log has not answered within {PATIENCE_SECONDS:g} s")
        except LogError as refusal:
            error = refusal
        else:
            self._count_direct(parcel.rows)
            return True
        with self._changed:
            self._refused(error)
        return False

    def _append_to_disk(self, backlog: Backlog, parcel: Parcel) -> None:
        with self._changed:
            self._spill()
            if self._waiting and self._trouble is not None:  # what is older found no place there
                raise self._trouble
            try:
                mark = backlog.append(parcel)
            except LogError as error:
                self._note(error)
                self._publish()
                raise
            self._note(None)
            self._accepted += parcel.rows
            self._appended += parcel.rows
            self._publish()
        mark.queue.sync(mark)

    def _count_direct(self, rows: int) -> None:
        with self._changed:
            self._accepted += rows
            self._appended += rows
            self._written += rows
            self._publish()

    # Towards the disk. All of these are called with the lock held.

    def _is_to_spill(self, now: float) -> bool:
        if self._backlog is None or not self._waiting:
            return False
        return (
            not self._backlog.is_empty
            or now < self._away_until
            or self._waiting_bytes > WAITING_BYTES
            or now - self._waiting[0].since > SPILL_SECONDS
        )

    def _spill(self) -> Mark | None:
        """Moves what waits in memory to disk, as far as that takes it. Where the last of it ends; it is not synced yet."""
        mark = None
        while self._waiting and self._backlog is not None:
            oldest = self._waiting[0]
            try:
                mark = oldest.mark = self._backlog.append(oldest.parcel)
            except LogError as error:
                self._note(error)
                break
            self._forget_oldest()
        else:
            self._note(None)
        return mark

    def _probe(self, now: float) -> None:
        """Looks now and then whether trouble with the disk is over, once nothing needs it."""
        if self._backlog is not None and self._trouble is not None and not self._waiting and now >= self._probe_at:
            self._probe_at = now + RETRY_LAST_SECONDS
            try:
                self._backlog.probe()
            except LogError as error:
                self._note(error)
            else:
                self._note(None)

    def _shed(self) -> None:
        """Loses the newest of what neither the memory nor the disk has room for."""
        while self._backlog is not None and self._waiting_bytes > WAITING_BYTES and len(self._waiting) > self._in_flight:
            newest = self._waiting.pop()
            self._waiting_bytes -= len(newest.parcel.payload)
            self._waiting_rows -= newest.parcel.rows
            self._lost[Loss.SPOOL_FULL if isinstance(self._trouble, LogFull) else Loss.SPOOL_FAILED] += newest.parcel.rows

    def _forget_oldest(self) -> None:
        oldest = self._waiting.popleft().parcel
        self._waiting_bytes -= len(oldest.payload)
        self._waiting_rows -= oldest.rows

    def _note(self, error: LogError | None) -> None:
        """Tells of trouble with the disk once, and of its end."""
        if error is not None and type(error) is not type(self._trouble):
            _logger.error("the spool takes nothing", stream=str(self._stream), reason=str(error))
        elif error is None and self._trouble is not None:
            _logger.info("the spool takes events again", stream=str(self._stream))
        self._trouble = error

    def _sync(self, mark: Mark | None) -> None:
        """Without the lock: others may go on meanwhile."""
        if mark is not None:
            try:
                mark.queue.sync(mark)
            except LogError as error:
                with self._changed:
                    self._note(error)
                    self._publish()

    def _counted(self) -> LaneCounts:
        backlog = self._backlog
        state = SpoolState.OFF
        if isinstance(self._trouble, LogFull):
            state = SpoolState.FULL
        elif self._trouble is not None:
            state = SpoolState.FAILED
        elif backlog is not None:
            state = SpoolState.EMPTY if backlog.is_empty else SpoolState.HOLDING
        return LaneCounts(
            accepted=self._accepted,
            appended=self._appended,
            recovered=0 if backlog is None else backlog.recovered,
            written=self._written,
            lost=dict(self._lost),
            waiting=self._waiting_rows,
            spooled=0 if backlog is None else backlog.rows,
            spooled_bytes=0 if backlog is None else backlog.bytes,
            spool_bytes_limit=0 if backlog is None else backlog.bytes_limit,
            oldest_spooled=None if backlog is None else backlog.oldest,
            spool_state=state,
        )

    def _publish(self) -> None:
        self._counts = self._counted()
        self._changed.notify_all()

    # Towards the log, in the thread of its own.

    def _send_all(self) -> None:
        while self._await_turn():
            if self._backlog is None or self._backlog.is_empty:
                self._send_waiting()
            else:
                self._send_stored(self._backlog)

    def _await_turn(self) -> bool:
        """Returns when there is something to send and the log may take it, or False at the end."""
        with self._changed:
            while not self._is_stopping:
                pause = self._away_until - time.monotonic()
                has_work = bool(self._waiting) or (self._backlog is not None and not self._backlog.is_empty)
                if has_work and pause <= 0:
                    self._is_sending = True
                    return True
                self._changed.wait(pause if has_work else None)
            return False

    def _send_waiting(self) -> None:
        with self._changed:
            run: list[_Waiting] = []
            size = 0
            # What has moved to disk since this thread looked is older, and goes first.
            for waiting in self._waiting if self._backlog is None or self._backlog.is_empty else ():
                size += len(waiting.parcel.payload)
                if run and size > SEND_BYTES:
                    break
                run.append(waiting)
            self._in_flight = len(run)
        delivered = self._delivered([waiting.parcel for waiting in run])
        with self._changed:
            self._is_sending, self._in_flight = False, 0
            if delivered is not None and not self._is_closed:
                for waiting in run:
                    if waiting.mark is None:
                        self._forget_oldest()
                    elif self._backlog is not None:  # it has moved there meanwhile, to the front
                        self._lost[Loss.SPOOL_DAMAGED] += self._backlog.remove(waiting.mark, waiting.parcel.rows)
                self._count(delivered)
            self._publish()

    def _send_stored(self, backlog: Backlog) -> None:
        try:
            self._portion = self._portion or backlog.read(SEND_BYTES)
        except LogError as error:
            with self._changed:
                self._is_sending = False
                self._note(error)
                self._wait_longer()
                self._publish()
            return
        portion = self._portion
        delivered = self._delivered(portion.parcels) if portion is not None else None
        with self._changed:
            self._is_sending = False
            if portion is not None and delivered is not None and not self._is_closed:
                self._portion = None
                self._lost[Loss.SPOOL_DAMAGED] += backlog.remove(portion.mark, portion.rows, portion.damaged_rows)
                self._count(delivered)
            self._publish()

    def _count(self, delivered: Delivered) -> None:
        self._written += delivered.written
        self._lost[Loss.REFUSED] += delivered.refused

    def _delivered(self, parcels: Sequence[Parcel]) -> Delivered | None:
        """What became of the parcels' rows; None where the log refuses them for now."""
        if not parcels:
            return Delivered(0, 0)
        try:
            delivered = deliver(self._log, self._stream, parcels)
        except LogError as error:
            with self._changed:
                mark = self._refused(error)
                self._publish()
            self._sync(mark)
            return None
        with self._changed:
            if self._pause != RETRY_FIRST_SECONDS:
                _logger.info("the log takes events again", stream=str(self._stream))
            self._away_until, self._pause = 0.0, RETRY_FIRST_SECONDS
        return delivered

    def _refused(self, error: LogError) -> Mark | None:
        """With the lock held: the log takes nothing for a while, so that what waits moves to disk. Where the last of it ends."""
        if self._pause == RETRY_FIRST_SECONDS:
            _logger.warning("events wait: the log refuses them for now", stream=str(self._stream), reason=str(error))
        self._wait_longer()
        return self._spill()

    def _wait_longer(self) -> None:
        self._away_until = time.monotonic() + self._pause
        self._pause = min(2 * self._pause, RETRY_LAST_SECONDS)

    def _is_settled(self) -> bool:
        """Whether waiting longer for the log is no use: all is sent, or what is not is on disk and the log refuses it."""
        return not self._waiting and (self._backlog is None or self._backlog.is_empty or self._pause != RETRY_FIRST_SECONDS)
