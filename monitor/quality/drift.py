"""How far inputs, scores, predictions and labels have moved from the reference, by every method, from two pane vectors.

Scores only: whether one means anything at its number of rows is for verdicts. `cells` knows what is compared, `divergence` the formulas.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np

from monitor.events import Bools, Floats, Int64s
from monitor.quality.cells import Axis, FeatureCells, grid_axis
from monitor.quality.divergence import Pairs, chi_square_effect, hellinger, jensen_shannon, kolmogorov_smirnov, psi, total_variation
from monitor.quality.inputs import SCORE, InputQuality, input_quality, score_quality
from monitor.stats.features import FeatureLayout
from monitor.stats.layout import CohortLayout, InputsLayout
from monitor.stats.scores import ScoreGrid

PREDICTION: Final = "@prediction"
LABEL: Final = "@label"


class Method(StrEnum):
    """`ks` and `wasserstein` need an order: they are for numeric features and `@score`."""

    PSI = "psi"
    KS = "ks"
    JS = "js"
    WASSERSTEIN = "wasserstein"
    HELLINGER = "hellinger"
    CHI2 = "chi2"
    TV = "tv"


ALL_METHODS: Final = frozenset(Method)


@dataclass(frozen=True, slots=True)
class DriftScore:
    """A score from cells, and the bound on its distance from the same score of the rows: 0 where it is defined on cells.

    The error is infinite for a Wasserstein distance of which some row was too far out to be measured.
    """

    value: float
    error: float


@dataclass(frozen=True, slots=True)
class FeatureDrift:
    """A feature (or `@score`, `@prediction`, `@label`) against the reference.

    Rows are those in the cells compared, hence not the missing ones. `quality` is about all of the current rows; it is None for a
    prediction and a label, which are never without a class.
    """

    rows: int
    reference_rows: int
    scores: Mapping[Method, DriftScore]
    quality: InputQuality | None


def inputs_drift(
    layout: InputsLayout, reference: Int64s, current: Int64s, methods: frozenset[Method] = ALL_METHODS
) -> dict[str, FeatureDrift]:
    """Of every feature, `@score` and `@prediction`, from two inputs vectors, int64 (layout.size,).

    Left out is what has no usable row on one side; `inputs_quality` still counts it.
    """
    bases = {name: layout.feature_slice(name).start for name in layout.features}
    drift = _features_drift(layout.features, bases, reference, current, methods) if bases else {}
    shape = (layout.classes.count, layout.classes.grid.size)
    reference_scores, scores = reference[layout.predicted_score].reshape(shape), current[layout.predicted_score].reshape(shape)
    own = {
        SCORE: _score_drift(layout.classes.grid, reference_scores.sum(axis=0), scores.sum(axis=0), methods),
        PREDICTION: _classes_drift(reference_scores.sum(axis=1), scores.sum(axis=1), methods),
    }
    return drift | {name: found for name, found in own.items() if found is not None}


def feature_drift(
    layout: FeatureLayout, reference: Int64s, current: Int64s, methods: frozenset[Method] = ALL_METHODS
) -> FeatureDrift | None:
    """Of one feature, from its slices of two inputs vectors, int64 (layout.size,); None where one has no usable row."""
    return _features_drift({"": layout}, {"": 0}, reference, current, methods).get("")


def label_drift(layout: CohortLayout, reference: Int64s, current: Int64s, methods: frozenset[Method] = ALL_METHODS) -> FeatureDrift | None:
    """Of `@label`, from two cohort vectors, int64 (layout.size,); None where one has no labels."""
    by_actual = (layout.classes.count, -1)
    return _classes_drift(
        reference[layout.delays].reshape(by_actual).sum(axis=1), current[layout.delays].reshape(by_actual).sum(axis=1), methods
    )


def _features_drift(
    features: Mapping[str, FeatureLayout], bases: Mapping[str, int], reference: Int64s, current: Int64s, methods: frozenset[Method]
) -> dict[str, FeatureDrift]:
    """All features at once; `bases` are where their cells begin in the vectors."""
    cells = FeatureCells.of(features, bases)
    pairs = Pairs(cells.starts, cells.counts(current), cells.counts(reference))
    axis = cells.axis(pairs, current, reference) if Method.WASSERSTEIN in methods else None
    scores = _scores(pairs, cells.ordered, axis, methods)
    return {
        name: FeatureDrift(rows, reference_rows, by_method, input_quality(layout, current[bases[name] : bases[name] + layout.size]))
        for (name, layout), rows, reference_rows, by_method in zip(
            features.items(), pairs.rows.tolist(), pairs.reference_rows.tolist(), scores, strict=True
        )
        if rows and reference_rows
    }


def _score_drift(grid: ScoreGrid, reference: Int64s, current: Int64s, methods: frozenset[Method]) -> FeatureDrift | None:
    """From counts by score cell, (grid.size,)."""
    on_grid, reference_on_grid = current[: grid.cells], reference[: grid.cells]
    if not on_grid.any() or not reference_on_grid.any():
        return None
    return _one_drift(on_grid, reference_on_grid, methods, grid_axis(grid, reference_on_grid), score_quality(grid, current))


def _classes_drift(reference: Int64s, current: Int64s, methods: frozenset[Method]) -> FeatureDrift | None:
    """From counts by class, (C,)."""
    return _one_drift(current, reference, methods, None, None) if current.any() and reference.any() else None


def _one_drift(
    current: Int64s, reference: Int64s, methods: frozenset[Method], axis: Axis | None, quality: InputQuality | None
) -> FeatureDrift:
    pairs = Pairs(np.zeros(1, dtype=np.int64), current, reference)
    (scores,) = _scores(pairs, np.array([axis is not None]), axis, methods)
    return FeatureDrift(int(pairs.rows[0]), int(pairs.reference_rows[0]), scores, quality)


_ON_CELLS: Final[Mapping[Method, Callable[[Pairs], Floats]]] = {
    Method.PSI: psi,
    Method.JS: jensen_shannon,
    Method.HELLINGER: hellinger,
    Method.CHI2: chi_square_effect,
    Method.TV: total_variation,
}
"""The scores that are defined on cells: exact, and for any pair."""


def _scores(pairs: Pairs, ordered: Bools, axis: Axis | None, methods: frozenset[Method]) -> list[dict[Method, DriftScore]]:
    """By pair, the scores that are asked for and defined: KS where cells are `ordered`, (g,), Wasserstein where the axis has a scale."""
    exact, everywhere = np.zeros(len(ordered)), np.ones(len(ordered), dtype=np.bool_)
    scores: list[dict[Method, DriftScore]] = [{} for _ in ordered]
    for method in (method for method in Method if method in methods):
        if method is Method.KS:
            (values, errors), defined = kolmogorov_smirnov(pairs), ordered
        elif method is not Method.WASSERSTEIN:
            values, errors, defined = _ON_CELLS[method](pairs), exact, everywhere
        elif axis is not None:
            (values, errors), defined = axis.wasserstein(pairs), axis.scaled
        else:
            continue
        for by_method, value, error, is_defined in zip(scores, values.tolist(), errors.tolist(), defined.tolist(), strict=True):
            if is_defined:
                by_method[method] = DriftScore(value, error)
    return scores
