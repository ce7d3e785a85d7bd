"""Frames of predictions to columns: every rule of the schema, applied to all rows at once."""

from dataclasses import dataclass

import numpy as np

from monitor.codec.cells import ABSENT, UNUSABLE, Cells
from monitor.codec.classes import class_indices, class_of, derived, scores_of
from monitor.codec.columns import Texts, numeric_column
from monitor.codec.content import content_of
from monitor.codec.frames import Frame, Group
from monitor.codec.refusals import Refusals
from monitor.codec.rules import NAME_BYTES_LIMIT, arrival_in, bad_lengths, ids_of, models_in, times_in
from monitor.events import FeatureKind, Floats, Int32s, Int64s, ModelRows, NumericColumn, Predictions, Schema

FIELDS = frozenset({"id", "time", "arrival", "model", "version", "prediction", "score", "scores", "features", "segments", "traceparent"})
"""`traceparent` is kept for people who follow a trace into the log; nothing here reads it."""


@dataclass(frozen=True, slots=True)
class _Decided:
    """The rows of one model that have a class: their places in the frame, and the events themselves."""

    model: int
    rows: Int64s
    events: Frame
    predicted: Int32s
    scores: Floats


def predictions_of(frame: Frame, schemas: tuple[Schema, ...]) -> Predictions:
    """What a frame's rows say, in the frame's order."""
    refusals = Refusals(len(frame))
    models = models_in(frame, schemas, refusals)
    refusals.add(models == ABSENT, "model is missing; expected a model's name")
    ids = ids_of(frame, refusals)
    time = times_in(frame, "time", refusals, required=True).milliseconds
    arrival = arrival_in(frame, refusals)
    version = _versions(frame, refusals)
    refusals.add(frame.lacks(Group.FEATURE), "features is missing; expected an object, {} where there are none")
    for group in (Group.FEATURE, Group.SEGMENT):
        refusals.add(frame.malformed(group), f"{group}s is not an object; expected names with their values")
    unknown_keys = frame.unknown_fields(FIELDS)

    decided: list[_Decided] = []
    for model, schema in enumerate(schemas):
        rows = np.flatnonzero(refusals.good & (models == model))
        if len(rows):
            events = frame if len(rows) == len(frame) else frame.take(rows)
            unknown_keys += _unknown_entries(events, schema)
            decided.append(_decide(model, schema, rows, events, refusals))

    good = refusals.good_rows()
    places = np.cumsum(refusals.good) - 1
    digests, partitions = ids.digests(good)
    kept_version = version.take(good)
    return Predictions(
        ids=digests,
        id_partition=partitions,
        time=time[good],
        arrival=arrival[good],
        offset=frame.origin.offset[good],
        row=frame.origin.row[good],
        model=models[good].astype(np.int16),
        version=kept_version.codes,
        versions=tuple(kept_version.values.to_pylist()),
        groups=tuple(_model_rows(part, schemas[part.model], places[part.rows], time, version) for part in decided if len(part.rows)),
        rejected=tuple(refusals.rejections(frame.origin, lambda row: schemas[models[row]].name if models[row] >= 0 else "")),
        unknown_keys=unknown_keys,
    )


def _versions(frame: Frame, refusals: Refusals) -> Texts:
    cells = frame.field("version")
    version = Texts.of_cells(Cells(cells.length, texts=cells.texts, integers=cells.integers))
    bad = np.append(bad_lengths(version.values, NAME_BYTES_LIMIT), True)[version.codes]
    refusals.add(bad, lambda row: f"version is {cells.shown(row)}; expected a text of 1 to {NAME_BYTES_LIMIT} bytes, or an integer")
    return version


def _unknown_entries(events: Frame, schema: Schema) -> int:
    dimensions = set(schema.dimensions)
    return (
        events.unknown_entries(Group.FEATURE, schema.features.keys() | dimensions)
        + events.unknown_entries(Group.SEGMENT, dimensions)
        + events.unknown_entries(Group.SCORE, set(schema.classes))
    )


def _decide(model: int, schema: Schema, rows: Int64s, events: Frame, refusals: Refusals) -> _Decided:
    """The class of each row, as sent or else from its scores; a row that has neither is settled."""
    indices = class_indices(schema)
    prediction = events.field("prediction")
    predicted = prediction.map(lambda value: class_of(value, indices))
    scores = scores_of(events, schema)
    refusals.add_among(rows, predicted == UNUSABLE, lambda row: f"prediction is {prediction.shown(row)}, no class of model {schema.name!r}")
    undecided = predicted == ABSENT
    if undecided.any():
        predicted = np.where(undecided, derived(scores, schema), predicted)
        refusals.add_among(rows, predicted == UNUSABLE, "neither a prediction nor a score to derive it from; expected one of them")
    kept = np.flatnonzero(refusals.good[rows])
    if len(kept) == len(rows):
        return _Decided(model, rows, events, predicted, scores)
    return _Decided(model, rows[kept], events.take(kept), predicted[kept], scores[kept])


def _model_rows(part: _Decided, schema: Schema, places: Int64s, time: Int64s, version: Texts) -> ModelRows:
    events = part.events
    features: dict[str, NumericColumn | Texts] = {}
    for name, kind in schema.features.items():
        cells = events.entry(Group.FEATURE, name)
        features[name] = numeric_column(cells) if kind is FeatureKind.NUMERIC else Texts.of_cells(cells)
    segments = {name: _dimension(events, name, features.get(name)) for name in schema.dimensions}
    content = content_of(version.take(part.rows), time[part.rows], part.predicted, part.scores, features.values(), list(segments.values()))
    return ModelRows(
        model=part.model,
        rows=places,
        predicted=part.predicted.astype(np.int16),
        scores=part.scores,
        features={name: column.column() if isinstance(column, Texts) else column for name, column in features.items()},
        segments={name: column.column() for name, column in segments.items()},
        content=content,
    )


def _dimension(events: Frame, name: str, feature: NumericColumn | Texts | None) -> Texts:
    """The segment's text where the event gives one, else that of the feature of the same name."""
    given = Texts.of_cells(events.entry(Group.SEGMENT, name))
    if (given.codes != ABSENT).all():
        return given
    return given.or_else(feature if isinstance(feature, Texts) else Texts.of_cells(events.entry(Group.FEATURE, name)))
