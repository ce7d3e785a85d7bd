"""The path of events through one partition, top to bottom: decode, join, add to panes, commit. No I/O, no clock.

Begin at `Pipeline.take`; the methods below it stand in the order in which an event meets them, and after `commit` come those that bring a
committed state back. That state is a function of the partition's two ordered logs up to the offsets taken in, whatever their interleaving
and the size of what is handed over at a time; `tests/laws/test_pipeline_laws.py` holds that.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from monitor.beginnings import Beginnings
from monitor.clock import Milliseconds
from monitor.codec import decode_labels, decode_predictions
from monitor.counters import Counters
from monitor.events import ANY_MODEL, SOURCES, Bools, Int32s, Int64s, LabelValues, ModelRows, Predictions, Schema, Stream, Task
from monitor.join import ACCEPTED, OVER_LIMIT, UNSAMPLED, JoinRules, JoinTable, LabelRows, PairChanges, PredictionRows
from monitor.ledger import MISROUTED, Ledger, pairs_by_model, pairs_from_models
from monitor.log import TIME_MARK, Commit, Committed, Record
from monitor.panes import PanePlan, PaneTable, Series, parse_key
from monitor.segments import EVERYTHING, NO_ROOM, Expression, SegmentDictionary, VersionDictionary
from monitor.stats.layout import Block, Classes, ModelLayout
from monitor.stats.sums import distinct
from monitor.stats.vector import EMPTY, Additions


@dataclass(frozen=True, slots=True)
class Model:
    """One model as the pipeline knows it.

    `segments` are the expressions that are counted beside `EVERYTHING`; `first_values` the reference's values by dimension, which are kept
    before any that events bring. `layout_of` gives a version's layout, the same one as long as the process lives: panes are added up by it.
    """

    schema: Schema
    rules: JoinRules
    plan: PanePlan
    segments: tuple[Expression, ...]
    layout_of: Callable[[str], ModelLayout]
    first_values: Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a partition accepts: D and E of `monitor.join`, rows that may wait on either side, and whether a label has to name its model.

    `sample` is the share of ids that are joined.
    """

    out_of_order: Milliseconds
    early: Milliseconds
    rows_limit: int
    label_names_model: bool
    sample: float = 1.0


class Pipeline:
    """One partition: its join table, panes, counters and dictionaries. One thread drives it.

    Between two `commit`s it only ever takes records; what a `commit` hands over is not handed over again.
    """

    def __init__(self, models: Sequence[Model], bounds: Bounds, *, partition: int = 0, partitions: int = 1) -> None:
        self.models = tuple(models)
        self.partition = partition
        self._bounds = bounds
        self._partitions = partitions
        self._schemas = tuple(model.schema for model in self.models)
        self._ledger = Ledger(self._schemas, partitions, Counters())
        self._label_values = LabelValues.of(self._schemas)
        self._score_width = max((len(schema.classes) for schema in self._schemas if schema.task is Task.MULTICLASS), default=0)
        self.join = self.empty_join()
        self._versions = VersionDictionary()
        self._segments = [SegmentDictionary(model.schema.dimensions, _copied(model.first_values)) for model in self.models]
        self._beginnings = self._begin()
        self.panes = PaneTable(self._folds())
        self._dropped: dict[bytes, bytes] = {}
        """Committed panes that nothing adds to any more, as the next commit removes them."""
        self._replaying = False

    @property
    def counters(self) -> Counters:
        """Counts and dictionaries as of the last `commit`, events and times as of the last record."""
        return self._ledger.counters

    def empty_join(self) -> JoinTable:
        """A join table as this configuration needs it."""
        rules = tuple(model.rules for model in self.models)
        bounds = self._bounds
        return JoinTable(
            rules,
            self._label_values.class_index,
            out_of_order=bounds.out_of_order,
            early=bounds.early,
            rows_limit=bounds.rows_limit,
            score_width=self._score_width,
            sample=bounds.sample,
        )

    def take(self, stream: Stream, records: Sequence[Record]) -> None:
        """Takes in the next records of one stream, in log order. Never raises on what a record holds."""
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
        identity = self._identities(decoded, np.flatnonzero(routed))
        has_version = identity != NO_ROOM
        joinable = np.flatnonzero(routed & has_version)
        rows = self._prediction_rows(decoded, identity)
        added = self.join.add_predictions(rows if len(joinable) == len(rows) else rows.take(joinable))
        if self._replaying:
            return
        outcome = np.where(routed, OVER_LIMIT, MISROUTED).astype(np.int8)  # over the limit here: one version too many
        outcome[joinable] = added.outcomes
        self._ledger.settle(Stream.PREDICTIONS, decoded, records, outcome)
        # A prediction that the join has no room for, or that is outside its sample, is an input all the same: it only waits for no label.
        counted = has_version & np.isin(outcome, (ACCEPTED, OVER_LIMIT, UNSAMPLED))
        for group in decoded.groups:
            kept = np.flatnonzero(counted[group.rows])
            self._add_inputs(group if len(kept) == len(group.rows) else group.take(kept), rows)
        self._add_pairs(added.changes)

    def _take_labels(self, records: Sequence[Record]) -> None:
        decoded = decode_labels(records, self._schemas, self._label_values, self._bounds.label_names_model)
        routed = self._routed(decoded.id_partition)
        rows = LabelRows(decoded.ids, decoded.time, decoded.arrival, decoded.model, decoded.value)
        added = self.join.add_labels(rows if routed.all() else rows.take(np.flatnonzero(routed)))
        if self._replaying:
            return
        outcome = np.full(len(decoded), MISROUTED, dtype=np.int8)
        outcome[routed] = added.outcomes
        self._ledger.settle(Stream.LABELS, decoded, records, outcome)
        usable = (outcome == ACCEPTED) | (outcome == UNSAMPLED)
        for model in np.unique(decoded.model[usable]).tolist():
            arrival = decoded.arrival[usable & (decoded.model == model)]
            name = "" if model == ANY_MODEL else self._schemas[model].name
            self.counters.saw_labels(name, int(arrival.min()), int(arrival.max()))
        self._add_pairs(added.changes)

    def _routed(self, id_partition: Int64s) -> Bools:
        """Which rows lie in the partition of their id, where their twin will be."""
        routed: Bools = id_partition % self._partitions == self.partition
        return routed

    def _identities(self, decoded: Predictions, routed: Int64s) -> Int32s:
        """The code of each row's model and version, or `NO_ROOM`; new ones are numbered in log order, so that every replay agrees.

        Only `routed` rows get one: what lies in another partition's place must not use this one's codes up.
        """
        pair = decoded.model[routed].astype(np.int64) * len(decoded.versions) + decoded.version[routed]
        found, first_row, place = np.unique(pair, return_index=True, return_inverse=True)
        code = np.empty(len(found), dtype=np.int32)
        for index in np.argsort(first_row).tolist():
            model, version = divmod(int(found[index]), len(decoded.versions))
            code[index] = self._versions.encode(self._schemas[model].name, decoded.versions[version])
        identity = np.full(len(decoded), NO_ROOM, dtype=np.int32)
        identity[routed] = code[place]
        return identity

    def _prediction_rows(self, decoded: Predictions, identity: Int32s) -> PredictionRows:
        """What the join keeps of each row, its segment as a code; the other columns are only needed for the inputs."""
        count = len(decoded)
        predicted = np.zeros(count, dtype=np.int16)
        score = np.full(count, np.nan)
        scores = np.full((count, self._score_width), np.nan, dtype=np.float32) if self._score_width else None
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
        """Counts one model's predictions in the inputs panes of their segments; `rows` are those of the whole batch."""
        if not len(group.rows):
            return
        time = rows.time[group.rows]
        identity, segment = rows.identity[group.rows], rows.segment[group.rows]
        for code in np.unique(identity).tolist():
            own = time[identity == code]
            self.counters.saw_predictions(self._versions.entries[code], int(own.min()), int(own.max()))
        for layout, places in self._by_layout(group.model, identity):
            part = group if len(places) == len(group.rows) else group.take(places)
            hits = layout.inputs.hits(part)
            for series, step, _ in self._series(group.model, Block.INPUTS, layout, identity[places], segment[places]):
                self.panes.add(series, step, time[places], hits, layout.inputs.size)

    def _add_pairs(self, changes: PairChanges) -> None:
        """Counts joined pairs, or takes them out, in the cohort panes and the feedback panes of their segments."""
        for model in np.unique(changes.model).tolist():
            of_model = np.flatnonzero(changes.model == model)
            for layout, places in self._by_layout(model, changes.identity[of_model]):
                self._add_pairs_of(model, layout, changes.take(of_model[places]))

    def _add_pairs_of(self, model: int, layout: ModelLayout, pairs: PairChanges) -> None:
        """The same for pairs of one model that share a layout: cohort panes by the prediction's time, feedback by the label's arrival."""
        schema = self._schemas[model]
        sign, actual = pairs.sign.astype(np.int64), pairs.actual.astype(np.int16)
        scores = pairs.score[:, None]
        if schema.task is not Task.BINARY and pairs.scores is not None:
            scores = pairs.scores[:, : schema.score_count].astype(np.float64)
        arrival = pairs.label_arrival
        cohort = layout.cohort.additions(sign, actual, pairs.predicted, scores, arrival - pairs.time)
        for series, step, since in self._series(model, Block.COHORT, layout, pairs.identity, pairs.segment):
            self.panes.add_each(series, step, pairs.time, _of_rows(cohort, arrival > since), layout.cohort.size)
        feedback = layout.feedback.additions(sign, actual, pairs.predicted)
        for series, step, since in self._series(model, Block.FEEDBACK, layout, pairs.identity, pairs.segment):
            self.panes.add_each(series, step, arrival, _of_rows(feedback, arrival > since), layout.feedback.size)

    def _by_layout(self, model: int, identity: Int32s) -> Iterator[tuple[ModelLayout, Int64s]]:
        """Each layout and the places of its rows: versions share one unless they have a reference of their own."""
        layouts: dict[int, tuple[ModelLayout, list[int]]] = {}
        for code in np.unique(identity).tolist():
            layout = self.models[model].layout_of(self._versions.entries[code][1])
            layouts.setdefault(id(layout), (layout, []))[1].append(code)
        for layout, codes in layouts.values():
            places = np.arange(len(identity), dtype=np.int64) if len(layouts) == 1 else np.flatnonzero(np.isin(identity, codes))
            yield layout, places

    def _series(
        self, model: int, block: Block, layout: ModelLayout, identity: Int32s, segment: Int32s
    ) -> Iterator[tuple[Int64s, int, Milliseconds]]:
        """For each kind of segment and each root step: the series code of every row, int64 (n,), that step, and the arrival after which
        labels count there.

        Coarser steps are folded from the root's panes when they are flushed (`PaneTable`), so a row is added once a root.
        """
        dictionary, name = self._segments[model], self._schemas[model].name
        digest = layout.digest(block)
        for expression in (EVERYTHING, *self.models[model].segments):
            part = dictionary.project(segment, expression)
            bound = int(part.max(initial=0)) + 1
            keys, place = distinct(identity.astype(np.int64) * bound + part)
            labelled = [(self._versions.entries[key // bound][1], dictionary.text(key % bound, expression)) for key in keys.tolist()]
            for step in self.panes.folds[name, block]:
                series = [Series(name, version, text, block, step, digest) for version, text in labelled]
                codes = np.array([self.panes.code_of(one) for one in series], dtype=np.int64)
                yield codes[place], step, self._beginnings[model].of_panes(expression, step)

    def commit(self, offsets: Mapping[Stream, int]) -> Commit:
        """Everything since the last one, for the log to make durable. `offsets` are those of the next records to take."""
        self.join.sweep()
        panes, self._dropped = self._dropped, {}
        panes |= self.panes.flush()
        panes |= self.panes.free(self._pane_limits())
        return Commit(self.partition, dict(offsets), panes, self._state(), self._ledger.take_dead_letters())

    def _pane_limits(self) -> dict[tuple[str, Block, int], int]:
        """The moment up to which panes have ended that nothing changes or reads any more, by model, block and step."""
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
        """The counters as bytes, once they have what the join and the dictionaries know."""
        counters = self.counters
        counters.watermarks = {stream: mark for stream in SOURCES if (mark := self.join.watermark(stream)) is not None}
        counters.versions = self._versions.entries
        counters.segments |= {schema.name: dictionary.values for schema, dictionary in zip(self._schemas, self._segments, strict=True)}
        counters.outcomes = {schema.name: dict(began.since) for schema, began in zip(self._schemas, self._beginnings, strict=True)}
        counters.pairs |= pairs_by_model(self.join.counts, self._schemas)
        counters.pending = {schema.name: self.join.pending(index) for index, schema in enumerate(self._schemas)}
        return counters.to_bytes()

    def restore(self, committed: Committed, panes: Iterable[tuple[bytes, bytes]], join: JoinTable | None) -> None:
        """Takes on the committed state, and the join table of a snapshot at or below its offsets (None: an empty one).

        The records between that and the committed offsets are to be taken again, in silence: `replay`, then `restored`.
        """
        self._ledger.counters = Counters.from_bytes(committed.state)
        self._versions = VersionDictionary(list(self.counters.versions))
        for place, model in enumerate(self.models):
            values = {**model.first_values, **self.counters.segments.get(model.schema.name, {})}
            self._segments[place] = SegmentDictionary(model.schema.dimensions, _copied(values))
        self.join = join or self.empty_join()
        self._beginnings = self._begin()
        self.panes = PaneTable(self._folds())
        for key, value in panes:
            if self._goes_on(parse_key(key)[0]):
                self.panes.load(key, value)
            else:
                self._dropped[key] = EMPTY

    def _begin(self) -> list[Beginnings]:
        """Since when each model's outcomes count: as the last commit said, or from the labels' present watermark on."""
        watermark = self.join.watermark(Stream.LABELS)
        found = []
        for model in self.models:
            rules = model.rules
            meaning: list[object] = [Classes.of(model.schema).describe(), rules.horizon, rules.corrections]
            if self._bounds.sample < 1.0:  # without one it is what it always was, and what was counted goes on
                meaning.append(self._bounds.sample)
            known = self.counters.outcomes.get(model.schema.name, {})
            found.append(Beginnings.of(meaning, model.plan.steps, (EVERYTHING, *model.segments), known, watermark))
        return found

    def _folds(self) -> dict[tuple[str, Block], dict[int, tuple[int, ...]]]:
        folds = {(model.schema.name, Block.INPUTS): model.plan.folds() for model in self.models}
        for model, began in zip(self.models, self._beginnings, strict=True):
            of_outcomes = model.plan.folds(began.of_step)
            folds |= {(model.schema.name, block): of_outcomes for block in (Block.COHORT, Block.FEEDBACK)}
        return folds

    def _goes_on(self, series: Series) -> bool:
        """Whether committed panes are still read or added to. Those of models that are not configured stay until they are forgotten."""
        for model, began in zip(self.models, self._beginnings, strict=True):
            if model.schema.name != series.model:
                continue
            if series.block is Block.INPUTS:
                return series.step in model.plan.steps
            is_present = series.layout == model.layout_of(series.version).digest(series.block)
            return is_present and began.go_on(series.segment, series.step)
        return True

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
        # Only now does the watermark tell what the replay joined in silence, labels that the former configuration refused among them.
        self._beginnings = self._begin()
        self.panes.folds = self._folds()


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


def _of_rows(additions: Additions, counted: Bools) -> Additions:
    return additions if counted.all() else additions.of_rows(counted)


def _copied(values: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    return {dimension: list(kept) for dimension, kept in values.items()}
