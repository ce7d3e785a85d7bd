"""Cells of one monitored input: a numeric feature in bins, a categorical one in kept categories.

Bins are half-open `(a, b]` with both ends open to infinity. What is no bin has a cell of its own: missing,
non-finite, mistyped; they are kept apart because a cell that was never counted cannot be added to the past.
"""

from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np

from monitor.events import Floats, Int32s, Int64s, NumericColumn, TextColumn
from monitor.stats.bins import edges_below
from monitor.stats.vector import Additions

KEPT_CATEGORIES = 50
QUANTILE_BINS = 32
QUANTA_A_SPREAD = 2**20
"""Units of a tail sum in the reference's interquartile range: a reference chooses its `quantum` by it, a distance is scaled back by it."""
TAIL_CLIP = 2**32
"""Quanta that one row can add to a tail sum: 4,096 interquartile ranges. 2³¹ such rows fit an int64, so no sum has to saturate."""


class NumericExtra(IntEnum):
    """Cells behind the bins of a numeric feature."""

    MISSING = 0
    NON_FINITE = 1
    MISTYPED = 2
    BELOW = 3  # counted in the first bin too: out of the reference's range
    ABOVE = 4
    TAIL_LOW = 5  # sum of max(0, first edge - x), in quanta
    TAIL_HIGH = 6  # sum of max(0, x - last edge), in quanta
    TAIL_CLIPPED = 7  # rows whose tail was clipped


class CategoricalExtra(IntEnum):
    """Cells behind the kept categories of a categorical feature."""

    OTHER = 0  # seen in the reference, not kept
    UNSEEN = 1
    MISSING = 2
    MISTYPED = 3


@dataclass(frozen=True, slots=True)
class NumericLayout:
    """A numeric feature. `edges`: float64 (e,), ascending, distinct; e + 1 bins. `low` and `high` are the reference's range, `quantum` the
    unit of the tail sums (the interquartile range · 2⁻²⁰). Without a reference there is one bin, and no range.
    """

    edges: Floats
    low: float = -np.inf
    high: float = np.inf
    quantum: float = 1.0

    @property
    def bins(self) -> int:
        return len(self.edges) + 1

    @property
    def tested_cells(self) -> int:
        """Leading cells that a drift score compares: the bins."""
        return self.bins

    @property
    def size(self) -> int:
        return self.bins + len(NumericExtra)

    def cells(self, column: NumericColumn) -> Int32s:
        """The cell of each of (m,) values, counted from this feature's first."""
        values = column.values
        cell = edges_below(self.edges, values)
        finite = np.isfinite(values)
        if not finite.all():
            cell[~finite] = self.bins + NumericExtra.NON_FINITE
            cell[column.missing] = self.bins + NumericExtra.MISSING
            cell[column.mistyped] = self.bins + NumericExtra.MISTYPED
        return cell

    def sums(self, column: NumericColumn, base: int) -> list[Additions]:
        """What (m,) values add beside their cell, in a vector in which this feature's cells start at `base`."""
        values = column.values
        extra = base + self.bins
        parts: list[Additions] = []
        for cell, rows in (
            (extra + NumericExtra.BELOW, np.flatnonzero((values < self.low) & (values > -np.inf))),
            (extra + NumericExtra.ABOVE, np.flatnonzero((values > self.high) & (values < np.inf))),
        ):
            parts += _count(rows, cell)
        if len(self.edges):
            below = np.flatnonzero((values < self.edges[0]) & (values > -np.inf))
            above = np.flatnonzero((values > self.edges[-1]) & (values < np.inf))
            parts += self._tail(below, self.edges[0], values[below], extra + NumericExtra.TAIL_LOW, extra)
            parts += self._tail(above, self.edges[-1], values[above], extra + NumericExtra.TAIL_HIGH, extra)
        return parts

    def _tail(self, rows: Int64s, edge: float, values: Floats, cell: int, extra: int) -> list[Additions]:
        if not len(rows):
            return []
        with np.errstate(over="ignore"):  # 1e308 is that far away: infinite quanta are clipped as well
            quanta = np.rint(np.abs(values - edge) / self.quantum)
        amount = np.minimum(quanta, TAIL_CLIP).astype(np.int64)
        clipped = _count(rows[quanta > TAIL_CLIP], extra + NumericExtra.TAIL_CLIPPED)
        return [Additions(rows, np.full(len(rows), cell, dtype=np.int32), amount), *clipped]

    def describe(self) -> dict[str, object]:
        """What the layout hash is taken of, and what a reference file holds."""
        bounds = [value if np.isfinite(value) else None for value in (self.low, self.high)]
        return {"kind": "numeric", "edges": self.edges.tolist(), "low": bounds[0], "high": bounds[1], "quantum": self.quantum}


@dataclass(frozen=True, slots=True)
class CategoricalLayout:
    """A categorical feature: `kept` categories (≤ 50), most frequent first, and `other` ones that the reference saw too."""

    kept: tuple[str, ...]
    other: tuple[str, ...] = ()
    _cells: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        cells = dict.fromkeys(self.other, len(self.kept) + CategoricalExtra.OTHER)
        cells |= {category: cell for cell, category in enumerate(self.kept)}
        object.__setattr__(self, "_cells", cells)

    @property
    def tested_cells(self) -> int:
        """Leading cells that a drift score compares; other and unseen count as one more (`tested_counts`)."""
        return len(self.kept) + 1

    @property
    def size(self) -> int:
        return len(self.kept) + len(CategoricalExtra)

    def cells(self, column: TextColumn) -> Int32s:
        """The cell of each of (m,) values, counted from this feature's first."""
        unseen = len(self.kept) + CategoricalExtra.UNSEEN
        known = self._cells
        table = np.empty(len(column.categories) + 2, dtype=np.int32)
        table[:-2] = [known.get(category, unseen) for category in column.categories]
        table[-1] = len(self.kept) + CategoricalExtra.MISSING  # code -1
        table[-2] = len(self.kept) + CategoricalExtra.MISTYPED  # code -2
        cell: Int32s = table[column.codes]
        return cell

    def describe(self) -> dict[str, object]:
        """What the layout hash is taken of, and what a reference file holds."""
        return {"kind": "categorical", "kept": list(self.kept), "other": list(self.other)}


FeatureLayout = NumericLayout | CategoricalLayout


def _count(rows: Int64s, cell: int) -> list[Additions]:
    return [Additions.counts(rows, np.full(len(rows), cell, dtype=np.int32))] if len(rows) else []


def tested_counts(layout: FeatureLayout, counts: Int64s) -> Int64s:
    """The cells that drift compares, from this feature's slice of a vector: bins, or kept categories, then other and unseen as one."""
    if isinstance(layout, NumericLayout):
        return counts[: layout.bins]
    kept = len(layout.kept)
    pooled = counts[kept + CategoricalExtra.OTHER] + counts[kept + CategoricalExtra.UNSEEN]
    return np.append(counts[:kept], pooled)
