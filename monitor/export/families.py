"""A tick as samples, within the series budget: what is fixed goes last, in whole (segment, version) groups.

Of a model and of a partition there are samples only where they are this replica's: once for the fleet. An undefined number has no sample,
nor has one without a bound; no sample is NaN or infinite.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import inf, isfinite

from monitor.clock import Milliseconds
from monitor.events import Outcome
from monitor.export import catalogue
from monitor.export.catalogue import MetricDefinition
from monitor.quality.drift import Method
from monitor.quality.performance import ClassQuality, Performance
from monitor.quality.readings import ClockName, ModelState, Reading, Tick

CONFUSION_CLASSES = 20
"""A confusion matrix of more classes is left out of the exposition: 100 of them are 10,000 series a window."""
EXPOSED_VERSIONS = 2
_SECOND = 1_000.0


@dataclass(frozen=True, slots=True)
class Sample:
    """One series' value. `labels` are the values, in the order of the metric's label names."""

    metric: MetricDefinition
    labels: tuple[str, ...]
    value: float


@dataclass(frozen=True, slots=True)
class Shown:
    """What of the tick is exposed: drift methods, series a model, how many of the newest versions; and a limit for an alert."""

    methods: tuple[Method, ...]
    invalid_events_limit: float
    max_series_per_model: int = sys.maxsize
    versions: int = sys.maxsize

    def within(self, max_series_per_model: int) -> "Shown":
        """What a scrape shows of it: within the budget, the newest versions by first prediction beside all of them pooled."""
        return Shown(self.methods, self.invalid_events_limit, max_series_per_model, EXPOSED_VERSIONS)


@dataclass(frozen=True, slots=True)
class Replica:
    """What a replica says of itself. Times are the wall clock's, None before the first."""

    is_ready: bool
    partitions: frozenset[int]
    """Those that it owns."""
    tick_seconds: float
    committed_at: Milliseconds | None = None
    commit_took: Milliseconds | None = None
    snapshots_at: Milliseconds | None = None
    unsaved_partitions: int = 0


def replica_samples(replica: Replica, version: str) -> Iterator[Sample]:
    """What is true of this replica alone; `version` is the program's."""
    yield Sample(catalogue.READY, (), int(replica.is_ready))
    yield Sample(catalogue.ASSIGNED_PARTITIONS, (), len(replica.partitions))
    yield Sample(catalogue.UNSAVED_PARTITIONS, (), replica.unsaved_partitions)
    for metric, time in (
        (catalogue.LAST_COMMIT, replica.committed_at),
        (catalogue.COMMIT_DURATION, replica.commit_took),
        (catalogue.LAST_SNAPSHOT, replica.snapshots_at),
    ):
        if time is not None:
            yield Sample(metric, (), time / _SECOND)
    yield Sample(catalogue.TICK_DURATION, (), replica.tick_seconds)
    yield Sample(catalogue.BUILD_INFO, (version,), 1)


def samples(tick: Tick, shown: Shown, owned: frozenset[int]) -> Iterator[Sample]:
    """Everything that a replica exposes of the tick when it owns these partitions."""
    yield from _log_samples(tick, shown)
    for partition in sorted(owned):
        yield from _partition_samples(tick, partition)
    homes = {model.model: model.home for model in tick.models}
    for pair in tick.pairs:
        if homes.get(pair.model, 0) in owned:  # those that name no model, or one that is not configured, are with the first partition
            yield Sample(catalogue.PAIRS, (pair.model, pair.fate), pair.count)
    for model in tick.models:
        yield Sample(catalogue.MODEL_INFO, (model.model,), 1)
        if model.home in owned:
            yield from _model_samples(tick, model, shown)


def _log_samples(tick: Tick, shown: Shown) -> Iterator[Sample]:
    if tick.now is not None:
        yield Sample(catalogue.CLOCK, (), tick.now / _SECOND)
    for stream, partitions in tick.log_partitions.items():
        yield Sample(catalogue.LOG_PARTITIONS, (stream,), partitions)
        yield Sample(catalogue.INVALID_LIMIT, (stream,), shown.invalid_events_limit)


def _partition_samples(tick: Tick, partition: int) -> Iterator[Sample]:
    """Of both streams; nothing of one that has neither committed nor a lag: a count that is restored later would read as a reset."""
    states = [state for state in tick.partitions if state.partition == partition]
    counts = {  # from 0 on, because the increase of a counter first seen at 3 is 0
        (state.stream, model, outcome): 0
        for state in states
        for model in ("", *(model.model for model in tick.models))
        for outcome in Outcome
    }
    for event in tick.events:
        if event.partition == partition:
            counts[event.stream, event.model, Outcome(event.outcome)] = event.count
    name = str(partition)
    for (stream, model, outcome), count in counts.items():
        yield Sample(catalogue.EVENTS, (stream, name, model, outcome), count)
    for state in states:
        if state.lag is not None:
            yield Sample(catalogue.LAG, (state.stream, name), state.lag)
        if state.watermark is not None:
            yield Sample(catalogue.WATERMARK, (state.stream, name), state.watermark / _SECOND)
        yield Sample(catalogue.UNKNOWN_KEYS, (state.stream, name), tick.unknown_keys.get((state.stream, partition), 0))


def _model_samples(tick: Tick, model: ModelState, shown: Shown) -> Iterator[Sample]:
    name = model.model
    yield Sample(catalogue.MODEL_OWNER, (name, model.owner, model.task), 1)
    yield Sample(catalogue.COVERAGE, (name,), model.coverage)
    yield Sample(catalogue.PENDING, (name,), model.pending)
    newest = model.versions[-shown.versions :]
    for version in newest:
        yield Sample(catalogue.LAST_PREDICTION, (name, version), model.last_predictions[version] / _SECOND)
    if model.last_label is not None:
        yield Sample(catalogue.LAST_LABEL, (name,), model.last_label / _SECOND)
    readings = [reading for reading in tick.readings if reading.model == name and reading.version in ("", *newest)]
    yield from _budgeted(name, readings, model.versions, shown)


def _budgeted(model: str, readings: Sequence[Reading], versions: Sequence[str], shown: Shown) -> Iterator[Sample]:
    """A model's window samples: the fixed ones of each (segment, version) group, the whole, pooled and newer ones first; then the others.

    Of these there are none where a fixed one had to go.
    """
    newest = {version: age for age, version in enumerate(reversed(versions), start=1)}
    ordered = sorted(readings, key=lambda reading: (reading.segment != "", newest.get(reading.version, 0), reading.segment))
    groups = [list(group) for _, group in groupby(ordered, key=lambda reading: (reading.segment, reading.version))]
    room = shown.max_series_per_model
    dropped = {"fixed": 0, "extra": 0, "classes": sum(_confusion_left_out(reading) for reading in readings)}
    for kind, of_reading in (("fixed", _fixed_samples), ("extra", _extra_samples)):
        for group in groups:
            found = [sample for reading in group for sample in of_reading(reading, shown)]
            if len(found) > room or (dropped["fixed"] and kind == "extra"):
                dropped[kind] += len(found)
                continue
            room -= len(found)
            yield from found
    for reason, count in dropped.items():
        yield Sample(catalogue.DROPPED_SERIES, (model, reason), count)


def _confusion_left_out(reading: Reading) -> int:
    """Cells of a confusion matrix that is too large to be shown."""
    classes = 0 if reading.performance is None else len(reading.performance.classes)
    return classes**2 if classes > CONFUSION_CLASSES else 0


def _place(reading: Reading) -> tuple[str, ...]:
    return reading.model, reading.version, reading.segment, reading.window, reading.clock


def _fixed_samples(reading: Reading, shown: Shown) -> Iterator[Sample]:
    place = _place(reading)
    if reading.predictions is not None:
        yield Sample(catalogue.WINDOW_PREDICTIONS, place, reading.predictions)
    yield Sample(catalogue.WINDOW_LABELS, place, reading.labels)
    if reading.maturity is not None:
        yield Sample(catalogue.LABEL_MATURITY, place, reading.maturity)
    if reading.performance is not None:
        yield from _performance_samples(place, reading.performance)
    yield from _drift_samples(reading, shown.methods)


def _performance_samples(place: tuple[str, ...], performance: Performance) -> Iterator[Sample]:
    classes = performance.classes
    if len(classes) <= CONFUSION_CLASSES:
        for actual, row in zip(classes, performance.confusion.tolist(), strict=True):
            for predicted, count in zip(classes, row, strict=True):
                yield Sample(catalogue.CONFUSION, (*place, actual, predicted), count)
    for name, quality in zip(classes, performance.by_class, strict=True):
        yield from _quality_samples((*place, name, ""), quality)
    for average, quality in performance.averages.items():
        yield from _quality_samples((*place, "", average), quality)
    for metric, value in (
        (catalogue.ACCURACY, performance.accuracy),
        (catalogue.ROC_AUC, None if performance.roc_auc is None else performance.roc_auc.value),
        (catalogue.AVERAGE_PRECISION, None if performance.average_precision is None else performance.average_precision.value),
        (catalogue.LOG_LOSS, performance.log_loss),
        (catalogue.BRIER_SCORE, performance.brier_score),
    ):
        if value is not None:
            yield Sample(metric, place, value)


def _quality_samples(labels: tuple[str, ...], quality: ClassQuality) -> Iterator[Sample]:
    yield Sample(catalogue.SUPPORT, labels, quality.support)
    for metric, value in ((catalogue.PRECISION, quality.precision), (catalogue.RECALL, quality.recall), (catalogue.F1, quality.f1)):
        if value is not None:
            yield Sample(metric, labels, value)


def _drift_samples(reading: Reading, methods: Sequence[Method]) -> Iterator[Sample]:
    if reading.segment:
        return  # by segment only where an objective names it
    place = _place(reading)[:-1]
    for feature, drift in reading.drift.items():
        for method in methods:
            if method in drift.scores and isfinite(drift.scores[method].value):
                yield Sample(catalogue.DRIFT_SCORE, (*place, feature, method), drift.scores[method].value)


def _extra_samples(reading: Reading, shown: Shown) -> Iterator[Sample]:
    place = _place(reading)
    yield Sample(catalogue.WINDOW_COVERAGE, place, reading.coverage)
    performance = reading.performance
    if performance is not None:
        for metric, bounded in (
            (catalogue.ROC_AUC_ERROR, performance.roc_auc),
            (catalogue.AVERAGE_PRECISION_ERROR, performance.average_precision),
        ):
            if bounded is not None:
                yield Sample(metric, place, bounded.error)
    if reading.segment or reading.clock is not ClockName.COHORT:
        return
    for feature, drift in reading.drift.items():
        for method in shown.methods:
            if method in drift.scores and 0.0 < drift.scores[method].error < inf:  # 0: the score is exact
                yield Sample(catalogue.DRIFT_ERROR, (*place[:-1], feature, method), drift.scores[method].error)
    for feature, quality in reading.inputs.items():
        kinds = {
            "missing": quality.missing,
            "non_finite": quality.non_finite,
            "mistyped": quality.mistyped,
            "below": quality.below,
            "above": quality.above,
            "out_of_range": quality.out_of_range if quality.below is None else None,
            "unseen": quality.unseen,
            "other": quality.other,
        }
        for kind, count in kinds.items():
            if count is not None:
                yield Sample(catalogue.INPUT_VALUES, (*place[:-1], feature, kind), count)
