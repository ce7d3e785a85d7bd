"""Adding up what many rows hit in many vectors at once: by a dense matrix where that is small, by sorting where it is not.

A sum is named by one int64: the number of its vector in the upper half, its cell in the lower.
"""

import numpy as np

from monitor.events import Int32s, Int64s
from monitor.stats.layout import Hits
from monitor.stats.vector import add_up

_CELL_BITS = 32
_CELL_MASK = (1 << _CELL_BITS) - 1
_DENSE_CELLS_AN_ENTRY = 8
"""Counting in a dense matrix beats sorting while it has at most this many cells an entry (measured: the break-even is near 10)."""
_DENSE_CELLS_LIMIT = 1 << 24


def key_of(pane: Int64s, cell: Int32s | Int64s) -> Int64s:
    """The names of sums, ascending by vector, then by cell."""
    keys: Int64s = (pane << _CELL_BITS) | cell
    return keys


def pane_of(key: Int64s) -> Int64s:
    """The number of the vector."""
    panes: Int64s = key >> _CELL_BITS
    return panes


def cell_of(key: Int64s) -> Int32s:
    """The cell in it."""
    return (key & _CELL_MASK).astype(np.int32)


def distinct(keys: Int64s) -> tuple[Int64s, Int64s]:
    """The distinct values, ascending, and for each key its place among them, both int64.

    Marks instead of sorting where the values lie near each other, as those of panes and segments do.
    """
    if len(keys) == 0:
        return keys, keys
    low = int(keys.min())
    spread = int(keys.max()) - low + 1
    if spread > 4 * len(keys) + 65_536:
        values, places = np.unique(keys, return_inverse=True)
        return values, places.astype(np.int64)
    marked = np.zeros(spread, dtype=np.bool_)
    marked[keys - low] = True
    values = np.flatnonzero(marked)
    place_of = np.empty(spread, dtype=np.int64)
    place_of[values] = np.arange(len(values))
    return values + low, place_of[keys - low]


def sum_hits(pane: Int64s, panes: int, hits: Hits, size: int) -> tuple[Int64s, Int64s]:
    """What m rows add to vectors of `size` cells, `pane` (m,) telling to which: the sums that are not 0 by name, ascending."""
    entries = hits.cells.size + (len(hits.extra.row) if hits.extra else 0)
    if panes * size <= min(_DENSE_CELLS_AN_ENTRY * entries + 65_536, _DENSE_CELLS_LIMIT):
        base = pane * size
        total = np.zeros(panes * size, dtype=np.int64)
        for cell in hits.cells:
            total += np.bincount(base + cell, minlength=panes * size)
        if hits.extra:
            np.add.at(total, base[hits.extra.row] + hits.extra.cell, hits.extra.amount)
        hit = np.flatnonzero(total)
        return key_of(hit // size, hit % size), total[hit]
    keys = [key_of(pane, cell) for cell in hits.cells]
    amounts = [np.ones(hits.cells.size, dtype=np.int64)]
    if hits.extra:
        keys.append(key_of(pane[hits.extra.row], hits.extra.cell))
        amounts.append(hits.extra.amount)
    return add_up(np.concatenate(keys), np.concatenate(amounts))
