"""Laws of the vectors that panes are: a commutative group under `merge`, one form of bytes for each value."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from monitor.stats.vector import EMPTY, accumulate, add_up, merge, pack, unpack

SIZE = 70_000
AMOUNTS = st.one_of(st.integers(-3, 3), st.integers(-(2**40), 2**40))
CELLS = st.dictionaries(st.one_of(st.integers(0, 9), st.integers(0, SIZE - 1)), AMOUNTS, max_size=12)


def vector(cells: dict[int, int]) -> bytes:
    kept = sorted(cell for cell, amount in cells.items() if amount)
    return pack(np.array(kept, dtype=np.int32), np.array([cells[cell] for cell in kept], dtype=np.int64))


VECTORS = CELLS.map(vector)


@given(CELLS)
def test_packing_is_lossless(cells: dict[int, int]) -> None:
    cell, amount = unpack(vector(cells))
    assert dict(zip(cell.tolist(), amount.tolist(), strict=True)) == {key: count for key, count in cells.items() if count}


@given(VECTORS)
def test_the_bytes_are_the_only_form_of_their_value(packed: bytes) -> None:
    assert pack(*unpack(packed)) == packed


@given(VECTORS, VECTORS)
def test_merging_is_commutative(a: bytes, b: bytes) -> None:
    assert merge([a, b]) == merge([b, a])


@given(VECTORS, VECTORS, VECTORS)
def test_merging_is_associative(a: bytes, b: bytes, c: bytes) -> None:
    assert merge([merge([a, b]), c]) == merge([a, merge([b, c])]) == merge([a, b, c])


@given(VECTORS)
def test_the_empty_vector_is_the_identity(a: bytes) -> None:
    assert merge([a, EMPTY]) == merge([EMPTY, a]) == a


@given(CELLS)
def test_taking_out_what_was_put_in_leaves_nothing(cells: dict[int, int]) -> None:
    assert merge([vector(cells), vector({cell: -amount for cell, amount in cells.items()})]) == EMPTY


@given(st.lists(VECTORS, max_size=5))
def test_merging_adds_up_cell_by_cell(vectors: list[bytes]) -> None:
    assert accumulate([merge(vectors)], SIZE).tolist() == accumulate(vectors, SIZE).tolist()


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(-5, 5))), st.data())
def test_additions_split_anywhere_add_up_to_the_same(entries: list[tuple[int, int]], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(entries)))

    def added(part: list[tuple[int, int]]) -> bytes:
        cell, amount = add_up(np.array([key for key, _ in part], dtype=np.int64), np.array([count for _, count in part], dtype=np.int64))
        return pack(cell.astype(np.int32), amount)

    assert merge([added(entries[:cut]), added(entries[cut:])]) == added(entries)


@given(VECTORS)
def test_unpacking_never_aliases(packed: bytes) -> None:
    _, amount = unpack(packed)
    before = bytes(packed)
    amount += 1
    assert packed == before
