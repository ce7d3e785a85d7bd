"""What runs of a model cost, measured before it serves: it decides where they run, and whether requests should share them."""

import sys
from dataclasses import dataclass
from typing import Final

INLINE_LIMIT_SECONDS: Final = 100e-6
"""Longer runs go to a thread: a hop costs about as much as a tiny model's run, and halved its throughput when measured."""


@dataclass(frozen=True, slots=True)
class RunCost:
    """Seconds that a run takes: `one` row and, where a request chooses their number, each further row."""

    one: float
    per_row: float

    def rows_within(self, seconds: float) -> int:
        """How many rows run in that time; 0 where not even one does."""
        if self.one > seconds:
            return 0
        return 1 + int((seconds - self.one) / self.per_row) if self.per_row > 0 else sys.maxsize


UNKNOWN: Final = RunCost(float("inf"), 0.0)
"""Of a model that rows of zeros make fail."""
