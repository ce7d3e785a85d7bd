"""How well scores rank: AUROC and average precision from counts of score cells, each with the bound on what the cells hide.

All functions take counts int64 (g, cells), g rankings at once, cells from the lowest score to the highest; every ranking needs a positive,
for AUROC a negative too. They know nothing of classes and thresholds.
"""

import numpy as np

from monitor.events import Floats, Int64s

_TABLE = 64
_HARMONIC = np.concatenate(([0.0], np.cumsum(1.0 / np.arange(1, _TABLE + 1))))


def roc_auc(positives: Int64s, negatives: Int64s) -> tuple[Floats, Floats]:
    """P(a positive scores higher than a negative) + ½ P(both in one cell), and the bound on the error, both (g,).

    Mann & Whitney (1947). Pairs of different cells are ranked exactly; those of one cell, Σ p_b q_b of all, count ½ where the rows' scores
    would have given them something in [0, 1]: the error is at most ½ Σ p_b q_b.
    """
    lower = np.cumsum(negatives, axis=-1) - negatives
    pairs = positives.sum(axis=-1, dtype=np.float64) * negatives.sum(axis=-1, dtype=np.float64)
    tied = 0.5 * (positives * negatives.astype(np.float64)).sum(axis=-1)
    won = (positives * lower.astype(np.float64)).sum(axis=-1)
    return (won + tied) / pairs, tied / pairs


def average_precision(positives: Int64s, negatives: Int64s) -> tuple[Floats, Floats]:
    """Σ (R_k − R_{k−1}) P_k down the scores, and the bound on the error, both (g,): the middle and half the gap of the extremes.

    The step form, as scikit-learn's, gives each positive the precision at the end of its tie. Whatever the order within a cell, nothing
    beats all its positives in one tie ahead of its negatives, and nothing is worse than its negatives and then its positives one by one.
    """
    hits, misses = positives[..., ::-1].astype(np.float64), negatives[..., ::-1].astype(np.float64)
    hits_above = np.cumsum(hits, axis=-1) - hits
    misses_above = np.cumsum(misses, axis=-1) - misses
    ahead = hits_above + hits
    best = hits * np.divide(ahead, ahead + misses_above, out=np.zeros_like(ahead), where=hits > 0)
    # The i-th of the cell's positives has precision 1 − misses / (rows ahead of it + i), so their sum is a difference of harmonic numbers.
    misses_ahead = misses_above + misses
    rows_ahead = hits_above + misses_ahead
    worst = hits - misses_ahead * _harmonic_between(rows_ahead, rows_ahead + hits)
    total = hits.sum(axis=-1)
    highest, lowest = best.sum(axis=-1) / total, worst.sum(axis=-1) / total
    return (highest + lowest) / 2.0, np.maximum(highest - lowest, 0.0) / 2.0


def _harmonic_between(first: Floats, last: Floats) -> Floats:
    """1/(first + 1) + … + 1/last for whole numbers first ≤ last: a table up to 64, the Euler-Maclaurin series beyond."""
    small = _HARMONIC[np.minimum(last, _TABLE).astype(np.int64)] - _HARMONIC[np.minimum(first, _TABLE).astype(np.int64)]
    start, end = np.maximum(first, _TABLE), np.maximum(last, _TABLE)
    large: Floats = np.log1p((end - start) / start) + _remainder(end) - _remainder(start)
    return small + large


def _remainder(count: Floats) -> Floats:
    """H(n) − ln n − γ from n = 64 on."""
    square = 1.0 / (count * count)
    return 0.5 / count - square * (1.0 / 12.0 - square * (1.0 / 120.0 - square / 252.0))
