"""Comparing edges finds the same bin as searching them."""

import numpy as np
import pytest

from monitor.stats.bins import EDGES_LIMIT, edges_at_most, edges_below

SPECIAL = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e308, -1e308, 5e-324])


@pytest.mark.parametrize("count", [0, 1, 31, 100, EDGES_LIMIT, EDGES_LIMIT + 1, 400])
def test_bins_agree_with_binary_search_on_and_between_edges(count: int) -> None:
    edges = np.unique(np.random.default_rng(count).normal(size=count))
    values = np.concatenate([edges, np.random.default_rng(1).normal(size=1_000), SPECIAL[1:]])
    assert edges_below(edges, values).tolist() == np.searchsorted(edges, values, side="left").tolist()
    assert edges_at_most(edges, values).tolist() == np.searchsorted(edges, values, side="right").tolist()
    assert edges_below(edges, SPECIAL[:1]).tolist() == edges_at_most(edges, SPECIAL[:1]).tolist() == [0]
