"""Committed panes and counts of all partitions, merged, read as of a moment: what is exposed between two ticks.

Ratios are read from merged sums, never averaged (0.480 pooled against 0.537 averaged, measured). Nothing here reads a clock, and
nothing that is not committed reaches it.
"""

from collections.abc import Iterator, Mapping, Sequence

from monitor.clock import Milliseconds
from monitor.codec.identity import partition_of
from monitor.counters import Counters
from monitor.events import SOURCES, Stream
from monitor.log import Commit
from monitor.model_readings import ModelReadings, Span, Watched
from monitor.pane_store import PaneStore
from monitor.quality.readings import EventCount, ModelState, PairCount, PartitionState, Reading, Tick
from monitor.stats.windows import step_of


class RangeError(ValueError):
    """A range of time that no whole panes fill; the message says which ranges there are."""


class Aggregate:
    """Merges what partitions committed.

    Laws: the order in which partitions commit is no matter; a commit's absolute values replace the same partition's former ones.
    """

    def __init__(self, models: Sequence[Watched], log_partitions: Mapping[str, int]) -> None:
        self._store = PaneStore()
        self._models = {model.name: ModelReadings(model, self._store) for model in models}
        self._log_partitions = dict(log_partitions)
        self._homes = {model.name: partition_of(model.name, self.partitions) for model in models}
        self._counters: dict[int, Counters] = {}

    @property
    def partitions(self) -> int:
        """Of the log."""
        return self._log_partitions[Stream.PREDICTIONS]

    def apply(self, commit: Commit) -> None:
        """Takes on a commit that is durable: the whole `state`, and panes by key. Raises `LogDamaged` or `DecodeError`."""
        self._counters[commit.partition] = Counters.from_bytes(commit.state)
        for key, value in commit.panes.items():
            self._store.put(commit.partition, key, value)

    def newest(self) -> Milliseconds | None:
        """The greatest arrival of any event: "now" where the clock is `watermark`."""
        return max((time for counters in self._counters.values() for time in counters.newest.values()), default=None)

    def tick(self, now: Milliseconds | None, *, lag: Mapping[tuple[str, int], int], live: frozenset[int]) -> Tick:
        """Every reading as of `now`. `lag` is by stream and partition; `live` are the partitions that somebody works on."""
        coverage = len(live & self._counters.keys()) / self.partitions
        readings: list[Reading] = []
        history: dict[tuple[str, str], tuple[Reading, ...]] = {}
        if now is not None:
            for name, model in self._models.items():
                found, of_model = model.at(now, self._versions(name))
                readings += found
                history |= {(name, window): points for window, points in of_model.items()}
        return Tick(
            now=now,
            readings=tuple(readings),
            models=tuple(self._model_state(model.model, coverage) for model in self._models.values()),
            partitions=tuple(self._partition_states(lag)),
            events=tuple(self._events()),
            pairs=tuple(self._pairs()),
            unknown_keys={
                (stream, partition): count
                for partition, counters in self._counters.items()
                for stream, count in counters.unknown_keys.items()
            },
            log_partitions=self._log_partitions,
            history=history,
        )

    def between(self, name: str, since: Milliseconds, until: Milliseconds) -> tuple[Reading, ...]:
        """Readings of one model over `[since, until)`, any range that whole panes fill; the window's text is "".

        Raises `RangeError`, or KeyError for a model that is not configured.
        """
        model = self._models[name]
        steps = sorted({step_of(length) for length in model.model.windows.values()}, reverse=True)
        fitting = [step for step in steps if since % step == 0 and until % step == 0]
        if since >= until or not fitting:
            widths = ", ".join(f"{step // 60_000} min" for step in steps)
            raise RangeError(
                f"since and until must be in order and lie on the edges of panes; those of {name} are {widths} wide, "
                "counted from 1970-01-01T00:00:00Z"
            )
        return tuple(model.over(Span("", since, until, fitting[0]), self._versions(name)))

    def _versions(self, name: str) -> tuple[str, ...]:
        """The model's versions by the time of their first prediction."""
        first: dict[str, Milliseconds] = {}
        for counters in self._counters.values():
            for (model, version), seen in counters.predictions.items():
                if model == name:
                    first[version] = min(seen.first, first.get(version, seen.first))
        return tuple(sorted(first, key=lambda version: (first[version], version)))

    def _model_state(self, model: Watched, coverage: float) -> ModelState:
        last: dict[str, Milliseconds] = {}
        for version in self._versions(model.name):
            seen = (counters.predictions.get((model.name, version)) for counters in self._counters.values())
            last[version] = max(predictions.last for predictions in seen if predictions)
        named = (model.name, "")  # a label that names no model may answer this one's predictions
        labels = [counters.labels[name].last for counters in self._counters.values() for name in named if name in counters.labels]
        return ModelState(
            model=model.name,
            home=self._homes[model.name],
            owner=model.owner,
            task=model.task,
            shown_class=model.shown_class,
            versions=tuple(last),
            windows=tuple(model.windows),
            last_predictions=last,
            last_label=max(labels, default=None),
            pending=sum(counters.pending.get(model.name, 0) for counters in self._counters.values()),
            coverage=coverage,
        )

    def _partition_states(self, lag: Mapping[tuple[str, int], int]) -> Iterator[PartitionState]:
        """Of every partition that has committed, or has a lag."""
        for partition in sorted(self._counters.keys() | {partition for _, partition in lag}):
            watermarks = self._counters[partition].watermarks if partition in self._counters else {}
            for stream in SOURCES:
                yield PartitionState(stream, partition, lag.get((stream, partition)), watermarks.get(stream))

    def _events(self) -> Iterator[EventCount]:
        for partition, counters in sorted(self._counters.items()):
            for (stream, model, outcome), count in sorted(counters.events.items()):
                yield EventCount(stream, partition, model, outcome, count)

    def _pairs(self) -> Iterator[PairCount]:
        totals: dict[tuple[str, str], int] = {}
        for counters in self._counters.values():
            for model, fates in counters.pairs.items():
                for fate, count in fates.items():
                    totals[model, fate] = totals.get((model, fate), 0) + count
        for (model, fate), count in sorted(totals.items()):
            yield PairCount(model, fate, count)
