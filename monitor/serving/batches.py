"""Answered requests of one model version to Arrow micro-batches, one message a partition. Runs in the tap's drain thread.

Everything is a column here: requests are concatenated first, then mapped to features, scores and decisions at once.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from monitor.codec.arrow import Values, encode_predictions
from monitor.codec.columns import category_text
from monitor.codec.identity import partitions_of
from monitor.events import FeatureKind, Int32s, Int64s, Task
from monitor.log import ARROW, Message
from monitor.serving.monitored import Monitored
from monitor.serving.row_parameters import Extras
from monitor.serving.tap import Entry
from monitor.serving.tensors import Tensor

Columns = Mapping[str, pa.Array]


def encode(entries: Sequence[Entry], trusts_client_times: bool, partitions: int) -> list[Message]:
    """The messages that hold the entries' rows, in order. A row's arrival is the server's, or the client's time where that is trusted."""
    tapped = entries[0].tapped
    monitored = tapped.monitored
    ids = pa.array([row_id for entry in entries for row_id in entry.ids], pa.string())
    time, arrival = _times(entries, trusts_client_times)
    scores, prediction = _decisions(monitored, entries)
    features = _features(monitored, entries)
    given = [entry.parameters.segments for entry in entries]
    segments = _extras(given, [entry.rows for entry in entries], monitored.schema.dimensions, {})
    messages = []
    for partition, rows in _rows_by_partition(ids, partitions):
        chosen = None if rows is None else pa.array(rows)
        arrivals = arrival if rows is None else arrival[rows]
        value = encode_predictions(
            model=tapped.model,
            version=tapped.version,
            ids=ids if chosen is None else ids.take(chosen),
            time=time if rows is None else time[rows],
            arrival=arrivals,
            prediction=prediction if chosen is None else prediction.take(chosen),
            scores=scores if rows is None else {name: values[rows] for name, values in scores.items()},
            features=_taken(features, chosen),
            segments=_taken(segments, chosen),
        )
        messages.append(Message(partition, int(arrivals.max()), value, ARROW))
    return messages


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
    inputs = {name: _stacked([entry.inputs[name] for entry in entries]) for name in {source.input for source in monitored.sources}}
    columns = {name: _feature(values) for name, values in monitored.features(inputs).items()}
    given = [entry.parameters.features for entry in entries]
    return columns | _extras(given, [entry.rows for entry in entries], monitored.absent, monitored.schema.features)


def _feature(values: Tensor) -> pa.Array:
    """A NaN is a value that the client left out (JSON has no other way to one), so it is logged as missing."""
    if values.dtype.kind == "O":
        return pa.array(values, pa.string())
    return pa.array(np.ascontiguousarray(values), from_pandas=True)


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


def _rows_by_partition(ids: pa.Array, partitions: int) -> list[tuple[int, Int64s | None]]:
    """Each partition that has rows, with their positions ascending; None stands for all rows."""
    if partitions == 1:
        return [(0, None)]
    of_row: Int32s = partitions_of(ids, partitions)
    return [(int(partition), np.flatnonzero(of_row == partition)) for partition in np.unique(of_row)]


def _stacked(tensors: Sequence[Tensor]) -> Tensor:
    return tensors[0] if len(tensors) == 1 else np.concatenate(tensors)


def _taken(columns: Columns, rows: pa.Array | None) -> Mapping[str, Values]:
    return columns if rows is None else {name: values.take(rows) for name, values in columns.items()}
