"""The two tables of a join as columns beside an `IdIndex`: predictions and labels, each row until it expires.

A table keeps, for each block of rows, a lower bound of the watermark that lets one of them go, so that a sweep looks at no
block in which nothing can have expired. What the rows mean to one another is `monitor.join.table`'s business.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from monitor.clock import Milliseconds
from monitor.errors import SnapshotError
from monitor.events import Floats, Int16s, Int32s, Int64s, UInt32s, UInt64s
from monitor.join.index import FIRST_CAPACITY, NONE, IdIndex, grown
from monitor.join.rows import Float32s, Int8s, LabelRows, PredictionRows
from monitor.join.terms import NEVER, Terms

BLOCK = 1 << 14
PIECE = 1 << 18
"""Rows written to or read from a snapshot at a time."""
FOREVER = np.iinfo(np.int64).max

WAITING, JOINED, SET_ASIDE = range(3)
"""A prediction's state: no label on time yet; joined with one; labels on time that disagree under `Corrections.CONFLICT`."""


class Wakes:
    """For each block of rows, a watermark that must be passed before any of its rows can expire."""

    __slots__ = ("_bounds",)

    def __init__(self) -> None:
        self._bounds: Int64s = np.empty(0, dtype=np.int64)

    def lower(self, rows: Int64s, expiry: Int64s | np.int64) -> None:
        """Takes new rows into account."""
        block = rows // BLOCK
        self._reach(int(block.max(initial=-1)))
        np.minimum.at(self._bounds, block, expiry)

    def due(self, watermark: Milliseconds) -> Int64s:
        """The blocks that have to be looked at, ascending."""
        return np.flatnonzero(self._bounds < watermark)

    def settle(self, block: int, expiry: Int64s) -> None:
        """States what is left in a block that was looked at."""
        self._reach(block)
        self._bounds[block] = expiry.min(initial=FOREVER)

    def _reach(self, block: int) -> None:
        missing = block + 1 - len(self._bounds)
        if missing > 0:
            self._bounds = np.append(self._bounds, np.full(missing, FOREVER))


@dataclass(slots=True)
class PredictionColumns:
    """`content` is half of the digest given, enough to count differing repeats; `scores` is (rows, score width)."""

    time: Int64s
    score: Floats
    identity: Int32s
    segment: Int32s
    content: UInt32s
    model: Int16s
    predicted: Int16s
    state: Int8s
    scores: Float32s


@dataclass(slots=True)
class LabelColumns:
    """`free_after` is the greatest expiry of the predictions this label met (on time or late), `NEVER` where it met none.

    `lag` is how far the log's watermark was ahead of `arrival` at this row.
    """

    time: Int64s
    arrival: Int64s
    free_after: Int64s
    lag: UInt32s
    value: Int32s
    model: Int16s


class PredictionTable:
    """Predictions by id."""

    __slots__ = ("_wakes", "columns", "index")

    def __init__(self, score_width: int) -> None:
        self.index = IdIndex()
        self.columns = PredictionColumns(
            time=np.empty(FIRST_CAPACITY, dtype=np.int64),
            score=np.empty(FIRST_CAPACITY, dtype=np.float64),
            identity=np.empty(FIRST_CAPACITY, dtype=np.int32),
            segment=np.empty(FIRST_CAPACITY, dtype=np.int32),
            content=np.empty(FIRST_CAPACITY, dtype=np.uint32),
            model=np.empty(FIRST_CAPACITY, dtype=np.int16),
            predicted=np.empty(FIRST_CAPACITY, dtype=np.int16),
            state=np.empty(FIRST_CAPACITY, dtype=np.int8),
            scores=np.empty((FIRST_CAPACITY, score_width), dtype=np.float32),
        )
        self._wakes = Wakes()

    def insert(self, rows: PredictionRows, content: UInt32s, state: Int8s, expiry: Int64s) -> None:
        """Adds rows; `content`, `state` and `expiry` are (n,), one for each."""
        row = _inserted(self.index, self.columns, rows.ids)
        columns = self.columns
        columns.time[row] = rows.time
        columns.score[row] = rows.score
        columns.identity[row] = rows.identity
        columns.segment[row] = rows.segment
        columns.content[row] = content
        columns.model[row] = rows.model
        columns.predicted[row] = rows.predicted
        columns.state[row] = state
        if rows.scores is not None:
            columns.scores[row] = rows.scores
        self._wakes.lower(row, expiry)

    def expired(self, both_passed: Milliseconds, terms: Terms) -> Int64s:
        """Rows whose expiry lies behind the lesser watermark."""
        gone = [NONE]
        for block in self._wakes.due(both_passed).tolist():
            rows = slice(block * BLOCK, min((block + 1) * BLOCK, self.index.rows_end))
            expiry = terms.expiry(self.columns.time[rows], self.columns.model[rows])
            occupied = self.index.occupied(rows)
            freed = occupied & (expiry < both_passed)
            self._wakes.settle(block, expiry[occupied & ~freed])
            gone.append(rows.start + np.flatnonzero(freed))
        return np.concatenate(gone)

    @property
    def nbytes(self) -> int:
        return _nbytes(self.index, self.columns)

    def chunks(self) -> Iterator[bytes]:
        return _chunks(self.index, self.columns)

    def load(self, source: "ByteReader", count: int) -> None:
        """Fills an empty table with the rows that `chunks` gave."""
        _load(self.index, self.columns, source, count)
        self._wakes.lower(self.index.rows()[::BLOCK], np.int64(NEVER))


class LabelTable:
    """Labels by prediction id."""

    __slots__ = ("_answered", "_open", "columns", "index")

    def __init__(self) -> None:
        self.index = IdIndex()
        self.columns = LabelColumns(
            time=np.empty(FIRST_CAPACITY, dtype=np.int64),
            arrival=np.empty(FIRST_CAPACITY, dtype=np.int64),
            free_after=np.empty(FIRST_CAPACITY, dtype=np.int64),
            lag=np.empty(FIRST_CAPACITY, dtype=np.uint32),
            value=np.empty(FIRST_CAPACITY, dtype=np.int32),
            model=np.empty(FIRST_CAPACITY, dtype=np.int16),
        )
        self._open = Wakes()
        self._answered = Wakes()

    def insert(self, rows: LabelRows, watermark: Int64s, free_after: Int64s, open_until: Int64s) -> None:
        """`open_until`: the predictions' watermark up to which one may still come that this label meets."""
        row = _inserted(self.index, self.columns, rows.ids)
        columns = self.columns
        columns.time[row] = rows.time
        columns.arrival[row] = rows.arrival
        columns.free_after[row] = free_after
        columns.lag[row] = watermark - rows.arrival
        columns.value[row] = rows.value
        columns.model[row] = rows.model
        self._open.lower(row, open_until)

    def expired(self, predictions_passed: Milliseconds, both_passed: Milliseconds, terms: Terms) -> Int64s:
        """Rows that no prediction to come can meet, and whose predictions have all expired."""
        gone = [NONE]
        for block in np.union1d(self._open.due(predictions_passed), self._answered.due(both_passed)).tolist():
            rows = slice(block * BLOCK, min((block + 1) * BLOCK, self.index.rows_end))
            occupied = self.index.occupied(rows)
            open_until, free_after = terms.open_until(self.columns.arrival[rows]), self.columns.free_after[rows]
            open_still = occupied & (open_until >= predictions_passed)
            needed_still = occupied & ~open_still & (free_after >= both_passed)
            self._open.settle(block, open_until[open_still])
            self._answered.settle(block, free_after[needed_still])
            gone.append(rows.start + np.flatnonzero(occupied & ~open_still & ~needed_still))
        return np.concatenate(gone)

    @property
    def nbytes(self) -> int:
        return _nbytes(self.index, self.columns)

    def chunks(self) -> Iterator[bytes]:
        return _chunks(self.index, self.columns)

    def load(self, source: "ByteReader", count: int) -> None:
        """Fills an empty table with the rows that `chunks` gave."""
        _load(self.index, self.columns, source, count)
        self._open.lower(self.index.rows()[::BLOCK], np.int64(NEVER))


class ByteReader:
    """Reads arrays off bytes, one after the other. Raises `SnapshotError` where they end too early."""

    __slots__ = ("_data", "_position")

    def __init__(self, data: bytes | memoryview) -> None:
        self._data = memoryview(data)
        self._position = 0

    @property
    def left(self) -> int:
        return len(self._data) - self._position

    def read(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
        """The next array, a view of the bytes."""
        count = math.prod(shape)
        if count < 0 or count * dtype.itemsize > self.left:
            raise SnapshotError(
                f"the bytes of a join table end at {len(self._data)} where {count * dtype.itemsize} more were expected at "
                f"{self._position}: they were cut short or written by another version; use another snapshot"
            )
        array = np.frombuffer(self._data, dtype=dtype, count=count, offset=self._position).reshape(shape)
        self._position += array.nbytes
        return array


def _inserted(index: IdIndex, columns: PredictionColumns | LabelColumns, ids: UInt64s) -> Int64s:
    """New rows for these ids, with room for them in every column."""
    used = index.rows_end
    rows = index.insert(ids)
    _fit(columns, used, index.capacity)
    return rows


def _fit(columns: PredictionColumns | LabelColumns, used: int, capacity: int) -> None:
    """Columns grow one at a time, so that growing never holds more than one of them twice."""
    if capacity > len(columns.time):
        for column in fields(columns):
            setattr(columns, column.name, grown(getattr(columns, column.name), used, capacity))


def _nbytes(index: IdIndex, columns: PredictionColumns | LabelColumns) -> int:
    """Bytes in use; what lies beyond the last row has never been touched and occupies no memory."""
    return index.nbytes + sum(int(getattr(columns, column.name)[: index.rows_end].nbytes) for column in fields(columns))


def _chunks(index: IdIndex, columns: PredictionColumns | LabelColumns) -> Iterator[bytes]:
    """The rows that are there, a piece of them at a time: ids, then column by column."""
    rows = index.rows()
    for start in range(0, len(rows), PIECE):
        piece = rows[start : start + PIECE]
        yield index.ids(piece).tobytes()
        for column in fields(columns):
            yield getattr(columns, column.name)[piece].tobytes()


def _load(index: IdIndex, columns: PredictionColumns | LabelColumns, source: ByteReader, count: int) -> None:
    index.reserve(count)
    _fit(columns, 0, index.capacity)
    for start in range(0, count, PIECE):
        size = min(PIECE, count - start)
        rows = index.insert(source.read((size, 2), np.dtype(np.uint64)))
        for column in fields(columns):
            values = getattr(columns, column.name)
            values[rows] = source.read((size, *values.shape[1:]), values.dtype)
