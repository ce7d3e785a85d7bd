"""Whose folder is whose: each process has a slot of its own, and sends on what processes that are no more have left."""

import fcntl
import os
import threading
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import structlog

from monitor.clock import Clock, Milliseconds
from monitor.errors import LogError
from monitor.events import SOURCES, Stream
from monitor.serving.parcels import Parcel
from monitor.serving.spool.disk import Disk, make_folder
from monitor.serving.spool.queue import DiskQueue, Mark, Portion

_logger = structlog.get_logger(__name__)

LOCK: Final = "lock"


class _Slot:
    """A folder that this process has locked. Raises `LogError` where another has, `OSError`."""

    def __init__(self, disk: Disk, number: int, clock: Clock) -> None:
        folder = disk.root / str(number)
        make_folder(folder)
        self.number = number
        self._lock = os.open(folder / LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        self.queues: dict[Stream, DiskQueue] = {}
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for stream in SOURCES:
                self.queues[stream] = DiskQueue(folder / stream, disk, clock)
        except BaseException as error:
            self.close()
            if isinstance(error, BlockingIOError):
                raise LogError(
                    f"{folder} is another server's spool: give each server a serving.spool.path of its own, or end the other one"
                ) from None
            raise

    @property
    def is_empty(self) -> bool:
        return all(queue.is_empty for queue in self.queues.values())

    def close(self) -> None:
        for queue in self.queues.values():
            queue.close()
        os.close(self._lock)


class Spool:
    """The folders of one process among `workers`, which has the slot `slot`; to be made in that process, since locks outlive a fork.

    Opened when it is first needed, and again until that succeeds. Folders of slots that no worker has any more, and that nobody has
    locked, are taken over when it opens: what they hold goes first.
    """

    def __init__(self, root: Path, *, slot: int, workers: int, bytes_limit: int, clock: Clock) -> None:
        self.bytes_limit = bytes_limit
        self._disk = Disk(root, bytes_limit)
        self._slot = slot
        self._workers = workers
        self._clock = clock
        self._opening = threading.Lock()
        self.recovered: Counter[Stream] = Counter()
        self._slots: tuple[_Slot, ...] = ()

    def open(self) -> None:
        """Raises `LogError`."""
        with self._opening:
            if self._slots:
                return
            with ExitStack() as opened:
                try:
                    own = _Slot(self._disk, self._slot, self._clock)
                    opened.callback(own.close)
                    slots = (*self._left_behind(), own)
                except OSError as error:
                    raise LogError(
                        f"{error.filename or self._disk.root}: the spool cannot be made there ({error.strerror}). Make the folder "
                        "writable, choose another serving.spool.path, or set serving.spool.enabled to false"
                    ) from error
                opened.pop_all()
            self.recovered.update({stream: sum(slot.queues[stream].rows for slot in slots) for stream in SOURCES})
            self._slots = slots

    def own(self, stream: Stream) -> DiskQueue:
        """Where new parcels go. Raises `LogError`."""
        self.open()
        return self._slots[-1].queues[stream]

    def queues(self, stream: Stream) -> Sequence[DiskQueue]:
        """Those taken over, then its own; none before it could be opened."""
        return [slot.queues[stream] for slot in self._slots]

    def let_go(self) -> None:
        """Unlocks the folders taken over that are empty now."""
        with self._opening:
            emptied = [slot for slot in self._slots[:-1] if slot.is_empty]
            self._slots = tuple(slot for slot in self._slots if slot not in emptied)
        for slot in emptied:
            slot.close()

    def close(self) -> None:
        with self._opening:
            slots, self._slots = self._slots, ()
        for slot in slots:
            slot.close()

    def _left_behind(self) -> list[_Slot]:
        taken = []
        for number in sorted(int(path.parent.name) for path in self._disk.root.glob(f"*/{LOCK}") if path.parent.name.isdecimal()):
            if number < self._workers:
                continue
            try:
                slot = _Slot(self._disk, number, self._clock)
            except LogError as error:
                _logger.debug("a folder of the spool is not taken over", slot=number, reason=str(error))
            except OSError as error:
                _logger.warning("a folder of the spool cannot be taken over", slot=number, reason=str(error))
            else:
                if slot.is_empty:
                    slot.close()
                else:
                    taken.append(slot)
                    rows = {str(stream): queue.rows for stream, queue in slot.queues.items()}
                    _logger.info("took over what another worker had spooled", slot=number, rows=rows)
        return taken


class Backlog:
    """What waits on disk of one stream, in all folders of this process. Raises `LogError`, `LogFull`."""

    def __init__(self, spool: Spool, stream: Stream) -> None:
        self._spool = spool
        self._stream = stream

    def open(self) -> None:
        """As any use does."""
        self._spool.open()

    @property
    def bytes_limit(self) -> int:
        """Of all streams and processes together."""
        return self._spool.bytes_limit

    @property
    def is_empty(self) -> bool:
        return all(queue.is_empty for queue in self._queues())

    @property
    def rows(self) -> int:
        return sum(queue.rows for queue in self._queues())

    @property
    def bytes(self) -> int:
        return sum(queue.bytes for queue in self._queues())

    @property
    def recovered(self) -> int:
        """Rows that were there when the folders were opened."""
        return self._spool.recovered[self._stream]

    @property
    def oldest(self) -> Milliseconds | None:
        """When the oldest record was written, or a little before."""
        return min((moment for queue in self._queues() if (moment := queue.oldest) is not None), default=None)

    def append(self, parcel: Parcel) -> Mark:
        return self._spool.own(self._stream).append(parcel)

    def probe(self) -> None:
        self._spool.own(self._stream).probe()

    def read(self, bytes_limit: int) -> Portion | None:
        for queue in self._queues():
            if not queue.is_empty:
                return queue.read(bytes_limit)
        return None

    def remove(self, mark: Mark, rows: int, damaged_rows: int = 0) -> int:
        """See `DiskQueue.remove`."""
        lost = mark.queue.remove(mark, rows, damaged_rows)
        if mark.queue.is_empty:
            self._spool.let_go()
        return lost

    def _queues(self) -> Sequence[DiskQueue]:
        return self._spool.queues(self._stream)
