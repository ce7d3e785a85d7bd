"""Drift scores read from sums, against their textbook forms and SciPy's on the rows that were summed."""

from collections.abc import Callable
from itertools import pairwise
from math import inf, isfinite

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.stats import chi2_contingency, ks_2samp, wasserstein_distance

from monitor.events import Column, Floats, Int64s
from monitor.quality.drift import ALL_METHODS, FeatureDrift, Method, feature_drift, inputs_drift, label_drift
from monitor.stats.features import CategoricalLayout, FeatureLayout, NumericLayout
from monitor.stats.layout import CohortLayout, InputsLayout
from tests.unit.quality_rows import (
    DELAY_EDGES,
    binary,
    cohort_vector,
    feature_vector,
    floats,
    inputs_vector,
    multiclass,
    numbers,
    predicted_from,
    texts,
)

pytestmark = pytest.mark.filterwarnings("error")

ORDERED = {Method.KS, Method.WASSERSTEIN}


def quantile_layout(values: Floats, bins: int = 32) -> NumericLayout:
    """As the reference builder makes it, from all rows."""
    edges = np.unique(np.quantile(values, np.arange(1, bins) / bins, method="inverted_cdf"))
    return NumericLayout(edges, float(values.min()), float(values.max()), float(interquartile_range(values)) / 2**20)


def interquartile_range(values: Floats) -> float:
    low, high = np.quantile(values, (0.25, 0.75), method="inverted_cdf")
    return float(high - low)


def drift_of(layout: FeatureLayout, reference: Column, current: Column) -> FeatureDrift:
    drift = feature_drift(layout, feature_vector(layout, reference), feature_vector(layout, current))
    assert drift is not None
    return drift


def assert_scores_are_those_of_the_cells(drift: FeatureDrift, reference: Int64s, current: Int64s) -> None:
    """The forms that are defined on cells, written as in a textbook."""
    n, m, cells = current.sum(), reference.sum(), len(current)
    p, q = current / n, reference / m
    smooth_p, smooth_q = (current + 0.5) / (n + cells / 2), (reference + 0.5) / (m + cells / 2)
    used = current + reference > 0
    expected = {
        Method.PSI: sum((a - b) * np.log(a / b) for a, b in zip(smooth_p, smooth_q, strict=True)),
        Method.JS: jensenshannon(p, q, base=2),
        Method.HELLINGER: np.linalg.norm(np.sqrt(p) - np.sqrt(q)) / np.sqrt(2),
        Method.CHI2: chi2_contingency([current[used], reference[used]], correction=False).statistic / n if used.sum() > 1 else 0.0,
        Method.TV: np.abs(p - q).sum() / 2,
    }
    for method, value in expected.items():
        assert drift.scores[method].value == pytest.approx(value, rel=1e-9, abs=1e-12), method
        assert drift.scores[method].error == 0.0
    assert (drift.rows, drift.reference_rows) == (n, m)


def test_psi_adds_half_a_row_to_each_cell() -> None:
    layout = CategoricalLayout(("a",))

    drift = drift_of(layout, texts("a", "a", "b", "b"), texts("a", "b", "b", "b"))

    p, q = (1.5 / 5, 3.5 / 5), (2.5 / 5, 2.5 / 5)
    expected = (p[0] - q[0]) * np.log(p[0] / q[0]) + (p[1] - q[1]) * np.log(p[1] / q[1])
    assert drift.scores[Method.PSI].value == pytest.approx(expected, rel=1e-12)
    assert drift.scores[Method.PSI].error == 0.0


SHAPES: dict[str, Callable[[np.random.Generator, int], Floats]] = {
    "shifted": lambda rng, count: rng.normal(0.3, 1.0, count),
    "the same": lambda rng, count: rng.normal(0.0, 1.0, count),
    "wider": lambda rng, count: rng.normal(0.0, 3.0, count),
    "heavy tails": lambda rng, count: rng.standard_t(2, count),
    "elsewhere": lambda rng, count: rng.normal(50.0, 1.0, count),
    "one value": lambda _, count: np.full(count, 0.25),
    "counts": lambda rng, count: rng.poisson(1.0, count).astype(np.float64),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("count", [1, 40, 5_000])
def test_a_numeric_features_scores_are_those_of_its_rows_within_their_error(shape: str, count: int) -> None:
    rng = np.random.default_rng(count)
    reference, current = rng.normal(0.0, 1.0, 8_000), SHAPES[shape](rng, count)
    layout = quantile_layout(reference)

    drift = drift_of(layout, floats(reference), floats(current))

    ends = [-np.inf, *layout.edges, np.inf]
    by_cell = [np.array([((values > low) & (values <= high)).sum() for low, high in pairwise(ends)]) for values in (reference, current)]
    assert_scores_are_those_of_the_cells(drift, *by_cell)
    ks, w1 = drift.scores[Method.KS], drift.scores[Method.WASSERSTEIN]
    assert ks.value - 1e-12 <= ks_2samp(current, reference, method="asymp").statistic <= ks.value + ks.error + 1e-12
    assert abs(w1.value - wasserstein_distance(current, reference) / interquartile_range(reference)) <= w1.error + 1e-12


def test_the_errors_of_ordered_scores_are_small_where_the_bins_are_narrow() -> None:
    rng = np.random.default_rng(3)
    reference, current = rng.normal(0.0, 1.0, 50_000), rng.normal(0.5, 1.0, 50_000)

    drift = drift_of(quantile_layout(reference), floats(reference), floats(current))

    assert drift.scores[Method.KS].error < 0.05
    assert drift.scores[Method.WASSERSTEIN].error < 0.2
    assert drift.scores[Method.WASSERSTEIN].value == pytest.approx(
        wasserstein_distance(current, reference) / interquartile_range(reference), rel=0.02
    )


def test_a_difference_that_changes_sign_within_a_cell_is_measured_on_both_sides() -> None:
    """Across the cell F − G falls from ¼ to −¾, and is 0 a quarter of the way in: ½ (¼ · ¼ + ¾ · ¾). Beyond it lies ¾ of a unit."""
    layout = NumericLayout(np.array([0.0, 1.0]), low=0.0, high=1.0, quantum=1.0 / 2**20)

    drift = drift_of(layout, floats(np.array([0.5, 1.0, 1.0, 1.0])), floats(np.array([0.0, 2.0, 2.0, 2.0])))

    inside, above = (0.25**2 + 0.75**2) / 2, 0.75
    assert drift.scores[Method.WASSERSTEIN].value == pytest.approx(inside + above)


def test_what_lies_far_beyond_the_last_edge_is_measured_by_its_distance() -> None:
    reference = np.arange(1_000.0)
    current = np.append(reference[:-1], 1e6)

    drift = drift_of(quantile_layout(reference), floats(reference), floats(current))

    w1 = drift.scores[Method.WASSERSTEIN]
    assert abs(w1.value - wasserstein_distance(current, reference) / interquartile_range(reference)) <= w1.error
    assert w1.value > 1.9


def test_a_categorical_feature_pools_other_and_unseen_categories_in_one_cell() -> None:
    layout = CategoricalLayout(("AA", "UA"), other=("HA",))
    reference = texts(*["AA"] * 50, *["UA"] * 30, *["HA"] * 5, None)
    current = texts(*["AA"] * 20, *["UA"] * 30, *["HA"] * 2, *["new"] * 7, None, None)

    drift = drift_of(layout, reference, current)

    assert_scores_are_those_of_the_cells(drift, np.array([50, 30, 5]), np.array([20, 30, 9]))
    assert not ORDERED & set(drift.scores)
    assert drift.quality is not None
    assert (drift.quality.rows, drift.quality.missing, drift.quality.other, drift.quality.unseen) == (61, 2, 2, 7)


def test_a_hundred_thousand_categories_are_fifty_and_a_pool() -> None:
    names = tuple(f"category {number}" for number in range(100_000))
    layout = CategoricalLayout(names[:50], other=names[50:])

    drift = drift_of(layout, texts(*names), texts(*names[:50_000]))

    kept = np.ones(50, dtype=np.int64)
    assert_scores_are_those_of_the_cells(drift, np.append(kept, 99_950), np.append(kept, 49_950))


@pytest.mark.parametrize("layout", [quantile_layout(np.arange(100.0)), CategoricalLayout(("a", "b"))], ids=["numeric", "categorical"])
def test_a_window_like_the_reference_scores_zero_everywhere(layout: FeatureLayout) -> None:
    column = floats(np.arange(100.0)) if isinstance(layout, NumericLayout) else texts("a", "a", "b", "c", "d")

    drift = drift_of(layout, column, column)

    assert {score.value for score in drift.scores.values()} == {0.0}


def test_missing_and_non_finite_values_are_counted_and_not_compared() -> None:
    layout = quantile_layout(np.arange(100.0))
    reference, current = floats(np.arange(100.0)), numbers(*np.arange(0.0, 100.0, 2.0), None, None, np.nan, np.inf, -np.inf)

    drift = drift_of(layout, reference, current)

    clean = drift_of(layout, reference, floats(np.arange(0.0, 100.0, 2.0)))
    assert drift.scores == clean.scores
    assert drift.rows == 50
    assert drift.quality is not None
    assert (drift.quality.rows, drift.quality.missing, drift.quality.non_finite) == (55, 2, 3)


@pytest.mark.parametrize("layout", [quantile_layout(np.arange(100.0)), CategoricalLayout(("a", "b"))], ids=["numeric", "categorical"])
def test_a_feature_without_a_usable_row_on_one_side_has_no_drift(layout: FeatureLayout) -> None:
    numeric = isinstance(layout, NumericLayout)
    missing = feature_vector(layout, numbers(None, None) if numeric else texts(None, None))
    present = feature_vector(layout, numbers(1.0, 2.0) if numeric else texts("a", "b"))

    assert feature_drift(layout, present, missing) is None
    assert feature_drift(layout, missing, present) is None
    assert feature_drift(layout, present, np.zeros(layout.size, dtype=np.int64)) is None


def test_a_feature_that_was_constant_has_no_unit_for_its_distance() -> None:
    layout = NumericLayout(np.array([3.0]), low=3.0, high=3.0)

    drift = drift_of(layout, floats(np.full(50, 3.0)), floats(np.array([3.0, 3.0, 4.0, 2.0])))

    assert set(drift.scores) == ALL_METHODS - {Method.WASSERSTEIN}
    assert drift.scores[Method.KS].value == 0.25
    assert all(isfinite(score.value) for score in drift.scores.values())


def test_a_feature_without_an_edge_has_no_order_to_compare_by() -> None:
    drift = drift_of(NumericLayout(np.empty(0)), floats(np.arange(5.0)), floats(np.arange(3.0)))

    assert not ORDERED & set(drift.scores)
    assert {score.value for score in drift.scores.values()} == {0.0}


def test_a_row_too_far_out_to_be_measured_leaves_the_distance_without_a_bound() -> None:
    layout = quantile_layout(np.arange(100.0))

    drift = drift_of(layout, floats(np.arange(100.0)), floats(np.append(np.arange(100.0), 1e308)))

    assert isfinite(drift.scores[Method.WASSERSTEIN].value)
    assert drift.scores[Method.WASSERSTEIN].error == inf
    assert isfinite(drift.scores[Method.KS].error)


def test_edges_further_apart_than_a_float_can_say_leave_out_the_distance_alone() -> None:
    layout = NumericLayout(np.array([-1.7e308, 0.0, 1.7e308]), low=-1.7e308, high=1.7e308, quantum=1e-6)

    drift = drift_of(layout, floats(np.array([-1.7e308, 1.0, 2.0])), floats(np.array([1.7e308, 0.0])))

    assert set(drift.scores) == ALL_METHODS - {Method.WASSERSTEIN}


FEATURES: dict[str, FeatureLayout] = {
    "distance": quantile_layout(np.arange(500.0)),
    "carrier": CategoricalLayout(("AA", "UA"), other=("HA",)),
    "origin": CategoricalLayout(("JFK",)),
    "weekday": NumericLayout(np.arange(7.0), 0.0, 6.0, 3.0 / 2**20),
    "constant": NumericLayout(np.array([1.0]), 1.0, 1.0),
}


def flights(count: int, seed: int) -> tuple[Int64s, Floats, dict[str, Column]]:
    rng = np.random.default_rng(seed)
    scores = rng.beta(1.0 + seed, 3.0, count)
    columns: dict[str, Column] = {
        "distance": floats(rng.normal(200.0 + 20 * seed, 90.0, count)),
        "carrier": texts(*rng.choice(["AA", "UA", "HA", "new"], count, p=[0.5, 0.3, 0.1, 0.1]).tolist()),
        "origin": texts(*[None] * count) if seed == 2 else texts(*["JFK"] * count),
        "weekday": floats(rng.integers(0, 7 - seed, count).astype(np.float64)),
        "constant": floats(np.ones(count)),
    }
    return predicted_from(scores, 0.235).astype(np.int64), scores, columns


def test_all_inputs_at_once_are_each_of_them_alone() -> None:
    layout = InputsLayout(binary(0.235), FEATURES)
    reference, current = (inputs_vector(layout, *flights(2_000, seed)) for seed in (0, 1))

    together = inputs_drift(layout, reference, current)

    assert list(together) == [*FEATURES, "@score", "@prediction"]
    for name, feature in FEATURES.items():
        place = layout.feature_slice(name)
        alone = feature_drift(feature, reference[place], current[place])
        assert alone is not None
        assert set(alone.scores) == set(together[name].scores)
        for method, score in alone.scores.items():
            assert together[name].scores[method].value == pytest.approx(score.value, rel=1e-12)
            assert together[name].scores[method].error == pytest.approx(score.error, rel=1e-12)
        assert alone.quality == together[name].quality


def test_an_input_that_stopped_coming_is_left_out_of_drift() -> None:
    layout = InputsLayout(binary(0.235), FEATURES)
    reference, current = (inputs_vector(layout, *flights(500, seed)) for seed in (0, 2))

    assert "origin" not in inputs_drift(layout, reference, current)


def test_only_the_methods_asked_for_are_computed() -> None:
    layout = InputsLayout(binary(0.235), FEATURES)
    reference, current = (inputs_vector(layout, *flights(500, seed)) for seed in (0, 1))

    drift = inputs_drift(layout, reference, current, frozenset({Method.PSI, Method.KS}))

    assert set(drift["distance"].scores) == {Method.PSI, Method.KS}
    assert set(drift["carrier"].scores) == {Method.PSI}
    everything = inputs_drift(layout, reference, current)
    assert drift["distance"].scores[Method.KS] == everything["distance"].scores[Method.KS]


def test_a_model_without_features_still_has_the_drift_of_its_scores() -> None:
    layout = InputsLayout(binary(), {})
    reference, current = (inputs_vector(layout, *flights(500, seed)[:2], {}) for seed in (0, 1))

    assert list(inputs_drift(layout, reference, current)) == ["@score", "@prediction"]


def test_nothing_at_all_has_no_drift() -> None:
    layout = InputsLayout(binary(), FEATURES)
    nothing = np.zeros(layout.size, dtype=np.int64)

    assert inputs_drift(layout, nothing, nothing) == {}


def test_scores_drift_on_their_grid_and_predictions_by_class() -> None:
    layout = InputsLayout(binary(0.235), FEATURES)
    (reference_class, reference_scores, _), (current_class, scores, _) = rows = flights(5_000, 0), flights(5_000, 1)
    spoiled = np.append(scores[:-3], [np.nan, 2.0, -np.inf])

    drift = inputs_drift(layout, inputs_vector(layout, *rows[0]), inputs_vector(layout, current_class, spoiled, rows[1][2]))

    ends = [0.0, *layout.classes.grid.edges, 1.0]
    assert_scores_are_those_of_the_cells(drift["@score"], *(np.histogram(values, ends)[0] for values in (reference_scores, spoiled[:-3])))
    ks, w1 = drift["@score"].scores[Method.KS], drift["@score"].scores[Method.WASSERSTEIN]
    assert ks.value - 1e-12 <= ks_2samp(spoiled[:-3], reference_scores, method="asymp").statistic <= ks.value + ks.error + 1e-12
    unit = np.subtract(*np.quantile(reference_scores, (0.75, 0.25)))
    assert abs(w1.value - wasserstein_distance(spoiled[:-3], reference_scores) / unit) <= w1.error * 1.01
    quality = drift["@score"].quality
    assert quality is not None
    assert (quality.rows, quality.missing, quality.non_finite, quality.out_of_range) == (5_000, 1, 1, 1)
    assert_scores_are_those_of_the_cells(drift["@prediction"], np.bincount(reference_class), np.bincount(current_class))
    assert drift["@prediction"].quality is None


def test_equal_reference_scores_still_have_a_unit() -> None:
    layout = InputsLayout(binary(), {})
    one_class = np.zeros(10, dtype=np.int64)
    reference, current = (inputs_vector(layout, one_class, np.full(10, score), {}) for score in (0.3, 0.45))

    w1 = inputs_drift(layout, reference, current)["@score"].scores[Method.WASSERSTEIN]

    assert w1.value * 0.005 == pytest.approx(0.15)
    assert isfinite(w1.error)


def test_a_multiclass_models_score_is_that_of_the_predicted_class() -> None:
    layout = InputsLayout(multiclass(3), {})
    rng = np.random.default_rng(5)
    reference, current = rng.dirichlet([1, 1, 1], 800), rng.dirichlet([4, 1, 1], 800)

    before, now = (inputs_vector(layout, scores.argmax(axis=1), scores, {}) for scores in (reference, current))
    drift = inputs_drift(layout, before, now)

    ends = [0.0, *layout.classes.grid.edges, 1.0]
    assert_scores_are_those_of_the_cells(drift["@score"], *(np.histogram(scores.max(axis=1), ends)[0] for scores in (reference, current)))
    by_class = [np.bincount(scores.argmax(axis=1), minlength=3) for scores in (reference, current)]
    assert_scores_are_those_of_the_cells(drift["@prediction"], *by_class)


def test_labels_drift_by_class() -> None:
    layout = CohortLayout(multiclass(3), DELAY_EDGES)
    before, now = np.repeat([0, 1, 2], [60, 30, 10]), np.repeat([0, 1, 2], [20, 20, 40])
    reference, current = (
        cohort_vector(layout, actual, np.zeros_like(actual), np.full((len(actual), 3), 1 / 3)) for actual in (before, now)
    )

    drift = label_drift(layout, reference, current)

    assert drift is not None
    assert_scores_are_those_of_the_cells(drift, np.array([60, 30, 10]), np.array([20, 20, 40]))
    assert label_drift(layout, reference, np.zeros_like(current)) is None
