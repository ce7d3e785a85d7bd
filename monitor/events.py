"""Predictions and labels as columns: what the codecs make, what the join and the panes take.

An *event* is a row here, never an object. Row order is log order (offset, then position within the record), because
watermarks move event by event. Nothing in this module knows bytes, logs or files.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

import numpy as np
import numpy.typing as npt

Int16s = npt.NDArray[np.int16]
Int32s = npt.NDArray[np.int32]
Int64s = npt.NDArray[np.int64]
UInt32s = npt.NDArray[np.uint32]
UInt64s = npt.NDArray[np.uint64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


class Stream(StrEnum):
    """The logs of events. `DEAD_LETTERS` is written by the worker and read by people."""

    PREDICTIONS = "predictions"
    LABELS = "labels"
    DEAD_LETTERS = "dead-letters"


SOURCES: Final = (Stream.PREDICTIONS, Stream.LABELS)
"""The streams that events come from."""


class Outcome(StrEnum):
    """What became of a received event, decided once, from its own log alone. Their sum is what was received.

    `UNSAMPLED` is a good event whose id is not among the share of ids that are joined: a prediction is counted in the inputs all the same,
    each time it comes, because only what waits in the join is known when it comes again.
    """

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    UNDECODABLE = "undecodable"
    UNKNOWN_MODEL = "unknown_model"
    INVALID = "invalid"
    BAD_TIME = "bad_time"
    OUT_OF_ORDER = "out_of_order"
    MISROUTED = "misrouted"
    UNSAMPLED = "unsampled"
    OVER_LIMIT = "over_limit"


class Task(StrEnum):
    """What a model predicts: one of two classes by one score, or one of several by a score each."""

    BINARY = "binary"
    MULTICLASS = "multiclass"


class FeatureKind(StrEnum):
    """How a feature is decoded and counted: as numbers in bins, or as texts in categories."""

    NUMERIC = "numeric"
    CATEGORICAL = "categorical"


@dataclass(frozen=True, slots=True)
class Schema:
    """What one model's events look like: the part of its configuration (and reference) that decoding needs.

    `classes` are in configured order; `positive` is the index of the positive class (binary only, else -1). `dimensions` are the
    distinct base dimensions of the configured segments, in the order of their first mention.
    """

    name: str
    task: Task
    classes: tuple[str, ...]
    positive: int
    threshold: float
    features: Mapping[str, FeatureKind]
    dimensions: tuple[str, ...] = ()

    @property
    def score_count(self) -> int:
        """Scores kept per row: P(positive) for a binary model, one probability a class otherwise."""
        return 1 if self.task is Task.BINARY else len(self.classes)


@dataclass(frozen=True, slots=True)
class Rejection:
    """An event that decoding already settled: where it stood, what became of it, and why in words a person can act on.

    `row` is its position within the record (0 for a record that could not be decoded at all); `model` is the name it claimed,
    or "" where none is known or configured.
    """

    offset: int
    row: int
    outcome: Outcome
    model: str
    reason: str


@dataclass(frozen=True, slots=True)
class NumericColumn:
    """A numeric feature, (m,) rows. `values` is NaN where `missing` or `mistyped`; another NaN or ±inf is non-finite input."""

    values: Floats
    missing: Bools
    mistyped: Bools

    def take(self, rows: Int64s) -> "NumericColumn":
        return NumericColumn(self.values[rows], self.missing[rows], self.mistyped[rows])


@dataclass(frozen=True, slots=True)
class TextColumn:
    """A categorical feature or a segment dimension, (m,) rows, dictionary-encoded.

    `codes` index `categories`; -1 is missing, -2 mistyped (an object or array where text was expected).
    """

    codes: Int32s
    categories: tuple[str, ...]

    def take(self, rows: Int64s) -> "TextColumn":
        return TextColumn(self.codes[rows], self.categories)


Column = NumericColumn | TextColumn


@dataclass(frozen=True, slots=True)
class ModelRows:
    """The rows of a batch that belong to one model, as columns of m rows.

    `rows` are their positions in the batch, ascending. `predicted` is a class index, never -1: a row without a class or
    a score to derive it from was rejected. `scores` is float64 (m, `Schema.score_count`), NaN where absent, as sent
    otherwise (also outside [0, 1]). `features` has an entry for each feature of the schema, `segments` one for each dimension.
    `content` is a 64-bit digest of everything the row says but its id and arrival, to tell repeats from differing repeats.
    """

    model: int
    rows: Int64s
    predicted: Int16s
    scores: Floats
    features: Mapping[str, Column]
    segments: Mapping[str, TextColumn]
    content: UInt64s

    def take(self, places: Int64s) -> "ModelRows":
        """The rows at these places (not positions in the batch), in the order given."""
        return ModelRows(
            self.model,
            self.rows[places],
            self.predicted[places],
            self.scores[places],
            {name: column.take(places) for name, column in self.features.items()},
            {name: column.take(places) for name, column in self.segments.items()},
            self.content[places],
        )


@dataclass(frozen=True, slots=True)
class Predictions:
    """n usable events of one partition of the predictions log, in log order, and the rejections among them.

    `ids` is uint64 (n, 2), the 128-bit digest of the id; `id_partition` the murmur2 of the id as Kafka's partitioner has it (& 0x7fffffff).
    `version` indexes `versions`. Times are milliseconds since the epoch. `unknown_keys` counts feature names and fields that no schema
    names. `received` = n + the rejections.
    """

    ids: UInt64s
    id_partition: Int64s
    time: Int64s
    arrival: Int64s
    offset: Int64s
    row: Int32s
    model: Int16s
    version: Int32s
    versions: tuple[str, ...]
    groups: tuple[ModelRows, ...]
    rejected: tuple[Rejection, ...] = ()
    unknown_keys: int = 0

    def __len__(self) -> int:
        return len(self.time)


ANY_MODEL = -1


@dataclass(frozen=True, slots=True)
class Labels:
    """n usable events of one partition of the labels log, in log order, and the rejections among them.

    `model` is an index into the schemas, or `ANY_MODEL` for a label that answers every model's prediction of its id. `value` is a
    code of `LabelValues`. `time` orders corrections; where the label had none it is its arrival.
    """

    ids: UInt64s
    id_partition: Int64s
    time: Int64s
    arrival: Int64s
    offset: Int64s
    row: Int32s
    model: Int16s
    value: Int32s
    rejected: tuple[Rejection, ...] = ()
    unknown_keys: int = 0

    def __len__(self) -> int:
        return len(self.time)


@dataclass(frozen=True, slots=True)
class LabelValues:
    """Codes for the class names of all models together, in code-point order, so that comparing codes compares the names.

    `texts` is sorted; `class_index` is int32 (models, values): the class of that text in that model, or -1.
    """

    texts: tuple[str, ...]
    class_index: Int32s = field(repr=False)

    @classmethod
    def of(cls, schemas: tuple[Schema, ...]) -> "LabelValues":
        """The codes for these models; every process that has the same ones gives the same codes."""
        texts = tuple(sorted({name for schema in schemas for name in schema.classes}))
        class_index = np.full((len(schemas), len(texts)), -1, dtype=np.int32)
        for model, schema in enumerate(schemas):
            for index, name in enumerate(schema.classes):
                class_index[model, texts.index(name)] = index
        return cls(texts, class_index)
