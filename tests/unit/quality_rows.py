"""Rows as they come, and the vectors that the layouts make of them: the way from one to the other is the pipeline's, packing included."""

from collections.abc import Mapping

import numpy as np

from monitor.events import Column, Floats, Int16s, Int64s, ModelRows, NumericColumn, Schema, Task, TextColumn
from monitor.stats.features import FeatureLayout
from monitor.stats.layout import Classes, CohortLayout, FeedbackLayout, InputsLayout
from monitor.stats.vector import Additions, accumulate, add_up, pack

HOUR_MS = 3_600_000
DELAY_EDGES = np.array([0, HOUR_MS, 24 * HOUR_MS], dtype=np.int64)
PANES = 3


def binary(threshold: float = 0.5) -> Classes:
    return Classes.of(Schema("flights", Task.BINARY, ("on_time", "late"), 1, threshold, {}))


def multiclass(count: int = 4) -> Classes:
    return Classes.of(Schema("animals", Task.MULTICLASS, tuple(f"class {index}" for index in range(count)), -1, 0.5, {}))


def numbers(*values: float | None) -> NumericColumn:
    """None is missing."""
    given = np.array([np.nan if value is None else value for value in values])
    return NumericColumn(given, np.array([value is None for value in values]), np.zeros(len(values), dtype=np.bool_))


def floats(values: Floats) -> NumericColumn:
    return NumericColumn(values, np.zeros(len(values), dtype=np.bool_), np.zeros(len(values), dtype=np.bool_))


def texts(*values: str | None) -> TextColumn:
    """None is missing."""
    categories = list(dict.fromkeys(value for value in values if value is not None))
    code: dict[str | None, int] = {category: place for place, category in enumerate(categories)} | {None: -1}
    return TextColumn(np.array([code[value] for value in values], dtype=np.int32), tuple(categories))


def cohort_vector(layout: CohortLayout, actual: Int64s, predicted: Int64s, scores: Floats) -> Int64s:
    """Of joined pairs whose labels took from no time to two days, over several panes. Shapes (n,), scores (n,) or (n, C)."""
    count = len(actual)
    delay = np.arange(count, dtype=np.int64) * 7_919_000 % (48 * HOUR_MS)
    added = layout.additions(
        np.ones(count, dtype=np.int64), actual.astype(np.int16), predicted.astype(np.int16), scores.reshape(count, -1), delay
    )
    return _over_panes(added, layout.size)


def feedback_vector(layout: FeedbackLayout, actual: Int64s, predicted: Int64s) -> Int64s:
    added = layout.additions(np.ones(len(actual), dtype=np.int64), actual.astype(np.int16), predicted.astype(np.int16))
    return _over_panes(added, layout.size)


def inputs_vector(layout: InputsLayout, predicted: Int64s, scores: Floats, columns: Mapping[str, Column]) -> Int64s:
    count = len(predicted)
    rows = ModelRows(
        model=0,
        rows=np.arange(count, dtype=np.int64),
        predicted=predicted.astype(np.int16),
        scores=scores.reshape(count, -1),
        features=columns,
        segments={},
        content=np.zeros(count, dtype=np.uint64),
    )
    hits = layout.hits(rows)
    everyone = np.tile(np.arange(count, dtype=np.int64), len(hits.cells))
    parts = [Additions.counts(everyone, hits.cells.ravel())]
    return _over_panes(Additions.concatenate([*parts, hits.extra] if hits.extra is not None else parts), layout.size)


def feature_vector(layout: FeatureLayout, column: Column) -> Int64s:
    """The slice of one feature."""
    whole = InputsLayout(binary(), {"feature": layout})
    count = len(column.values) if isinstance(column, NumericColumn) else len(column.codes)
    vector = inputs_vector(whole, np.zeros(count, dtype=np.int64), np.zeros(count), {"feature": column})
    return vector[whole.feature_slice("feature")]


def predicted_from(scores: Floats, threshold: float) -> Int16s:
    return (scores >= threshold).astype(np.int16)


def _over_panes(added: Additions, size: int) -> Int64s:
    panes = []
    for pane in range(PANES):
        mine = added.row % PANES == pane
        cell, amount = add_up(added.cell[mine].astype(np.int64), added.amount[mine])
        panes.append(pack(cell.astype(np.int32), amount))
    return accumulate(panes, size)
