"""Answered requests of one model version to Arrow, as parcels for the log. Runs in the tap's drain thread.

Everything is a column here: requests are concatenated first, then mapped to features, scores and decisions at once. What a model's privacy
rules keep back is left out before anything is encoded.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import pyarrow as pa

from monitor.codec.arrow import prediction_columns
from monitor.codec.columns import category_text
from monitor.events import Bools, FeatureKind, Int64s, Task
from monitor.serving.monitored import Monitored
from monitor.serving.parcels import Parcel, arrow_parcels
from monitor.serving.privacy import OPEN, Privacy
from monitor.serving.row_parameters import Extras
from monitor.serving.tap import Entry
from monitor.serving.tensors import Tensor

PARCEL_BYTES: Final = 900_000
"""About what a parcel may hold: a message has to fit what topics accept, 1 MB where nobody configured it."""
TRACE: Final = "traceparent"
NO_RULES: Final[Mapping[str, Privacy]] = MappingProxyType({})


def encode(entries: Sequence[Entry], trusts_client_times: bool, privacy: Mapping[str, Privacy] = NO_RULES) -> list[Parcel]:
    """The entries' rows, in order; without those that are not sampled. A row's arrival is the server's, or the client's time where
    that is trusted. `privacy` is by model."""
    tapped = entries[0].tapped
    if not any(entry.rows for entry in entries):
        return []
    rules = privacy.get(tapped.model, OPEN)
    sampled = None
    if rules.sample < 1.0:
        entries, sampled = _sampled(entries, rules)
        if not entries:
            return []
    monitored = tapped.monitored
    time, arrival = _times(entries, trusts_client_times)
    scores, prediction = _decisions(monitored, entries)
    given = [entry.parameters.segments for entry in entries]
    columns = prediction_columns(
        model=tapped.model,
        version=tapped.version,
        ids=pa.array([row_id for entry in entries for row_id in entry.ids], pa.string()),
        time=time,
        arrival=arrival,
        prediction=prediction,
        scores=scores,
        features=rules.columns(_features(monitored, entries)),
        segments=rules.columns(_extras(given, [entry.rows for entry in entries], monitored.schema.dimensions, {})),
    )
    if any(entry.trace is not None for entry in entries):
        columns = columns.append_column(TRACE, pa.array([entry.trace for entry in entries for _ in entry.ids], pa.string()))
    if sampled is not None and not sampled.all():
        columns, arrival = columns.filter(pa.array(sampled)), arrival[sampled]
    return arrow_parcels(columns, arrival, PARCEL_BYTES)


def _sampled(entries: Sequence[Entry], rules: Privacy) -> tuple[list[Entry], Bools]:
    """The entries of which any row belongs to the sample, and (n,) which of their rows do."""
    entries = [entry for entry in entries if entry.rows]  # an empty one has no first row to look at
    rows = np.array([entry.rows for entry in entries])
    of_row = rules.samples([row_id for entry in entries for row_id in entry.ids])
    of_entry = np.logical_or.reduceat(of_row, np.cumsum(rows) - rows)
    return [entry for entry, kept in zip(entries, of_entry.tolist(), strict=True) if kept], of_row[np.repeat(of_entry, rows)]


def _times(entries: Sequence[Entry], trusts_client_times: bool) -> tuple[Int64s, Int64s]:
    """When the predictions were made, and when they arrived: (n,) milliseconds each."""
    rows = [entry.rows for entry in entries]
    arrival = np.repeat(np.array([entry.arrival for entry in entries], dtype=np.int64), rows)
    if all(entry.parameters.times is None for entry in entries):
        return arrival, arrival
    own = (entry.parameters.times or [entry.arrival] * entry.rows for entry in entries)
    time = np.array([moment for moments in own for moment in moments], dtype=np.int64)
    return time, time if trusts_client_times else arrival


def _decisions(monitored: Monitored, entries: Sequence[Entry]) -> tuple[dict[str, Any], pa.Array]:
    """Scores by class ("" for a binary model's), and the class decided on."""
    schema = monitored.schema
    if monitored.score is None:
        assert monitored.label is not None
        return {}, pa.array(monitored.labels(_stacked([entry.outputs[monitored.label] for entry in entries])), pa.string())
    scores = monitored.scores(_stacked([entry.outputs[monitored.score.output] for entry in entries]))
    decided = pa.array(monitored.predicted(scores).astype(np.int32))
    names = ("",) if schema.task is Task.BINARY else schema.classes
    return {name: scores[:, column] for column, name in enumerate(names)}, pa.DictionaryArray.from_arrays(
        decided, pa.array(schema.classes, pa.string())
    )


def _features(monitored: Monitored, entries: Sequence[Entry]) -> dict[str, pa.Array]:
    # Column by column in memory: what is taken from it one column at a time is then there as Arrow wants it.
    inputs = {
        name: np.asfortranarray(_stacked([entry.inputs[name] for entry in entries]))
        for name in {source.input for source in monitored.sources}
    }
    columns = {name: _feature(values) for name, values in monitored.features(inputs).items()}
    given = [entry.parameters.features for entry in entries]
    return columns | _extras(given, [entry.rows for entry in entries], monitored.absent, monitored.schema.features)


def _feature(values: Tensor) -> pa.Array:
    """A NaN is a value that the client left out (JSON has no other way to one), so it is logged as missing."""
    if values.dtype.kind == "O":
        return pa.array(values, pa.string())
    values = np.ascontiguousarray(values)
    if values.dtype.kind == "b" or (values.dtype.kind == "f" and np.isnan(values).any()):
        return pa.array(values, from_pandas=True)
    # Not by `pa.array`, which lets go of the interpreter and has to get it back from a busy event loop, for each of the columns.
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [None, pa.py_buffer(values)])


def _extras(
    given: Sequence[Extras | None], rows: Sequence[int], names: Sequence[str], kinds: Mapping[str, FeatureKind]
) -> dict[str, pa.Array]:
    """Columns of what requests gave by name beside their tensors; other names are left out, what a request did not give is null."""
    columns = {}
    for name in names:
        if not any(extras and name in extras for extras in given):
            continue
        values: list[Any] = []
        for extras, count in zip(given, rows, strict=True):
            values += extras[name] if extras and name in extras else [None] * count
        if kinds.get(name) is FeatureKind.NUMERIC:
            columns[name] = pa.array([None if value is None else float(value) for value in values], pa.float64())
        else:
            texts = [value if value is None or isinstance(value, str) else category_text(value) for value in values]
            columns[name] = pa.array(texts, pa.string())
    return columns


def _stacked(tensors: Sequence[Tensor]) -> Tensor:
    return tensors[0] if len(tensors) == 1 else np.concatenate(tensors)
