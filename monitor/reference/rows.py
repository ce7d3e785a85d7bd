"""Blocks of a file to what the pane vector counts: the rows of one model, which class was predicted, which one was right."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from monitor.codec.cells import ABSENT, UNUSABLE, Cells, Scalar, quoted
from monitor.codec.classes import class_indices, class_of, derived
from monitor.codec.columns import Texts, numeric_column
from monitor.events import Column, FeatureKind, Floats, Int16s, Int32s, ModelRows, Schema, Task
from monitor.reference.sources import Block

PREDICTION: Final = "prediction"
SCORE: Final = "score"
LABEL: Final = "label"
UNKNOWN: Final = -1
_OF_EVENTS: Final = frozenset({PREDICTION, SCORE, LABEL, "id", "time", "arrival", "version", "model"})
"""Columns that are never a feature unless the configuration says so."""


@dataclass(frozen=True, slots=True)
class FileRows:
    """m rows of a file. `predicted` and `actual` are class indices, `UNKNOWN` where the file does not say (`model_rows` has 0).

    `odd_classes` are predictions and labels, some of them, that are no class of the model, and `odd` how many rows have one.
    """

    model_rows: ModelRows
    predicted: Int16s
    actual: Int16s
    odd: int
    odd_classes: frozenset[str]

    def __len__(self) -> int:
        return len(self.predicted)


def columns_of(schema: Schema) -> dict[str, FeatureKind]:
    """The columns that are read for a model, and whether they hold numbers. A dimension that is no feature is a column of its own."""
    scores = (SCORE, *(f"{SCORE}_{name}" for name in schema.classes))
    texts = (*schema.dimensions, PREDICTION, LABEL)
    return dict.fromkeys(texts, FeatureKind.CATEGORICAL) | dict.fromkeys(scores, FeatureKind.NUMERIC) | dict(schema.features)


def features_among(columns: Mapping[str, FeatureKind]) -> dict[str, FeatureKind]:
    """The columns that are taken as features where the configuration names none."""
    return {
        name: kind
        for name, kind in columns.items()
        if name not in _OF_EVENTS and not name.startswith((f"{SCORE}_", "__index_level_"))  # the latter is pandas' row number
    }


def rows_of(block: Block, schema: Schema) -> FileRows:
    """The rows of a block. A class is read as in an event, and besides as the text of a number: a CSV file has no other."""
    indices = class_indices(schema)
    scores = _scores(block, schema)
    stated, labels = (_classes(block.column(name), indices) for name in (PREDICTION, LABEL))
    odd = (stated == UNUSABLE) | (labels == UNUSABLE)
    predicted = _known(np.where(stated == ABSENT, derived(scores, schema), stated))
    columns = {name: _column(block.column(name), kind) for name, kind in schema.features.items()}
    texts = {name: Texts.of_cells(block.column(name)).column() for name in schema.dimensions}
    model_rows = ModelRows(
        model=0,
        rows=np.arange(block.rows, dtype=np.int64),
        predicted=np.maximum(predicted, 0),
        scores=scores,
        features=columns,
        segments=texts,
        content=np.zeros(block.rows, dtype=np.uint64),
    )
    return FileRows(model_rows, predicted, _known(labels), int(odd.sum()), _odd_classes(block, indices) if odd.any() else frozenset())


def _column(cells: Cells, kind: FeatureKind) -> Column:
    return numeric_column(cells) if kind is FeatureKind.NUMERIC else Texts.of_cells(cells).column()


def _classes(cells: Cells, indices: Mapping[str, int]) -> Int32s:
    return cells.map(lambda value: _class_of(value, indices))


def _known(classes: Int32s) -> Int16s:
    return np.maximum(classes, UNKNOWN).astype(np.int16)


def _class_of(value: Scalar, indices: Mapping[str, int]) -> int:
    found = class_of(value, indices)
    if found == UNUSABLE and isinstance(value, str):
        try:
            return class_of(float(value), indices)
        except (ValueError, OverflowError):
            return UNUSABLE
    return found


def _odd_classes(block: Block, indices: Mapping[str, int]) -> frozenset[str]:
    odd: set[str] = set()

    def collect(value: Scalar) -> int:
        if _class_of(value, indices) == UNUSABLE:
            odd.add(quoted(value))
        return UNUSABLE

    for name in (PREDICTION, LABEL):
        block.column(name).map(collect)
    return frozenset(sorted(odd)[:3])


def _scores(block: Block, schema: Schema) -> Floats:
    """float64 (m, `Schema.score_count`), NaN where there is none; a binary model's may come as `score` or for either class."""
    by_class = [numeric_column(block.column(f"{SCORE}_{name}")).values for name in schema.classes]
    if schema.task is Task.MULTICLASS:
        return np.stack(by_class, axis=1)
    scores = numeric_column(block.column(SCORE)).values
    for others in (by_class[schema.positive], 1.0 - by_class[1 - schema.positive]):
        scores = np.where(np.isnan(scores), others, scores)
    return scores[:, np.newaxis]
