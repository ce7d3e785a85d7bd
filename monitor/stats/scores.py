"""Cells of a score: a grid over [0, 1] that also has an edge at the decision threshold.

Cells are `[a, b)` (the last one closed), so that the edge at the threshold parts exactly what `score >= threshold` parts.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from monitor.events import Floats, Int32s, Int64s
from monitor.stats.bins import edges_at_most

GRID_CELLS = 100
FIXED_POINT = 2.0**30
"""Real-valued sums are int64 multiples of 2⁻³⁰: additions are exact in any order and exactly removable."""
LOG_LOSS_CLIP = 1e-15
"""Probabilities are clipped to [1e-15, 1 - 1e-15] before the logarithm, so one row adds at most 34.54 (2^35.1 quanta)."""


class ScoreExtra(IntEnum):
    """Cells behind the grid."""

    MISSING = 0
    NON_FINITE = 1
    OUT_OF_RANGE = 2


@dataclass(frozen=True, slots=True)
class ScoreGrid:
    """Interior edges, float64 (e,), ascending in (0, 1); e + 1 grid cells, then the extra ones."""

    edges: Floats

    @classmethod
    def with_threshold(cls, threshold: float | None) -> "ScoreGrid":
        """100 equal cells, one of them split at the threshold where that is no edge already."""
        edges = np.arange(1, GRID_CELLS) / GRID_CELLS
        if threshold is not None and 0.0 < threshold < 1.0:
            edges = np.unique(np.append(edges[~np.isclose(edges, threshold, rtol=0, atol=1e-12)], threshold))
        return cls(edges)

    @property
    def cells(self) -> int:
        """Grid cells, without the extra ones."""
        return len(self.edges) + 1

    @property
    def size(self) -> int:
        return self.cells + len(ScoreExtra)

    def cell_of(self, scores: Floats) -> Int32s:
        """The cell of each score, (m,); an absent score is NaN here and counted as missing."""
        cell = edges_at_most(self.edges, scores)
        in_range = (scores >= 0.0) & (scores <= 1.0)
        if not in_range.all():
            outside = np.flatnonzero(~in_range)
            values = scores[outside]
            extra = np.full(len(outside), ScoreExtra.OUT_OF_RANGE, dtype=np.int32)
            extra[np.isinf(values)] = ScoreExtra.NON_FINITE
            extra[np.isnan(values)] = ScoreExtra.MISSING
            cell[outside] = self.cells + extra
        return cell


def fixed_point(values: Floats) -> Int64s:
    """Non-negative reals as int64 multiples of 2⁻³⁰, rounded to the nearest."""
    return np.rint(values * FIXED_POINT).astype(np.int64)


def log_loss(probability: Floats) -> Floats:
    """−ln p of the actual class's probability, clipped as scikit-learn's `log_loss`."""
    return -np.log(np.clip(probability, LOG_LOSS_CLIP, 1.0 - LOG_LOSS_CLIP))
