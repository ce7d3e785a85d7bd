"""The tap: predictions from the request path towards the log, by way of a queue bounded in bytes and a thread of its own.

The request path hands over references and returns. The drain thread gathers, encodes columns and posts them to the outbox, which waits
for the log, or for the disk, in the drain's stead. Nothing here can make an inference wait or fail.
"""

import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

import structlog

from monitor.clock import Milliseconds
from monitor.events import Stream
from monitor.serving.accounts import Loss, SpoolState
from monitor.serving.delivery import origin_of
from monitor.serving.monitored import Monitored
from monitor.serving.outbox import Outbox
from monitor.serving.parcels import Parcel
from monitor.serving.refusals import BadRequest
from monitor.serving.row_parameters import RowParameters
from monitor.serving.tensors import Tensor

_logger = structlog.get_logger(__name__)

GATHER_SECONDS: Final = 0.2
"""How long predictions may gather. A batch costs 2 ms whatever it holds (encoding 24 columns and a commit, with cold caches beside a busy
event loop): 11 to 18 µs of CPU a prediction at 0.05 s and 5,000 requests/s, 6 to 8 µs at 0.2 s."""
BATCH_ROWS: Final = 5_000
LAST_TRY_SECONDS: Final = 1.0
"""For a write to a disk that hangs when the time is up."""
NO_ROOM_SECONDS: Final = 0.05
"""How soon the drain looks again whether the outbox has room, when the time to stop has come."""


@dataclass(frozen=True, slots=True, eq=False)
class Tapped:
    """A model version whose predictions are logged. Equal to itself alone, so that batches can be told apart by it."""

    model: str
    version: str
    monitored: Monitored


class Entry(NamedTuple):
    """One answered request, by reference. `trace` is its `traceparent`."""

    tapped: Tapped
    rows: int
    inputs: Mapping[str, Tensor]
    outputs: Sequence[Tensor]
    ids: list[str]
    arrival: Milliseconds
    parameters: RowParameters
    cost: int
    trace: str | None = None


class Exchange(Protocol):
    """A request and its answer as bytes, about `cost` of them, which nobody has looked at yet."""

    @property
    def cost(self) -> int: ...

    def decode(self) -> Sequence[Entry]:
        """Called in the drain thread. Raises `BadRequest` for what is no prediction."""
        ...


Encode = Callable[[Sequence[Entry], bool], Sequence[Parcel]]
"""Entries of one model version, and whether clients' times are arrivals, to parcels. Rows that it leaves out are not sampled."""


@dataclass(frozen=True, slots=True)
class TapCounts:
    """Rows since the start: `accepted` + `recovered` = `written` + the lost + `unsampled` + `queued` + `spooled`.

    `recovered` are those that earlier processes had spooled, `unsampled` those left out by `tap.sample`. An exchange counts as one row
    until it is decoded. `queued_bytes` is an estimate of what the queue holds; what is spooled is this process's, its limit all processes'.
    """

    accepted: int
    recovered: int
    written: int
    lost: Mapping[str, int]
    unsampled: int
    queued: int
    queued_bytes: int
    queued_bytes_limit: int
    spooled: int
    spooled_bytes: int
    spool_bytes_limit: int
    oldest_spooled: Milliseconds | None
    spool_state: SpoolState


class Tap:
    """`put`, `put_exchange` and `counts` belong to one thread (the event loop's), everything else but `start` and `stop` to the drain's."""

    def __init__(self, outbox: Outbox, encode: Encode, *, bytes_limit: int, trust_client_times: bool) -> None:
        self._outbox = outbox
        self._encode = encode
        self._bytes_limit = bytes_limit
        self._trusts = trust_client_times
        self._queue: deque[Entry | Exchange] = deque()
        # Each number has one writer, so that no lock is needed: the first three the request path, the others the drain.
        self._accepted = self._put_bytes = self._overflowed = 0
        self._taken_bytes = self._unfolded = self._unsampled = 0
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

    def put_exchange(self, exchange: Exchange) -> None:
        """The same for bytes; how many rows they are is found out later."""
        self._accepted += 1
        if self._put_bytes - self._taken_bytes + exchange.cost > self._bytes_limit:
            self._overflowed += 1
            return
        self._put_bytes += exchange.cost
        self._queue.append(exchange)

    def counts(self) -> TapCounts:
        # In the order in which rows move on, backwards, so that none is counted at two places.
        lane = self._outbox.counts(Stream.PREDICTIONS)
        lost = {loss.value: lane.lost.get(loss, 0) + self._dropped[loss] for loss in Loss}
        lost[Loss.QUEUE_FULL] += self._overflowed
        unsampled = self._unsampled
        accepted = self._accepted + self._unfolded + lane.appended
        return TapCounts(
            accepted=accepted,
            recovered=lane.recovered,
            written=lane.written,
            lost=lost,
            unsampled=unsampled,
            queued=accepted + lane.recovered - lane.written - sum(lost.values()) - unsampled - lane.spooled,
            queued_bytes=self._put_bytes - self._taken_bytes,
            queued_bytes_limit=self._bytes_limit,
            spooled=lane.spooled,
            spooled_bytes=lane.spooled_bytes,
            spool_bytes_limit=lane.spool_bytes_limit,
            oldest_spooled=lane.oldest_spooled,
            spool_state=lane.spool_state,
        )

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_seconds: float) -> None:
        """Posts what is queued, for at most that long; what the outbox has no room for by then is counted as lost."""
        self._stopping.set()
        self._thread.join(timeout_seconds)
        self._deadline_passed.set()
        self._thread.join(LAST_TRY_SECONDS)

    def _run(self) -> None:
        while not self._stopping.wait(GATHER_SECONDS):
            self._drain()
        self._drain()
        while self._queue and not self._deadline_passed.wait(NO_ROOM_SECONDS):
            self._drain()
        self._dropped[Loss.SHUTDOWN] += sum(1 if not isinstance(item, Entry) else item.rows for item in self._queue)

    def _drain(self) -> None:
        """Empties the queue, as far as the outbox has room. What waits there is looked after even if nothing is new."""
        while self._queue and self._outbox.has_room(Stream.PREDICTIONS):
            batches: dict[Tapped, list[Entry]] = {}
            rows = taken_bytes = 0
            # Whole requests until the batch is full. The request path may append meanwhile; only this thread takes away.
            while self._queue and rows < BATCH_ROWS:
                item = self._queue.popleft()
                taken_bytes += item.cost
                for entry in (item,) if isinstance(item, Entry) else self._decoded(item):
                    batches.setdefault(entry.tapped, []).append(entry)
                    rows += entry.rows
            self._outbox.post(Stream.PREDICTIONS, [parcel for entries in batches.values() for parcel in self._encoded(entries)])
            # Only now does the queue have room again: what is being encoded is still held.
            self._taken_bytes += taken_bytes
        self._outbox.post(Stream.PREDICTIONS, ())

    def _decoded(self, exchange: Exchange) -> Sequence[Entry]:
        try:
            entries = exchange.decode()
        except BadRequest:
            self._dropped[Loss.UNENCODABLE] += 1
            return ()
        except Exception as error:  # noqa: BLE001  told by `origin_of`
            _logger.error("an exchange could not be decoded", **origin_of(error))  # noqa: TRY400  its text is not for the log
            self._dropped[Loss.UNENCODABLE] += 1
            return ()
        self._unfolded += sum(entry.rows for entry in entries) - 1
        return entries

    def _encoded(self, entries: list[Entry]) -> Sequence[Parcel]:
        rows = sum(entry.rows for entry in entries)
        try:
            parcels = self._encode(entries, self._trusts)
        except Exception as error:  # noqa: BLE001  told by `origin_of`
            # An event that cannot be encoded must not stop the tap; it is a bug here or a surprise in the data, so it is shown.
            of = {"model": entries[0].tapped.model, "version": entries[0].tapped.version, "rows": str(rows)}
            _logger.error("predictions could not be encoded", **of, **origin_of(error))  # noqa: TRY400  its text is not for the log
            self._dropped[Loss.UNENCODABLE] += rows
            return ()
        self._unsampled += rows - sum(parcel.rows for parcel in parcels)
        return parcels
