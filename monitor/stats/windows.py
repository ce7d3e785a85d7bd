"""The step at which a window is read: fixed by the window alone, so that panes of every partition and replica meet."""

from typing import Final

_MINUTE: Final = 60_000
STEPS_MS: Final = tuple(minutes * _MINUTE for minutes in (1_440, 720, 360, 180, 120, 60, 30, 15, 10, 5, 2, 1))
"""1, 2, 5, 10, 15, 30 min, 1, 2, 3, 6, 12 h and 1 d, the largest first."""

STEPS_A_WINDOW: Final = 24
"""A window holds at least this many panes: its edge moves by at most 1/24 of it, and rates between panes can be compared."""

SHORTEST_WINDOW_MS: Final = STEPS_A_WINDOW * STEPS_MS[-1]


def step_of(window_ms: int) -> int:
    """The largest step, in milliseconds, that divides the window and is at most 1/24 of it.

    Raises ValueError for a window under 24 minutes or one that is not a whole number of minutes.
    """
    if window_ms < SHORTEST_WINDOW_MS:
        raise ValueError("a window is at least 24m long, so that it holds 24 panes of a minute or more")
    for step in STEPS_MS:
        if step * STEPS_A_WINDOW <= window_ms and window_ms % step == 0:
            return step
    raise ValueError("a window is a whole number of minutes, so that whole panes fill it")
