"""The readings of one model over windows and other spans, from the committed panes of all partitions.

Versions are added up, never averaged. It knows neither partitions nor counts of events, and no clock: what is now comes as an argument.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from monitor.clock import Milliseconds
from monitor.events import Int64s
from monitor.pane_store import PaneStore
from monitor.panes import Series
from monitor.quality.drift import ALL_METHODS, LABEL, FeatureDrift, Method, inputs_drift, label_drift
from monitor.quality.inputs import inputs_quality
from monitor.quality.performance import cohort_performance, feedback_performance
from monitor.quality.readings import ClockName, Reading
from monitor.stats.layout import Block, ModelLayout
from monitor.stats.windows import step_of

POOLED = ""
"""The version of readings over all versions together."""
HISTORY_POINTS = 60
"""The most parts that a window's history has: a sparkline has no room for more."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """What a version is compared with: the reference's int64 vectors, laid out as its panes; `segments` has inputs by segment label."""

    inputs: Int64s
    cohort: Int64s
    segments: Mapping[str, Int64s] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Watched:
    """One model as its readings need it.

    `shown_class` is the positive class of a binary model, "" otherwise. `windows` maps a window's text to its length. `layout_of` and
    `baseline_of` answer by version, and the same as long as the process lives. `segment_methods` are the drift scores of segments; the
    whole gets every one. `sample` is the share of ids that are joined.
    """

    name: str
    owner: str
    task: str
    shown_class: str
    windows: Mapping[str, Milliseconds]
    layout_of: Callable[[str], ModelLayout]
    baseline_of: Callable[[str], Baseline | None]
    segment_methods: frozenset[Method]
    sample: float = 1.0


@dataclass(frozen=True, slots=True)
class Span:
    """A window, or any other range of whole panes ("" is its text then), with the step it is read at."""

    text: str
    since: Milliseconds
    until: Milliseconds
    step: Milliseconds

    @classmethod
    def ending(cls, text: str, length: Milliseconds, now: Milliseconds) -> "Span":
        """The whole panes of a window of which the last one holds `now`."""
        step = step_of(length)
        until = now // step * step + step
        return cls(text, until - length, until, step)

    def points(self) -> Iterator["Span"]:
        """The span in parts, one pane each or several where that would be more than `HISTORY_POINTS`; oldest first."""
        width = self.step * -(-(self.until - self.since) // (self.step * HISTORY_POINTS))
        for since in range(self.since, self.until, width):
            yield Span(self.text, since, min(since + width, self.until), self.step)


@dataclass(frozen=True, slots=True)
class _Sums:
    """The panes of one segment over a span, added up: int64 vectors as `layout` has them.

    `inputs` is None where versions with different layouts were pooled. `rows` are predictions.
    """

    layout: ModelLayout
    baseline: Baseline | None
    rows: int
    inputs: Int64s | None
    cohort: Int64s
    feedback: Int64s

    def is_empty(self) -> bool:
        return not (self.rows or self.cohort.any() or self.feedback.any())


def _pool(versions: Sequence[_Sums]) -> _Sums:
    """Versions together, in the newest one's layout: cohort and feedback panes of another layout do not add up and are left out."""
    newest = versions[-1]

    def total(block: Block, vectors: Iterable[Int64s]) -> Int64s:
        digest = newest.layout.digest(block)
        alike = [vector for sums, vector in zip(versions, vectors, strict=True) if sums.layout.digest(block) == digest]
        summed: Int64s = np.sum(alike, axis=0, dtype=np.int64)
        return summed

    inputs = [sums.inputs for sums in versions if sums.inputs is not None and sums.layout.inputs.digest == newest.layout.inputs.digest]
    return _Sums(
        newest.layout,
        newest.baseline,
        sum(sums.rows for sums in versions),
        np.sum(inputs, axis=0, dtype=np.int64) if len(inputs) == len(versions) else None,
        total(Block.COHORT, (sums.cohort for sums in versions)),
        total(Block.FEEDBACK, (sums.feedback for sums in versions)),
    )


@dataclass(frozen=True, slots=True)
class _Kept:
    """Readings, and what they were read from: while that is the same, so are they."""

    source: object
    readings: tuple[Reading, ...]


_Read = Callable[[Sequence[str], str, Span], Iterator[Reading]]
"""Versions, segment and span to readings."""


class ModelReadings:
    """Reads one model's panes. What was read of a window is kept until a pane of it or the window itself changes."""

    def __init__(self, model: Watched, store: PaneStore) -> None:
        self.model = model
        self._store = store
        self._kept: dict[tuple[str, str | None], _Kept] = {}
        """By window and segment; a window's history is beside them under None."""

    def at(self, now: Milliseconds, versions: Sequence[str]) -> tuple[list[Reading], dict[str, tuple[Reading, ...]]]:
        """Every window's readings as of `now`, and by window its history. `versions` are in the order of their first prediction."""
        former, self._kept = self._kept, {}
        segments = self._segments(versions)
        readings: list[Reading] = []
        history: dict[str, tuple[Reading, ...]] = {}
        for text, length in self.model.windows.items():
            span = Span.ending(text, length, now)
            for segment, of_versions in segments.items():
                kept = self._kept_or_read(former.get((text, segment)), self._read, of_versions, segment, span)
                self._kept[text, segment] = kept
                readings += kept.readings
            if versions:
                kept = self._kept_or_read(former.get((text, None)), self._history, tuple(versions), "", span)
                self._kept[text, None] = kept
                history[text] = kept.readings
        return readings, history

    def over(self, span: Span, versions: Sequence[str]) -> Iterator[Reading]:
        """The readings of every segment and version over one span."""
        for segment, of_versions in self._segments(versions).items():
            yield from self._read(of_versions, segment, span)

    def _kept_or_read(self, kept: _Kept | None, read: _Read, versions: tuple[str, ...], segment: str, span: Span) -> _Kept:
        """What was read before, where neither the span nor a pane of it has changed since."""
        source = (span, versions, self._revisions(versions, segment, span.step))
        return kept if kept is not None and kept.source == source else _Kept(source, tuple(read(versions, segment, span)))

    def _segments(self, versions: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """By segment, everything first, the versions that have panes of it."""
        if not versions:
            return {}
        found: dict[str, set[str]] = {}
        for series in self._store.series():
            if series.model == self.model.name and series.segment:
                found.setdefault(series.segment, set()).add(series.version)
        by_segment = {segment: tuple(version for version in versions if version in found[segment]) for segment in sorted(found)}
        return {"": tuple(versions)} | {segment: of_versions for segment, of_versions in by_segment.items() if of_versions}

    def _series(self, version: str, segment: str, block: Block, step: Milliseconds) -> Series:
        return Series(self.model.name, version, segment, block, step, self.model.layout_of(version).digest(block))

    def _revisions(self, versions: Iterable[str], segment: str, step: Milliseconds) -> tuple[int, ...]:
        return tuple(self._store.revision(self._series(version, segment, block, step)) for version in versions for block in Block)

    def _sums(self, version: str, segment: str, span: Span) -> _Sums:
        layout = self.model.layout_of(version)
        inputs, cohort, feedback = (
            self._store.total(self._series(version, segment, block, span.step), span.since, span.until, layout.size(block))
            for block in (Block.INPUTS, Block.COHORT, Block.FEEDBACK)
        )
        return _Sums(layout, self.model.baseline_of(version), int(inputs[0]), inputs, cohort, feedback)

    def _coverage(self, versions: Iterable[str], segment: str, block: Block, span: Span) -> float:
        """The share of the span for which panes of the present layouts can exist: from the first one on, be it in the span or before."""
        starts = (start for version in versions for start in self._store.starts(self._series(version, segment, block, span.step)))
        earliest = min(starts, default=span.until)
        return max(0, span.until - max(span.since, earliest)) / (span.until - span.since)

    def _read(self, versions: Sequence[str], segment: str, span: Span) -> Iterator[Reading]:
        """Each version's readings, then those of all pooled; of a segment only where there is something to tell."""
        sums = [self._sums(version, segment, span) for version in versions]
        if segment and all(of_version.is_empty() for of_version in sums):
            return
        single = [reading for version, own in zip(versions, sums, strict=True) for reading in self._of_sums(own, [version], segment, span)]
        pooled = single if len(versions) == 1 else self._of_sums(_pool(sums), versions, segment, span)
        for reading in (*single, *(replace(reading, version=POOLED) for reading in pooled)):
            if not segment or reading.predictions or reading.labels:
                yield reading

    def _of_sums(self, sums: _Sums, versions: Sequence[str], segment: str, span: Span) -> Iterator[Reading]:
        """The cohort reading with drift and inputs, then the feedback reading; under the version's name where `sums` are of one."""
        version = versions[0] if len(versions) == 1 else POOLED
        cohort = self._quality(sums.layout, sums.cohort, sums.rows, version, segment, span)
        coverage = self._coverage(versions, segment, Block.INPUTS, span)
        if sums.inputs is None:
            yield replace(cohort, coverage=coverage)
        else:
            inputs = inputs_quality(sums.layout.inputs, sums.inputs)
            yield replace(cohort, drift=self._drift(sums, sums.inputs, segment), inputs=inputs, coverage=coverage)
        yield Reading(
            self.model.name,
            version,
            segment,
            span.text,
            ClockName.FEEDBACK,
            span.since,
            span.until,
            predictions=None,
            labels=int(sums.feedback.sum()),
            maturity=None,
            performance=feedback_performance(sums.layout.feedback, sums.feedback),
            coverage=self._coverage(versions, segment, Block.FEEDBACK, span),
        )

    def _quality(self, layout: ModelLayout, cohort: Int64s, rows: int, version: str, segment: str, span: Span) -> Reading:
        """The cohort reading without drift. Where a new reference began the inputs anew, labels may outnumber them: no maturity then.

        Of a sample there are labels, and the inputs of everything: the predictions that a label can come for are taken to be that share of
        them (its relative error is sqrt((1 - sample) / (sample * predictions)), from the binomial).
        """
        performance = cohort_performance(layout.cohort, cohort)
        labels = 0 if performance is None else int(performance.confusion.sum())
        maturity = min(labels / (rows * self.model.sample), 1.0) if rows and labels <= rows else None
        place = (self.model.name, version, segment, span.text, ClockName.COHORT, span.since, span.until)
        return Reading(*place, predictions=rows, labels=labels, maturity=maturity, performance=performance)

    def _drift(self, sums: _Sums, inputs: Int64s, segment: str) -> Mapping[str, FeatureDrift]:
        baseline = sums.baseline
        if baseline is None:
            return {}
        if segment:
            reference = baseline.segments.get(segment)
            return {} if reference is None else inputs_drift(sums.layout.inputs, reference, inputs, self.model.segment_methods)
        drift = inputs_drift(sums.layout.inputs, baseline.inputs, inputs, ALL_METHODS)
        labels = label_drift(sums.layout.cohort, baseline.cohort, sums.cohort)
        return drift if labels is None else {**drift, LABEL: labels}

    def _history(self, versions: Sequence[str], segment: str, span: Span) -> Iterator[Reading]:
        """The span in parts: cohort quality of all versions together, without drift."""
        for point in span.points():
            sums = _pool([self._sums(version, segment, point) for version in versions])
            yield self._quality(sums.layout, sums.cohort, sums.rows, POOLED, segment, point)
