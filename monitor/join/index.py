"""A multimap from 128-bit ids to row numbers, in NumPy arrays: many rows inserted, found or removed in one call.

Chained hashing: `heads[bucket]` is the first row of a bucket and `next[row]` the one after it, so an entry costs 24 bytes and a
bucket 4, with at most one entry a bucket on average. It hands out the row numbers and knows nothing of the columns they number.

Laws. It is a set of (id, row): what `find` returns depends on the rows present, never on the order or batching in which they came
or on those that went. Rows are numbered below `rows_end`, and a removed row's number is given out again before `rows_end` grows.
"""

from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

from monitor.events import Bools, Int32s, Int64s, UInt64s

END = -1
"""In `heads` and `next`: the chain stops here."""
VACANT = -2
"""In `next`: no entry has this row."""

Column = TypeVar("Column", bound=npt.NDArray[Any])

NONE: Int64s = np.empty(0, dtype=np.int64)
FIRST_CAPACITY = 1024
LINKED_AT_ONCE = 1 << 20
"""Entries linked in one go when the buckets double, so that this needs little memory (measured: 60 ms a million)."""
LONG_CHAIN = 64
FEW_CHAINS = 8
"""After `LONG_CHAIN` steps with no more than this many chains left, comparing every row costs less than walking on: it
takes milliseconds, whereas a producer that gives all its events one id makes a chain of a million steps."""


class IdIndex:
    """See the module's docstring. Ids are given as uint64 (n, 2); their first word is taken to be evenly distributed already."""

    __slots__ = ("_count", "_heads", "_high", "_low", "_next", "_vacant", "rows_end")

    def __init__(self) -> None:
        self._low: UInt64s = np.empty(FIRST_CAPACITY, dtype=np.uint64)
        self._high: UInt64s = np.empty(FIRST_CAPACITY, dtype=np.uint64)
        self._next: Int32s = np.empty(FIRST_CAPACITY, dtype=np.int32)
        self._heads: Int32s = np.full(FIRST_CAPACITY, END, dtype=np.int32)
        self._vacant: Int64s = np.empty(0, dtype=np.int64)
        self._count = 0
        self.rows_end = 0

    def __len__(self) -> int:
        return self._count

    @property
    def capacity(self) -> int:
        """Rows there is room for; the columns beside the index have as many."""
        return len(self._low)

    @property
    def nbytes(self) -> int:
        """Bytes in use: what the arrays keep beyond `rows_end` has never been touched and occupies no memory."""
        return self.rows_end * 20 + self._heads.nbytes + self._vacant.nbytes

    def rows(self) -> Int64s:
        """The rows of all entries, ascending."""
        return np.flatnonzero(self._next[: self.rows_end] != VACANT)

    def ids(self, rows: Int64s) -> UInt64s:
        """The ids of entries, (n, 2)."""
        return np.stack((self._low[rows], self._high[rows]), axis=1)

    def occupied(self, rows: slice) -> Bools:
        """Which of a range of rows have an entry."""
        return np.not_equal(self._next[rows], VACANT)

    def reserve(self, count: int) -> None:
        """Makes room for so many entries in an empty index, which saves growing on the way there."""
        if count > self.capacity:
            self._widen(0, count)
        self._heads = np.full(_buckets(count), END, dtype=np.int32)

    def insert(self, ids: UInt64s) -> Int64s:
        """A row for each of n new entries, several of which may have the same id."""
        rows = self._allocate(len(ids))
        self._low[rows] = ids[:, 0]
        self._high[rows] = ids[:, 1]
        self._count += len(rows)
        if self._count > len(self._heads):
            self._next[rows] = END
            self._rehash()
        else:
            self._link(rows)
        return rows

    def find(self, ids: UInt64s) -> tuple[Int64s, Int64s]:
        """Every pair (position in `ids`, row) with equal ids, in no particular order."""
        low, high = ids[:, 0], ids[:, 1]
        queries, found = [], []
        row = self._heads[self._bucket(low)]
        query = np.flatnonzero(row != END)
        row = row[query]
        steps = 0
        while len(query):
            same = np.flatnonzero((self._low[row] == low[query]) & (self._high[row] == high[query]))
            queries.append(query[same])
            found.append(row[same].astype(np.int64))
            row = self._next[row]
            going_on = np.flatnonzero(row != END)
            query, row = query[going_on], row[going_on]
            steps += 1
            if steps == LONG_CHAIN and len(query) <= FEW_CHAINS:
                break
        positions, rows = np.concatenate((NONE, *queries)), np.concatenate((NONE, *found))
        if len(query):
            walked = ~np.isin(positions, query)
            searched = [self._search(low[position], high[position]) for position in query.tolist()]
            positions = np.concatenate((positions[walked], np.repeat(query, [len(same) for same in searched])))
            rows = np.concatenate((rows[walked], *searched))
        return positions, rows

    def remove(self, rows: Int64s) -> None:
        """Takes entries out; each row given is one that has an entry, once."""
        if not len(rows):
            return
        bucket = np.unique(self._bucket(self._low[rows]))
        leaving = np.zeros(self.rows_end, dtype=np.bool_)
        leaving[rows] = True
        row = self._heads[bucket]
        last = np.full(len(bucket), END, dtype=np.int32)
        steps = 0
        while len(bucket):
            staying = np.flatnonzero((row != END) & ~leaving[row])
            self._join_up(bucket[staying], last[staying], row[staying])
            last[staying] = row[staying]
            ended = row == END
            self._join_up(bucket[ended], last[ended], row[ended])
            going_on = np.flatnonzero(~ended)
            bucket, last, row = bucket[going_on], last[going_on], self._next[row[going_on]]
            steps += 1
            if steps == LONG_CHAIN and len(bucket) <= FEW_CHAINS:
                self._relink(bucket, leaving)
                break
        self._next[rows] = VACANT
        self._vacant = np.concatenate((self._vacant, rows))
        self._count -= len(rows)

    def _bucket(self, low: UInt64s) -> Int64s:
        return (low & np.uint64(len(self._heads) - 1)).astype(np.int64)

    def _join_up(self, bucket: Int64s, last: Int32s, row: Int32s) -> None:
        """Makes `row` follow `last` in its bucket, or be the first of it where there is no last one."""
        first = last == END
        self._heads[bucket[first]] = row[first]
        self._next[last[~first]] = row[~first]

    def _search(self, low: np.uint64, high: np.uint64) -> Int64s:
        """The rows of one id by comparing them all."""
        end = self.rows_end
        return np.flatnonzero((self._low[:end] == low) & (self._high[:end] == high) & (self._next[:end] != VACANT))

    def _relink(self, buckets: Int64s, leaving: Bools) -> None:
        """Builds the chains of some buckets anew from the rows that stay."""
        low, following = self._low[: self.rows_end], self._next[: self.rows_end]
        self._heads[buckets] = END
        for bucket in buckets.tolist():
            self._link(np.flatnonzero((self._bucket(low) == bucket) & ~leaving & (following != VACANT)))

    def _allocate(self, count: int) -> Int64s:
        """Row numbers: vacant ones first, then new ones at the end."""
        kept = max(len(self._vacant) - count, 0)
        rows, self._vacant = self._vacant[kept:], self._vacant[:kept]
        start, self.rows_end = self.rows_end, self.rows_end + count - len(rows)
        if self.rows_end > self.capacity:
            self._widen(start, max(self.rows_end, self.capacity + self.capacity // 2))
        return np.concatenate((rows, np.arange(start, self.rows_end, dtype=np.int64)))

    def _widen(self, used: int, capacity: int) -> None:
        self._low = grown(self._low, used, capacity)
        self._high = grown(self._high, used, capacity)
        self._next = grown(self._next, used, capacity)

    def _link(self, rows: Int64s) -> None:
        """Puts rows in front of the chains of their buckets: sorted by bucket, each is followed by the next of the same bucket."""
        key = np.sort((self._bucket(self._low[rows]) << np.int64(32)) | rows)
        bucket, rows = key >> np.int64(32), key & np.int64(0xFFFFFFFF)
        last = np.ones(len(rows), dtype=np.bool_)
        last[:-1] = bucket[1:] != bucket[:-1]
        following = np.empty(len(rows), dtype=np.int64)
        following[:-1] = rows[1:]
        following[last] = self._heads[bucket[last]]
        self._next[rows] = following
        first = np.ones(len(rows), dtype=np.bool_)
        first[1:] = last[:-1]
        self._heads[bucket[first]] = rows[first]

    def _rehash(self) -> None:
        """More buckets, and every entry linked anew."""
        self._heads = np.full(_buckets(self._count), END, dtype=np.int32)
        for start in range(0, self.rows_end, LINKED_AT_ONCE):
            rows = slice(start, min(start + LINKED_AT_ONCE, self.rows_end))
            self._link(start + np.flatnonzero(self.occupied(rows)))


def _buckets(entries: int) -> int:
    """The power of two with at most one entry a bucket."""
    return max(FIRST_CAPACITY, 1 << (entries - 1).bit_length())


def grown(column: Column, used: int, capacity: int) -> Column:
    """A longer array with the first `used` rows of `column`; the rest of it stays untouched, so that it occupies no memory yet."""
    longer = np.empty((capacity, *column.shape[1:]), dtype=column.dtype)
    longer[:used] = column[:used]
    return cast("Column", longer)
