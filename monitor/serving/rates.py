"""How many events a second each sender may send: token buckets that hold ten seconds' worth, one a sender, a bounded number of them.

A bucket is one number, when it will be full again. Of the libraries for this, limits and pyrate-limiter read the clock themselves and
aiolimiter waits instead of refusing; a dozen lines of arithmetic need neither.
"""

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from monitor.serving.refusals import TooBusy

BURST_SECONDS: Final = 10.0
SENDERS_LIMIT: Final = 10_000
"""Buckets that are kept. The one that has been idle longest makes room for a new sender, and is full when it comes back."""
_ROUNDING_SECONDS: Final = 1e-6


class Rates:
    """The buckets of all senders. For any thread; `seconds` never goes backwards."""

    def __init__(
        self, events_per_second: float, seconds: Callable[[], float] = time.monotonic, *, senders_limit: int = SENDERS_LIMIT
    ) -> None:
        self._per_second = events_per_second
        self._seconds = seconds
        self._senders_limit = senders_limit
        self._full_at: OrderedDict[str, float] = OrderedDict()
        self._lock = threading.Lock()

    def check(self, sender: str) -> None:
        """Takes nothing. Raises `TooBusy` where a single event would be refused, before any work is put into finding out how many it is."""
        with self._lock:
            now = self._seconds()
            self._admit(self._full_at.get(sender, now) - now, 1)

    def take(self, sender: str, events: int) -> None:
        """Takes that many at once, or none and raises `TooBusy`.

        More than a bucket holds pass where it is full, which puts it in debt: the rate holds, and no size of request is refused for ever.
        """
        with self._lock:
            now = self._seconds()
            full_at = max(now, self._full_at.get(sender, now))
            self._admit(full_at - now, events)
            self._full_at[sender] = full_at + events / self._per_second
            self._full_at.move_to_end(sender)
            if len(self._full_at) > self._senders_limit:
                self._full_at.popitem(last=False)

    def _admit(self, seconds_until_full: float, events: int) -> None:
        wait = max(0.0, seconds_until_full) + min(events / self._per_second, BURST_SECONDS) - BURST_SECONDS
        if wait > _ROUNDING_SECONDS:
            limit = f"{self._per_second:g} events a second (serving.doors.events_per_second)"
            raise TooBusy(f"more than {limit} came from this sender: send this again in {math.ceil(wait)} s", math.ceil(wait))
