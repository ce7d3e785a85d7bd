"""Worlds as the aggregate sees them: events through real pipelines, their commits, and what is read from these."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from monitor.aggregate import Aggregate
from monitor.events import Int64s, Stream
from monitor.log import Commit
from monitor.model_readings import Baseline, Watched
from monitor.pipeline import Model
from monitor.quality.drift import Method
from monitor.quality.readings import ClockName, Reading, Tick
from monitor.stats.layout import ModelLayout
from tests.worlds import BINARY, DAY, HOUR, model_of, pipeline, record

PREDICTIONS, LABELS = Stream.PREDICTIONS, Stream.LABELS
WINDOWS: Mapping[str, int] = {"1h": HOUR, "1d": DAY}


def watched(model: Model, baseline: Baseline | None = None, windows: Mapping[str, int] = WINDOWS) -> Watched:
    """A model of `tests.worlds` for the aggregate; every version is compared with the same baseline."""
    schema = model.schema
    shown = schema.classes[schema.positive] if schema.positive >= 0 else ""
    return Watched(schema.name, "owner", schema.task, shown, windows, model.layout_of, lambda _: baseline, frozenset({Method.PSI}))


def with_layouts(model: Model, layouts: Mapping[str, ModelLayout]) -> Model:
    """The model with layouts by version."""
    return replace(model, layout_of=layouts.__getitem__)


def commit(
    predictions: Sequence[object], labels: Sequence[object] = (), *, model: Model | None = None, partition: int = 0, partitions: int = 1
) -> Commit:
    """What one partition commits of these events; it takes those whose ids are its own."""
    worker = pipeline(model or model_of(BINARY), partition=partition, partitions=partitions)
    for stream, events in ((PREDICTIONS, predictions), (LABELS, labels)):
        worker.take(stream, [record(offset, event) for offset, event in enumerate(events)])
    return worker.commit({PREDICTIONS: len(predictions), LABELS: len(labels)})


def aggregate(*commits: Commit, model: Watched | None = None, partitions: int = 1) -> Aggregate:
    """What these commits add up to."""
    merged = Aggregate([model or watched(model_of(BINARY))], dict.fromkeys((PREDICTIONS, LABELS), partitions))
    for of_partition in commits:
        merged.apply(of_partition)
    return merged


def tick(merged: Aggregate, now: int | None) -> Tick:
    """As of `now`, by the owner of the first partition, while somebody works on each."""
    return merged.tick(now, lag={(PREDICTIONS, 0): 0, (LABELS, 0): 0}, live=frozenset(range(merged.partitions)))


def reading(
    readings: Sequence[Reading], window: str = "1h", *, version: str = "", segment: str = "", clock: ClockName = ClockName.COHORT
) -> Reading:
    """The one of that place."""
    place = (version, segment, window, clock)
    [found] = [one for one in readings if (one.version, one.segment, one.window, one.clock) == place]
    return found


def confusion(found: Reading) -> list[list[int]] | None:
    """Counts, actual × predicted."""
    if found.performance is None:
        return None
    counts: list[list[int]] = found.performance.confusion.tolist()
    return counts


def flat(layout: ModelLayout, rows: int = 1_000) -> Baseline:
    """A baseline with the same count in every cell."""

    def cells(size: int) -> Int64s:
        return np.full(size, rows, dtype=np.int64)

    return Baseline(cells(layout.inputs.size), cells(layout.cohort.size), {"carrier=UA": cells(layout.inputs.size)})
