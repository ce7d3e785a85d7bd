"""Parquet to messages: the rows as Arrow micro-batches of schema version 1, one a partition, with an `arrival` column.

Expects the columns of that schema; what the log's reader cannot take (a decimal, a nested column) is left out or converted here, so
that it does not cost the row its place.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from monitor.codec.arrow_frames import SCHEMA_VERSION
from monitor.codec.cells import Cells, is_readable
from monitor.codec.identity import ID_BYTES_LIMIT, partitions_of
from monitor.codec.times import Times, times_of
from monitor.errors import DecodeError
from monitor.events import Stream
from monitor.log import ARROW, Message
from monitor.transfer.arrivals import Arrivals
from monitor.transfer.batches import Batch
from monitor.transfer.jsonl_import import LOG_KEYS

ROWS_A_BATCH = 20_000
ROWS_A_RECORD = 2_000
MILLISECONDS = pa.timestamp("ms", "UTC")
_TIMES = ("time", "arrival")


def rows_in(path: Path) -> int:
    """Raises `DecodeError` where it is no Parquet file."""
    with _opened(path) as file:
        return int(file.metadata.num_rows)


def read_parquet(path: Path, arrivals: Arrivals, partitions: int) -> Iterator[Batch]:
    """Batches of messages. Raises `DecodeError` for a file without the columns that it needs, and what `Arrivals.of` does."""
    with _opened(path) as file:
        _check_columns(path, file.schema_arrow, arrivals)
        columns = [column for column in file.schema_arrow.names if column not in LOG_KEYS]
        rows = 0
        try:
            for batch in file.iter_batches(ROWS_A_BATCH, columns=columns):
                messages = _messages(batch, path, rows, arrivals, partitions)
                rows += batch.num_rows
                yield Batch(messages, batch.num_rows, rows)
        except (pa.ArrowException, OSError) as error:
            raise DecodeError(f"{path}: cannot be read after row {rows} ({error}). Write the file anew") from error


def _opened(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise DecodeError(f"{path}: not a Parquet file that can be read ({error})") from error


def _check_columns(path: Path, schema: pa.Schema, arrivals: Arrivals) -> None:
    needed = ["id"] + (["label"] if arrivals.stream is Stream.LABELS else [])
    missing = [column for column in needed if column not in schema.names]
    if missing:
        raise DecodeError(
            f"{path}: has no column `{missing[0]}`; {arrivals.stream} need {', '.join(needed)}. "
            f"Its columns are {', '.join(schema.names[:20])}"
        )
    for column in _TIMES:
        if column in schema.names and pa.types.is_timestamp(kind := schema.field(column).type) and kind.tz is None:
            raise DecodeError(
                f"{path}: the column `{column}` has no time zone ({kind}); write a timestamp in UTC, or milliseconds since the epoch"
            )


def _messages(batch: pa.RecordBatch, path: Path, first_row: int, arrivals: Arrivals, partitions: int) -> list[Message]:
    columns = _readable(batch)
    own_arrival, time = (_times(columns, name, batch.num_rows) for name in ("arrival", "time"))
    arrived = arrivals.of(own_arrival, time, lambda row: f"{path}: row {first_row + row + 1}")
    if arrived.own.any():
        columns["arrival"] = pa.array(arrived.at, mask=~arrived.own).cast(MILLISECONDS)
    schema = pa.schema([(name, column.type) for name, column in columns.items()], metadata=_metadata(batch.schema))
    stamped = pa.RecordBatch.from_arrays(list(columns.values()), schema=schema)
    ids = columns["id"].fill_null("")  # a row that the daemon refuses may go anywhere
    to = partitions_of(pc.if_else(pc.less_equal(pc.binary_length(ids), ID_BYTES_LIMIT), ids, ""), partitions)
    messages = []
    for partition in np.unique(to).tolist():
        rows = np.flatnonzero(to == partition)
        for first in range(0, len(rows), ROWS_A_RECORD):
            some = rows[first : first + ROWS_A_RECORD]
            messages.append(Message(partition, int(arrived.at[some].max()), _stream(stamped.take(pa.array(some))), ARROW))
    return messages


def _readable(batch: pa.RecordBatch) -> dict[str, pa.Array]:
    """The columns in types that the log's reader takes; those that have none are left out."""
    columns: dict[str, pa.Array] = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        kind = column.type
        if pa.types.is_decimal(kind):
            column = column.cast(pa.float64())  # noqa: PLW2901  the same column in another type
        elif name == "id" or pa.types.is_string_view(kind):
            column = column.cast(pa.string())  # noqa: PLW2901  as above
        if is_readable(column.type) or (name in _TIMES and pa.types.is_timestamp(kind)):
            columns[name] = column
    return columns


def _times(columns: dict[str, pa.Array], name: str, rows: int) -> Times:
    return times_of(Cells(rows) if name not in columns else Cells.of_arrow(columns[name]))


def _metadata(schema: pa.Schema) -> dict[bytes, bytes]:
    kept = {key: value for key, value in (schema.metadata or {}).items() if key in (b"model", b"version", b"schema_version")}
    return {b"schema_version": SCHEMA_VERSION.encode(), **kept}


def _stream(batch: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    value: bytes = sink.getvalue().to_pybytes()
    return value
