"""Delay bins: `(a, b]`, the same for every day, cut at the horizon."""

import numpy as np
import pytest

from monitor.stats.delays import DAY, EDGES_MS, HOUR, MINUTE, delay_bin, edges_up_to


def test_edges_ascend_from_zero_to_a_year() -> None:
    assert EDGES_MS[0] == 0
    assert EDGES_MS[-1] == 365 * DAY
    assert (np.diff(EDGES_MS) > 0).all()
    assert {type(edge) for edge in EDGES_MS} == {int}


@pytest.mark.parametrize("horizon", [MINUTE, HOUR, 3 * DAY, 14 * DAY, 365 * DAY, 400 * DAY])
def test_every_edge_lies_below_the_horizon(horizon: int) -> None:
    edges = edges_up_to(horizon)
    assert edges.tolist() == [edge for edge in EDGES_MS if edge < horizon]
    assert edges.dtype == np.int64


def test_a_delay_on_an_edge_belongs_to_the_bin_that_ends_there() -> None:
    edges = edges_up_to(14 * DAY)
    delays = np.array([edge + shift for edge in edges.tolist() for shift in (-1, 0, 1)])
    assert delay_bin(edges, delays).tolist() == [sum(delay > edge for edge in edges.tolist()) for delay in delays.tolist()]


def test_labels_before_their_prediction_are_in_the_first_bin() -> None:
    assert delay_bin(edges_up_to(DAY), np.array([-DAY, -1, 0, 1])).tolist() == [0, 0, 0, 1]


def test_the_last_bin_ends_at_the_horizon() -> None:
    edges = edges_up_to(3 * DAY)
    assert delay_bin(edges, np.array([3 * DAY])).tolist() == [len(edges)]
