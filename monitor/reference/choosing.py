"""What a reference is counted by: which rows choose, and the edges, ranges and kept categories they choose.

Edges and categories come from 20 % of the rows and the counts from the others: choosing and counting on the same rows makes every later
test wrong by construction. Everything here depends on the rows and their order alone, not on how they were cut into blocks.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from monitor.events import Bools, Column, Floats, Int64s, NumericColumn, TextColumn, UInt64s
from monitor.stats.features import KEPT_CATEGORIES, QUANTA_A_SPREAD, QUANTILE_BINS, CategoricalLayout, NumericLayout

EDGE_ROWS_LIMIT: Final = 10_000
EDGE_SHARE: Final = 5
"""One row in five chooses."""

OTHER_CATEGORIES: Final = 1_000
"""Categories without a cell that are remembered as seen; further ones count as unseen in the reference itself."""

_SMALLEST_QUANTUM: Final = float(np.finfo(np.float64).tiny)
_LARGEST: Final = float(np.finfo(np.float64).max)

Objects = npt.NDArray[np.object_]


def row_hash(first: int, count: int) -> UInt64s:
    """A fixed random number for each of the rows `first`, `first` + 1, …: uint64 (count,), all distinct.

    SplitMix64's output function (Steele, Lea and Flood 2014) of the row number.
    """
    z = np.arange(first + 1, first + count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@dataclass(slots=True)
class EdgeSample:
    """The rows with the smallest hashes among those given so far, as columns; `finish` says which of all rows choose.

    Holds at most three times `EDGE_ROWS_LIMIT` rows.
    """

    rows: int = 0
    _hashes: list[UInt64s] = field(default_factory=list)
    _numbers: dict[str, list[Floats]] = field(default_factory=dict)
    _texts: dict[str, list[Objects]] = field(default_factory=dict)
    _held: int = 0
    _cutoff: int = 2**64 - 1

    def add(self, columns: Mapping[str, Column], count: int) -> None:
        """Takes the next `count` rows, the same columns each time."""
        hashes = row_hash(self.rows, count)
        self.rows += count
        taken = np.flatnonzero(hashes <= np.uint64(self._cutoff))
        if len(taken) > EDGE_ROWS_LIMIT:
            taken = np.sort(taken[np.argpartition(hashes[taken], EDGE_ROWS_LIMIT - 1)[:EDGE_ROWS_LIMIT]])
        self._hashes.append(hashes[taken])
        for name, column in columns.items():
            match column:
                case NumericColumn():
                    self._numbers.setdefault(name, []).append(column.values[taken])
                case TextColumn():
                    self._texts.setdefault(name, []).append(_texts(column, taken))
        self._held += len(taken)
        if self._held > 2 * EDGE_ROWS_LIMIT:
            self._keep(EDGE_ROWS_LIMIT)

    def finish(self) -> int:
        """Keeps a fifth of the rows, at most `EDGE_ROWS_LIMIT`; how many these are."""
        self._keep(min(EDGE_ROWS_LIMIT, -(-self.rows // EDGE_SHARE)))
        return self._held

    def chose(self, first: int, count: int) -> Bools:
        """Whether each of the rows `first`, … chose, once finished: bool (count,)."""
        chosen: Bools = row_hash(first, count) <= np.uint64(self._cutoff)
        return chosen

    def numbers(self, name: str) -> Floats:
        """The finite values of a numeric feature in the kept rows."""
        values: Floats = np.concatenate(self._numbers[name])
        finite: Floats = values[np.isfinite(values)]
        return finite

    def categories(self, name: str) -> list[str]:
        """The categories of a feature in the kept rows: most frequent first, equally frequent ones by code point."""
        counted = Counter(np.concatenate(self._texts[name]).tolist())
        counted.pop(None, None)
        return sorted(counted, key=lambda category: (-counted[category], category))

    def _keep(self, limit: int) -> None:
        hashes = np.concatenate(self._hashes) if self._hashes else np.empty(0, dtype=np.uint64)
        if limit == 0:
            return
        kept = np.argpartition(hashes, limit - 1)[:limit] if limit < len(hashes) else np.arange(len(hashes))
        self._hashes = [hashes[kept]]
        self._numbers = {name: [np.concatenate(parts)[kept]] for name, parts in self._numbers.items()}
        self._texts = {name: [np.concatenate(parts)[kept]] for name, parts in self._texts.items()}
        self._held = len(kept)
        self._cutoff = int(self._hashes[0].max())


def _texts(column: TextColumn, taken: Int64s) -> Objects:
    """The texts of some rows, None where there is none."""
    table = np.array([*column.categories, None, None], dtype=object)
    texts: Objects = table[column.codes[taken]]
    return texts


@dataclass(slots=True)
class Range:
    """The least and the greatest finite value of a numeric feature."""

    low: float = np.inf
    high: float = -np.inf

    def add(self, column: NumericColumn) -> None:
        values = column.values
        low, high = values.min(initial=np.inf), values.max(initial=-np.inf)
        if not (np.isfinite(low) and np.isfinite(high)):
            finite = values[np.isfinite(values)]
            low, high = finite.min(initial=np.inf), finite.max(initial=-np.inf)
        self.low, self.high = min(self.low, float(low)), max(self.high, float(high))


@dataclass(slots=True)
class SeenCategories:
    """The first categories of a feature in row order, as many as a layout can remember."""

    seen: dict[str, None] = field(default_factory=dict)

    def add(self, column: TextColumn) -> None:
        """Once full, costs nothing."""
        limit = KEPT_CATEGORIES + OTHER_CATEGORIES
        if len(self.seen) >= limit:
            return
        present = np.flatnonzero(np.bincount(column.codes[column.codes >= 0], minlength=len(column.categories)))
        new = [code for code in present.tolist() if column.categories[code] not in self.seen]
        if not new:
            return
        codes, first_row = np.unique(column.codes, return_index=True)
        first = dict(zip(codes.tolist(), first_row.tolist(), strict=True))
        for code in sorted(new, key=first.__getitem__):
            category = column.categories[code]
            if len(self.seen) < limit:
                self.seen[category] = None


def numeric_layout(numbers: Floats, seen: Range) -> NumericLayout:
    """The layout that the edge rows' finite values (k,) choose: quantile bins, or an edge a value where there are few."""
    low, high = (seen.low, seen.high) if seen.low <= seen.high else (-np.inf, np.inf)
    values = numbers + 0.0  # -0.0 becomes 0.0
    edges = np.unique(values)
    if len(edges) > QUANTILE_BINS:
        cuts = np.arange(1, QUANTILE_BINS) / QUANTILE_BINS
        edges = np.unique(np.quantile(values, cuts, method="inverted_cdf"))
    return NumericLayout(edges, low, high, max(_spread(values, low, high) / QUANTA_A_SPREAD, _SMALLEST_QUANTUM))


def _spread(values: Floats, low: float, high: float) -> float:
    """The interquartile range; where that is 0 the whole range; where that is 0 too, or there is none, 1."""
    if not len(values):
        return 1.0
    lower, upper = map(float, np.quantile(values, (0.25, 0.75), method="inverted_cdf"))
    return min(upper - lower or high - low or 1.0, _LARGEST)


def categorical_layout(ranked: Iterable[str], seen: SeenCategories) -> CategoricalLayout:
    """The layout that the edge rows' categories choose, ranked by frequency; others are remembered, theirs before the first seen."""
    candidates = list(ranked)
    kept = tuple(candidates[:KEPT_CATEGORIES])
    others = dict.fromkeys([*candidates[KEPT_CATEGORIES:], *seen.seen])
    for category in kept:
        others.pop(category, None)
    return CategoricalLayout(kept, tuple(sorted(list(others)[:OTHER_CATEGORIES])))
