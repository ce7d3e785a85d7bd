"""The laws of the pane table: whatever the batches, the flushes and the steps, a pane is the sum of what was added to it."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.pane_store import PaneStore
from monitor.panes import PanePlan, PaneTable, Series, parse_key
from monitor.stats.layout import Block, Hits
from monitor.stats.sums import distinct
from monitor.stats.vector import Additions, unpack

MINUTE = 60_000
SIZE = 70_000  # so that a spread of panes is counted by sorting and a few panes densely
FOLDS = {("m", Block.INPUTS): {2 * MINUTE: (6 * MINUTE, 12 * MINUTE), 5 * MINUTE: ()}}

row = st.tuples(
    st.sampled_from(["", "a=1"]),
    st.sampled_from([2 * MINUTE, 5 * MINUTE]),
    st.integers(0, 300) | st.integers(0, 10**7),
    st.lists(st.tuples(st.integers(0, SIZE - 1), st.integers(-3, 3)), max_size=3),
)


def counted(rows: list[tuple[str, int, int, list[tuple[int, int]]]]) -> dict[tuple[str, int, int], Counter[int]]:
    """By segment, step and start, the amounts by cell: one of cell 0 and the listed ones, a row and step."""
    panes: dict[tuple[str, int, int], Counter[int]] = {}
    for segment, root, second, entries in rows:
        for step in (root, *FOLDS["m", Block.INPUTS][root]):
            time = second * 1_000
            pane = panes.setdefault((segment, step, time - time % step), Counter())
            for cell, amount in [(0, 1), *entries]:
                pane[cell] += amount
    return panes


def add(table: PaneTable, rows: list[tuple[str, int, int, list[tuple[int, int]]]]) -> None:
    for root in (2 * MINUTE, 5 * MINUTE):
        mine = [each for each in rows if each[1] == root]
        series = np.array([table.code_of(Series("m", "1", segment, Block.INPUTS, root, "x")) for segment, *_ in mine], dtype=np.int64)
        entries = [(place, cell, amount) for place, each in enumerate(mine) for cell, amount in each[3]]
        columns = [np.array([entry[column] for entry in entries], dtype=np.int64) for column in range(3)]
        extra = Additions(columns[0], columns[1].astype(np.int32), columns[2])
        table.add(
            series,
            root,
            np.array([each[2] * 1_000 for each in mine], dtype=np.int64),
            Hits(np.zeros((1, len(mine)), dtype=np.int32), extra),
            SIZE,
        )


def content(items: dict[bytes, bytes]) -> dict[tuple[str, int, int], dict[int, int]]:
    read = {}
    for key, value in items.items():
        series, start = parse_key(key)
        cell, amount = unpack(value)
        if value:
            read[series.segment, series.step, start] = dict(zip(cell.tolist(), amount.tolist(), strict=True))
    return read


@settings(deadline=None)
@given(batches=st.lists(st.lists(row, max_size=8), max_size=5), flushes=st.sets(st.integers(0, 4)), limit=st.sampled_from([0, 9, 10**6]))
def test_panes_are_the_sums_of_their_rows_whatever_the_batches_and_flushes(
    batches: list[list[tuple[str, int, int, list[tuple[int, int]]]]], flushes: set[int], limit: int
) -> None:
    table = PaneTable(FOLDS, limit)
    flushed: dict[bytes, bytes] = {}
    for place, batch in enumerate(batches):
        add(table, batch)
        if place in flushes:
            flushed |= table.flush()
    flushed |= table.flush()
    expected = {
        pane: {cell: amount for cell, amount in cells.items() if amount}
        for pane, cells in counted([each for batch in batches for each in batch]).items()
    }
    expected = {pane: cells for pane, cells in expected.items() if cells}
    assert content(flushed) == expected
    assert content(dict(table.items())) == expected


@settings(deadline=None)
@given(rows=st.lists(row, max_size=12))
def test_a_table_loaded_from_what_was_flushed_goes_on_as_the_original(rows: list[tuple[str, int, int, list[tuple[int, int]]]]) -> None:
    original, copy = PaneTable(FOLDS), PaneTable(FOLDS)
    add(original, rows)
    for key, value in original.flush().items():
        if value:
            copy.load(key, value)
    add(original, rows)
    add(copy, rows)
    assert original.flush() == copy.flush()


@settings(deadline=None)
@given(rows=st.lists(st.tuples(st.integers(0, 3), row), max_size=16))
def test_a_store_adds_partitions_up(rows: list[tuple[int, tuple[str, int, int, list[tuple[int, int]]]]]) -> None:
    store, whole = PaneStore(), PaneTable(FOLDS)
    keys: list[list[bytes]] = []
    for partition in range(4):
        table = PaneTable(FOLDS)
        add(table, [each for home, each in rows if home == partition])
        flushed = table.flush()
        keys.append(list(flushed))
        for key, value in flushed.items():
            store.put(partition, key, value)
    add(whole, [each for _, each in rows])
    whole.flush()
    for key, value in whole.items():
        series, start = parse_key(key)
        cell, amount = unpack(value)
        expected = np.zeros(SIZE, dtype=np.int64)
        expected[cell] = amount
        assert (store.total(series, start, start + series.step, SIZE) == expected).all()
    for partition in range(4):
        for key in keys[partition]:
            store.put(partition, key, b"")
    assert not list(store.series())


@pytest.mark.parametrize("spread", [1, 10_000])
def test_rows_that_only_add_entries_add_the_same_densely_and_by_sorting(spread: int) -> None:
    table = PaneTable(FOLDS)
    rows = np.arange(200, dtype=np.int64)
    code = table.code_of(Series("m", "1", "", Block.INPUTS, 5 * MINUTE, "x"))
    entries = Additions(rows, np.full(200, 7, dtype=np.int32), rows)
    table.add_each(np.full(200, code), 5 * MINUTE, rows * spread * 1_000, entries, SIZE)
    amounts = [unpack(value) for value in table.flush().values()]
    assert sum(int(amount.sum()) for _, amount in amounts) == rows.sum()
    assert {int(cell[0]) for cell, _ in amounts} == {7}


@given(st.lists(st.integers(-(2**40), 2**40) | st.integers(-50, 50)))
def test_distinct_values_agree_with_numpy(keys: list[int]) -> None:
    values, places = distinct(np.array(keys, dtype=np.int64))
    expected, expected_places = np.unique(np.array(keys, dtype=np.int64), return_inverse=True)
    assert values.tolist() == expected.tolist()
    assert places.tolist() == expected_places.tolist()


@pytest.mark.parametrize(
    ("windows", "folds"),
    [
        ((3_600_000, 86_400_000, 7 * 86_400_000), {2 * MINUTE: (60 * MINUTE, 360 * MINUTE)}),
        ((24 * MINUTE, 120 * MINUTE), {MINUTE: (5 * MINUTE,)}),
        ((48 * MINUTE, 120 * MINUTE), {2 * MINUTE: (), 5 * MINUTE: ()}),
    ],
)
def test_a_step_is_folded_from_the_finest_that_divides_it(windows: tuple[int, ...], folds: dict[int, tuple[int, ...]]) -> None:
    assert PanePlan(windows, 86_400_000, 86_400_000).folds() == folds


def test_freed_panes_are_reported_as_empty_and_gone() -> None:
    table = PaneTable(FOLDS)
    add(table, [("", 5 * MINUTE, 0, []), ("", 5 * MINUTE, 301, [])])
    table.flush()
    freed = table.free({("m", Block.INPUTS, 5 * MINUTE): 5 * MINUTE})
    assert [(parse_key(key)[1], value) for key, value in freed.items()] == [(0, b"")]
    assert [parse_key(key)[1] for key, _ in table.items()] == [5 * MINUTE]
