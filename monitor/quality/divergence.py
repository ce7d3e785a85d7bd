"""Distances between two histograms, for many pairs of them at once. What a cell means, and which distances suit it, is the caller's.

p are the current shares of a pair, q the reference's, n and m their rows. Pairs lie one after the other in flat arrays, because features
differ in their number of cells: sums over a pair are one `reduceat`. Every function returns a number a pair, (g,).
"""

from dataclasses import dataclass, field

import numpy as np

from monitor.events import Floats, Int64s

HALF = 0.5
"""Added to each count of the PSI, which a cell that is empty on one side would make infinite (Jeffreys' prior)."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """g pairs of histograms over k cells in all: int64 (k,) counts, and the cell at which each pair starts, int64 (g,), ascending from 0.

    Every pair has a cell. One without rows on one side has shares of 0 there; its distances are finite and mean nothing.
    """

    starts: Int64s
    current: Int64s
    reference: Int64s
    sizes: Int64s = field(init=False)
    rows: Int64s = field(init=False)
    reference_rows: Int64s = field(init=False)
    p: Floats = field(init=False)
    q: Floats = field(init=False)

    def __post_init__(self) -> None:
        set_once = object.__setattr__
        set_once(self, "sizes", np.diff(self.starts, append=len(self.current)))
        set_once(self, "rows", np.add.reduceat(self.current, self.starts))
        set_once(self, "reference_rows", np.add.reduceat(self.reference, self.starts))
        set_once(self, "p", self.current / self.by_cell(np.maximum(self.rows, 1)))
        set_once(self, "q", self.reference / self.by_cell(np.maximum(self.reference_rows, 1)))

    def by_cell(self, values: Floats | Int64s) -> Floats:
        """A number a pair, (g,), repeated for each of its cells, (k,)."""
        return np.repeat(values, self.sizes).astype(np.float64)

    def sum(self, values: Floats) -> Floats:
        """Sums over each pair of a number a cell, (k,)."""
        total: Floats = np.add.reduceat(values, self.starts)
        return total

    def cumulated_difference(self) -> Floats:
        """F − G at the upper end of each cell, (k,): counts are added up before they are divided, so the last one is 0 exactly."""
        reached = self._cumulated(self.current) / self.by_cell(np.maximum(self.rows, 1))
        expected = self._cumulated(self.reference) / self.by_cell(np.maximum(self.reference_rows, 1))
        return reached - expected

    def _cumulated(self, counts: Int64s) -> Int64s:
        total = np.cumsum(counts)
        return total - np.repeat(total[self.starts] - counts[self.starts], self.sizes)


def psi(pairs: Pairs) -> Floats:
    """Population stability index Σ (p − q) ln(p / q), with p = (a + ½) / (n + K/2) for a of n rows in one of K cells, and so q."""
    p = (pairs.current + HALF) / pairs.by_cell(pairs.rows + HALF * pairs.sizes)
    q = (pairs.reference + HALF) / pairs.by_cell(pairs.reference_rows + HALF * pairs.sizes)
    return pairs.sum((p - q) * np.log(p / q))


def jensen_shannon(pairs: Pairs) -> Floats:
    """The distance, the root of the divergence to base 2 (Endres & Schindelin 2003): 0 for equal shares, 1 for disjoint ones."""
    middle = (pairs.p + pairs.q) / 2.0
    divergence = pairs.sum(_relative_entropy(pairs.p, middle) + _relative_entropy(pairs.q, middle)) / 2.0
    return np.sqrt(np.clip(divergence, 0.0, 1.0))


def _relative_entropy(shares: Floats, middle: Floats) -> Floats:
    ratio = np.divide(shares, middle, out=np.ones_like(shares), where=shares > 0.0)
    terms: Floats = shares * np.log2(ratio)
    return terms


def hellinger(pairs: Pairs) -> Floats:
    """√(½ Σ (√p − √q)²), in [0, 1]."""
    return np.sqrt(pairs.sum((np.sqrt(pairs.p) - np.sqrt(pairs.q)) ** 2) / 2.0)


def total_variation(pairs: Pairs) -> Floats:
    """½ Σ |p − q|, in [0, 1]."""
    return pairs.sum(np.abs(pairs.p - pairs.q)) / 2.0


def chi_square_effect(pairs: Pairs) -> Floats:
    """φ² = X² / n, with X² = n m Σ (p − q)² / (a + b) of the two-sample Pearson test on counts a and b.

    n are the current rows, so that a window's length does not change the effect: with a large reference it is Σ (p − q)² / q.
    """
    both = pairs.current + pairs.reference
    terms = np.divide((pairs.p - pairs.q) ** 2, both, out=np.zeros_like(pairs.p), where=both > 0)
    return pairs.reference_rows * pairs.sum(terms)


def kolmogorov_smirnov(pairs: Pairs) -> tuple[Floats, Floats]:
    """max |F − G| over the cells' ends, and the bound on its error, max over cells of min(p, q).

    Both functions are exact at an end, so the rows' own maximum is no less. Within a cell |F − G| exceeds its value at one of the ends by
    at most p, and that at the other by at most q.
    """
    value: Floats = np.maximum.reduceat(np.abs(pairs.cumulated_difference()), pairs.starts)
    error: Floats = np.maximum.reduceat(np.minimum(pairs.p, pairs.q), pairs.starts)
    return value, error


def wasserstein(pairs: Pairs, widths: Floats) -> tuple[Floats, Floats]:
    """∫ |F − G| dx over cells of the given widths, (k,), and the bound on its error, ½ Σ width (p + q).

    F − G is exact at the ends and taken as straight between them. A monotone function that is fixed at both ends of a cell is, in the mean
    over the cell, at most half of its rise away from the straight line. Cells with an open end have width 0 here and are the caller's.
    """
    after = pairs.cumulated_difference()
    before = np.concatenate(([0.0], after[:-1]))
    before[pairs.starts] = 0.0
    height = np.abs(before) + np.abs(after)
    crossing = np.divide(before**2 + after**2, height, out=np.zeros_like(height), where=before * after < 0.0)
    area = np.where(before * after < 0.0, crossing, height) / 2.0
    return pairs.sum(widths * area), pairs.sum(widths * (pairs.p + pairs.q)) / 2.0
