"""Events to files: JSON lines as they come, or Parquet, whose columns are found in a first pass over the events.

Both passes hold a bounded number of events at a time.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from monitor.transfer.events import Event, flattened

ROWS_A_GROUP = 20_000
TIME_COLUMNS = ("time", "arrival")
_MILLISECONDS = pa.timestamp("ms", "UTC")


def write_jsonl(events: Iterable[Event], file: BinaryIO) -> int:
    """A line an event; how many. What JSON has no form for, such as an Arrow decimal of a stranger, is written as text."""
    count = 0
    for event in events:
        file.write(orjson.dumps(event, default=str, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS))
        count += 1
    return count


def write_parquet(read: Callable[[], Iterator[Event]], path: Path) -> int:
    """A row an event, `feature.x` columns as in Arrow messages; how many. `read` is called twice and has to give the same events."""
    schema = pa.schema([])
    for rows in _grouped(read()):
        schema = _unified(schema, _table(rows).schema)
    count = 0
    with pq.ParquetWriter(path, schema) as writer:
        for rows in _grouped(read()):
            table = _table(rows)
            columns = [_as(table, column.name, column.type, len(rows)) for column in schema]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))
            count += len(rows)
    return count


def _grouped(events: Iterator[Event]) -> Iterator[list[Event]]:
    rows = (flattened(event) for event in events)
    while group := list(islice(rows, ROWS_A_GROUP)):
        yield group


def _table(rows: list[Event]) -> pa.Table:
    names = dict.fromkeys(name for row in rows for name in row)
    return pa.table({name: _column(name, [row.get(name) for row in rows]) for name in names})


def _column(name: str, values: list[object]) -> pa.Array:
    if name in TIME_COLUMNS and all(value is None or type(value) is int for value in values):
        return pa.array(values, _MILLISECONDS)
    try:
        return pa.array(values)
    except (pa.ArrowException, TypeError, OverflowError):  # values of several types, or out of any: their texts
        return pa.array([None if value is None else value if isinstance(value, str) else orjson.dumps(value).decode() for value in values])


def _unified(schema: pa.Schema, other: pa.Schema) -> pa.Schema:
    try:
        return pa.unify_schemas([schema, other], promote_options="permissive")
    except (pa.ArrowException, TypeError):
        types = {column.name: column.type for column in schema}
        differing = {column.name for column in other if types.get(column.name, column.type) != column.type}
        fields = [(name, pa.string() if name in differing else kind) for name, kind in (types | {c.name: c.type for c in other}).items()]
        return pa.schema(fields)


def _as(table: pa.Table, name: str, kind: pa.DataType, rows: int) -> pa.Array | pa.ChunkedArray:
    return table.column(name).cast(kind) if name in table.column_names else pa.nulls(rows, kind)
