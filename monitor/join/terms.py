"""The join's bounds and every model's rules as arrays, so that rows of many models are judged in one expression.

Which label answers which prediction is decided here, pair by pair, from what the two rows say alone.
"""

import hashlib
from dataclasses import dataclass

import numpy as np

from monitor.clock import Milliseconds
from monitor.errors import ConfigError
from monitor.events import ANY_MODEL, Bools, Int16s, Int32s, Int64s
from monitor.join.rows import Corrections, JoinRules

NEVER = -(1 << 62)
"""A time before all others, far enough from the end of int64 that bounds can be added to it."""

DISORDER_LIMIT: Milliseconds = (1 << 32) - 1
"""A label's row keeps how far it was behind the watermark in 32 bits."""


@dataclass(frozen=True, slots=True)
class Judged:
    """For k pairs: does the label count for the prediction, and if it does not, only because it came after the horizon?"""

    on_time: Bools
    late: Bools


class Terms:
    """`horizon` and `lifetime` (= horizon + out of order) are int64 (models,), `first_wins` and `conflicts` bool (models,).

    `sample` is the share of ids that are joined.
    """

    __slots__ = ("class_index", "conflicts", "early", "first_wins", "horizon", "lifetime", "out_of_order", "sample", "tolerance")

    def __init__(
        self,
        rules: tuple[JoinRules, ...],
        class_index: Int32s,
        *,
        out_of_order: Milliseconds,
        early: Milliseconds,
        tolerance: Milliseconds,
        sample: float,
    ) -> None:
        if out_of_order > DISORDER_LIMIT:
            raise ConfigError(f"log.out_of_order is {out_of_order} ms, the join can keep at most {DISORDER_LIMIT} (49 days): lower it")
        self.class_index = class_index
        self.out_of_order = out_of_order
        self.early = early
        self.tolerance = tolerance
        self.sample = sample
        self.horizon: Int64s = np.array([rule.horizon for rule in rules], dtype=np.int64)
        self.lifetime: Int64s = self.horizon + out_of_order
        self.first_wins: Bools = np.array([rule.corrections is Corrections.FIRST_WINS for rule in rules], dtype=np.bool_)
        self.conflicts: Bools = np.array([rule.corrections is Corrections.CONFLICT for rule in rules], dtype=np.bool_)

    @property
    def digest(self) -> str:
        """Equal for equal rules: a table filled under others must not be used on."""
        bounds = (self.out_of_order, self.early, self.tolerance, self.sample, self.class_index.shape)
        digest = hashlib.blake2b(repr(bounds).encode(), digest_size=16)
        for column in (self.class_index, self.horizon, self.first_wins, self.conflicts):
            digest.update(np.ascontiguousarray(column).tobytes())
        return digest.hexdigest()

    def expiry(self, time: Int64s, model: Int16s) -> Int64s:
        """The watermark past which nothing acceptable can touch a prediction any more."""
        return time + self.lifetime[model]

    def open_until(self, arrival: Int64s) -> Int64s:
        """The predictions' watermark up to which one may still come that a label of this arrival meets.

        One accepted past it was made more than `early` after the label arrived: its time is at most `out_of_order` before its own
        arrival, which is at most as much behind the watermark.
        """
        return arrival + (self.early + 2 * self.out_of_order)

    def judge(self, time: Int64s, model: Int16s, label_model: Int16s, value: Int32s, arrival: Int64s, watermark: Int64s) -> Judged:
        """Pairs of equal id: a prediction's `time` and `model` and what its label says.

        `watermark` is that of the labels log at the label's own row: a late label counts as late only while it is within the prediction's
        lifetime, so that the count cannot depend on when the prediction is freed.
        """
        fits = ((label_model == ANY_MODEL) | (label_model == model)) & (self.class_index[model, value] >= 0)
        delay = arrival - time
        in_time = delay <= self.horizon[model]
        return Judged(
            on_time=fits & in_time & (delay >= -self.early),
            late=fits & ~in_time & (watermark <= self.expiry(time, model)),
        )
