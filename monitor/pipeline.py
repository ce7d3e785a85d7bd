"""The path of events through one partition, top to bottom: decode, join, add to panes, commit. No I/O, no clock.

The state is a function of the partition's two ordered logs up to the offsets taken in, whatever their interleaving and the size of what is
handed over at a time; the law tests hold that.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from monitor.codec import decode_labels, decode_predictions
from monitor.counters import Counters, Span
from monitor.events import (
    ANY_MODEL,
    Bools,
    Int32s,
    Int64s,
    LabelValues,
    ModelRows,
    Outcome,
    Predictions,
    Schema,
    Stream,
    Task,
)
from monitor.join import OUTCOMES, JoinRules, JoinTable, LabelRows, PairChanges, PredictionRows
from monitor.ledger import Ledger, pairs_by_model, pairs_from_models
from monitor.log import TIME_MARK, Commit, Committed, Record
from monitor.panes import PanePlan, PaneTable, Series
from monitor.segments import EVERYTHING, NO_ROOM, Expression, SegmentDictionary, VersionDictionary
from monitor.stats.layout import Block, ModelLayout
from monitor.stats.sums import distinct

_ACCEPTED = OUTCOMES.index(Outcome.ACCEPTED)
_OVER_LIMIT = OUTCOMES.index(Outcome.OVER_LIMIT)


@dataclass(frozen=True, slots=True)
class Model:
    """One model as the pipeline knows it. `layout_of` gives the layout of a version; it must answer the same as long as the process lives.

    `segments` lists the expressions beside `EVERYTHING`; `first_values` the segment values of the reference by dimension, which are
    kept first.
    """

    schema: Schema
    rules: JoinRules
    plan: PanePlan
    segments: tuple[Expression, ...]
    layout_of: Callable[[str], ModelLayout]
    first_values: Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a partition accepts: D and E of the join in milliseconds, rows that may wait, and whether a label has to name its model."""

    out_of_order: int
    early: int
    rows_limit: int
    label_names_model: bool


class Pipeline:
    """One partition's state. Not thread-safe: one worker drives it."""

    def __init__(self, models: Sequence[Model], bounds: Bounds, *, partition: int = 0, partitions: int = 1) -> None:
        self.models = tuple(models)
        self.partition = partition
        self.panes = PaneTable({(model.schema.name, block): model.plan.folds() for model in self.models for block in Block})
        self._bounds = bounds
        self._partitions = partitions
        self._schemas = tuple(model.schema for model in self.models)
        self._ledger = Ledger(self._schemas, partitions, Counters())
        self._values = LabelValues.of(self._schemas)
        self._width = max((len(schema.classes) for schema in self._schemas if schema.task is Task.MULTICLASS), default=0)
        self.join = self.empty_join()
        self._versions = VersionDictionary()
        self._segments = [SegmentDictionary(model.schema.dimensions, _copied(model.first_values)) for model in self.models]
        self._replaying = False

    @property
    def counters(self) -> Counters:
        """Counts and dictionaries so far."""
        return self._ledger.counters

    def empty_join(self) -> JoinTable:
        """A join table as this configuration needs it."""
        rules = tuple(model.rules for model in self.models)
        bounds = self._bounds
        return JoinTable(
            rules,
            self._values.class_index,
            out_of_order=bounds.out_of_order,
            early=bounds.early,
            rows_limit=bounds.rows_limit,
            score_width=self._width,
        )

    def take(self, stream: Stream, records: Sequence[Record]) -> None:
        """Takes the next records of one stream in, in log order."""
        for mark, run in _runs(records):
            if mark is not None:
                self.join.advance(stream, mark.timestamp)
            elif stream is Stream.PREDICTIONS:
                self._take_predictions(run)
            else:
                self._take_labels(run)

    def _take_predictions(self, records: Sequence[Record]) -> None:
        decoded = decode_predictions(records, self._schemas)
        routed = self._routed(decoded.id_partition)
        identity = self._identities(decoded, routed)
        usable = np.flatnonzero(routed & (identity != NO_ROOM))
        rows = self._prediction_rows(decoded, identity)
        added = self.join.add_predictions(rows if len(usable) == len(rows) else rows.take(usable))
        if self._replaying:
            return
        outcome = np.full(len(decoded), _OVER_LIMIT, dtype=np.int8)
        outcome[usable] = added.outcomes
        self._ledger.settle(Stream.PREDICTIONS, decoded, records, routed, outcome)
        counted = routed & ((outcome == _ACCEPTED) | (outcome == _OVER_LIMIT)) & (identity != NO_ROOM)
        for group in decoded.groups:
            kept = np.flatnonzero(counted[group.rows])
            self._add_inputs(group if len(kept) == len(group.rows) else group.taking(kept), rows)
        self._add_pairs(added.changes)

    def _take_labels(self, records: Sequence[Record]) -> None:
        decoded = decode_labels(records, self._schemas, self._values, self._bounds.label_names_model)
        routed = self._routed(decoded.id_partition)
        usable = np.flatnonzero(routed)
        rows = LabelRows(decoded.ids, decoded.time, decoded.arrival, decoded.model, decoded.value)
        added = self.join.add_labels(rows if len(usable) == len(rows) else rows.take(usable))
        if self._replaying:
            return
        outcome = np.zeros(len(decoded), dtype=np.int8)
        outcome[usable] = added.outcomes
        self._ledger.settle(Stream.LABELS, decoded, records, routed, outcome)
        accepted = routed & (outcome == _ACCEPTED)
        for index in np.unique(decoded.model[accepted]).tolist():
            arrival = decoded.arrival[accepted & (decoded.model == index)]
            name = "" if index == ANY_MODEL else self._schemas[index].name
            self.counters.labels.setdefault(name, Span(int(arrival[0]), int(arrival[0]))).reach(int(arrival.min()), int(arrival.max()))
        self._add_pairs(added.changes)

    def _routed(self, id_partition: Int64s) -> Bools:
        """Which rows lie in the partition of their id, where their twin will be."""
        routed: Bools = id_partition % self._partitions == self.partition
        return routed

    def _identities(self, decoded: Predictions, routed: Bools) -> Int32s:
        """The code of each row's model and version; new ones are numbered in log order."""
        pair = decoded.model.astype(np.int64) * len(decoded.versions) + decoded.version
        found, first_row, place = np.unique(pair, return_index=True, return_inverse=True)
        code = np.empty(len(found), dtype=np.int32)
        for index in np.argsort(first_row).tolist():
            model, version = divmod(int(found[index]), len(decoded.versions))
            code[index] = self._versions.encode(self._schemas[model].name, decoded.versions[version])
        identity: Int32s = code[place]
        return identity

    def _prediction_rows(self, decoded: Predictions, identity: Int32s) -> PredictionRows:
        count = len(decoded)
        predicted = np.zeros(count, dtype=np.int16)
        score = np.full(count, np.nan)
        scores = np.full((count, self._width), np.nan, dtype=np.float32) if self._width else None
        segment = np.zeros(count, dtype=np.int32)
        content = np.zeros(count, dtype=np.uint64)
        for group in decoded.groups:
            rows, schema = group.rows, self._schemas[group.model]
            predicted[rows] = group.predicted
            content[rows] = group.content
            segment[rows] = self._segments[group.model].encode(group.segments, len(rows))
            if schema.task is Task.BINARY:
                score[rows] = group.scores[:, 0]
            elif scores is not None:
                scores[rows, : schema.score_count] = group.scores
        return PredictionRows(
            decoded.ids, decoded.time, decoded.arrival, identity, decoded.model, predicted, score, scores, segment, content
        )

    def _add_inputs(self, group: ModelRows, rows: PredictionRows) -> None:
        """Counts predictions in the inputs panes of their segments."""
        if not len(group.rows):
            return
        time = rows.time[group.rows]
        identity, segment = rows.identity[group.rows], rows.segment[group.rows]
        for code in np.unique(identity).tolist():
            own = time[identity == code]
            self.counters.predictions.setdefault(self._versions.entries[code], Span(int(own[0]), int(own[0]))).reach(
                int(own.min()), int(own.max())
            )
        for layout, places in self._by_layout(group.model, identity):
            part = group if len(places) == len(group.rows) else group.taking(places)
            hits = layout.inputs.hits(part)
            for series, step in self._series(group.model, Block.INPUTS, layout, identity[places], segment[places]):
                self.panes.add(series, step, time[places], hits, layout.inputs.size)

    def _add_pairs(self, changes: PairChanges) -> None:
        """Counts joined pairs, or takes them out, in the cohort panes and the feedback panes of their segments."""
        for model in np.unique(changes.model).tolist():
            of_model = np.flatnonzero(changes.model == model)
            for layout, places in self._by_layout(model, changes.identity[of_model]):
                chosen = of_model[places]
                sign = changes.sign[chosen].astype(np.int64)
                actual, predicted = changes.actual[chosen].astype(np.int16), changes.predicted[chosen]
                identity, segment = changes.identity[chosen], changes.segment[chosen]
                time, arrival = changes.time[chosen], changes.label_arrival[chosen]
                scores = changes.score[chosen, None]
                if self._schemas[model].task is not Task.BINARY and changes.scores is not None:
                    scores = changes.scores[chosen, : self._schemas[model].score_count].astype(np.float64)
                cohort = layout.cohort.additions(sign, actual, predicted, scores, arrival - time)
                for series, step in self._series(model, Block.COHORT, layout, identity, segment):
                    self.panes.add_each(series, step, time, cohort, layout.cohort.size)
                feedback = layout.feedback.additions(sign, actual, predicted)
                for series, step in self._series(model, Block.FEEDBACK, layout, identity, segment):
                    self.panes.add_each(series, step, arrival, feedback, layout.feedback.size)

    def _by_layout(self, model: int, identity: Int32s) -> Iterator[tuple[ModelLayout, Int64s]]:
        """The places of the rows that share a layout: versions have their own where they have their own reference."""
        layouts: dict[int, tuple[ModelLayout, list[int]]] = {}
        for code in np.unique(identity).tolist():
            layout = self.models[model].layout_of(self._versions.entries[code][1])
            layouts.setdefault(id(layout), (layout, []))[1].append(code)
        for layout, codes in layouts.values():
            places = np.arange(len(identity), dtype=np.int64) if len(layouts) == 1 else np.flatnonzero(np.isin(identity, codes))
            yield layout, places

    def _series(self, model: int, block: Block, layout: ModelLayout, identity: Int32s, segment: Int32s) -> Iterator[tuple[Int64s, int]]:
        """For each root step and each kind of segment, the series code of every row."""
        dictionary, name = self._segments[model], self._schemas[model].name
        digest = layout.digest(block)
        for expression in (EVERYTHING, *self.models[model].segments):
            part = dictionary.project(segment, expression)
            bound = int(part.max(initial=0)) + 1
            pairs, place = distinct(identity.astype(np.int64) * bound + part)
            for step in self.models[model].plan.folds():
                codes = np.empty(len(pairs), dtype=np.int64)
                for index, pair in enumerate(pairs.tolist()):
                    code, value = divmod(pair, bound)
                    version = self._versions.entries[code][1]
                    text = dictionary.text(value, expression)
                    codes[index] = self.panes.code_of(Series(name, version, text, block, step, digest))
                yield codes[place], step

    def commit(self, offsets: Mapping[Stream, int]) -> Commit:
        """Everything since the last one, for the log to make durable. `offsets` are those of the next records to take."""
        self.join.sweep()
        panes = self.panes.flush()
        panes |= self.panes.free(self._pane_limits())
        return Commit(self.partition, dict(offsets), panes, self._state(), self._ledger.take_dead_letters())

    def _pane_limits(self) -> dict[tuple[str, Block, int], int]:
        """Where panes are past their use, by model, block and step."""
        predictions, labels = self.join.watermark(Stream.PREDICTIONS), self.join.watermark(Stream.LABELS)
        both = None if predictions is None or labels is None else min(predictions, labels)
        reached = {Block.INPUTS: predictions, Block.COHORT: both, Block.FEEDBACK: labels}
        return {
            (model.schema.name, block, step): watermark - model.plan.keep(block, step)
            for model in self.models
            for block, watermark in reached.items()
            if watermark is not None
            for step in model.plan.steps
        }

    def _state(self) -> bytes:
        counters = self.counters
        counters.watermarks = {
            stream: mark for stream in (Stream.PREDICTIONS, Stream.LABELS) if (mark := self.join.watermark(stream)) is not None
        }
        counters.versions = self._versions.entries
        counters.segments |= {schema.name: dictionary.values for schema, dictionary in zip(self._schemas, self._segments, strict=True)}
        counters.pairs |= pairs_by_model(self.join.counts, self._schemas)
        return counters.to_bytes()

    def restore(self, committed: Committed, panes: Iterable[tuple[bytes, bytes]], join: JoinTable | None) -> None:
        """Takes on the committed state, and the join table of a snapshot at or below its offsets (None: an empty one).

        The records between that and the committed offsets are to be taken again, in silence: `replay`, then `restored`.
        """
        self._ledger.counters = Counters.from_bytes(committed.state)
        self._versions = VersionDictionary(list(self.counters.versions))
        for place, model in enumerate(self.models):
            values = self.counters.segments.get(model.schema.name) or _copied(model.first_values)
            self._segments[place] = SegmentDictionary(model.schema.dimensions, _copied(values))
        for key, value in panes:
            self.panes.load(key, value)
        self.join = join or self.empty_join()

    def replay(self, stream: Stream, records: Sequence[Record]) -> None:
        """Takes records in that are committed already: for the join table only, nothing is counted."""
        self._replaying = True
        try:
            self.take(stream, records)
        finally:
            self._replaying = False

    def restored(self) -> None:
        """Ends the replay: from here on everything counts."""
        for stream, mark in self.counters.watermarks.items():
            self.join.advance(stream, mark)
        self.join.sweep()
        self.join.resume(pairs_from_models(self.counters.pairs, self._schemas))


def _runs(records: Sequence[Record]) -> Iterator[tuple[Record | None, Sequence[Record]]]:
    """The records cut at time marks: (None, run) or (mark, nothing)."""
    begin = 0
    for place, record in enumerate(records):
        if record.content_type == TIME_MARK:
            if place > begin:
                yield None, records[begin:place]
            yield record, ()
            begin = place + 1
    if begin < len(records):
        yield None, records[begin:]


def _copied(values: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    return {dimension: list(kept) for dimension, kept in values.items()}
