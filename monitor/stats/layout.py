"""The three blocks of a model's panes: which cell of a vector counts what.

A layout is frozen configuration; the numbers live in vectors (`monitor.stats.vector`). Two vectors may be added exactly when the digests of
their layouts are equal. Slices are where a reader finds a statistic's cells; `additions` is what rows add.

Class axes are in configured order. "Score" is P(positive) for a binary model and the predicted class's probability otherwise; a multi-class
model has a grid for each class against the rest besides.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum

import numpy as np

from monitor.events import Floats, Int16s, Int32s, Int64s, ModelRows, NumericColumn, Schema, Task, TextColumn
from monitor.stats.delays import delay_bin
from monitor.stats.features import CategoricalLayout, FeatureLayout, NumericLayout
from monitor.stats.scores import ScoreGrid, fixed_point, log_loss
from monitor.stats.vector import Additions


class Block(StrEnum):
    """Which events a pane counts, and by which time: inputs and cohort by the prediction's, feedback by the label's arrival."""

    INPUTS = "inputs"
    COHORT = "cohort"
    FEEDBACK = "feedback"


@dataclass(frozen=True, slots=True)
class Hits:
    """What m rows add to their vectors: one to each of `cells`, int32 (w, m), and the entries of `extra`."""

    cells: Int32s
    extra: Additions | None


class Loss(IntEnum):
    """Sums behind a cohort vector's cells."""

    SCORED = 0  # labelled rows whose scores are usable, the denominator of the two sums
    LOG_LOSS = 1
    BRIER = 2


def _digest(description: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Classes:
    """What the score and class axes of a model are."""

    task: Task
    names: tuple[str, ...]
    positive: int
    threshold: float
    grid: ScoreGrid

    @classmethod
    def of(cls, schema: Schema) -> "Classes":
        """The axes of a configured model; only a binary one has its threshold in the grid."""
        threshold = schema.threshold if schema.task is Task.BINARY else None
        return cls(schema.task, schema.classes, schema.positive, schema.threshold, ScoreGrid.with_threshold(threshold))

    @property
    def count(self) -> int:
        return len(self.names)

    def shown_score(self, predicted: Int16s, scores: Floats) -> Floats:
        """`@score` of (m,) rows from their (m, s) scores."""
        if self.task is Task.BINARY:
            return scores[:, 0]
        shown: Floats = np.take_along_axis(scores, predicted[:, None].astype(np.int64), axis=1)[:, 0]
        return shown

    def describe(self) -> dict[str, object]:
        edges = self.grid.edges.tolist()
        return {"task": self.task, "classes": list(self.names), "positive": self.positive, "threshold": self.threshold, "grid": edges}


@dataclass(frozen=True, slots=True)
class InputsLayout:
    """The block of all predictions: rows, features, predicted × score, and the sums of scores.

    Cells in order: rows (1) · each feature (`feature_slice`) · predicted × score (`predicted_score`, shape (C, grid.size)) · Σ score by
    grid cell (`score_sums`, (grid.cells,), fixed point) · for multi-class, class × score one against the rest (`rest_scores`, (C, size)).
    """

    classes: Classes
    features: Mapping[str, FeatureLayout]
    digest: str = field(init=False)
    _offsets: Mapping[str, int] = field(init=False, repr=False)
    _score_base: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        offsets: dict[str, int] = {}
        base = 1
        for name, layout in self.features.items():
            offsets[name] = base
            base += layout.size
        described = [[name, layout.describe()] for name, layout in self.features.items()]  # in order: it decides where their cells are
        object.__setattr__(self, "_offsets", offsets)
        object.__setattr__(self, "_score_base", base)
        object.__setattr__(self, "digest", _digest({"block": Block.INPUTS, "features": described} | self.classes.describe()))

    @property
    def size(self) -> int:
        size: int = self.rest_scores.stop  # a slice's bounds have no type
        return size

    def feature_slice(self, name: str) -> slice:
        base = self._offsets[name]
        return slice(base, base + self.features[name].size)

    @property
    def predicted_score(self) -> slice:
        return slice(self._score_base, self._score_base + self.classes.count * self.classes.grid.size)

    @property
    def score_sums(self) -> slice:
        start = self.predicted_score.stop
        return slice(start, start + self.classes.grid.cells)

    @property
    def rest_scores(self) -> slice:
        """Empty for a binary model."""
        start = self.score_sums.stop
        grids = 0 if self.classes.task is Task.BINARY else self.classes.count
        return slice(start, start + grids * self.classes.grid.size)

    def hits(self, rows: ModelRows) -> Hits:
        """What (m,) predictions add."""
        grid = self.classes.grid
        count = len(rows.rows)
        everyone = np.arange(count, dtype=np.int64)
        score = self.classes.shown_score(rows.predicted, rows.scores)
        score_cell = grid.cell_of(score)
        cells = np.empty(
            (len(self.features) + 2 + (self.rest_scores.stop > self.rest_scores.start) * self.classes.count, count), dtype=np.int32
        )
        cells[0] = 0
        cells[1] = self._score_base + rows.predicted.astype(np.int32) * grid.size + score_cell
        extra: list[Additions] = []
        for place, (name, layout) in enumerate(self.features.items(), start=2):
            column = rows.features[name]
            base = self._offsets[name]
            match layout, column:
                case NumericLayout(), NumericColumn():
                    np.add(layout.cells(column), base, out=cells[place])
                    extra += layout.sums(column, base)
                case CategoricalLayout(), TextColumn():
                    np.add(layout.cells(column), base, out=cells[place])
                case _:
                    raise TypeError(f"feature {name!r}: its column is {type(column).__name__}, its layout {type(layout).__name__}")
        on_grid = np.flatnonzero(score_cell < grid.cells)
        extra.append(Additions(on_grid, score_cell[on_grid] + np.int32(self.score_sums.start), fixed_point(score[on_grid])))
        if self.classes.task is not Task.BINARY:
            for index in range(self.classes.count):
                rest = self.rest_scores.start + index * grid.size
                np.add(grid.cell_of(rows.scores[:, index]), rest, out=cells[len(self.features) + 2 + index])
        return Hits(cells, Additions.concatenate(extra) if len(everyone) else None)


@dataclass(frozen=True, slots=True)
class CohortLayout:
    """The block of joined pairs by prediction time.

    Cells in order: actual × predicted × delay (`delays`, (C, C, B)) · actual × predicted × score (`scores`, (C, C, grid.size)) · Σ score
    by actual × grid cell (`score_sums`, (C, grid.cells)) · losses (`losses`, `Loss`) · for multi-class, class × (rest, class) × score one
    against the rest (`rest_scores`, (C, 2, grid.size)).
    """

    classes: Classes
    delay_edges: Int64s
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        described = {"block": Block.COHORT, "delays": self.delay_edges.tolist()} | self.classes.describe()
        object.__setattr__(self, "digest", _digest(described))

    @property
    def delay_bins(self) -> int:
        return len(self.delay_edges) + 1

    @property
    def size(self) -> int:
        size: int = self.rest_scores.stop  # a slice's bounds have no type
        return size

    @property
    def delays(self) -> slice:
        return slice(0, self.classes.count**2 * self.delay_bins)

    @property
    def scores(self) -> slice:
        start = self.delays.stop
        return slice(start, start + self.classes.count**2 * self.classes.grid.size)

    @property
    def score_sums(self) -> slice:
        start = self.scores.stop
        return slice(start, start + self.classes.count * self.classes.grid.cells)

    @property
    def losses(self) -> slice:
        start = self.score_sums.stop
        return slice(start, start + len(Loss))

    @property
    def rest_scores(self) -> slice:
        """Empty for a binary model."""
        start = self.losses.stop
        grids = 0 if self.classes.task is Task.BINARY else 2 * self.classes.count
        return slice(start, start + grids * self.classes.grid.size)

    def additions(self, sign: Int64s, actual: Int16s, predicted: Int16s, scores: Floats, delay_ms: Int64s) -> Additions:
        """What k joined pairs add (`sign` 1) or take out (-1). Shapes (k,), scores (k, s)."""
        classes, grid = self.classes, self.classes.grid
        everyone = np.arange(len(sign), dtype=np.int64)
        pair = actual.astype(np.int32) * classes.count + predicted
        score = classes.shown_score(predicted, scores)
        score_cell = grid.cell_of(score)
        parts = [
            Additions(everyone, pair * self.delay_bins + delay_bin(self.delay_edges, delay_ms), sign),
            Additions(everyone, self.scores.start + pair * grid.size + score_cell, sign),
        ]
        on_grid = np.flatnonzero(score_cell < grid.cells)
        sum_cell = self.score_sums.start + actual[on_grid].astype(np.int32) * grid.cells + score_cell[on_grid]
        parts.append(Additions(on_grid, sum_cell, sign[on_grid] * fixed_point(score[on_grid])))
        usable = np.flatnonzero(((scores >= 0.0) & (scores <= 1.0)).all(axis=1))
        parts += self._losses(usable, sign[usable], actual[usable], scores[usable])
        if classes.task is not Task.BINARY:
            for index in range(classes.count):
                cell = (index * 2 + (actual == index)) * grid.size + grid.cell_of(scores[:, index])
                parts.append(Additions(everyone, (self.rest_scores.start + cell).astype(np.int32), sign))
        return Additions.concatenate(parts)

    def _losses(self, rows: Int64s, sign: Int64s, actual: Int16s, scores: Floats) -> list[Additions]:
        if self.classes.task is Task.BINARY:
            is_positive = actual == self.classes.positive
            probability = np.where(is_positive, scores[:, 0], 1.0 - scores[:, 0])
            brier = (scores[:, 0] - is_positive) ** 2
        else:
            probability = np.take_along_axis(scores, actual[:, None].astype(np.int64), axis=1)[:, 0]
            brier = (scores**2).sum(axis=1) - 2.0 * probability + 1.0
        base = self.losses.start
        amounts = (
            (Loss.SCORED, np.ones(len(rows), dtype=np.int64)),
            (Loss.LOG_LOSS, fixed_point(log_loss(probability))),
            (Loss.BRIER, fixed_point(brier)),
        )
        return [Additions(rows, np.full(len(rows), base + cell, dtype=np.int32), sign * amount) for cell, amount in amounts]


@dataclass(frozen=True, slots=True)
class FeedbackLayout:
    """The block of joined pairs by the label's arrival: actual × predicted, (C, C)."""

    classes: Classes
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "digest", _digest({"block": Block.FEEDBACK} | self.classes.describe()))

    @property
    def size(self) -> int:
        return self.classes.count**2

    def additions(self, sign: Int64s, actual: Int16s, predicted: Int16s) -> Additions:
        """What k joined pairs add (`sign` 1) or take out (-1)."""
        cell = actual.astype(np.int32) * self.classes.count + predicted
        return Additions(np.arange(len(sign), dtype=np.int64), cell, sign)


@dataclass(frozen=True, slots=True)
class ModelLayout:
    """The blocks of one model (or of one of its versions, where that has a reference of its own)."""

    inputs: InputsLayout
    cohort: CohortLayout
    feedback: FeedbackLayout

    def digest(self, block: Block) -> str:
        return {Block.INPUTS: self.inputs.digest, Block.COHORT: self.cohort.digest, Block.FEEDBACK: self.feedback.digest}[block]

    def size(self, block: Block) -> int:
        return {Block.INPUTS: self.inputs.size, Block.COHORT: self.cohort.size, Block.FEEDBACK: self.feedback.size}[block]
