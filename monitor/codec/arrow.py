"""Columns to Arrow micro-batches, as our server, importers and HTTP doors write them (schema version 1)."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from monitor.codec.arrow_frames import SCHEMA_VERSION
from monitor.events import Floats, Int64s

Values: TypeAlias = pa.Array | npt.NDArray[np.generic] | Sequence[object]
"""A column of numbers, booleans or text, None or null where a row has no value."""

_MILLISECONDS = pa.timestamp("ms", "UTC")


def encode_predictions(
    *,
    model: str,
    version: str,
    ids: Sequence[str] | pa.Array,
    time: Int64s,
    arrival: Int64s | None = None,
    prediction: Values | None = None,
    scores: Mapping[str, Floats] | None = None,
    features: Mapping[str, Values] | None = None,
    segments: Mapping[str, Values] | None = None,
) -> bytes:
    """Predictions of one model version as one message; for the arguments see `prediction_columns`."""
    return message_of(
        prediction_columns(
            model=model,
            version=version,
            ids=ids,
            time=time,
            arrival=arrival,
            prediction=prediction,
            scores=scores,
            features=features,
            segments=segments,
        )
    )


def prediction_columns(
    *,
    model: str,
    version: str,
    ids: Sequence[str] | pa.Array,
    time: Int64s,
    arrival: Int64s | None = None,
    prediction: Values | None = None,
    scores: Mapping[str, Floats] | None = None,
    features: Mapping[str, Values] | None = None,
    segments: Mapping[str, Values] | None = None,
) -> pa.RecordBatch:
    """Predictions of one model version, to be taken apart and made messages of.

    `time` and `arrival` are milliseconds since the epoch. `prediction` holds class names or numbers. `scores` has one entry named ""
    (P(positive), of a binary model) or one a class.
    """
    columns = _begin(ids, time, arrival)
    if prediction is not None:
        columns["prediction"] = _array(prediction)
    for name, values in (scores or {}).items():
        columns[f"score.{name}" if name else "score"] = _array(values)
    columns |= {f"feature.{name}": _array(values) for name, values in (features or {}).items()}
    columns |= {f"segment.{name}": _array(values) for name, values in (segments or {}).items()}
    return _batch(columns, (("model", model), ("version", version)))


def encode_labels(
    *,
    ids: Sequence[str] | pa.Array,
    label: Values,
    time: Int64s | None = None,
    arrival: Int64s | None = None,
    model: str | Values | None = None,
) -> bytes:
    """Labels as one message. `model` is one name for all rows, or a name (or None) for each."""
    columns = _begin(ids, time, arrival)
    columns["label"] = _array(label)
    if model is None or isinstance(model, str):
        return message_of(_batch(columns, () if model is None else (("model", model),)))
    columns["model"] = _array(model)
    return message_of(_batch(columns, ()))


def message_of(batch: pa.RecordBatch) -> bytes:
    """The bytes of one message. A slice of a batch takes no more of them than its rows do."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    value: bytes = sink.getvalue().to_pybytes()
    return value


def _begin(ids: Sequence[str] | pa.Array, time: Int64s | None, arrival: Int64s | None) -> dict[str, pa.Array]:
    columns = {"id": ids if isinstance(ids, pa.Array) else pa.array(ids, pa.string())}
    if time is not None:
        columns["time"] = pa.array(np.asarray(time, dtype=np.int64)).view(_MILLISECONDS)
    if arrival is not None:
        columns["arrival"] = pa.array(np.asarray(arrival, dtype=np.int64)).view(_MILLISECONDS)
    return columns


def _array(values: Values) -> pa.Array:
    array = values if isinstance(values, pa.Array) else pa.array(values)
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


@lru_cache(maxsize=1_024)
def _schema(names: tuple[str, ...], types: tuple[pa.DataType, ...], constants: tuple[tuple[str, str], ...]) -> pa.Schema:
    return pa.schema(list(zip(names, types, strict=True)), metadata={"schema_version": SCHEMA_VERSION, **dict(constants)})


def _batch(columns: Mapping[str, pa.Array], constants: tuple[tuple[str, str], ...]) -> pa.RecordBatch:
    schema = _schema(tuple(columns), tuple(column.type for column in columns.values()), constants)
    return pa.RecordBatch.from_arrays(list(columns.values()), schema=schema)
