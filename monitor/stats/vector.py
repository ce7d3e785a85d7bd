"""Sparse int64 vectors as bytes: the one form of a pane in memory, in the log and between processes.

Laws: merging is adding cell by cell, hence associative and commutative with `EMPTY` as its identity; a cell that adds up to 0 takes no
room, so two vectors are equal exactly when their bytes are; `unpack(pack(v))` is `v`.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from monitor.errors import DecodeError
from monitor.events import Bools, Int32s, Int64s

EMPTY = b""

_HEADER = struct.Struct("<BBBxI")
_FORMAT = 1
_CELL_TYPES = (np.dtype("<u2"), np.dtype("<u4"))
_AMOUNT_TYPES = (np.dtype("<i1"), np.dtype("<i2"), np.dtype("<i4"), np.dtype("<i8"))
_AMOUNT_LIMITS = np.array([2**7 - 1, 2**15 - 1, 2**31 - 1], dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Additions:
    """What rows add to vectors: entry k adds `amount[k]` to `cell[k]` of the vector that row `row[k]` belongs to. Shapes (k,)."""

    row: Int64s
    cell: Int32s
    amount: Int64s

    @classmethod
    def concatenate(cls, parts: Iterable["Additions"]) -> "Additions":
        """All entries of all parts. Raises ValueError where there are none."""
        listed = list(parts)
        return cls(
            np.concatenate([part.row for part in listed]),
            np.concatenate([part.cell for part in listed]),
            np.concatenate([part.amount for part in listed]),
        )

    def of_rows(self, chosen: Bools) -> "Additions":
        """The entries of the chosen rows, `chosen` (m,) by row; rows keep their numbers."""
        entries = chosen[self.row]
        return Additions(self.row[entries], self.cell[entries], self.amount[entries])

    @classmethod
    def counts(cls, row: Int64s, cell: Int32s) -> "Additions":
        """One count each."""
        return cls(row, cell, np.ones(len(cell), dtype=np.int64))


def pack(cell: Int32s, amount: Int64s) -> bytes:
    """The bytes of a vector given by its non-zero cells, ascending and distinct, in the narrowest types that hold them."""
    count = len(cell)
    if count == 0:
        return EMPTY
    cell_code = 0 if cell[-1] < 2**16 else 1
    largest = max(int(amount.max()), -int(amount.min()) - 1)
    amount_code = int(np.searchsorted(_AMOUNT_LIMITS, largest, side="left"))
    header = _HEADER.pack(_FORMAT, cell_code, amount_code, count)
    return header + cell.astype(_CELL_TYPES[cell_code]).tobytes() + amount.astype(_AMOUNT_TYPES[amount_code]).tobytes()


def unpack(packed: bytes) -> tuple[Int32s, Int64s]:
    """The non-zero cells of a vector, ascending, and their amounts. Raises `DecodeError` on bytes that `pack` did not write."""
    if not packed:
        return np.empty(0, dtype=np.int32), np.empty(0, dtype=np.int64)
    try:
        form, cell_code, amount_code, count = _HEADER.unpack_from(packed)
        if form != _FORMAT:
            raise DecodeError(f"pane vector of format {form}, expected {_FORMAT}: written by another version of the monitor")
        cell_type, amount_type = _CELL_TYPES[cell_code], _AMOUNT_TYPES[amount_code]
        cell = np.frombuffer(packed, cell_type, count, _HEADER.size)
        amount = np.frombuffer(packed, amount_type, count, _HEADER.size + count * cell_type.itemsize)
        if len(packed) != _HEADER.size + count * (cell_type.itemsize + amount_type.itemsize):
            raise ValueError("bytes are left over")
    except (struct.error, IndexError, ValueError) as error:
        raise DecodeError(f"pane vector of {len(packed)} bytes is truncated or corrupt") from error
    return cell.astype(np.int32), amount.astype(np.int64)


def merge(vectors: Iterable[bytes]) -> bytes:
    """The sum of packed vectors."""
    unpacked = [unpack(vector) for vector in vectors if vector]
    if not unpacked:
        return EMPTY
    cells = np.concatenate([cell for cell, _ in unpacked]).astype(np.int64)
    cell, amount = add_up(cells, np.concatenate([amount for _, amount in unpacked]))
    return pack(cell.astype(np.int32), amount)


def add_up(key: Int64s, amount: Int64s) -> tuple[Int64s, Int64s]:
    """Adds the amounts of equal keys; the distinct keys, ascending, whose sum is not 0, and these sums."""
    if len(key) == 0:
        return key, amount
    order = np.argsort(key, kind="stable")
    key = key[order]
    first = np.flatnonzero(np.concatenate(([True], key[1:] != key[:-1])))
    total = np.add.reduceat(amount[order], first)
    kept = total != 0
    return key[first][kept], total[kept]


def accumulate(vectors: Iterable[bytes], size: int) -> Int64s:
    """The sum of packed vectors as a dense array, int64 (size,)."""
    total = np.zeros(size, dtype=np.int64)
    for vector in vectors:
        if vector:
            cell, amount = unpack(vector)
            total[cell] += amount
    return total
