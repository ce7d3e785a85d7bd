"""Bytes ↔ columns: records of a log to `Predictions` and `Labels`, whatever their content types.

`decode_predictions` and `decode_labels` never raise on what a record holds: what cannot be used becomes a `Rejection`. What a row decodes
to depends on its record alone, never on the records around it. Writing is in `arrow`, JSON for doors and exports in `events_json`.
"""

from collections.abc import Sequence

import numpy as np

from monitor.codec import arrow_frames, json_frames, labels, predictions
from monitor.codec.arrow_frames import Readable
from monitor.codec.cells import quoted
from monitor.codec.frames import Frame, Group
from monitor.codec.log_order import labels_in_log_order, predictions_in_log_order
from monitor.events import Labels, LabelValues, Outcome, Predictions, Rejection, Schema
from monitor.log import ARROW, CLOUDEVENTS, JSON, TIME_MARK, Record

__all__ = ["decode_labels", "decode_predictions"]


def decode_predictions(records: Sequence[Record], schemas: tuple[Schema, ...]) -> Predictions:
    """The predictions in some records of one partition, in log order. Time marks are passed over, any other is one event or more."""
    frames, rejected = _frames(records, _prediction_columns(schemas))
    with np.errstate(invalid="ignore"):  # a signalling NaN is a NaN like any other
        parts = [predictions.predictions_of(frame, schemas) for frame in frames]
    return predictions_in_log_order(parts or [_no_predictions()], rejected)


def decode_labels(records: Sequence[Record], schemas: tuple[Schema, ...], values: LabelValues, model_required: bool) -> Labels:
    """The same for labels. `model_required` refuses those without a model where several models are configured."""
    frames, rejected = _frames(records, Readable(labels.FIELDS, {}))
    with np.errstate(invalid="ignore"):
        parts = [labels.labels_of(frame, schemas, values, model_required) for frame in frames]
    return labels_in_log_order(parts or [_no_labels()], rejected)


def _frames(records: Sequence[Record], readable: Readable) -> tuple[list[Frame], list[Rejection]]:
    by_type: dict[str, list[Record]] = {JSON: [], ARROW: []}
    rejected: list[Rejection] = []
    for record in records:
        content_type = record.content_type
        if content_type not in by_type:
            content_type = content_type.split(";", 1)[0].strip().lower() or JSON
        if content_type in by_type:
            by_type[content_type].append(record)
        elif content_type != TIME_MARK:
            reason = "CloudEvents are not supported yet" if content_type == CLOUDEVENTS else f"unknown content type {quoted(content_type)}"
            rejected.append(Rejection(record.offset, 0, Outcome.UNDECODABLE, "", f"{reason}; expected {JSON} or {ARROW}"))
    from_json, not_json = json_frames.parse(by_type[JSON])
    from_arrow, not_arrow = arrow_frames.parse(by_type[ARROW], readable)
    return [*from_json, *from_arrow], [*rejected, *not_json, *not_arrow]


def _prediction_columns(schemas: tuple[Schema, ...]) -> Readable:
    dimensions = {name for schema in schemas for name in schema.dimensions}
    return Readable(
        predictions.FIELDS - {"features", "segments", "scores"},
        {
            Group.FEATURE: frozenset(dimensions.union(*(schema.features for schema in schemas))),
            Group.SEGMENT: frozenset(dimensions),
            Group.SCORE: frozenset(name for schema in schemas for name in schema.classes),
        },
    )


def _no_predictions() -> Predictions:
    none = np.empty(0, dtype=np.int64)
    return Predictions(
        ids=np.empty((0, 2), dtype=np.uint64),
        id_partition=none,
        time=none,
        arrival=none,
        offset=none,
        row=none.astype(np.int32),
        model=none.astype(np.int16),
        version=none.astype(np.int32),
        versions=(),
        groups=(),
    )


def _no_labels() -> Labels:
    none = np.empty(0, dtype=np.int64)
    return Labels(
        ids=np.empty((0, 2), dtype=np.uint64),
        id_partition=none,
        time=none,
        arrival=none,
        offset=none,
        row=none.astype(np.int32),
        model=none.astype(np.int16),
        value=none.astype(np.int32),
    )
