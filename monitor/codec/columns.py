"""Cells to feature columns: what counts as a number, as text, as missing and as mistyped.

A numeric feature takes numbers and booleans, never text. A categorical one takes text, and writes numbers and booleans as text.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from monitor.codec.cells import ABSENT, UNUSABLE, Cells, Scalar, coded, valid
from monitor.events import Bools, Floats, Int32s, Int64s, NumericColumn, TextColumn

CATEGORY_BYTES_LIMIT = 256
"""Longer category texts are cut there, at the border of a character: no real category is told apart by what follows."""


def numeric_column(cells: Cells) -> NumericColumn:
    """Numbers as float64 and booleans as 1 and 0; text, objects and arrays are mistyped. NaN and ±inf stay as they are."""
    if cells.floats is not None and cells.scalars() == (cells.floats,) and cells.others is None:
        return _floats_only(cells.floats)
    values = np.full(cells.length, np.nan)
    filled = np.zeros(cells.length, dtype=np.bool_)
    for member, zero in ((cells.floats, 0.0), (cells.integers, 0), (cells.flags, False)):
        if member is not None:
            rows = valid(member)
            np.copyto(values, member.fill_null(zero).to_numpy(zero_copy_only=False).astype(np.float64), where=rows)
            filled |= rows
    mistyped = np.zeros(cells.length, dtype=np.bool_) if cells.others is None else cells.others.copy()
    if cells.texts is not None:
        mistyped |= valid(cells.texts)
    return NumericColumn(values, missing=~(filled | mistyped), mistyped=mistyped)


def _floats_only(floats: pa.Array) -> NumericColumn:
    missing = ~valid(floats)
    values: Floats = (floats.fill_null(np.nan) if floats.null_count else floats).to_numpy(zero_copy_only=False)
    return NumericColumn(values.astype(np.float64, copy=False), missing, mistyped=np.zeros(len(floats), dtype=np.bool_))


@dataclass(frozen=True, slots=True)
class Texts:
    """A text column on its way: `codes` index `values` (utf8), -1 and -2 as in `TextColumn`.

    The values are distinct, each is used, and they stand in the order of their first rows.
    """

    codes: Int32s
    values: pa.Array

    @classmethod
    def of(cls, codes: Int32s, values: pa.Array) -> "Texts":
        """From codes into values that may repeat, or that no row has. O(rows + values)."""
        unique = values.dictionary_encode()
        if len(unique.dictionary) < len(values):
            codes = _renumbered(codes, unique.indices.to_numpy(zero_copy_only=False))
        values = unique.dictionary
        rows, count = len(codes), len(values)
        first_row = np.full(count + 2, rows, dtype=np.int64)  # the last two take the codes -2 and -1
        first_row[codes[::-1]] = np.arange(rows - 1, -1, -1)  # of equal codes the last assignment stays: the earliest row
        used = np.flatnonzero(first_row[:count] < rows)
        order = used[np.argsort(first_row[used])]
        if len(order) == count and (order == np.arange(count)).all():
            return cls(codes, values)
        places = np.zeros(count, dtype=np.int32)
        places[order] = np.arange(len(order), dtype=np.int32)
        return cls(_renumbered(codes, places), values.take(pa.array(order)))

    @classmethod
    def of_cells(cls, cells: Cells) -> "Texts":
        """Text as it is, an integer (and a whole float) as its digits, another float as its shortest text, a boolean as true or false."""
        codes = np.full(cells.length, ABSENT, dtype=np.int32)
        members: list[pa.Array] = []
        for member in cells.scalars():
            member_codes, values = coded(member)
            codes = np.where(member_codes >= 0, member_codes + np.int32(sum(map(len, members))), codes)
            members.append(_cut(values.cast(pa.string()) if member is cells.texts else _texts_of(values.to_pylist())))
        if cells.others is not None:
            codes[cells.others] = UNUSABLE
        return cls.of(codes, pa.concat_arrays(members) if members else pa.array([], pa.string()))

    @classmethod
    def joined(cls, columns: Sequence[TextColumn], order: Int64s) -> "Texts":
        """Columns one below the other, then their rows in `order`."""
        begins = np.cumsum([0, *(len(column.categories) for column in columns)])
        codes = [np.where(c.codes >= 0, c.codes + np.int32(begin), c.codes) for c, begin in zip(columns, begins, strict=False)]
        return cls.of(np.concatenate(codes)[order], pa.concat_arrays([pa.array(column.categories, pa.string()) for column in columns]))

    def or_else(self, other: "Texts") -> "Texts":
        """The other's text where this one has none."""
        fallback = np.where(other.codes >= 0, other.codes + np.int32(len(self.values)), other.codes)
        return Texts.of(np.where(self.codes == ABSENT, fallback, self.codes), pa.concat_arrays([self.values, other.values]))

    def take(self, rows: slice | Int64s) -> "Texts":
        return Texts.of(self.codes[rows], self.values)

    def column(self) -> TextColumn:
        return TextColumn(self.codes, tuple(self.values.to_pylist()))


def _renumbered(codes: Int32s, places: Int32s) -> Int32s:
    """Codes through a table of places; the negative ones stay."""
    renumbered: Int32s = np.concatenate((places, np.array([UNUSABLE, ABSENT], dtype=np.int32)))[codes]
    return renumbered


def _texts_of(values: Sequence[Scalar]) -> pa.Array:
    return pa.array([category_text(value) for value in values], pa.string())


def category_text(value: Scalar) -> str:
    """How a number or a boolean is written as a category."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _cut(texts: pa.Array) -> pa.Array:
    lengths: Int32s = pc.binary_length(texts).to_numpy(zero_copy_only=False)
    long: Bools = lengths > CATEGORY_BYTES_LIMIT
    if not long.any():
        return texts
    cut = [text.encode()[:CATEGORY_BYTES_LIMIT].decode(errors="ignore") for text in texts.filter(pa.array(long)).to_pylist()]
    return pc.replace_with_mask(texts, pa.array(long), pa.array(cut, pa.string()))
