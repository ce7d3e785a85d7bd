"""The tap: predictions from the request path into the log, by way of a queue bounded in bytes and a thread of its own.

The request path hands over references and returns. The drain thread encodes columns, partitions and appends; while the log refuses, it
tries again as long as the queue has room; after that a prediction is lost and counted. Nothing here can make an inference wait or fail.
"""

import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import structlog

from monitor.clock import Milliseconds
from monitor.errors import FutureTimestamp, LogError
from monitor.events import Stream
from monitor.log import Message
from monitor.serving.monitored import Monitored
from monitor.serving.row_parameters import RowParameters
from monitor.serving.tensors import Tensor

_logger = structlog.get_logger(__name__)

GATHER_SECONDS = 0.2
"""How long predictions may gather. A batch costs 2 ms whatever it holds (encoding 24 columns and a commit, with cold caches beside a busy
event loop): 11 to 18 µs of CPU a prediction at 0.05 s and 5,000 requests/s, 6 to 8 µs at 0.2 s."""
BATCH_ROWS = 5_000
LAST_TRY_SECONDS = 1.0
"""For an append that is under way when the time is up; one to brokers that are away may take far longer."""
_RETRY_FIRST_SECONDS = 0.1
_RETRY_LAST_SECONDS = 5.0

QUEUE_FULL = "queue_full"
REFUSED = "refused"
SHUTDOWN = "shutdown"
UNENCODABLE = "unencodable"
REASONS = (QUEUE_FULL, REFUSED, SHUTDOWN, UNENCODABLE)


class Appender(Protocol):
    """What serving asks of a log: messages made durable, in order within a partition, or `LogFull`, `LogError`."""

    @property
    def partitions(self) -> int: ...

    def append(self, stream: Stream, messages: Sequence[Message]) -> list[int]: ...


@dataclass(frozen=True, slots=True, eq=False)
class Tapped:
    """A model version whose predictions are logged. Equal to itself alone, so that batches can be told apart by it."""

    model: str
    version: str
    monitored: Monitored


class Entry(NamedTuple):
    """One answered request, by reference."""

    tapped: Tapped
    rows: int
    inputs: Mapping[str, Tensor]
    outputs: Sequence[Tensor]
    ids: list[str]
    arrival: Milliseconds
    parameters: RowParameters
    cost: int


Encode = Callable[[Sequence[Entry], bool, int], Sequence[Message]]
"""Entries of one model version, whether clients' times are arrivals, and the number of partitions, to messages."""


@dataclass(frozen=True, slots=True)
class TapCounts:
    """Rows since the start: `accepted` = `written` + the lost + those still queued. Bytes are an estimate of what the queue holds."""

    accepted: int
    written: int
    lost: Mapping[str, int]
    queued_bytes: int
    queued_bytes_limit: int


class Tap:
    """`put` belongs to one thread (the event loop's), everything else but `start` and `stop` to the drain's."""

    def __init__(self, log: Appender, encode: Encode, *, bytes_limit: int, trust_client_times: bool) -> None:
        self._log = log
        self._encode = encode
        self._bytes_limit = bytes_limit
        self._trusts = trust_client_times
        self._queue: deque[Entry] = deque()
        # Each number has one writer, so that no lock is needed: the first three `put`, the others the drain.
        self._accepted = self._put_bytes = self._overflowed = 0
        self._written = self._taken_bytes = 0
        self._dropped: Counter[str] = Counter()
        self._stopping = threading.Event()
        self._deadline_passed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tap", daemon=True)

    def put(self, entry: Entry) -> None:
        """Queues an answered request, or counts its rows as lost where the queue is full. Never waits."""
        self._accepted += entry.rows
        if self._put_bytes - self._taken_bytes + entry.cost > self._bytes_limit:
            self._overflowed += entry.rows
            return
        self._put_bytes += entry.cost
        self._queue.append(entry)

    def counts(self) -> TapCounts:
        lost = {reason: self._dropped[reason] for reason in REASONS}
        lost[QUEUE_FULL] += self._overflowed
        return TapCounts(self._accepted, self._written, lost, self._put_bytes - self._taken_bytes, self._bytes_limit)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_seconds: float) -> None:
        """Writes what is queued, for at most that long; what the log has not taken by then is counted as lost."""
        self._stopping.set()
        self._thread.join(timeout_seconds)
        self._deadline_passed.set()
        self._thread.join(LAST_TRY_SECONDS)

    def _run(self) -> None:
        while not self._stopping.wait(GATHER_SECONDS):
            self._drain()
        self._drain()

    def _drain(self) -> None:
        while self._queue:
            batches: dict[Tapped, list[Entry]] = {}
            rows = taken_bytes = 0
            # Whole requests until the batch is full. The request path may append meanwhile; only this thread takes away.
            while self._queue and rows < BATCH_ROWS:
                entry = self._queue.popleft()
                batches.setdefault(entry.tapped, []).append(entry)
                rows += entry.rows
                taken_bytes += entry.cost
            for entries in batches.values():
                self._write(entries)
            # Only now does the queue have room again: what is being written is still held.
            self._taken_bytes += taken_bytes

    def _write(self, entries: list[Entry]) -> None:
        rows = sum(entry.rows for entry in entries)
        try:
            messages = self._encode(entries, self._trusts, self._log.partitions)
        except Exception:
            # An event that cannot be encoded must not stop the tap; it is a bug here or a surprise in the data, so it is shown.
            self._lose(UNENCODABLE, rows)
            _logger.exception(
                "predictions could not be encoded", model=entries[0].tapped.model, version=entries[0].tapped.version, rows=rows
            )
            return
        wait = _RETRY_FIRST_SECONDS
        while True:
            try:
                self._log.append(Stream.PREDICTIONS, messages)
            except FutureTimestamp as error:
                self._lose(REFUSED, rows)
                _logger.warning("predictions lost: the log refused them for good", reason=str(error), rows=rows)
                return
            except LogError as error:
                if wait == _RETRY_FIRST_SECONDS:
                    _logger.warning("predictions wait: the log refuses them for now", reason=str(error), rows=rows)
                if self._deadline_passed.is_set():
                    self._lose(SHUTDOWN, rows)
                    return
                self._deadline_passed.wait(wait)
                wait = min(2 * wait, _RETRY_LAST_SECONDS)
            except Exception:
                # Whatever else a log raises is a bug there; it must not end the thread, or every later prediction would be lost unseen.
                self._lose(REFUSED, rows)
                _logger.exception("predictions lost: the log failed", rows=rows)
                return
            else:
                self._written += rows
                return

    def _lose(self, reason: str, rows: int) -> None:
        self._dropped[reason] += rows
