"""Class names, numbers and scores to class indices."""

from collections.abc import Mapping

import numpy as np

from monitor.codec.cells import UNUSABLE, Cells, Scalar
from monitor.codec.columns import numeric_column
from monitor.codec.frames import Frame, Group
from monitor.events import Bools, Floats, Int32s, Schema, Task


def class_indices(schema: Schema) -> dict[str, int]:
    return {name: index for index, name in enumerate(schema.classes)}


def class_of(value: Scalar, indices: Mapping[str, int]) -> int:
    """The class a value means, or `UNUSABLE`.

    A text is a class name. A whole number is the class of that text, else the class at that index; a boolean the class named true or
    false, else the one at index 1 or 0.
    """
    if isinstance(value, str):
        return indices.get(value, UNUSABLE)
    if isinstance(value, float):
        if not value.is_integer():
            return UNUSABLE
        value = int(value)
    name = ("true" if value else "false") if isinstance(value, bool) else str(value)
    return indices.get(name, int(value) if 0 <= value < len(indices) else UNUSABLE)


def scores_of(frame: Frame, schema: Schema) -> Floats:
    """float64 (n, `Schema.score_count`), NaN where a score is absent or no number. A binary model's may come as P(other class)."""
    if schema.task is Task.MULTICLASS:
        return np.stack([_probabilities(frame.entry(Group.SCORE, name)) for name in schema.classes], axis=1)
    scores = _probabilities(frame.field("score"))
    if np.isnan(scores).any():
        scores = _filled(scores, _probabilities(frame.entry(Group.SCORE, schema.classes[schema.positive])))
        scores = _filled(scores, 1.0 - _probabilities(frame.entry(Group.SCORE, schema.classes[1 - schema.positive])))
    return scores[:, np.newaxis]


def derived(scores: Floats, schema: Schema) -> Int32s:
    """The class that scores (n, k) stand for, `UNUSABLE` where none of them is finite.

    Binary: positive from the threshold on, compared in float64. Otherwise the greatest, the first of equal ones.
    """
    finite: Bools = np.isfinite(scores)
    if schema.task is Task.BINARY:
        chosen = np.where(scores[:, 0] >= schema.threshold, schema.positive, 1 - schema.positive)
    else:
        chosen = np.where(finite, scores, -np.inf).argmax(axis=1)
    return np.where(finite.any(axis=1), chosen, UNUSABLE).astype(np.int32)


def _probabilities(cells: Cells) -> Floats:
    """Numbers only: a boolean is no probability."""
    return numeric_column(Cells(cells.length, integers=cells.integers, floats=cells.floats)).values


def _filled(scores: Floats, others: Floats) -> Floats:
    return np.where(np.isnan(scores), others, scores)
