"""One field of many events, sorted by the type its values came with: what every rule about types reads.

Arrow columns and JSON values both become `Cells`, so that the rules exist once and both content types mean the same.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import NoneType

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from monitor.errors import DecodeError
from monitor.events import Bools, Int32s, Int64s

Scalar = str | int | float | bool

SHOWN_CHARACTERS = 60
"""Of a text that came from outside, in a message."""

ABSENT = -1
UNUSABLE = -2
"""Instead of a code or an index: there is no value, or one of a type that cannot be meant."""

_INT64 = range(-(2**63), 2**63)


@dataclass(frozen=True, slots=True)
class Cells:
    """n values; each row is valid in at most one member, in none where the value is absent or null.

    `texts` is utf8, large_utf8, or dictionary<int32, either> without nulls among its values. `integers`, `floats`, `flags` (bool) and
    `instants` (timestamp) are of any width. `others` marks rows that hold an object or an array.
    """

    length: int
    texts: pa.Array | None = None
    integers: pa.Array | None = None
    floats: pa.Array | None = None
    flags: pa.Array | None = None
    instants: pa.Array | None = None
    others: Bools | None = None

    @classmethod
    def of_arrow(cls, array: pa.Array) -> "Cells":
        """A column of one of the types that `is_readable` names; raises `DecodeError` for another."""
        kind = array.type
        if pa.types.is_null(kind):
            return cls(len(array))
        if pa.types.is_dictionary(kind) or _is_text(kind):
            return cls(len(array), texts=array)
        if pa.types.is_floating(kind):
            return cls(len(array), floats=array)
        if pa.types.is_integer(kind):
            return cls(len(array), integers=array)
        if pa.types.is_boolean(kind):
            return cls(len(array), flags=array)
        if pa.types.is_timestamp(kind):
            return cls(len(array), instants=array)
        raise DecodeError(f"a column has the Arrow type {kind}; expected a number, bool, utf8, dictionary of utf8 or timestamp")

    @classmethod
    def of_values(cls, values: Sequence[object]) -> "Cells":
        """Values as a JSON parser makes them. An integer that int64 cannot hold counts as a float."""
        kinds = set(map(type, values))
        absent = NoneType in kinds
        kinds.discard(NoneType)
        if not kinds:
            return cls(len(values))
        if kinds == {float}:
            return cls(len(values), floats=pa.array(values, pa.float64()) if absent else pa.array(np.array(values, dtype=np.float64)))
        if kinds == {str}:
            return cls(len(values), texts=pa.array(values, pa.string()))
        if kinds == {bool}:
            return cls(len(values), flags=pa.array(values, pa.bool_()))
        if kinds == {int} and all(value is None or value in _INT64 for value in values):
            return cls(len(values), integers=pa.array(values, pa.int64()))
        return cls(
            len(values),
            texts=pa.array([v if type(v) is str else None for v in values], pa.string()) if str in kinds else None,
            integers=pa.array([v if type(v) is int and v in _INT64 else None for v in values], pa.int64()) if int in kinds else None,
            floats=pa.array([_as_float(v) for v in values], pa.float64()) if kinds & {int, float} else None,
            flags=pa.array([v if type(v) is bool else None for v in values], pa.bool_()) if bool in kinds else None,
            others=np.fromiter((type(v) in (dict, list) for v in values), np.bool_, len(values)) if kinds & {dict, list} else None,
        )

    def take(self, rows: Int64s) -> "Cells":
        def taken(member: pa.Array | None) -> pa.Array | None:
            return None if member is None else member.take(pa.array(rows))

        return Cells(
            len(rows),
            texts=taken(self.texts),
            integers=taken(self.integers),
            floats=taken(self.floats),
            flags=taken(self.flags),
            instants=taken(self.instants),
            others=None if self.others is None else self.others[rows],
        )

    def scalars(self) -> tuple[pa.Array, ...]:
        """The members that hold text, numbers and booleans."""
        return tuple(member for member in (self.texts, self.integers, self.floats, self.flags) if member is not None)

    def absent(self) -> Bools:
        """Rows without a value."""
        absent = np.ones(self.length, dtype=np.bool_)
        for member in self.scalars() if self.instants is None else (*self.scalars(), self.instants):
            absent &= ~valid(member)
        return absent if self.others is None else absent & ~self.others

    def map(self, resolve: Callable[[Scalar], int]) -> Int32s:
        """`resolve` of each distinct value, by row; `ABSENT` where there is none, `UNUSABLE` for an object, array or instant."""
        mapped = np.full(self.length, ABSENT, dtype=np.int32)
        for member in self.scalars():
            codes, values = coded(member)
            table = np.fromiter((*map(resolve, values.to_pylist()), ABSENT), np.int32, len(values) + 1)
            mapped = np.where(codes >= 0, table[codes], mapped)
        if self.instants is not None:
            mapped[valid(self.instants)] = UNUSABLE
        if self.others is not None:
            mapped[self.others] = UNUSABLE
        return mapped

    def shown(self, row: int) -> str:
        """The value of a row for a message to a person, cut to a length that a log line bears."""
        if self.others is not None and self.others[row]:
            return "an object or array"
        if self.instants is not None and self.instants[row].is_valid:
            return f"{self.instants[row].value} ({self.instants.type})"
        found = next((member for member in self.scalars() if member[row].is_valid), None)
        return "nothing" if found is None else quoted(_beginning(found, row))


def is_readable(kind: pa.DataType) -> bool:
    """Whether a column of this Arrow type can be an event's field (timestamps can in addition be its times)."""
    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return bool(
        _is_text(kind) or pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_null(kind)
    )


def coded(member: pa.Array) -> tuple[Int32s, pa.Array]:
    """Codes (n,) into an array of values, -1 for null. The values of a dictionary column may repeat and may be unused."""
    encoded = member if pa.types.is_dictionary(member.type) else member.dictionary_encode()
    indices = encoded.indices.fill_null(-1) if encoded.indices.null_count else encoded.indices
    return indices.to_numpy(zero_copy_only=False).astype(np.int32, copy=False), encoded.dictionary


def valid(member: pa.Array) -> Bools:
    """Rows (n,) that are not null."""
    if member.null_count == 0:
        return np.ones(len(member), dtype=np.bool_)
    rows: Bools = member.is_valid().to_numpy(zero_copy_only=False)
    return rows


def quoted(value: Scalar) -> str:
    """A value that came from outside, for a message."""
    if isinstance(value, str) and len(value) > SHOWN_CHARACTERS:
        return repr(value[:SHOWN_CHARACTERS]) + "…"
    return repr(value)


def _beginning(member: pa.Array, row: int) -> Scalar:
    """A row's value; of a text no more than is ever shown, since it may be huge and the only one of many rows' dictionary."""
    if pa.types.is_dictionary(member.type):
        return _beginning(member.dictionary, member.indices[row].as_py())
    if _is_text(member.type):
        member, row = pc.utf8_slice_codeunits(member.slice(row, 1), 0, SHOWN_CHARACTERS + 1), 0
    value: Scalar = member[row].as_py()
    return value


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _as_float(value: object) -> float | None:
    if type(value) is float:
        return value
    return float(value) if type(value) is int and value not in _INT64 else None
