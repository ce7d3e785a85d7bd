"""The score grid: 100 cells and the threshold, and what is on no grid."""

import math
from bisect import bisect_right

import numpy as np
import pytest
from sklearn.metrics import log_loss as peer_log_loss

from monitor.stats.scores import FIXED_POINT, ScoreExtra, ScoreGrid, fixed_point, log_loss

THRESHOLDS = [None, 0.0, 1.0, 0.5, 0.235, 0.07, 1e-9, math.nextafter(1.0, 0.0), 0.1 + 0.2, 1 / 3]


@pytest.mark.parametrize("threshold", [0.5, 0.07, 0.235, 0.1 + 0.2, 1 / 3, 1e-9])
def test_the_cell_of_the_threshold_begins_exactly_there(threshold: float) -> None:
    grid = ScoreGrid.with_threshold(threshold)
    scores = np.array([threshold, math.nextafter(threshold, 0.0), math.nextafter(threshold, 1.0)])
    at, before, after = grid.cell_of(scores).tolist()
    assert at == after == before + 1


@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_edges_are_distinct_ascending_and_inside(threshold: float | None) -> None:
    edges = ScoreGrid.with_threshold(threshold).edges
    assert (np.diff(edges) > 0).all()
    assert edges[0] > 0
    assert edges[-1] < 1
    assert len(edges) in (99, 100)


@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_cells_are_as_a_bisection_finds_them(threshold: float | None) -> None:
    grid = ScoreGrid.with_threshold(threshold)
    scores = np.concatenate((np.random.default_rng(5).random(500), grid.edges, [0.0, -0.0, 1.0]))
    assert grid.cell_of(scores).tolist() == [bisect_right(grid.edges.tolist(), score) for score in scores.tolist()]


def test_what_is_no_probability_has_a_cell_of_its_own() -> None:
    grid = ScoreGrid.with_threshold(0.5)
    scores = np.array([math.nan, math.inf, -math.inf, -1e-300, 1.0000001, 1e308])
    kinds = [ScoreExtra.MISSING, ScoreExtra.NON_FINITE, ScoreExtra.NON_FINITE, *[ScoreExtra.OUT_OF_RANGE] * 3]
    assert grid.cell_of(scores).tolist() == [grid.cells + kind for kind in kinds]


def test_the_size_holds_every_cell() -> None:
    grid = ScoreGrid.with_threshold(0.235)
    assert (grid.cells, grid.size) == (101, 104)


def test_fixed_point_rounds_to_the_nearest_quantum() -> None:
    values = np.random.default_rng(7).random(1_000) * 35
    assert np.abs(fixed_point(values) / FIXED_POINT - values).max() <= 0.5 / FIXED_POINT
    assert fixed_point(np.array([0.0, 1.0])).tolist() == [0, 2**30]


def test_log_loss_is_scikit_learns() -> None:
    probability = np.append(np.random.default_rng(11).random(200), [1e-3, 1 - 1e-3])
    peer = [peer_log_loss([1], [[1 - p, p]], labels=[0, 1]) for p in probability.tolist()]
    np.testing.assert_allclose(log_loss(probability), peer, rtol=1e-12)


def test_log_loss_of_a_certain_mistake_is_finite() -> None:
    assert log_loss(np.array([0.0, 1.0])).tolist() == pytest.approx([-math.log(1e-15), 0.0], abs=1e-14)
