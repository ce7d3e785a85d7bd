"""Everything that serving sends to the log goes out here: a lane for each stream, and the disk under both of them.

The tap posts what may be lost if it must; the doors append what has to be durable before anybody is told.
"""

import time
from collections.abc import Sequence
from typing import Final

from monitor.clock import Milliseconds
from monitor.events import SOURCES, Stream
from monitor.serving.accounts import LaneCounts
from monitor.serving.delivery import Appender
from monitor.serving.lane import Lane
from monitor.serving.parcels import Parcel
from monitor.serving.spool.slots import Backlog, Spool
from monitor.serving.waiting import WaitingThreads

STRAIGHT_THREADS: Final = 16
"""Appends of doors that are under way at a time; those that run at once share a commit of the log."""


class Outbox:
    """For any threads. Without a spool nothing goes to disk, and `append` waits for the log alone."""

    def __init__(self, log: Appender, spool: Spool | None = None) -> None:
        self._spool = spool
        self._threads = WaitingThreads(STRAIGHT_THREADS if spool is not None else 0, "append")
        self._lanes = {stream: Lane(stream, log, None if spool is None else Backlog(spool, stream), self._threads) for stream in SOURCES}

    def start(self) -> None:
        """Opens the spool and begins with what it holds. A disk that cannot be used is told of, not raised: serving goes on."""
        for lane in self._lanes.values():
            lane.start()

    def stop(self, seconds: float) -> None:
        """Sends on for at most about that long. What the log has not taken by then stays on disk, or is counted as lost."""
        deadline = time.monotonic() + seconds
        for lane in self._lanes.values():
            lane.stop(max(0.0, deadline - time.monotonic()))
        self._threads.shutdown()
        if self._spool is not None:
            self._spool.close()

    def has_room(self, stream: Stream) -> bool:
        """Whether `post` may bring anything: without a spool, not before the log has taken what waits."""
        return self._lanes[stream].has_room()

    def post(self, stream: Stream, parcels: Sequence[Parcel]) -> None:
        """Takes parcels for the log, in their order. Never waits for it and never raises; to be called now and then also with none."""
        self._lanes[stream].post(parcels)

    def append(self, stream: Stream, content_type: str, payload: bytes, rows: int, arrival: Milliseconds) -> None:
        """Returns once so many events are durable, in the log or on disk. `payload` and `arrival` are as in `Parcel`.

        The log is tried first, for a short while, unless it is known to be away. Raises `LogError` where neither takes the events, and
        `FutureTimestamp` where the log never will.
        """
        self._lanes[stream].append(Parcel(content_type, payload, rows, arrival))

    def counts(self, stream: Stream) -> LaneCounts:
        return self._lanes[stream].counts()
