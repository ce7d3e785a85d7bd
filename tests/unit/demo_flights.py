"""A handful of flights to arrange demo tests with."""

from collections.abc import Sequence

import numpy as np

from monitor.demo.flights import HOUR_MS, NO_LABEL, Flights
from monitor.demo.recipe import CATEGORICAL, MONITORED, NUMERIC

FIRST_MS = 1_362_132_000_000
"""2013-03-01T10:00:00Z."""


def some_flights(minutes: Sequence[int], late: Sequence[int | None], temp: float = 40.5) -> Flights:
    """One flight for each of the minutes after `FIRST_MS`, that lands two hours after it was to leave; `late` None: cancelled."""
    count = len(minutes)
    scheduled = FIRST_MS + np.array(minutes, dtype=np.int64) * 60_000
    return Flights(
        ids=np.array([f"flight-{number}" for number in range(count)], dtype=object),
        scheduled=scheduled,
        landed=scheduled + 2 * HOUR_MS,
        day=scheduled.astype("datetime64[ms]").astype("datetime64[D]"),
        late=np.array([NO_LABEL if value is None else value for value in late], dtype=np.int8),
        numeric={name: np.full(count, temp, dtype=np.float32) for name in NUMERIC},
        text={name: np.array([f"{name}-{number}" for number in range(count)], dtype=object) for name in (*CATEGORICAL, *MONITORED)},
    )
