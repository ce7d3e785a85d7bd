"""What arrived in place of usable values: missing, non-finite, mistyped, out of range, never seen. Counts, which need no reference rows."""

from dataclasses import dataclass
from typing import Final

from monitor.events import Int64s
from monitor.stats.features import CategoricalExtra, FeatureLayout, NumericExtra, NumericLayout
from monitor.stats.layout import InputsLayout
from monitor.stats.scores import ScoreExtra, ScoreGrid

SCORE: Final = "@score"
"""The input that the model itself gives: it is watched like a feature, under this name."""


@dataclass(frozen=True, slots=True)
class InputQuality:
    """Counts of one input's rows; None where it cannot happen to an input of its kind.

    `rows` are all of them, usable or not. Values `below` and `above` the reference's range are usable, and so are categories that are
    `unseen` there or among its `other` ones. `out_of_range` is `below` + `above`; of a score what is outside [0, 1], which is not usable.
    """

    rows: int
    missing: int
    non_finite: int | None = None
    mistyped: int | None = None
    below: int | None = None
    above: int | None = None
    out_of_range: int | None = None
    unseen: int | None = None
    other: int | None = None


def input_quality(layout: FeatureLayout, counts: Int64s) -> InputQuality:
    """From a feature's slice of an inputs vector, int64 (layout.size,)."""
    if isinstance(layout, NumericLayout):
        extra = counts[layout.bins :].tolist()
        missing, non_finite, mistyped = extra[NumericExtra.MISSING], extra[NumericExtra.NON_FINITE], extra[NumericExtra.MISTYPED]
        below, above = extra[NumericExtra.BELOW], extra[NumericExtra.ABOVE]
        rows = int(counts[: layout.bins].sum()) + missing + non_finite + mistyped
        return InputQuality(rows, missing, non_finite, mistyped, below, above, out_of_range=below + above)
    extra = counts[len(layout.kept) :].tolist()
    missing, mistyped = extra[CategoricalExtra.MISSING], extra[CategoricalExtra.MISTYPED]
    return InputQuality(
        int(counts.sum()), missing, mistyped=mistyped, unseen=extra[CategoricalExtra.UNSEEN], other=extra[CategoricalExtra.OTHER]
    )


def score_quality(grid: ScoreGrid, counts: Int64s) -> InputQuality:
    """From counts by score cell, int64 (grid.size,)."""
    missing, non_finite, out_of_range = counts[grid.cells :][[ScoreExtra.MISSING, ScoreExtra.NON_FINITE, ScoreExtra.OUT_OF_RANGE]].tolist()
    return InputQuality(int(counts.sum()), missing, non_finite, out_of_range=out_of_range)


def inputs_quality(layout: InputsLayout, vector: Int64s) -> dict[str, InputQuality]:
    """Of every feature and of `@score`, from an inputs vector, int64 (layout.size,)."""
    quality = {name: input_quality(feature, vector[layout.feature_slice(name)]) for name, feature in layout.features.items()}
    classes = layout.classes
    scores = vector[layout.predicted_score].reshape(classes.count, classes.grid.size).sum(axis=0)
    return quality | {SCORE: score_quality(classes.grid, scores)}
