"""Which label a prediction takes: a function of the *multiset* of labels on time for it, so that no order of arrival matters.

`last_wins` takes the greatest (time, arrival, value), `first_wins` the least. `conflict` takes the greatest if all values are equal, and
otherwise none: the prediction is set aside. Values compare by their codes, which are in code-point order.
"""

from dataclasses import dataclass

import numpy as np

from monitor.events import Bools, Int32s, Int64s


@dataclass(frozen=True, slots=True)
class Candidates:
    """k labels on time for predictions: the prediction's row (any key will do) and what the label says."""

    prediction: Int64s
    time: Int64s
    arrival: Int64s
    value: Int32s

    def __len__(self) -> int:
        return len(self.prediction)

    def take(self, positions: Int64s | Bools) -> "Candidates":
        return Candidates(self.prediction[positions], self.time[positions], self.arrival[positions], self.value[positions])

    def merge(self, other: "Candidates") -> "Candidates":
        return Candidates(
            np.concatenate((self.prediction, other.prediction)),
            np.concatenate((self.time, other.time)),
            np.concatenate((self.arrival, other.arrival)),
            np.concatenate((self.value, other.value)),
        )


@dataclass(frozen=True, slots=True)
class Winners:
    """One row for each of m distinct predictions, ascending.

    `value` and `arrival` are the winning label's, and mean nothing where `conflict`. `repeated` counts its other candidates of the same
    value, `replaced` those of another.
    """

    prediction: Int64s
    value: Int32s
    arrival: Int64s
    repeated: Int64s
    replaced: Int64s
    conflict: Bools

    def __len__(self) -> int:
        return len(self.prediction)

    def take(self, chosen: Bools) -> "Winners":
        return Winners(
            self.prediction[chosen],
            self.value[chosen],
            self.arrival[chosen],
            self.repeated[chosen],
            self.replaced[chosen],
            self.conflict[chosen],
        )


def winners(candidates: Candidates, first_wins: Bools, conflicts: Bools) -> Winners:
    """The winner among each prediction's candidates. `first_wins` and `conflicts` are (k,): the policy of each candidate's prediction."""
    order = np.argsort(candidates.prediction)
    prediction = candidates.prediction[order]
    starts = np.flatnonzero(np.concatenate((np.ones(min(1, len(order)), dtype=np.bool_), prediction[1:] != prediction[:-1])))
    sizes = np.diff(np.append(starts, len(order)))
    several = np.flatnonzero(sizes > 1)
    winner = order[starts]
    repeated = np.zeros(len(starts), dtype=np.int64)
    if len(several):
        contested = order[np.repeat(sizes > 1, sizes)]
        group = np.repeat(np.arange(len(several)), sizes[several])
        ranked = contested[np.lexsort((candidates.value[contested], candidates.arrival[contested], candidates.time[contested], group))]
        ends = np.cumsum(sizes[several])
        least, greatest = ranked[ends - sizes[several]], ranked[ends - 1]
        winner[several] = np.where(first_wins[greatest], least, greatest)
        agreeing = candidates.value[ranked] == candidates.value[winner[several]][group]
        repeated[several] = np.bincount(group, weights=agreeing, minlength=len(several)).astype(np.int64) - 1
    replaced = sizes - 1 - repeated
    conflict = conflicts[winner] & (replaced > 0)
    repeated[conflict] = 0
    replaced[conflict] = 0
    return Winners(prediction[starts], candidates.value[winner], candidates.arrival[winner], repeated, replaced, conflict)
