"""A reference profile: the vectors of a pane, counted on training or validation data, and the layout they were counted by.

It holds numbers and knows neither files nor rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from monitor.events import Int64s
from monitor.stats.features import FeatureLayout
from monitor.stats.layout import Classes, CohortLayout, FeedbackLayout, InputsLayout, ModelLayout
from monitor.stats.scores import ScoreExtra

SMALL_ROWS: Final = 2_000
"""Below this many counted rows some references mislead whatever the test (simulated: at m < 2,000)."""

SEGMENT_ROWS: Final = 500
"""A segment has a reference of its own from this many counted rows on."""


@dataclass(frozen=True, slots=True)
class Reference:
    """What a model's events looked like where it was trained or validated.

    `rows` were read; `edge_rows` of them chose the edges and the kept categories, and the others are counted. `inputs` and `cohort` are
    dense vectors, int64, laid out by `layout`; `cohort` holds the labelled rows that had a prediction, all of them in the first delay bin;
    `labels` all labelled rows by class, int64 (C,). `dimensions` are the values that segments know from the start, most frequent first, and
    `segments` the inputs vectors, by `segment` label, of those with at least `SEGMENT_ROWS`. A `version` of "" stands for every version.
    """

    model: str
    version: str
    created_from: tuple[str, ...]
    rows: int
    edge_rows: int
    classes: Classes
    features: Mapping[str, FeatureLayout]
    delay_edges: Int64s
    inputs: Int64s = field(repr=False)
    cohort: Int64s = field(repr=False)
    labels: Int64s
    dimensions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    segments: Mapping[str, Int64s] = field(default_factory=dict, repr=False)
    _layout: ModelLayout = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_layout", layout_of(self.classes, self.features, self.delay_edges))

    def layout(self) -> ModelLayout:
        """The blocks that `inputs` and `cohort` are counted by."""
        return self._layout

    @property
    def counted_rows(self) -> int:
        return self.rows - self.edge_rows

    @property
    def is_small(self) -> bool:
        return self.counted_rows < SMALL_ROWS

    @property
    def predicted_scores(self) -> Int64s:
        """Counted rows by predicted class and score cell, int64 (C, grid.size)."""
        return self.inputs[self._layout.inputs.predicted_score].reshape(self.classes.count, self.classes.grid.size)

    @property
    def has_predictions(self) -> bool:
        """False: `@prediction`, `@score` and quality have no reference."""
        return bool(self.predicted_scores.any())

    @property
    def has_scores(self) -> bool:
        """False: `@score` has no reference."""
        absent = self.classes.grid.cells + ScoreExtra.MISSING
        return bool(self.predicted_scores[:, :absent].any() or self.predicted_scores[:, absent + 1 :].any())

    @property
    def has_labels(self) -> bool:
        """False: `@label` and quality have no reference."""
        return bool(self.labels.any())

    def counts(self, feature: str) -> Int64s:
        """A feature's cells, laid out by `features[feature]`."""
        return self.inputs[self._layout.inputs.feature_slice(feature)]


def layout_of(classes: Classes, features: Mapping[str, FeatureLayout], delay_edges: Int64s) -> ModelLayout:
    """The blocks of a model whose features are laid out like that."""
    return ModelLayout(InputsLayout(classes, features), CohortLayout(classes, delay_edges), FeedbackLayout(classes))
