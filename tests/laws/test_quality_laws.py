"""What holds of every reading, whatever the rows: a bound is a bound, a share is in [0, 1], and nothing is ever NaN."""

from math import isfinite

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import wasserstein_distance
from sklearn.metrics import average_precision_score, roc_auc_score

from monitor.events import Bools, Floats, Int64s
from monitor.quality.divergence import (
    Pairs,
    chi_square_effect,
    hellinger,
    jensen_shannon,
    kolmogorov_smirnov,
    psi,
    total_variation,
    wasserstein,
)
from monitor.quality.drift import Method, feature_drift, inputs_drift
from monitor.quality.performance import cohort_performance
from monitor.quality.ranking import average_precision
from monitor.stats.features import NumericLayout
from monitor.stats.layout import CohortLayout, InputsLayout
from tests.unit.quality_rows import DELAY_EDGES, binary, cohort_vector, feature_vector, floats

pytestmark = pytest.mark.filterwarnings("error")

ROUNDING = 1e-9

CLOSE_SCORES = st.one_of(st.floats(0.0, 1.0), st.sampled_from([0.0, 0.3, 0.301, 0.305, 0.309, 0.31, 1.0]))
SCORED_ROWS = st.lists(st.tuples(st.booleans(), CLOSE_SCORES), min_size=1, max_size=60)
VALUES = arrays(np.float64, st.integers(1, 40), elements=st.one_of(st.floats(-10.0, 10.0), st.integers(-3, 3).map(float), st.just(1e4)))
EDGES = st.lists(st.one_of(st.floats(-8.0, 8.0), st.integers(-3, 3).map(float)), min_size=1, max_size=8, unique=True).map(
    lambda edges: np.array(sorted(edges))
)
COUNTS = st.integers(1, 12).flatmap(
    lambda cells: st.tuples(*[arrays(np.int64, cells, elements=st.integers(0, 10**9) | st.integers(0, 3)) for _ in range(2)])
)


def split(rows: list[tuple[bool, float]]) -> tuple[Bools, Floats]:
    return np.array([actual for actual, _ in rows]), np.array([score for _, score in rows])


def kolmogorov_smirnov_of(current: Floats, reference: Floats) -> float:
    """By its definition: SciPy's also works out a p-value, which fails on some of these."""
    everywhere = np.concatenate((current, reference))
    reached = [np.searchsorted(np.sort(rows), everywhere, side="right") / len(rows) for rows in (current, reference)]
    return float(np.abs(reached[0] - reached[1]).max())


@given(SCORED_ROWS, st.floats(0.01, 0.99))
def test_rankings_are_within_their_bound_of_those_of_the_rows(rows: list[tuple[bool, float]], threshold: float) -> None:
    actual, scores = split(rows)
    layout = CohortLayout(binary(threshold), DELAY_EDGES)
    predicted = (scores >= threshold).astype(np.int64)

    performance = cohort_performance(layout, cohort_vector(layout, actual.astype(np.int64), predicted, scores))

    assert performance is not None
    assert (performance.roc_auc is not None) == (actual.any() and not actual.all())
    assert (performance.average_precision is not None) == actual.any()
    if performance.roc_auc is not None:
        assert abs(performance.roc_auc.value - roc_auc_score(actual, scores)) <= performance.roc_auc.error + ROUNDING
    if performance.average_precision is not None:
        found = average_precision_score(actual, scores)
        assert abs(performance.average_precision.value - found) <= performance.average_precision.error + ROUNDING


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 200)), min_size=1, max_size=8).filter(lambda cells: any(hits for hits, _ in cells))
)
def test_the_worst_order_of_average_precision_is_that_of_rows_one_by_one(cells: list[tuple[int, int]]) -> None:
    positives, negatives = np.array([cells], dtype=np.int64).transpose(2, 0, 1)
    actual = np.concatenate([np.repeat([False, True], [misses, hits]) for hits, misses in reversed(cells)])
    scores = np.arange(len(actual), 0, -1.0)

    value, error = average_precision(positives, negatives)

    assert value[0] - error[0] == pytest.approx(average_precision_score(actual, scores), abs=1e-12)


@settings(max_examples=300)
@given(EDGES, VALUES, VALUES, st.floats(1e-3, 10.0))
def test_ordered_scores_are_within_their_bound_of_those_of_the_rows(edges: Floats, reference: Floats, current: Floats, unit: float) -> None:
    layout = NumericLayout(edges, quantum=unit / 2**20)

    drift = feature_drift(layout, feature_vector(layout, floats(reference)), feature_vector(layout, floats(current)))

    assert drift is not None
    ks, w1 = drift.scores[Method.KS], drift.scores[Method.WASSERSTEIN]
    assert ks.value - ROUNDING <= kolmogorov_smirnov_of(current, reference) <= ks.value + ks.error + ROUNDING
    expected = wasserstein_distance(current, reference) / unit
    assert abs(w1.value - expected) <= w1.error + ROUNDING * max(1.0, expected)


@given(COUNTS)
def test_distances_between_cells_are_finite_and_in_their_range(counts: tuple[Int64s, Int64s]) -> None:
    pairs = Pairs(np.zeros(1, dtype=np.int64), *counts)

    for distance in (jensen_shannon, hellinger, total_variation):
        assert 0.0 <= distance(pairs)[0] <= 1.0 + ROUNDING
    value, error = kolmogorov_smirnov(pairs)
    assert 0.0 <= value[0] <= 1.0
    assert 0.0 <= error[0] <= 1.0
    assert isfinite(psi(pairs)[0])
    assert psi(pairs)[0] >= 0.0
    assert isfinite(chi_square_effect(pairs)[0])


@given(COUNTS)
def test_a_distance_does_not_depend_on_which_side_is_the_reference(counts: tuple[Int64s, Int64s]) -> None:
    start = np.zeros(1, dtype=np.int64)
    pairs, swapped = Pairs(start, *counts), Pairs(start, *reversed(counts))

    for distance in (psi, jensen_shannon, hellinger, total_variation):
        assert distance(pairs)[0] == pytest.approx(distance(swapped)[0], rel=ROUNDING, abs=1e-7)


@given(st.lists(COUNTS, min_size=1, max_size=5))
def test_pairs_side_by_side_score_as_each_pair_alone(many: list[tuple[Int64s, Int64s]]) -> None:
    sizes = [len(current) for current, _ in many]
    together = Pairs(np.cumsum([0, *sizes[:-1]]), np.concatenate([pair[0] for pair in many]), np.concatenate([pair[1] for pair in many]))

    for distance in (psi, jensen_shannon, hellinger, total_variation, chi_square_effect):
        alone = [distance(Pairs(np.zeros(1, dtype=np.int64), *pair))[0] for pair in many]
        assert distance(together).tolist() == pytest.approx(alone, rel=ROUNDING, abs=1e-7)
    apart = [wasserstein(Pairs(np.zeros(1, dtype=np.int64), *pair), np.ones(len(pair[0]))) for pair in many]
    values, errors = wasserstein(together, np.ones(sum(sizes)))
    assert values.tolist() == pytest.approx([value[0] for value, _ in apart], rel=ROUNDING, abs=1e-12)
    assert errors.tolist() == pytest.approx([error[0] for _, error in apart], rel=ROUNDING, abs=1e-12)


LAYOUT = InputsLayout(binary(), {"even": NumericLayout(np.arange(4.0)), "constant": NumericLayout(np.zeros(1), 0.0, 0.0)})
VECTORS = arrays(np.int64, LAYOUT.size, elements=st.integers(0, 2) | st.just(2**40), fill=st.just(0))


@given(VECTORS, VECTORS)
def test_no_vector_makes_a_score_that_is_not_a_number(reference: Int64s, current: Int64s) -> None:
    for name, drift in inputs_drift(LAYOUT, reference, current).items():
        assert drift.rows > 0, name
        assert all(isfinite(score.value) and score.value >= 0.0 and score.error >= 0.0 for score in drift.scores.values()), name
