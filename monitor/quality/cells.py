"""Which cells of an inputs vector a drift score compares, feature after feature in flat arrays, and where they lie on the feature's axis.

One gather takes the counts of all features out of a vector, because a tick compares hundreds of features dozens of times.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

import numpy as np

from monitor.events import Bools, Floats, Int64s
from monitor.quality.divergence import Pairs, wasserstein
from monitor.stats.features import QUANTA_A_SPREAD, CategoricalExtra, FeatureLayout, NumericExtra, NumericLayout
from monitor.stats.scores import ScoreGrid

WIDEST: Final = 2.0**1000
"""Units from edge to edge, below which no sum over cells overflows. A feature with edges further apart has no scale."""


@dataclass(frozen=True, slots=True)
class Axis:
    """Where the cells of g pairs lie, for distances that need a scale.

    `scaled` (g,): pairs that have one. In its unit, the interquartile range of the reference: `widths` (k,), 0 for a cell with an open end
    or without a scale; `tails` and `reference_tails` (2, g), how far below the first edge and above the last a row lies, in the mean over
    all rows; `tail_error` (g,), how far off these may be in sum.
    """

    scaled: Bools
    widths: Floats
    tails: Floats
    reference_tails: Floats
    tail_error: Floats

    def wasserstein(self, pairs: Pairs) -> tuple[Floats, Floats]:
        """W1 in units, and the bound on its error, (g,).

        Above the last edge ∫ (1 − F) dx is the tail mean, so ∫ |F − G| dx is between the difference and the sum of the two tail means. The
        value takes the difference, which is right where one tail outweighs the other throughout. Likewise below the first edge.
        """
        value, error = wasserstein(pairs, self.widths)
        least = np.abs(self.tails - self.reference_tails).sum(axis=0)
        slack = 2.0 * np.minimum(self.tails, self.reference_tails).sum(axis=0)
        return value + least, error + slack + self.tail_error


def grid_axis(grid: ScoreGrid, reference: Int64s) -> Axis:
    """Of scores on a grid. The unit is the interquartile range as interpolated in the reference's cells, int64 (grid.cells,): never 0."""
    ends = np.concatenate(([0.0], grid.edges, [1.0]))
    reached = np.concatenate(([0.0], np.cumsum(reference) / reference.sum()))
    low, high = np.interp((0.25, 0.75), reached, ends)
    nothing = np.zeros((2, 1))
    return Axis(np.ones(1, dtype=np.bool_), np.diff(ends) / (high - low), nothing, nothing, np.zeros(1))


@dataclass(frozen=True, slots=True)
class FeatureCells:
    """The compared cells of g features, k in all. A categorical feature's last one pools what is `other` and what is unseen.

    `bases` (g,) is where each feature begins in a vector, `starts` (g,) where its first compared cell is among the k; `cells` (k,) are
    their places in a vector; `pools` (c,) those among the k to which the vector's cells `unseen` (c,) are added.
    """

    layouts: tuple[FeatureLayout, ...]
    bases: Int64s
    starts: Int64s
    cells: Int64s
    pools: Int64s
    unseen: Int64s

    @classmethod
    def of(cls, features: Mapping[str, FeatureLayout], bases: Mapping[str, int]) -> Self:
        """Of at least one feature; `bases` says where each one's cells begin in a vector."""
        layouts = tuple(features.values())
        base = np.array([bases[name] for name in features], dtype=np.int64)
        sizes = np.array([layout.tested_cells for layout in layouts], dtype=np.int64)
        ends = np.cumsum(sizes)
        starts = ends - sizes
        cells = np.arange(ends[-1]) + np.repeat(base - starts, sizes)
        categorical = np.array([not isinstance(layout, NumericLayout) for layout in layouts])
        pools = ends[categorical] - 1
        after_kept = base[categorical] + sizes[categorical] - 1
        cells[pools] = after_kept + CategoricalExtra.OTHER
        return cls(layouts, base, starts, cells, pools, after_kept + CategoricalExtra.UNSEEN)

    def counts(self, vector: Int64s) -> Int64s:
        """The compared counts of all features, int64 (k,), from an inputs vector."""
        counts = vector[self.cells]
        counts[self.pools] += vector[self.unseen]
        return counts

    @property
    def ordered(self) -> Bools:
        """Features whose cells have an order, and an edge between them: (g,)."""
        return np.array([isinstance(layout, NumericLayout) and len(layout.edges) > 0 for layout in self.layouts])

    def axis(self, pairs: Pairs, current: Int64s, reference: Int64s) -> Axis:
        """From the vectors that `pairs` was counted from. A feature that was constant in the reference has no scale."""
        numeric = [
            (place, layout)
            for place, layout in enumerate(self.layouts)
            if isinstance(layout, NumericLayout) and len(layout.edges) and layout.low < layout.high
        ]
        scaled = np.zeros(len(self.layouts), dtype=np.bool_)
        widths = np.zeros(len(self.cells))
        tails, reference_tails, tail_error = np.zeros((2, len(scaled))), np.zeros((2, len(scaled))), np.zeros(len(scaled))
        if not numeric:
            return Axis(scaled, widths, tails, reference_tails, tail_error)
        places = np.array([place for place, _ in numeric])
        unit = np.array([layout.quantum for _, layout in numeric]) * QUANTA_A_SPREAD
        edge_counts = np.array([len(layout.edges) for _, layout in numeric])
        first_edge = np.cumsum(edge_counts) - edge_counts
        edges = np.concatenate([layout.edges for _, layout in numeric])
        with np.errstate(over="ignore"):
            width = np.diff(edges, prepend=0.0) / np.repeat(unit, edge_counts)
        width[first_edge] = 0.0
        # Cell j of a feature ends at its edge j; the first has no left edge, the one after the last edge no right one.
        closed = np.arange(len(edges)) + np.repeat(self.starts[places] - first_edge, edge_counts)
        measurable = np.maximum.reduceat(width, first_edge) < WIDEST
        scaled[places] = measurable
        widths[closed] = np.where(np.repeat(measurable, edge_counts), width, 0.0)

        extra = self.bases[places] + edge_counts + 1
        tail_cells = extra + np.array([[NumericExtra.TAIL_LOW], [NumericExtra.TAIL_HIGH]])
        tails[:, places] = current[tail_cells] / QUANTA_A_SPREAD / np.maximum(pairs.rows[places], 1)
        reference_tails[:, places] = reference[tail_cells] / QUANTA_A_SPREAD / np.maximum(pairs.reference_rows[places], 1)
        clipped = current[extra + NumericExtra.TAIL_CLIPPED] + reference[extra + NumericExtra.TAIL_CLIPPED] > 0
        # A row's tail is rounded to a quantum, so each side's mean is within half a quantum. How far out a clipped row was, nobody knows.
        tail_error[places] = np.where(clipped, np.inf, 1.0 / QUANTA_A_SPREAD)
        return Axis(scaled, widths, tails, reference_tails, tail_error)
