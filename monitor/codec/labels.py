"""Frames of labels to columns."""

from collections.abc import Callable, Mapping

import numpy as np

from monitor.codec.cells import ABSENT, UNUSABLE, Scalar
from monitor.codec.classes import class_indices, class_of
from monitor.codec.frames import Frame
from monitor.codec.refusals import Refusals
from monitor.codec.rules import arrival_in, ids_of, models_in, times_in
from monitor.events import ANY_MODEL, Int32s, Labels, LabelValues, Schema

FIELDS = frozenset({"id", "label", "time", "arrival", "model"})

_AMBIGUOUS = -3


def labels_of(frame: Frame, schemas: tuple[Schema, ...], values: LabelValues, model_required: bool) -> Labels:
    """What a frame's rows say, in the frame's order. `model_required` refuses a label without a model where several are configured."""
    refusals = Refusals(len(frame))
    models = models_in(frame, schemas, refusals)
    if len(schemas) == 1:
        models = np.where(models == ABSENT, 0, models).astype(np.int32)
    elif model_required:
        refusals.add(models == ABSENT, "model is missing; several are configured, so a label has to say which it answers")
    ids = ids_of(frame, refusals)
    arrival = arrival_in(frame, refusals)
    times = times_in(frame, "time", refusals, required=False)
    value = _values(frame, models, schemas, values, refusals)

    good = refusals.good_rows()
    digests, partitions = ids.digests(good)
    return Labels(
        ids=digests,
        id_partition=partitions,
        time=np.where(times.absent, arrival, times.milliseconds)[good],
        arrival=arrival[good],
        offset=frame.origin.offset[good],
        row=frame.origin.row[good],
        model=models[good].astype(np.int16),
        value=value[good],
        rejected=tuple(refusals.rejections(frame.origin, lambda row: schemas[models[row]].name if models[row] >= 0 else "")),
        unknown_keys=frame.unknown_fields(FIELDS),
    )


def _values(frame: Frame, models: Int32s, schemas: tuple[Schema, ...], values: LabelValues, refusals: Refusals) -> Int32s:
    """Codes of `values`, each by the classes of the model that its label names, or of all of them."""
    cells = frame.field("label")
    refusals.add(cells.absent(), "label is missing; expected a class")
    codes = {text: code for code, text in enumerate(values.texts)}
    classes = [class_indices(schema) for schema in schemas]
    value = np.full(len(frame), UNUSABLE, dtype=np.int32)
    for model in (ANY_MODEL, *range(len(schemas))):
        if not (models == model).any():
            continue
        candidates = range(len(schemas)) if model == ANY_MODEL else (model,)
        resolve = _resolver([(schemas[index], classes[index]) for index in candidates], codes)
        value = np.where(models == model, cells.map(resolve), value)

    def unknown(row: int) -> str:
        of = f"class of model {schemas[models[row]].name!r}" if models[row] >= 0 else "class of any model"
        return f"label is {cells.shown(row)}, no {of}"

    refusals.add(value == UNUSABLE, unknown)
    refusals.add(
        value == _AMBIGUOUS, lambda row: f"label is {cells.shown(row)}, which models understand differently; expected a class name"
    )
    return value


def _resolver(models: list[tuple[Schema, dict[str, int]]], codes: Mapping[str, int]) -> Callable[[Scalar], int]:
    """A value to its code, if all the models that know it mean the same class name."""

    def resolve(value: Scalar) -> int:
        texts = {schema.classes[index] for schema, indices in models if (index := class_of(value, indices)) != UNUSABLE}
        if not texts:
            return UNUSABLE
        return codes[texts.pop()] if len(texts) == 1 else _AMBIGUOUS

    return resolve
