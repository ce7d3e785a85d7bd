"""What goes into a join table and what comes out of it, as columns: rules, rows, outcomes, changes and counts.

Nothing here decides anything; `monitor.join.table` does.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from monitor.clock import Milliseconds
from monitor.events import Bools, Floats, Int16s, Int32s, Int64s, Outcome, UInt64s

Int8s = npt.NDArray[np.int8]
Float32s = npt.NDArray[np.float32]


class Corrections(StrEnum):
    """Which of several labels on time for a prediction is its actual: see `monitor.join.matching`."""

    LAST_WINS = "last_wins"
    FIRST_WINS = "first_wins"
    CONFLICT = "conflict"


@dataclass(frozen=True, slots=True)
class JoinRules:
    """How one model's predictions meet their labels. `horizon` is how long after a prediction its label may arrive."""

    horizon: Milliseconds
    corrections: Corrections


@dataclass(frozen=True, slots=True)
class PredictionRows:
    """n predictions of one partition, in log order.

    `ids` is uint64 (n, 2). `identity` is the caller's code for the model and version, from 0, never given to another pair of them.
    `score` is P(positive) of a binary model, else NaN; `scores` is float32 (n, score width of the table), or None where no row is
    of a multi-class model. `content` is a digest of what the row says.
    """

    ids: UInt64s
    time: Int64s
    arrival: Int64s
    identity: Int32s
    model: Int16s
    predicted: Int16s
    score: Floats
    scores: Float32s | None
    segment: Int32s
    content: UInt64s

    def __len__(self) -> int:
        return len(self.time)

    def take(self, positions: Int64s) -> "PredictionRows":
        return PredictionRows(
            ids=self.ids[positions],
            time=self.time[positions],
            arrival=self.arrival[positions],
            identity=self.identity[positions],
            model=self.model[positions],
            predicted=self.predicted[positions],
            score=self.score[positions],
            scores=None if self.scores is None else self.scores[positions],
            segment=self.segment[positions],
            content=self.content[positions],
        )


@dataclass(frozen=True, slots=True)
class LabelRows:
    """n labels of one partition, in log order. `model` may be `events.ANY_MODEL`; `value` is a code of `events.LabelValues`."""

    ids: UInt64s
    time: Int64s
    arrival: Int64s
    model: Int16s
    value: Int32s

    def __len__(self) -> int:
        return len(self.time)

    def take(self, positions: Int64s) -> "LabelRows":
        return LabelRows(self.ids[positions], self.time[positions], self.arrival[positions], self.model[positions], self.value[positions])


@dataclass(frozen=True, slots=True)
class PairChanges:
    """k changes of the joined pairs: `sign` +1 puts a pair into every sum, -1 takes one out that was put in before.

    `time` is the prediction's, `actual` the label's class in the prediction's model; `label_arrival` places the pair on the feedback
    clock. `scores` is (k, score width), None where that is 0.
    """

    sign: Int8s
    model: Int16s
    identity: Int32s
    segment: Int32s
    time: Int64s
    predicted: Int16s
    actual: Int32s
    score: Floats
    scores: Float32s | None
    label_arrival: Int64s

    def __len__(self) -> int:
        return len(self.sign)

    def take(self, positions: Int64s) -> "PairChanges":
        return PairChanges(
            sign=self.sign[positions],
            model=self.model[positions],
            identity=self.identity[positions],
            segment=self.segment[positions],
            time=self.time[positions],
            predicted=self.predicted[positions],
            actual=self.actual[positions],
            score=self.score[positions],
            scores=None if self.scores is None else self.scores[positions],
            label_arrival=self.label_arrival[positions],
        )


OUTCOMES = (Outcome.ACCEPTED, Outcome.DUPLICATE, Outcome.BAD_TIME, Outcome.OUT_OF_ORDER, Outcome.OVER_LIMIT, Outcome.UNSAMPLED)
"""What the int8 codes in `outcomes` mean: `OUTCOMES[code]`."""

ACCEPTED, DUPLICATE, BAD_TIME, OUT_OF_ORDER, OVER_LIMIT, UNSAMPLED = range(len(OUTCOMES))


@dataclass(frozen=True, slots=True)
class PredictionsAdded:
    """`outcomes` and `differing` are (n,) as the rows were; `differing` marks duplicates that say something else than the first did."""

    outcomes: Int8s
    differing: Bools
    changes: PairChanges


@dataclass(frozen=True, slots=True)
class LabelsAdded:
    """`outcomes` is (n,) as the rows were."""

    outcomes: Int8s
    changes: PairChanges


@dataclass(frozen=True, slots=True)
class PairCounts:
    """What became of pairs and rows since the logs began, int64 (models,); of a sample only those in it, as they were counted.

    `joined`: predictions with an actual. `repeated`, `replaced`: further labels on time for such a prediction, with its actual and with
    another value. `conflict`: predictions set aside by that policy. `late`: pairs whose label came after the horizon. `differing`:
    duplicates that differ from the first. `orphaned` is (models + 1,): labels freed that met no prediction, on time or late, by the model
    that they name; the last cell is of those that name none.

    `joined`, `replaced`, `repeated` and `conflict` describe the pairs as they stand and may fall; the others only rise.
    """

    joined: Int64s
    replaced: Int64s
    repeated: Int64s
    late: Int64s
    conflict: Int64s
    differing: Int64s
    orphaned: Int64s

    @classmethod
    def zero(cls, models: int) -> "PairCounts":
        """Nothing counted yet, arrays of its own."""
        joined, replaced, repeated, late, conflict, differing = np.zeros((6, models), dtype=np.int64)
        return cls(joined, replaced, repeated, late, conflict, differing, np.zeros(models + 1, dtype=np.int64))
