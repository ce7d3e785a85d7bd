"""Arrow records to frames: one frame for all records of the same schema, so that a poll of small messages costs what one large one does."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from monitor.codec.arrow_stream import read_stream, validated
from monitor.codec.cells import Cells, is_readable, quoted, valid
from monitor.codec.frames import Group, Origin
from monitor.errors import DecodeError
from monitor.events import Bools, Int32s, Int64s, Outcome, Rejection
from monitor.log import Record

SCHEMA_VERSION = "1"

_CONSTANTS = ("model", "version")
_TIMES = ("time", "arrival")


@dataclass(frozen=True, slots=True)
class Readable:
    """The columns that anything reads; all others are left out unseen, whatever they hold, and counted."""

    fields: frozenset[str]
    entries: Mapping[Group, frozenset[str]]

    def names(self, column: str) -> bool:
        group, dot, name = column.partition(".")
        if dot and group in self.entries:
            return name in self.entries[Group(group)]
        return column in self.fields


class ArrowFrame:
    """Columns by name, sound and of readable types."""

    __slots__ = ("_columns", "_left_out", "_origin")

    def __init__(self, columns: Mapping[str, pa.Array], origin: Origin, left_out: int) -> None:
        self._columns = columns
        self._origin = origin
        self._left_out = left_out

    @property
    def origin(self) -> Origin:
        return self._origin

    def __len__(self) -> int:
        return len(self._origin.offset)

    def field(self, name: str) -> Cells:
        column = self._columns.get(name)
        return Cells(len(self)) if column is None else Cells.of_arrow(column)

    def entry(self, group: Group, name: str) -> Cells:
        return self.field(f"{group}.{name}")

    def lacks(self, group: Group) -> Bools:
        return np.zeros(len(self), dtype=np.bool_)  # no columns of a group say that it is empty

    def malformed(self, group: Group) -> Bools:
        return np.zeros(len(self), dtype=np.bool_)

    def unknown_fields(self, known: AbstractSet[str]) -> int:
        return self._left_out * len(self)

    def unknown_entries(self, group: Group, known: AbstractSet[str]) -> int:
        prefix = f"{group}."
        columns = ((name.removeprefix(prefix), column) for name, column in self._columns.items() if name.startswith(prefix))
        return sum(len(column) - column.null_count for name, column in columns if name not in known)

    def take(self, rows: Int64s) -> "ArrowFrame":
        taken = pa.array(rows)
        return ArrowFrame({name: column.take(taken) for name, column in self._columns.items()}, self._origin.take(rows), self._left_out)


@dataclass(frozen=True, slots=True)
class _Plan:
    """What to take from streams of one schema: the positions and names of columns, and what the schema says for every row."""

    positions: Mapping[str, int]
    left_out: int
    constants: Mapping[str, str]


@dataclass(slots=True)
class _Gathered:
    """The records of one schema so far, and their columns piece by piece."""

    plan: _Plan
    records: list[Record] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    pieces: list[list[pa.Array]] = field(default_factory=list)


def parse(records: Sequence[Record], readable: Readable) -> tuple[list[ArrowFrame], list[Rejection]]:
    """A frame for each schema among the records, and the records that are not sound."""
    gathered: dict[bytes, _Gathered] = {}
    rejected: list[Rejection] = []
    for record in records:
        try:
            key, schema, batches = read_stream(record.value)
            if key not in gathered:
                gathered[key] = _Gathered(_plan(schema, readable))
            same = gathered[key]
            positions = list(same.plan.positions.values())
            pieces = [validated(batch.select(positions)).columns for batch in batches]
        except DecodeError as error:
            rejected.append(Rejection(record.offset, 0, Outcome.UNDECODABLE, "", str(error)))
            continue
        same.records.append(record)
        same.rows.append(sum(batch.num_rows for batch in batches))
        same.pieces += pieces
    return [_frame(same) for same in gathered.values() if same.records], rejected


def _plan(schema: pa.Schema, readable: Readable) -> _Plan:
    metadata = {key.decode(errors="replace"): value.decode(errors="replace") for key, value in (schema.metadata or {}).items()}
    version = metadata.get("schema_version", SCHEMA_VERSION)
    if version != SCHEMA_VERSION:
        raise DecodeError(f"schema_version is {quoted(version)}; this reader knows version {SCHEMA_VERSION}")
    positions: dict[str, int] = {}
    for position, (name, kind) in enumerate(zip(_names(schema), schema.types, strict=True)):
        if name in positions or not readable.names(name):
            continue
        if not (is_readable(kind) or (name in _TIMES and pa.types.is_timestamp(kind))):
            expected = "number, bool, utf8, dictionary of utf8" + (", or a timestamp" if name in _TIMES else "")
            raise DecodeError(f"column {quoted(name)} has the Arrow type {str(kind)[:60]}; expected a {expected}")
        positions[name] = position
    constants = {name: metadata[name] for name in _CONSTANTS if name in metadata and name not in positions}
    return _Plan(positions, len(schema) - len(positions), constants)


def _names(schema: pa.Schema) -> list[str]:
    """The columns' names, once every text that Python will ask the schema for is known to be one."""
    try:
        names: list[str] = schema.names
        _zones = [kind.tz for kind in schema.types if pa.types.is_timestamp(kind)]
    except UnicodeDecodeError as error:
        raise DecodeError("a column's name or time zone is not UTF-8") from error
    return names


def _uniform(column: pa.DictionaryArray) -> pa.DictionaryArray:
    """A dictionary column so that it can stand below another's: int32 indices, no nulls among the values."""
    if column.dictionary.null_count == 0:
        return column.cast(pa.dictionary(pa.int32(), pa.string()))
    kept = valid(column.dictionary)
    places = pa.array(np.cumsum(kept, dtype=np.int32) - 1, mask=~kept)
    return pa.DictionaryArray.from_arrays(places.take(column.indices), column.dictionary.drop_null().cast(pa.string()))


def _frame(same: _Gathered) -> ArrowFrame:
    rows = np.array(same.rows, dtype=np.int64)
    total = int(rows.sum())
    begins = np.repeat(np.cumsum(rows) - rows, rows)
    origin = Origin(
        offset=np.repeat(np.array([record.offset for record in same.records], dtype=np.int64), rows),
        row=(np.arange(total) - begins).astype(np.int32),
        timestamp=np.repeat(np.array([record.timestamp for record in same.records], dtype=np.int64), rows),
    )
    columns = {name: _concatenated(pieces) for name, *pieces in zip(same.plan.positions, *same.pieces, strict=True)}
    columns |= {name: _constant(text, total) for name, text in same.plan.constants.items()}
    return ArrowFrame(columns, origin, same.plan.left_out)


def _concatenated(pieces: list[pa.Array]) -> pa.Array:
    return pa.concat_arrays(list(map(_uniform, pieces)) if pa.types.is_dictionary(pieces[0].type) else pieces)


def _constant(text: str, rows: int) -> pa.DictionaryArray:
    codes: Int32s = np.zeros(rows, dtype=np.int32)
    return pa.DictionaryArray.from_arrays(pa.array(codes), pa.array([text], pa.string()))
