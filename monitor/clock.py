"""The wall clock as an argument: production passes `WallClock`, tests a `ManualClock`, and nothing below reads time itself."""

import time
from dataclasses import dataclass
from typing import Protocol

Milliseconds = int
"""A point in time (since 1970-01-01T00:00Z) or a length of time; names say which."""


class Clock(Protocol):
    """Tells the current time in milliseconds since the epoch, UTC."""

    def now(self) -> Milliseconds: ...


@dataclass(frozen=True, slots=True)
class WallClock:
    """The machine's clock."""

    def now(self) -> Milliseconds:
        return time.time_ns() // 1_000_000


@dataclass(slots=True)
class ManualClock:
    """A clock that stands still until it is told to move."""

    current: Milliseconds = 0

    def now(self) -> Milliseconds:
        return self.current

    def advance(self, milliseconds: Milliseconds) -> None:
        self.current += milliseconds
