"""Bins of label delay: how long after its prediction a label arrived. Fixed, so that panes of different days add up."""

import numpy as np

from monitor.events import Int32s, Int64s

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR

EDGES_MS: tuple[int, ...] = (
    *(0, 1 * MINUTE, 2 * MINUTE, 5 * MINUTE, 10 * MINUTE, 15 * MINUTE, 30 * MINUTE, 45 * MINUTE),
    *(int(hours * HOUR) for hours in (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10, 12, 15, 18, 21)),
    *(int(days * DAY) for days in (1, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 10, 14, 21, 28, 35, 42, 60, 75, 90, 120, 180, 270, 365)),
)
"""Upper ends of the bins `(a, b]`, in milliseconds; the first bin holds labels that came before their prediction. Near a factor 1.3
apart where labels of real systems come (minutes to weeks), because a reverse-hazard estimate is a step function on them."""


def edges_up_to(horizon_ms: int) -> Int64s:
    """The ends below the horizon, int64 (b - 1,) for b bins, the last of which ends at the horizon."""
    return np.array([edge for edge in EDGES_MS if edge < horizon_ms], dtype=np.int64)


def delay_bin(edges: Int64s, delay_ms: Int64s) -> Int32s:
    """The bin of each delay, (k,)."""
    return np.searchsorted(edges, delay_ms, side="left").astype(np.int32)
