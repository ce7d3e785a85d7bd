"""Which bin a value falls in, by comparing every value with each edge in turn.

Fewer than 127 edges are compared faster than searched: 3.9 ns a value against 25 with 31 edges, since a comparison of whole columns runs
many at a time and never guesses a branch wrong (tests/bench/pipeline shows what binning takes).
"""

import numpy as np

from monitor.events import Floats, Int32s

EDGES_LIMIT = 126
"""What an int8 counts to."""


def edges_below(edges: Floats, values: Floats) -> Int32s:
    """How many edges are less than each value: the bin of half-open bins `(a, b]`. NaN is in the first. Shape of `values`."""
    if len(edges) > EDGES_LIMIT:
        return np.searchsorted(edges, np.nan_to_num(values, nan=-np.inf), side="left").astype(np.int32)
    count = np.zeros(len(values), dtype=np.int8)
    for edge in edges:
        count += values > edge
    return count.astype(np.int32)


def edges_at_most(edges: Floats, values: Floats) -> Int32s:
    """How many edges are at most each value: the bin of half-open bins `[a, b)`. NaN is in the first. Shape of `values`."""
    if len(edges) > EDGES_LIMIT:
        return np.searchsorted(edges, np.nan_to_num(values, nan=-np.inf), side="right").astype(np.int32)
    count = np.zeros(len(values), dtype=np.int8)
    for edge in edges:
        count += values >= edge
    return count.astype(np.int32)
