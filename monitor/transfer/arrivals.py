"""When an imported event counts as having arrived: at its own original time, so that a replay means what the days meant.

An event's `arrival` says it, else its `time`. A row without a usable one, which the daemon will refuse, takes the arrival of the
row before it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from monitor.clock import Clock, Milliseconds
from monitor.codec.times import EXPECTED, Times
from monitor.errors import DecodeError, FutureTimestamp
from monitor.events import Bools, Int64s, Stream
from monitor.log.admission import FUTURE_LIMIT_MS


@dataclass(frozen=True, slots=True)
class Arrived:
    """`at` is the arrival of each of n rows, in milliseconds; `own` marks those whose arrival was found or set, not borrowed."""

    at: Int64s
    own: Bools


@dataclass(slots=True)
class Arrivals:
    """Decides the arrivals of one file after the other. `now`: every row arrives at the clock's present, whatever times it has."""

    stream: Stream
    clock: Clock
    is_now: bool
    last: Milliseconds | None = None

    def of(self, arrival: Times, time: Times, place: Callable[[int], str]) -> Arrived:
        """The arrivals of rows with these times; `place` names a row (file and line) in errors.

        Raises `DecodeError` for a label that has no time at all, `FutureTimestamp` for a row that the log would not accept.
        """
        now = self.clock.now()
        if self.is_now:
            return Arrived(np.full(len(time.absent), now, dtype=np.int64), np.ones(len(time.absent), dtype=np.bool_))
        timeless = arrival.absent & time.absent
        if self.stream is Stream.LABELS and timeless.any():
            raise DecodeError(
                f"{place(int(timeless.argmax()))}: this label has neither `arrival` nor `time` ({EXPECTED}), so that nothing says "
                "when it arrived. Add a time, or import with --arrival now to let all of them arrive at this moment"
            )
        at = np.where(arrival.absent, time.milliseconds, arrival.milliseconds)
        own = ~np.where(arrival.absent, time.absent | time.malformed, arrival.malformed)
        ahead = own & (at > now + FUTURE_LIMIT_MS)
        if ahead.any():
            row = int(ahead.argmax())
            raise FutureTimestamp(
                f"{place(row)}: this event arrives {(int(at[row]) - now) / 1000:.0f} s after the present ({int(at[row])} against {now}); "
                f"the log accepts at most {FUTURE_LIMIT_MS // 1000} s. Correct its time, or import with --arrival now"
            )
        return Arrived(self._borrowed(at, own, now), own)

    def _borrowed(self, at: Int64s, own: Bools, now: Milliseconds) -> Int64s:
        rows = np.flatnonzero(own)
        if len(rows) == 0:
            return np.full(len(at), now if self.last is None else self.last, dtype=np.int64)
        before = np.searchsorted(rows, np.arange(len(at)), side="right") - 1
        filled = at[rows[np.maximum(before, 0)]]
        if self.last is not None:
            filled[before < 0] = self.last
        self.last = int(at[rows[-1]])
        return filled
