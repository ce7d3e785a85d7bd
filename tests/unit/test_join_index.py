"""The id index against a dict of lists, and the two shapes that would make chained hashing slow: one id, and one bucket, for all rows."""

from collections import defaultdict

import numpy as np
import numpy.typing as npt
import pytest

from monitor.join.index import FIRST_CAPACITY, IdIndex

UInt64s = npt.NDArray[np.uint64]


def found(index: IdIndex, ids: UInt64s) -> dict[int, set[int]]:
    pairs: dict[int, set[int]] = defaultdict(set)
    positions, rows = index.find(ids)
    assert len(set(zip(positions.tolist(), rows.tolist(), strict=True))) == len(rows), "a pair came twice"
    for position, row in zip(positions.tolist(), rows.tolist(), strict=True):
        pairs[position].add(row)
    return dict(pairs)


def few_ids(rng: np.random.Generator, n: int) -> UInt64s:
    """Many repeats, and many buckets shared."""
    return np.stack((rng.integers(0, 40, n) * 512, rng.integers(0, 2, n)), axis=1).astype(np.uint64)


def test_it_finds_what_a_dict_of_lists_would_through_growth_removal_and_reuse() -> None:
    rng = np.random.default_rng(1)
    index, expected = IdIndex(), defaultdict[tuple[int, ...], set[int]](set)
    for _ in range(30):
        ids = few_ids(rng, int(rng.integers(1, 300)))
        for key, row in zip(ids.tolist(), index.insert(ids).tolist(), strict=True):
            expected[tuple(key)].add(row)
        rows = index.rows()
        leaving = rows[rng.random(len(rows)) < 0.4]
        index.remove(leaving)
        for held in expected.values():
            held -= set(leaving.tolist())
        asked = few_ids(rng, 50)
        assert found(index, asked) == {k: expected[tuple(key)] for k, key in enumerate(asked.tolist()) if expected[tuple(key)]}
        assert len(index) == sum(map(len, expected.values())) == len(index.rows())


def test_a_row_that_was_removed_is_given_out_again() -> None:
    index = IdIndex()
    rows = index.insert(np.arange(20, dtype=np.uint64).reshape(10, 2))
    index.remove(rows[3:6])
    assert sorted(index.insert(np.arange(6, dtype=np.uint64).reshape(3, 2)).tolist()) == [3, 4, 5]
    assert index.rows_end == 10


@pytest.mark.parametrize("step", [0, FIRST_CAPACITY * 1024], ids=["one id", "one bucket"])
def test_a_chain_of_thousands_is_searched_and_shortened_correctly(step: int) -> None:
    index, n = IdIndex(), 5000
    numbers = np.arange(n, dtype=np.uint64) * np.uint64(step)
    rows = index.insert(np.stack((numbers, numbers), axis=1))
    other = np.array([[3, 3]], dtype=np.uint64)
    index.insert(other)
    asked = np.array([[0, 0], [step, step], [3, 3], [4, 4]], dtype=np.uint64)

    def alike(kept: npt.NDArray[np.int64], number: int) -> set[int]:
        return set(kept[numbers[kept] == number].tolist())

    for kept in (rows, rows[rows % 2 == 0]):
        index.remove(np.setdiff1d(index.rows()[:-1], kept))
        expected = {0: alike(kept, 0), 1: alike(kept, step), 2: {n}}
        assert found(index, asked) == {position: held for position, held in expected.items() if held}
    index.remove(index.rows())
    assert (len(index), found(index, asked)) == (0, {})


def test_reserving_room_changes_nothing_but_the_room() -> None:
    plain, roomy = IdIndex(), IdIndex()
    roomy.reserve(10_000)
    ids = few_ids(np.random.default_rng(2), 3000)
    assert plain.insert(ids).tolist() == roomy.insert(ids).tolist()
    assert roomy.capacity == 10_000
    assert found(plain, ids[:100]) == found(roomy, ids[:100])
