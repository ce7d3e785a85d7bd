"""Which rows choose, and the edges and categories that they choose."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.events import Column, Floats, NumericColumn, TextColumn
from monitor.reference.choosing import (
    EDGE_ROWS_LIMIT,
    OTHER_CATEGORIES,
    EdgeSample,
    Range,
    SeenCategories,
    categorical_layout,
    numeric_layout,
    row_hash,
)
from monitor.stats.features import KEPT_CATEGORIES, QUANTILE_BINS


def numbers(values: Floats) -> NumericColumn:
    nothing = np.zeros(len(values), dtype=np.bool_)
    return NumericColumn(values, np.isnan(values), nothing)


def texts(values: list[str | None]) -> TextColumn:
    categories = tuple(dict.fromkeys(value for value in values if value is not None))
    codes = [-1 if value is None else categories.index(value) for value in values]
    return TextColumn(np.array(codes, dtype=np.int32), categories)


def sampled(values: Floats, cuts: list[int]) -> EdgeSample:
    """A sample of the values, given in blocks that end at the cuts."""
    sample = EdgeSample()
    borders = [0, *sorted(cuts), len(values)]
    for begin, end in pairwise(borders):
        sample.add({"x": numbers(values[begin:end])}, end - begin)
    return sample


def layout_of_numbers(values: list[float]) -> tuple[list[float], float, float, float]:
    array = np.array(values)
    seen = Range()
    seen.add(numbers(array))
    layout = numeric_layout(array[np.isfinite(array)], seen)
    return layout.edges.tolist(), layout.low, layout.high, layout.quantum


def test_the_hash_of_a_row_does_not_depend_on_its_block() -> None:
    assert np.concatenate((row_hash(0, 700), row_hash(700, 300))).tolist() == row_hash(0, 1_000).tolist()
    assert len(set(row_hash(0, 10_000).tolist())) == 10_000


def test_the_hash_is_splitmix64() -> None:
    assert row_hash(0, 3).tolist() == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]


@pytest.mark.parametrize(("rows", "edge_rows"), [(10, 2), (11, 3), (1_000, 200), (50_000, EDGE_ROWS_LIMIT), (123_456, EDGE_ROWS_LIMIT)])
def test_a_fifth_of_the_rows_chooses_within_the_limit(rows: int, edge_rows: int) -> None:
    sample = sampled(np.arange(rows, dtype=np.float64), list(range(0, rows, 7_000)))
    assert sample.finish() == edge_rows
    chosen = sample.chose(0, rows)
    assert chosen.sum() == edge_rows
    assert sorted(sample.numbers("x").tolist()) == np.flatnonzero(chosen).tolist()


@given(st.lists(st.integers(0, 30_000), max_size=6))
def test_blocks_do_not_matter(cuts: list[int]) -> None:
    values = np.arange(30_000, dtype=np.float64)
    whole, parts = sampled(values, []), sampled(values, cuts)
    assert whole.finish() == parts.finish()
    assert np.sort(whole.numbers("x")).tolist() == np.sort(parts.numbers("x")).tolist()
    assert whole.chose(5, 20_000).tolist() == parts.chose(5, 20_000).tolist()


def test_few_distinct_values_are_the_edges() -> None:
    assert layout_of_numbers([3.0, 1.0, 2.0, 1.0])[0] == [1.0, 2.0, 3.0]
    assert layout_of_numbers([float(value) for value in range(QUANTILE_BINS)])[0] == list(range(QUANTILE_BINS))


def test_minus_zero_is_the_edge_that_zero_is() -> None:
    assert [math.copysign(1.0, edge) for edge in layout_of_numbers([-0.0, 1.0])[0]] == [1.0, 1.0]


def test_many_distinct_values_are_cut_into_bins_of_equal_shares() -> None:
    values = np.random.default_rng(1).normal(size=9_600)
    edges = layout_of_numbers(values.tolist())[0]
    assert len(edges) == QUANTILE_BINS - 1
    shares = np.bincount(np.searchsorted(edges, values, side="left"), minlength=QUANTILE_BINS)
    assert shares.tolist() == [300] * QUANTILE_BINS


def test_a_value_that_most_rows_have_gets_one_edge() -> None:
    edges = layout_of_numbers([0.0] * 900 + [float(value) for value in range(1, 101)])[0]
    assert edges[0] == 0.0
    assert len(set(edges)) == len(edges) < QUANTILE_BINS


def test_the_quantum_is_the_interquartile_range_in_two_to_the_twenty_parts() -> None:
    assert layout_of_numbers([0.0, 1.0, 2.0, 3.0])[3] == 2.0**-19


@pytest.mark.parametrize(
    ("values", "spread"),
    [([5.0] * 99 + [7.0], 2.0), ([5.0] * 99, 1.0), ([], 1.0), ([math.nan, math.inf], 1.0)],
    ids=["most are equal: the range", "all are equal: 1", "there are none: 1", "none is finite: 1"],
)
def test_without_an_interquartile_range_something_else_is_the_unit(values: list[float], spread: float) -> None:
    assert layout_of_numbers(values)[3] == spread * 2.0**-20


@pytest.mark.parametrize("values", [[-1e308, 1e308] * 50, [5e-324, 1e-323] * 50, [1e308] * 9, [-1.7e308, 1.7e308, 0.0]])
def test_numbers_at_the_limits_of_floats_give_a_usable_unit(values: list[float]) -> None:
    edges, low, high, quantum = layout_of_numbers(values)
    assert edges == sorted(set(values))
    assert (low, high) == (min(values), max(values))
    assert 0 < quantum < math.inf


def test_the_range_is_that_of_the_finite_values() -> None:
    seen = Range()
    seen.add(numbers(np.array([math.nan, math.inf, 3.0, -math.inf, 1.0])))
    seen.add(numbers(np.array([math.nan])))
    assert (seen.low, seen.high) == (1.0, 3.0)


def test_a_feature_without_numbers_has_one_bin_and_no_range() -> None:
    assert layout_of_numbers([math.nan])[:3] == ([], -math.inf, math.inf)


def ranked(values: list[str | None]) -> list[str]:
    sample = EdgeSample()
    columns: dict[str, Column] = {"c": texts(values)}
    for _ in range(5):  # five times the rows, so that a fifth is as many
        sample.add(columns, len(values))
    sample._keep(len(values) * 5)
    return sample.categories("c")


def test_categories_are_ranked_by_frequency_then_by_code_point() -> None:
    assert ranked(["b", "ä", "a", "Z", "b", None, "a", "ä", "c"]) == ["a", "b", "ä", "Z", "c"]


def test_fifty_categories_are_kept_and_a_thousand_remembered() -> None:
    many = [f"c{number:05}" for number in range(100_000)]
    seen = SeenCategories()
    seen.add(TextColumn(np.arange(100_000, dtype=np.int32), tuple(many)))
    layout = categorical_layout(many[90_000:90_100], seen)
    assert layout.kept == tuple(many[90_000 : 90_000 + KEPT_CATEGORIES])
    assert layout.other == tuple(sorted([*many[90_050:90_100], *many[: OTHER_CATEGORIES - 50]]))


@given(st.lists(st.sampled_from(["x", "y", "z", "ä", None]), max_size=40), st.integers(0, 40))
def test_categories_are_seen_in_row_order_whatever_the_blocks(values: list[str | None], cut: int) -> None:
    whole, parts = SeenCategories(), SeenCategories()
    whole.add(texts(values))
    for part in (values[:cut], values[cut:]):
        parts.add(texts(part))
    assert list(whole.seen) == list(parts.seen) == list(dict.fromkeys(value for value in values if value is not None))


def test_categories_that_a_dictionary_holds_and_no_row_has_are_not_seen() -> None:
    seen = SeenCategories()
    seen.add(TextColumn(np.array([2, -1, -2], dtype=np.int32), ("unused", "unused too", "used")))
    assert list(seen.seen) == ["used"]
