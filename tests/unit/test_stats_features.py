"""The cells of features, each against a rule spelled out row by row."""

import math
import warnings
from collections import Counter

import numpy as np
import pytest

from monitor.events import NumericColumn, TextColumn
from monitor.stats import features
from monitor.stats.features import TAIL_CLIP, CategoricalExtra, CategoricalLayout, NumericExtra, NumericLayout

MISTYPED = "mistyped"
LAYOUT = NumericLayout(np.array([-1.5, 0.0, 0.25, 10.0]), low=-2.0, high=12.0, quantum=0.125)
SPECIAL = [None, MISTYPED, math.nan, math.inf, -math.inf, -1.5, 0.0, -0.0, 0.25, 10.0, -2.0, 12.0, 12.5, -2.5, 1e308, -1e308, 5e-324]


def column(values: list[float | str | None]) -> NumericColumn:
    return NumericColumn(
        np.array([value if isinstance(value, float) else math.nan for value in values]),
        np.array([value is None for value in values]),
        np.array([value == MISTYPED for value in values]),
    )


def counted(layout: NumericLayout, values: list[float | str | None]) -> dict[int, int]:
    """What the layout adds for the values, by cell."""
    rows = column(values)
    counts: Counter[int] = Counter(layout.cells(rows).tolist())
    for part in layout.sums(rows, 0):
        for cell, amount in zip(part.cell.tolist(), part.amount.tolist(), strict=True):
            counts[cell] += amount
    return {cell: count for cell, count in counts.items() if count}


def expected(layout: NumericLayout, values: list[float | str | None]) -> dict[int, int]:
    """The same, by the rule, one value at a time."""
    counts: Counter[int] = Counter()
    edges = layout.edges.tolist()
    for value in values:
        if value is None or isinstance(value, str):
            counts[layout.bins + (NumericExtra.MISSING if value is None else NumericExtra.MISTYPED)] += 1
            continue
        if not math.isfinite(value):
            counts[layout.bins + NumericExtra.NON_FINITE] += 1
            continue
        counts[sum(value > edge for edge in edges)] += 1
        counts[layout.bins + NumericExtra.BELOW] += value < layout.low
        counts[layout.bins + NumericExtra.ABOVE] += value > layout.high
        for cell, tail in ((NumericExtra.TAIL_LOW, edges[0] - value), (NumericExtra.TAIL_HIGH, value - edges[-1])) if edges else ():
            if tail > 0:
                quanta = tail / layout.quantum
                counts[layout.bins + cell] += TAIL_CLIP if quanta > TAIL_CLIP else round(quanta)
                counts[layout.bins + NumericExtra.TAIL_CLIPPED] += quanta > TAIL_CLIP
    return {cell: count for cell, count in counts.items() if count}


@pytest.mark.parametrize("value", SPECIAL, ids=str)
def test_each_kind_of_number_hits_its_cells(value: float | str | None) -> None:
    assert counted(LAYOUT, [value]) == expected(LAYOUT, [value])


def test_random_numbers_are_counted_as_the_rule_says() -> None:
    random = np.random.default_rng(3)
    values: list[float | str | None] = [*random.normal(0, 8, 2_000).tolist(), *random.choice(np.array(SPECIAL, dtype=object), 500).tolist()]
    assert counted(LAYOUT, values) == expected(LAYOUT, values)


def test_a_value_on_an_edge_belongs_to_the_bin_that_ends_there() -> None:
    assert LAYOUT.cells(column([-1.5, 0.0, 0.25, 10.0])).tolist() == [0, 1, 2, 3]


def test_every_usable_row_is_in_exactly_one_bin() -> None:
    counts = counted(LAYOUT, [*SPECIAL, *SPECIAL])
    bins_and_kinds = range(LAYOUT.bins + NumericExtra.BELOW)
    assert sum(counts.get(cell, 0) for cell in bins_and_kinds) == 2 * len(SPECIAL)


def test_without_a_reference_there_is_one_bin_and_no_range() -> None:
    bare = NumericLayout(np.empty(0))
    assert counted(bare, [1.0, -1e308, math.nan, None]) == {0: 2, 1 + NumericExtra.MISSING: 1, 1 + NumericExtra.NON_FINITE: 1}


def test_a_tail_that_no_float_holds_is_clipped_without_a_warning() -> None:
    wide = NumericLayout(np.array([-1e308, 1e308]), low=-1e308, high=1e308, quantum=5e-324)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        counts = counted(wide, [-1.7e308, 1.7e308])
    assert counts[wide.bins + NumericExtra.TAIL_LOW] == counts[wide.bins + NumericExtra.TAIL_HIGH] == TAIL_CLIP
    assert counts[wide.bins + NumericExtra.TAIL_CLIPPED] == 2


def test_sums_start_at_the_base_they_are_given() -> None:
    at_zero, moved = (LAYOUT.sums(column([-9.0, 99.0]), base) for base in (0, 1_000))
    assert [part.cell.tolist() for part in moved] == [[cell + 1_000 for cell in part.cell.tolist()] for part in at_zero]


def test_each_kind_of_category_has_its_cell() -> None:
    layout = CategoricalLayout(("UA", "Ünï", ""), ("rare", "other"))
    rows = TextColumn(np.array([0, 1, 2, 3, 4, 5, -1, -2], dtype=np.int32), ("", "Ünï", "UA", "rare", "ua", "other"))
    other, unseen = 3 + CategoricalExtra.OTHER, 3 + CategoricalExtra.UNSEEN
    assert layout.cells(rows).tolist() == [2, 1, 0, other, unseen, other, 3 + CategoricalExtra.MISSING, 3 + CategoricalExtra.MISTYPED]


def test_a_column_without_categories_has_only_missing_rows() -> None:
    layout = CategoricalLayout(())
    assert layout.cells(TextColumn(np.array([-1, -2], dtype=np.int32), ())).tolist() == [
        CategoricalExtra.MISSING,
        CategoricalExtra.MISTYPED,
    ]


def test_other_and_unseen_are_one_cell_for_tests() -> None:
    layout = CategoricalLayout(("a", "b"), ("c",))
    assert features.tested_counts(layout, np.array([5, 4, 3, 2, 9, 9])).tolist() == [5, 4, 5]
    assert layout.tested_cells == 3


def test_only_the_bins_of_a_number_are_compared() -> None:
    counts = np.arange(LAYOUT.size)
    assert features.tested_counts(LAYOUT, counts).tolist() == list(range(LAYOUT.bins))
    assert LAYOUT.tested_cells == LAYOUT.bins
