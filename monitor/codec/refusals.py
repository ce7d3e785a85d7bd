"""Which rows of a frame are still good, and why the others are not: the first reason found is the one told."""

from collections.abc import Callable

import numpy as np

from monitor.codec.frames import Origin
from monitor.events import Bools, Int64s, Outcome, Rejection

Reason = str | Callable[[int], str]
"""Words for all rows, or made for a row where they quote it."""


class Refusals:
    """Starts with n good rows; `good` is what is left."""

    __slots__ = ("_found", "_good")

    def __init__(self, rows: int) -> None:
        self._good = np.ones(rows, dtype=np.bool_)
        self._found: list[tuple[int, Outcome, str]] = []

    @property
    def good(self) -> Bools:
        return self._good

    def good_rows(self) -> slice | Int64s:
        """An index for the good rows: without a copy where all of them are."""
        return np.flatnonzero(self._good) if self._found else slice(None)

    def add(self, bad: Bools, reason: Reason, outcome: Outcome = Outcome.INVALID) -> None:
        """Settles the good rows among the bad ones; `bad` is (n,)."""
        self._settle(np.flatnonzero(bad & self._good), reason, outcome)

    def add_among(self, rows: Int64s, bad: Bools, reason: Reason, outcome: Outcome = Outcome.INVALID) -> None:
        """The same for some of the rows: `bad` and what `reason` takes are positions in `rows`."""
        chosen = np.flatnonzero(bad & self._good[rows])
        if callable(reason):
            places = dict(zip(rows[chosen].tolist(), chosen.tolist(), strict=True))
            self._settle(rows[chosen], lambda row: reason(places[row]), outcome)
        else:
            self._settle(rows[chosen], reason, outcome)

    def _settle(self, rows: Int64s, reason: Reason, outcome: Outcome) -> None:
        self._good[rows] = False
        self._found += [(row, outcome, reason(row) if callable(reason) else reason) for row in rows.tolist()]

    def rejections(self, origin: Origin, model_of: Callable[[int], str]) -> list[Rejection]:
        """One for each refused row; `model_of` names a row's model, "" if it has none that is configured."""
        return [
            Rejection(int(origin.offset[row]), int(origin.row[row]), outcome, model_of(row), reason) for row, outcome, reason in self._found
        ]
