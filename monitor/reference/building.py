"""Rows of files to a reference profile, in two passes of bounded memory: the first chooses what to count by, the second counts.

The row's number over all files, in the order given, decides whether it chooses or is counted; so the same rows give the same profile
however they are cut into files, and on every machine.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from monitor.errors import ReferenceFileError
from monitor.events import Bools, FeatureKind, Int32s, Int64s, NumericColumn, Schema, TextColumn
from monitor.reference.choosing import EdgeSample, Range, SeenCategories, categorical_layout, numeric_layout
from monitor.reference.profile import SEGMENT_ROWS, SMALL_ROWS, Reference, layout_of
from monitor.reference.rows import UNKNOWN, FileRows, columns_of, features_among, rows_of
from monitor.reference.sources import Source
from monitor.segments import EVERYTHING, VALUES_LIMIT, Expression, SegmentDictionary
from monitor.stats.features import FeatureLayout
from monitor.stats.layout import Classes, Hits, ModelLayout
from monitor.stats.sums import cell_of, distinct, pane_of, sum_hits
from monitor.stats.vector import add_up

LEAST_ROWS: Final = 10
"""Fewer rows are a mistake in the file, not a small reference."""

PASSES: Final = 2

SEGMENTS_LIMIT: Final = 5_000
"""Segments that are counted, first come; bounds what triples of dimensions can take."""

Advance = Callable[[int], None]
"""Told how many bytes of the files were read, `PASSES` times their size in all."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Whose profile it is to be. A schema without features takes them from the files' columns."""

    schema: Schema
    version: str
    segments: tuple[Expression, ...]
    delay_edges: Int64s


@dataclass(frozen=True, slots=True)
class Built:
    """A profile, and what its maker should know about the files, in sentences."""

    reference: Reference
    notes: tuple[str, ...]


def build_reference(plan: Plan, sources: Sequence[Source], advance: Advance) -> Built:
    """Raises `ReferenceFileError` for files that cannot be read or hold too little."""
    schema, notes = _schema_for(plan.schema, sources)
    chosen = _choose(schema, sources, advance)
    if chosen.sample.rows < LEAST_ROWS:
        raise ReferenceFileError(
            f"{_names(sources)}: {chosen.sample.rows} rows; expected at least {LEAST_ROWS}, better {SMALL_ROWS:,} and more"
        )
    edge_rows = chosen.sample.finish()
    features = chosen.features(schema)
    tally = Tally(schema, plan.segments, layout_of(Classes.of(schema), features, plan.delay_edges), chosen.dimensions(schema))
    first = 0
    for rows in _read(schema, sources, advance):
        tally.add(rows, ~chosen.sample.chose(first, len(rows)))
        first += len(rows)
    if first != chosen.sample.rows:
        raise ReferenceFileError(f"{_names(sources)}: changed while they were read; build the profile again when they are complete")
    reference = Reference(
        model=schema.name,
        version=plan.version,
        created_from=tuple(source.path.name for source in sources),
        rows=first,
        edge_rows=edge_rows,
        classes=Classes.of(schema),
        features=features,
        delay_edges=plan.delay_edges,
        inputs=tally.inputs,
        cohort=tally.cohort,
        labels=tally.labels,
        dimensions=tally.dimensions,
        segments=tally.segments(),
    )
    return Built(reference, (*notes, *tally.notes(), *_flags(reference)))


def _schema_for(schema: Schema, sources: Sequence[Source]) -> tuple[Schema, list[str]]:
    """The schema with the features that the files have, and what is to be said about their columns."""
    found: dict[str, FeatureKind] = {}
    for source in sources:
        found = dict(source.columns) | found
    taken = dict(schema.features) or features_among(found)
    features = {name: kind for name, kind in taken.items() if name in found}
    if not features:
        expected = ", ".join(schema.features) or "a column a feature"
        raise ReferenceFileError(
            f"{_names(sources)}: no column is a feature of model {schema.name}; expected {expected}; found: {', '.join(found)}"
        )
    schema = replace(schema, features=features)
    wanted = columns_of(schema)
    notes = [f"no column for feature {name}: its drift will have no reading" for name in taken if name not in found]
    unknown = [name for name in found if name not in wanted]
    if unknown:
        notes.append(f"columns left out, because model {schema.name} has no use for them: {', '.join(unknown)}")
    notes += [
        f"{source.path.name} has no column {name}, which other files have: its rows count as missing"
        for source in sources
        for name in wanted
        if name in found and name not in source.columns
    ]
    return schema, notes


def _names(sources: Sequence[Source]) -> str:
    return ", ".join(str(source.path) for source in sources)


def _read(schema: Schema, sources: Sequence[Source], advance: Advance) -> Iterator[FileRows]:
    wanted = columns_of(schema)
    for source in sources:
        for block in source.blocks(wanted):
            if block.rows:
                yield rows_of(block, schema)
            advance(block.size)


@dataclass(slots=True)
class Choice:
    """What the first pass learns."""

    sample: EdgeSample
    ranges: Mapping[str, Range]
    seen: Mapping[str, SeenCategories]

    def features(self, schema: Schema) -> dict[str, FeatureLayout]:
        return {
            name: numeric_layout(self.sample.numbers(name), self.ranges[name])
            if kind is FeatureKind.NUMERIC
            else categorical_layout(self.sample.categories(name), self.seen[name])
            for name, kind in schema.features.items()
        }

    def dimensions(self, schema: Schema) -> dict[str, list[str]]:
        """The values that segments know from the start."""
        return {name: self.sample.categories(_dimension(name))[:VALUES_LIMIT] for name in schema.dimensions}


def _dimension(name: str) -> str:
    """A dimension among the sampled columns, apart from a numeric feature of that name."""
    return f"segment.{name}"


def _choose(schema: Schema, sources: Sequence[Source], advance: Advance) -> Choice:
    ranges = {name: Range() for name, kind in schema.features.items() if kind is FeatureKind.NUMERIC}
    seen = {name: SeenCategories() for name, kind in schema.features.items() if kind is FeatureKind.CATEGORICAL}
    sample = EdgeSample()
    for rows in _read(schema, sources, advance):
        features = rows.model_rows.features
        sample.add(dict(features) | {_dimension(name): column for name, column in rows.model_rows.segments.items()}, len(rows))
        for name, column in features.items():
            match column:
                case NumericColumn():
                    ranges[name].add(column)
                case TextColumn():
                    seen[name].add(column)
    return Choice(sample, ranges, seen)


@dataclass(slots=True)
class Tally:
    """What the second pass counts."""

    schema: Schema
    expressions: tuple[Expression, ...]
    layout: ModelLayout
    first_values: dict[str, list[str]]
    inputs: Int64s = field(init=False)
    cohort: Int64s = field(init=False)
    labels: Int64s = field(init=False)
    _dictionary: SegmentDictionary = field(init=False)
    _by_segment: dict[str, Int64s] = field(init=False, default_factory=dict)
    _odd: int = field(init=False, default=0)
    _odd_classes: set[str] = field(init=False, default_factory=set)

    def __post_init__(self) -> None:
        self.inputs = np.zeros(self.layout.inputs.size, dtype=np.int64)
        self.cohort = np.zeros(self.layout.cohort.size, dtype=np.int64)
        self.labels = np.zeros(len(self.schema.classes), dtype=np.int64)
        self._dictionary = SegmentDictionary(self.schema.dimensions, self.first_values)

    @property
    def dimensions(self) -> dict[str, tuple[str, ...]]:
        return {name: tuple(values) for name, values in self._dictionary.values.items()}

    def add(self, rows: FileRows, counted: Bools) -> None:
        """Counts those of the rows that are `counted`, bool (m,)."""
        self._odd += rows.odd
        self._odd_classes |= rows.odd_classes
        known = rows.predicted != UNKNOWN
        segment = self._dictionary.encode(rows.model_rows.segments, len(rows))
        for group, cells in ((counted & known, self.layout.inputs.size), (counted & ~known, self.layout.inputs.predicted_score.start)):
            places = np.flatnonzero(group)
            if len(places):
                self._count(self.layout.inputs.hits(rows.model_rows.take(places)), segment[places], cells)
        labelled = counted & (rows.actual != UNKNOWN)
        self.labels += np.bincount(rows.actual[labelled], minlength=len(self.labels))
        self._join(rows, np.flatnonzero(labelled & known))

    def _count(self, hits: Hits, segment: Int32s, cells: int) -> None:
        """Adds the first `cells` cells of what rows hit: without a prediction, those of its score stay out."""
        for text, cell, amount in self._by_segment_text(hits, segment):
            vector = self.inputs if text == "" else self._by_segment.get(text)
            if vector is None:
                if len(self._by_segment) >= SEGMENTS_LIMIT:
                    continue
                vector = self._by_segment[text] = np.zeros(self.layout.inputs.size, dtype=np.int64)
            there = cell < cells
            vector[cell[there]] += amount[there]

    def _by_segment_text(self, hits: Hits, segment: Int32s) -> Iterator[tuple[str, Int32s, Int64s]]:
        """By `segment` label, "" for everything: distinct cells, and what is to be added to them."""
        for expression in (EVERYTHING, *self.expressions):
            parts, place = distinct(self._dictionary.project(segment, expression))
            key, amount = sum_hits(place, len(parts), hits, self.layout.inputs.size)
            borders = np.searchsorted(pane_of(key), np.arange(len(parts) + 1))
            for part, begin, end in zip(parts.tolist(), borders[:-1].tolist(), borders[1:].tolist(), strict=True):
                yield self._dictionary.text(part, expression), cell_of(key[begin:end]), amount[begin:end]

    def _join(self, rows: FileRows, places: Int64s) -> None:
        if not len(places):
            return
        once, at_once = np.ones(len(places), dtype=np.int64), np.zeros(len(places), dtype=np.int64)
        actual, predicted, scores = rows.actual[places], rows.predicted[places], rows.model_rows.scores[places]
        additions = self.layout.cohort.additions(once, actual, predicted, scores, at_once)
        cell, amount = add_up(additions.cell.astype(np.int64), additions.amount)
        self.cohort[cell] += amount

    def segments(self) -> dict[str, Int64s]:
        """The vectors of the segments that have enough rows to be compared with."""
        return {text: vector for text, vector in sorted(self._by_segment.items()) if vector[0] >= SEGMENT_ROWS}

    def notes(self) -> list[str]:
        """What is to be said about the classes. Raises `ReferenceFileError` where none of them is one of the model's."""
        if not self._odd:
            return []
        expected, examples = ", ".join(self.schema.classes), ", ".join(sorted(self._odd_classes)[:3])
        if not self.labels.any() and not self.inputs[self.layout.inputs.predicted_score].any():
            raise ReferenceFileError(
                f"prediction, label: no row has a class of model {self.schema.name}; expected {expected}, or an index, not {examples}"
            )
        return [f"{self._odd:,} rows have a prediction or label that is no class of the model, such as {examples}: counted without it"]


def _flags(reference: Reference) -> Iterator[str]:
    if reference.is_small:
        yield f"{reference.counted_rows:,} rows are counted; under {SMALL_ROWS:,} some references mislead, whatever the test"
    if not reference.has_predictions:
        yield "no predictions: @prediction, @score and quality have no reference"
    elif not reference.has_scores:
        yield "no scores: @score has no reference"
    if not reference.has_labels:
        yield "no labels: @label and quality have no reference"
