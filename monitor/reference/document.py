"""What a reference file holds: its sections, what each must be, and how each becomes the part of a vector it stands for.

Knows JSON's shapes but reads no file. Cells that a person may want to read have names; the large tables are sparse.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Final, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from monitor.events import Int64s, Task
from monitor.reference.choosing import OTHER_CATEGORIES
from monitor.stats.features import KEPT_CATEGORIES, CategoricalExtra, CategoricalLayout, FeatureLayout, NumericExtra, NumericLayout
from monitor.stats.layout import CohortLayout, InputsLayout

FORMAT: Final = "model-monitor reference"
VERSION: Final = 1

Count = Annotated[int, Field(ge=0, lt=2**63)]


class Section(BaseModel):
    """A mapping of the file: its keys are the fields, nothing is converted, no number is NaN or infinite."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class NumericCounts(Section):
    """The cells of a numeric feature; the names behind `bins` are those of `NumericExtra`."""

    bins: tuple[Count, ...]
    missing: Count
    non_finite: Count
    mistyped: Count
    below: Count
    above: Count
    tail_low: Count
    tail_high: Count
    tail_clipped: Count

    @classmethod
    def of(cls, layout: NumericLayout, counts: Int64s) -> Self:
        bins, extra = counts[: layout.bins].tolist(), counts[layout.bins :].tolist()
        return cls(bins=tuple(bins), **{name.name.lower(): extra[name] for name in NumericExtra})

    def vector(self) -> list[int]:
        return [*self.bins, *(getattr(self, extra.name.lower()) for extra in NumericExtra)]

    def rows(self) -> int:
        return sum(self.bins) + self.missing + self.non_finite + self.mistyped


class CategoricalCounts(Section):
    """The cells of a categorical feature; the names behind `kept` are those of `CategoricalExtra`."""

    kept: tuple[Count, ...]
    other: Count
    unseen: Count
    missing: Count
    mistyped: Count

    @classmethod
    def of(cls, layout: CategoricalLayout, counts: Int64s) -> Self:
        kept, extra = counts[: len(layout.kept)].tolist(), counts[len(layout.kept) :].tolist()
        return cls(kept=tuple(kept), **{name.name.lower(): extra[name] for name in CategoricalExtra})

    def vector(self) -> list[int]:
        return [*self.kept, *(getattr(self, extra.name.lower()) for extra in CategoricalExtra)]

    def rows(self) -> int:
        return sum(self.vector())


class NumericProfile(Section):
    """A numeric feature: bins `(a, b]` between `edges`, the range seen, the unit of the tail sums."""

    kind: Literal["numeric"] = "numeric"
    edges: tuple[float, ...]
    low: float | None
    high: float | None
    quantum: Annotated[float, Field(gt=0)]
    counts: NumericCounts

    @model_validator(mode="after")
    def _parts_agree(self) -> Self:
        if any(b <= a for a, b in zip(self.edges, self.edges[1:], strict=False)):
            raise ValueError("edges: expected distinct numbers in ascending order")
        if len(self.counts.bins) != len(self.edges) + 1:
            raise ValueError(f"counts.bins: expected {len(self.edges) + 1} of them, one more than edges, not {len(self.counts.bins)}")
        if (self.low is None) != (self.high is None) or (self.low is not None and self.high is not None and self.low > self.high):
            raise ValueError("low, high: expected two numbers in ascending order, or null for both")
        return self

    def layout(self) -> NumericLayout:
        low, high = (-np.inf, np.inf) if self.low is None or self.high is None else (self.low, self.high)
        return NumericLayout(np.array(self.edges, dtype=np.float64), low, high, self.quantum)


class CategoricalProfile(Section):
    """A categorical feature: the categories with a cell each, most frequent first, and others that the rows held."""

    kind: Literal["categorical"] = "categorical"
    kept: Annotated[tuple[str, ...], Field(max_length=KEPT_CATEGORIES)]
    other: Annotated[tuple[str, ...], Field(max_length=OTHER_CATEGORIES)]
    counts: CategoricalCounts

    @model_validator(mode="after")
    def _parts_agree(self) -> Self:
        if len({*self.kept, *self.other}) != len(self.kept) + len(self.other):
            raise ValueError("kept, other: expected each category once")
        if len(self.counts.kept) != len(self.kept):
            raise ValueError(f"counts.kept: expected {len(self.kept)} of them, one a kept category, not {len(self.counts.kept)}")
        return self

    def layout(self) -> CategoricalLayout:
        return CategoricalLayout(self.kept, self.other)


FeatureProfile = NumericProfile | CategoricalProfile
FeatureCounts = NumericCounts | CategoricalCounts


def profile_of(layout: FeatureLayout, counts: Int64s) -> FeatureProfile:
    """A feature's section, from its layout and its part of a vector."""
    if isinstance(layout, CategoricalLayout):
        return CategoricalProfile(kept=layout.kept, other=layout.other, counts=CategoricalCounts.of(layout, counts))
    low, high = (float(bound) if np.isfinite(bound) else None for bound in (layout.low, layout.high))
    edges = tuple(layout.edges.tolist())
    return NumericProfile(edges=edges, low=low, high=high, quantum=layout.quantum, counts=NumericCounts.of(layout, counts))


def counts_of(layout: FeatureLayout, counts: Int64s) -> FeatureCounts:
    """The same without what the layout says."""
    return profile_of(layout, counts).counts


class Cells(Section):
    """A part of a vector: the cells, counted from its first, that are not 0, and what they hold."""

    cells: tuple[Count, ...]
    counts: tuple[Count, ...]

    @model_validator(mode="after")
    def _parts_agree(self) -> Self:
        if len(self.cells) != len(self.counts):
            raise ValueError(f"counts: expected {len(self.cells)} of them, one a cell, not {len(self.counts)}")
        if any(b <= a for a, b in zip(self.cells, self.cells[1:], strict=False)):
            raise ValueError("cells: expected distinct numbers in ascending order")
        return self

    @classmethod
    def of(cls, part: Int64s) -> Self:
        cells = np.flatnonzero(part)
        return cls(cells=tuple(cells.tolist()), counts=tuple(part[cells].tolist()))

    def fill(self, part: Int64s, where: str) -> None:
        if self.cells and self.cells[-1] >= len(part):
            raise ValueError(f"{where}.cells: expected numbers below {len(part)}, not {self.cells[-1]}")
        part[list(self.cells)] = self.counts


class Scores(Section):
    """Predicted class × score cell, Σ score by cell in units of 2⁻³⁰, and for multi-class each class × score against the rest."""

    predicted: Cells
    sums: Cells
    rest: Cells

    @classmethod
    def of(cls, layout: InputsLayout, inputs: Int64s) -> Self:
        parts = (layout.predicted_score, layout.score_sums, layout.rest_scores)
        predicted, sums, rest = (Cells.of(inputs[part]) for part in parts)
        return cls(predicted=predicted, sums=sums, rest=rest)

    def fill(self, layout: InputsLayout, inputs: Int64s, where: str) -> None:
        self.predicted.fill(inputs[layout.predicted_score], f"{where}.predicted")
        self.sums.fill(inputs[layout.score_sums], f"{where}.sums")
        self.rest.fill(inputs[layout.rest_scores], f"{where}.rest")


class Outcomes(Section):
    """Rows with prediction and label: actual × predicted × score, Σ score by actual, losses, for multi-class scores against the rest."""

    scores: Cells
    sums: Cells
    losses: Cells
    rest: Cells

    @classmethod
    def of(cls, layout: CohortLayout, cohort: Int64s) -> Self:
        parts = (layout.scores, layout.score_sums, layout.losses, layout.rest_scores)
        scores, sums, losses, rest = (Cells.of(cohort[part]) for part in parts)
        return cls(scores=scores, sums=sums, losses=losses, rest=rest)

    def vector(self, layout: CohortLayout) -> Int64s:
        """All of the rows in the first delay bin: the reference does not say when its labels came."""
        cohort = np.zeros(layout.size, dtype=np.int64)
        self.scores.fill(cohort[layout.scores], "outcomes.scores")
        self.sums.fill(cohort[layout.score_sums], "outcomes.sums")
        self.losses.fill(cohort[layout.losses], "outcomes.losses")
        self.rest.fill(cohort[layout.rest_scores], "outcomes.rest")
        pairs = cohort[layout.scores].reshape(-1, layout.classes.grid.size).sum(axis=1)
        cohort[layout.delays].reshape(-1, layout.delay_bins)[:, 0] = pairs
        return cohort


def _check_rows(features: Mapping[str, FeatureCounts], rows: int) -> None:
    for name, counts in features.items():
        if counts.rows() != rows:
            raise ValueError(f"features.{name}.counts: expected {rows} rows, not {counts.rows()}")


class Segment(Section):
    """The inputs of one segment's rows."""

    rows: Count
    features: Mapping[str, FeatureCounts]
    scores: Scores

    @model_validator(mode="after")
    def _parts_agree(self) -> Self:
        _check_rows(self.features, self.rows)
        return self


class ProfileFile(Section):
    """The whole file."""

    format: Literal["model-monitor reference"] = FORMAT
    version: Literal[1] = VERSION
    model: str
    model_version: str
    created_from: tuple[str, ...]
    rows: Count
    edge_rows: Count
    task: Annotated[Task, Field(strict=False)]
    classes: Annotated[tuple[str, ...], Field(min_length=2)]
    positive_class: str | None
    threshold: float
    score_edges: tuple[float, ...]
    features: Mapping[str, Annotated[FeatureProfile, Field(discriminator="kind")]]
    scores: Scores
    labels: Mapping[str, Count]
    outcomes: Outcomes
    dimensions: Mapping[str, tuple[str, ...]]
    segments: Mapping[str, Segment]
    digest: str

    @model_validator(mode="after")
    def _parts_agree(self) -> Self:
        counted = self.rows - self.edge_rows
        if counted < 0:
            raise ValueError(f"edge_rows: expected at most rows, {self.rows}, not {self.edge_rows}")
        _check_rows({name: profile.counts for name, profile in self.features.items()}, counted)
        if self.labels.keys() != set(self.classes):
            raise ValueError(f"labels: expected a count for each of {', '.join(self.classes)}")
        return self

    def own_digest(self) -> str:
        """What `digest` has to be."""
        content = json.dumps(self.model_dump(mode="json", exclude={"digest"}), sort_keys=True)
        return "sha256:" + hashlib.sha256(content.encode()).hexdigest()
