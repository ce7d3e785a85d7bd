"""Models, events and records for the codec's tests, each as small as its rule allows."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson

from monitor.codec import decode_labels, decode_predictions
from monitor.events import FeatureKind, Labels, LabelValues, ModelRows, NumericColumn, Predictions, Schema, Task, TextColumn
from monitor.log import ARROW, JSON, Record

LATE = Schema(
    name="flights",
    task=Task.BINARY,
    classes=("on_time", "late"),
    positive=1,
    threshold=0.5,
    features={"distance": FeatureKind.NUMERIC, "carrier": FeatureKind.CATEGORICAL},
    dimensions=("carrier", "origin"),
)
DIGITS = Schema("digits", Task.MULTICLASS, ("zero", "one", "two"), -1, 0.5, {"ink": FeatureKind.NUMERIC})
SCHEMAS = (LATE, DIGITS)
VALUES = LabelValues.of(SCHEMAS)

TIME = 1_357_034_400_000
"""2013-01-01T10:00:00Z"""
RECORD_TIME = TIME + 60_000

Event = dict[str, Any]


def prediction(**changes: object) -> Event:
    """A good prediction of `LATE` with some of its keys changed, or left out where they are `...`."""
    event: Event = {
        "id": "a",
        "time": TIME,
        "model": "flights",
        "version": "1",
        "features": {"distance": 100.0, "carrier": "UA"},
        "prediction": "late",
        "score": 0.75,
    }
    return {key: value for key, value in (event | changes).items() if value is not ...}


def label(**changes: object) -> Event:
    event: Event = {"id": "a", "label": "late", "time": TIME, "model": "flights"}
    return {key: value for key, value in (event | changes).items() if value is not ...}


def json_record(value: object, offset: int = 0) -> Record:
    """A record of a JSON value, or of bytes as they are."""
    return Record(offset, RECORD_TIME, value if isinstance(value, bytes) else orjson.dumps(value), JSON)


def arrow_record(value: bytes, offset: int = 0) -> Record:
    return Record(offset, RECORD_TIME, value, ARROW)


def decoded(*events: object) -> Predictions:
    """Each event, or bytes, as a record of its own."""
    return decode_predictions([json_record(event, offset) for offset, event in enumerate(events)], SCHEMAS)


def decoded_labels(*events: object, model_required: bool = False) -> Labels:
    return decode_labels([json_record(event, offset) for offset, event in enumerate(events)], SCHEMAS, VALUES, model_required)


def reason(batch: Predictions | Labels) -> tuple[str, str]:
    """Outcome and reason of the only rejection."""
    (rejection,) = batch.rejected
    return rejection.outcome.value, rejection.reason


def numbers(batch: Predictions, feature: str) -> NumericColumn:
    column = batch.groups[0].features[feature]
    assert isinstance(column, NumericColumn)
    return column


def texts(column: object) -> list[str | int]:
    """The text of each row, or its negative code."""
    assert isinstance(column, TextColumn)
    return [column.categories[code] if code >= 0 else code for code in column.codes.tolist()]


def plain(batch: Predictions) -> dict[str, Any]:
    """Everything a batch says, as plain values that compare; texts stand for their codes."""
    return {
        "ids": batch.ids.tolist(),
        "id_partition": batch.id_partition.tolist(),
        "time": batch.time.tolist(),
        "arrival": batch.arrival.tolist(),
        "place": list(zip(batch.offset.tolist(), batch.row.tolist(), strict=True)),
        "model": batch.model.tolist(),
        "version": [batch.versions[code] for code in batch.version.tolist()],
        "groups": [plain_group(group) for group in batch.groups],
        "rejected": batch.rejected,
        "unknown_keys": batch.unknown_keys,
    }


def plain_group(group: ModelRows) -> dict[str, Any]:
    return {
        "model": group.model,
        "rows": group.rows.tolist(),
        "predicted": group.predicted.tolist(),
        "scores": np.nan_to_num(group.scores, nan=-1.0).tolist(),
        "features": {name: _plain_column(column) for name, column in group.features.items()},
        "segments": {name: _plain_column(column) for name, column in group.segments.items()},
        "content": group.content.tolist(),
    }


def _plain_column(column: NumericColumn | TextColumn) -> object:
    if isinstance(column, TextColumn):
        return texts(column)
    return [
        "missing" if missing else "mistyped" if mistyped else repr(value)
        for value, missing, mistyped in zip(column.values.tolist(), column.missing.tolist(), column.mistyped.tolist(), strict=True)
    ]


def plain_labels(batch: Labels) -> Mapping[str, object]:
    return {
        "ids": batch.ids.tolist(),
        "id_partition": batch.id_partition.tolist(),
        "time": batch.time.tolist(),
        "arrival": batch.arrival.tolist(),
        "place": list(zip(batch.offset.tolist(), batch.row.tolist(), strict=True)),
        "model": batch.model.tolist(),
        "value": batch.value.tolist(),
        "rejected": batch.rejected,
        "unknown_keys": batch.unknown_keys,
    }
