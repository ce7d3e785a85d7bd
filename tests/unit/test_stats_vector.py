"""The bytes of sparse vectors; their laws are in tests/laws."""

import numpy as np
import pytest

from monitor.errors import DecodeError
from monitor.stats.vector import EMPTY, Additions, accumulate, add_up, merge, pack, unpack


def vector(cells: dict[int, int]) -> bytes:
    return pack(np.array(sorted(cells), dtype=np.int32), np.array([cells[cell] for cell in sorted(cells)], dtype=np.int64))


def test_no_cells_are_no_bytes() -> None:
    assert vector({}) == EMPTY
    assert unpack(EMPTY)[0].tolist() == []


@pytest.mark.parametrize(
    ("largest", "bytes_a_cell"),
    [(127, 3), (-128, 3), (128, 4), (-129, 4), (2**15 - 1, 4), (2**15, 6), (2**31 - 1, 6), (-(2**31), 6), (2**31, 10), (-(2**63), 10)],
)
def test_amounts_take_the_narrowest_type_that_holds_them(largest: int, bytes_a_cell: int) -> None:
    packed = vector({0: 1, 9: largest})
    assert len(packed) == 8 + 2 * bytes_a_cell
    assert unpack(packed)[1].tolist() == [1, largest]


@pytest.mark.parametrize(("cell", "cell_bytes"), [(2**16 - 1, 2), (2**16, 4)])
def test_cells_take_the_narrowest_type_that_holds_them(cell: int, cell_bytes: int) -> None:
    packed = vector({cell: 1})
    assert len(packed) == 8 + cell_bytes + 1
    assert unpack(packed)[0].tolist() == [cell]


def test_any_truncation_is_refused() -> None:
    packed = vector({3: 5, 70_000: -9_000_000_000})
    for length in range(1, len(packed)):
        with pytest.raises(DecodeError, match="truncated or corrupt"):
            unpack(packed[:length])


def test_bytes_behind_the_end_are_refused() -> None:
    with pytest.raises(DecodeError, match="truncated or corrupt"):
        unpack(vector({3: 5}) + b"\0")


def test_another_format_is_refused_by_its_number() -> None:
    with pytest.raises(DecodeError, match="format 9"):
        unpack(b"\x09" + vector({3: 5})[1:])


def test_an_unknown_type_is_refused() -> None:
    packed = bytearray(vector({3: 5}))
    packed[1] = 2
    with pytest.raises(DecodeError, match="truncated or corrupt"):
        unpack(bytes(packed))


def test_merging_cancels_what_adds_up_to_nothing() -> None:
    assert merge([vector({1: 4, 2: 7}), vector({1: -4})]) == vector({2: 7})
    assert merge([vector({1: 4}), vector({1: -4})]) == EMPTY


def test_accumulate_is_the_dense_sum() -> None:
    assert accumulate([vector({1: 4}), EMPTY, vector({0: -1, 1: 3})], 3).tolist() == [-1, 7, 0]


def test_add_up_leaves_out_sums_of_zero() -> None:
    key, total = add_up(np.array([5, 2, 5, 2, 9]), np.array([1, 3, -1, 4, 0]))
    assert (key.tolist(), total.tolist()) == ([2], [7])
    assert add_up(np.array([], dtype=np.int64), np.array([], dtype=np.int64))[0].tolist() == []


def test_additions_of_counts_add_one_each() -> None:
    parts = [
        Additions.counts(np.array([0, 1]), np.array([7, 8], dtype=np.int32)),
        Additions(np.array([4]), np.array([1], dtype=np.int32), np.array([-2])),
    ]
    whole = Additions.concatenate(parts)
    assert (whole.row.tolist(), whole.cell.tolist(), whole.amount.tolist()) == ([0, 1, 4], [7, 8, 1], [1, 1, -2])
