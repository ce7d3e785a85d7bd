"""The join of one partition: predictions and labels that wait for one another, by id.

A batch is judged row by row against its own log's watermark at that row, then meets what the table holds of the other log, and only
then is stored. The laws that make the result independent of interleaving, batching and freeing are stated in `monitor.join`.
"""

from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from monitor.clock import Milliseconds
from monitor.errors import SnapshotError
from monitor.events import Int16s, Int32s, Int64s, Stream, UInt32s, UInt64s
from monitor.join.matching import Candidates, Winners, winners
from monitor.join.repeats import Firsts, Repeats, identity_groups, repeats
from monitor.join.rows import (
    ACCEPTED,
    BAD_TIME,
    DUPLICATE,
    OUT_OF_ORDER,
    OVER_LIMIT,
    UNSAMPLED,
    Int8s,
    JoinRules,
    LabelRows,
    LabelsAdded,
    PairChanges,
    PairCounts,
    PredictionRows,
    PredictionsAdded,
)
from monitor.join.sample import in_sample
from monitor.join.storage import JOINED, SET_ASIDE, WAITING, ByteReader, LabelTable, PredictionColumns, PredictionTable
from monitor.join.terms import NEVER, Terms

CLOCK_TOLERANCE: Milliseconds = 3_600_000
"""How far apart the clocks of those who make events and of the log may be: the hour that `monitor.log.admission` allows too."""


class JoinTable:
    """Predictions and labels of one partition; see the module's docstring.

    `class_index` is int32 (models, values) as in `events.LabelValues`. `out_of_order` is D and `early` E of the laws; every horizon is at
    least D. `tolerance` is how far a time may lie after its arrival. Predictions and labels are held up to `rows_limit` rows each, and only
    those of the ids that are in the `sample` of that share.
    """

    __slots__ = ("_counts", "_labels", "_pending", "_predictions", "_rows_limit", "_score_width", "_terms", "_watermarks")

    def __init__(
        self,
        rules: tuple[JoinRules, ...],
        class_index: Int32s,
        *,
        out_of_order: Milliseconds,
        early: Milliseconds,
        rows_limit: int,
        score_width: int = 0,
        tolerance: Milliseconds = CLOCK_TOLERANCE,
        sample: float = 1.0,
    ) -> None:
        self._terms = Terms(rules, class_index, out_of_order=out_of_order, early=early, tolerance=tolerance, sample=sample)
        self._rows_limit = rows_limit
        self._score_width = score_width
        self._predictions = PredictionTable(score_width)
        self._labels = LabelTable()
        self._watermarks = {Stream.PREDICTIONS: NEVER, Stream.LABELS: NEVER}
        self._counts = PairCounts.zero(len(rules))
        self._pending: Int64s = np.zeros(len(rules), dtype=np.int64)

    @property
    def counts(self) -> PairCounts:
        """A copy. `orphaned` is as of the last sweep, the others of the last row."""
        return PairCounts(*(getattr(self._counts, count.name).copy() for count in fields(PairCounts)))

    def resume(self, counts: PairCounts) -> None:
        """Takes over the counts of rows that are gone: what was committed, after a replay of the logs as far as they still reach."""
        for count in fields(PairCounts):
            getattr(self._counts, count.name)[:] = getattr(counts, count.name)

    @property
    def rules_digest(self) -> str:
        """Equal for tables whose bytes can be exchanged. It knows models, classes and values by their numbers only."""
        return f"{self._terms.digest}-{self._score_width}"

    @property
    def predictions_held(self) -> int:
        return len(self._predictions.index)

    @property
    def labels_held(self) -> int:
        return len(self._labels.index)

    @property
    def nbytes(self) -> int:
        """Memory in use by both tables, indexes included."""
        return self._predictions.nbytes + self._labels.nbytes

    def pending(self, model: int) -> int:
        """Predictions held for which no label came on time yet."""
        return int(self._pending[model])

    def watermark(self, stream: Stream) -> Milliseconds | None:
        """The greatest arrival seen in that log, time marks included; None before the first."""
        return None if self._watermarks[stream] == NEVER else self._watermarks[stream]

    def advance(self, stream: Stream, timestamp: Milliseconds) -> None:
        """A time mark of that log: nothing that arrives there later is older, save within the bound."""
        self._watermarks[stream] = max(self._watermarks[stream], timestamp)

    def add_predictions(self, rows: PredictionRows) -> PredictionsAdded:
        """Takes the next rows of the predictions log. `scores` may be None where none of them is of a multi-class model."""
        if rows.scores is None and self._score_width:
            rows = replace(rows, scores=np.full((len(rows), self._score_width), np.nan, dtype=np.float32))
        if self.predictions_held + len(rows) > self._rows_limit:
            self.sweep()  # before the watermark moves: the rows may need what it would free
        terms = self._terms
        watermark = self._pass(Stream.PREDICTIONS, rows.arrival)
        age = rows.arrival - rows.time
        outcomes = np.full(len(rows), ACCEPTED, dtype=np.int8)
        outcomes[(age < -terms.tolerance) | (age > terms.out_of_order)] = BAD_TIME
        outcomes[rows.arrival < watermark - terms.out_of_order] = OUT_OF_ORDER
        self._leave_unsampled(rows.ids, outcomes)
        differing = np.zeros(len(rows), dtype=np.bool_)

        usable = np.flatnonzero(outcomes == ACCEPTED)
        fresh = rows.take(usable)
        content = fresh.content.astype(np.uint32)
        expiry = terms.expiry(fresh.time, fresh.model)
        repeated = self._repeats(fresh, watermark[usable], expiry, content)
        judged = np.where(repeated.duplicate, DUPLICATE, ACCEPTED)
        excess = np.flatnonzero(~repeated.duplicate)[max(self._rows_limit - self.predictions_held, 0) :]
        judged[excess] = OVER_LIMIT
        judged[repeated.duplicate & np.isin(repeated.first, excess)] = OVER_LIMIT
        outcomes[usable] = judged
        differing[usable] = repeated.differing & (judged == DUPLICATE)
        self._counts.differing[:] += self._per_model(rows.model[differing])

        accepted = np.flatnonzero(judged == ACCEPTED)
        if len(accepted) < len(fresh):
            fresh, content, expiry = fresh.take(accepted), content[accepted], expiry[accepted]
        won = self._meet_labels(fresh, expiry)
        state = np.full(len(fresh), WAITING, dtype=np.int8)
        state[won.prediction] = np.where(won.conflict, SET_ASIDE, JOINED)
        self._predictions.insert(fresh, content, state, expiry)
        self._pending += self._per_model(fresh.model[state == WAITING])
        self._tally(won, fresh.model[won.prediction], +1)
        return PredictionsAdded(outcomes, differing, self._changes((+1, fresh, won.take(~won.conflict))))

    def add_labels(self, rows: LabelRows) -> LabelsAdded:
        """Takes the next rows of the labels log."""
        if self.labels_held + len(rows) > self._rows_limit:
            self.sweep()
        terms = self._terms
        watermark = self._pass(Stream.LABELS, rows.arrival)
        outcomes = np.full(len(rows), ACCEPTED, dtype=np.int8)
        outcomes[rows.time > rows.arrival + terms.tolerance] = BAD_TIME
        outcomes[rows.arrival < watermark - terms.out_of_order] = OUT_OF_ORDER
        self._leave_unsampled(rows.ids, outcomes)
        outcomes[np.flatnonzero(outcomes == ACCEPTED)[max(self._rows_limit - self.labels_held, 0) :]] = OVER_LIMIT
        accepted = np.flatnonzero(outcomes == ACCEPTED)
        if len(accepted) < len(rows):
            rows, watermark = rows.take(accepted), watermark[accepted]

        candidates, free_after = self._meet_predictions(rows, watermark)
        columns = self._predictions.columns
        held = columns.state[candidates.prediction]
        former = self._candidates_of(np.unique(candidates.prediction[held != WAITING]))
        before = self._winners(former, columns.model)
        after = self._winners(candidates.merge(former), columns.model)
        self._labels.insert(rows, watermark, free_after, terms.open_until(rows.arrival))
        self._pending -= self._per_model(columns.model[after.prediction[columns.state[after.prediction] == WAITING]])
        columns.state[after.prediction] = np.where(after.conflict, SET_ASIDE, JOINED)
        self._tally(before, columns.model[before.prediction], -1)
        self._tally(after, columns.model[after.prediction], +1)
        out, into = _replaced(before, after)
        return LabelsAdded(outcomes, self._changes((-1, columns, out), (+1, columns, into)))

    def sweep(self) -> None:
        """Frees every row that no acceptable row to come can need, and counts the labels among them that met no prediction.

        It never changes what any later call returns. It costs microseconds where nothing has expired.
        """
        predictions_passed, both_passed = self._watermarks[Stream.PREDICTIONS], min(self._watermarks.values())
        expired = self._predictions.expired(both_passed, self._terms)
        columns = self._predictions.columns
        self._pending -= self._per_model(columns.model[expired[columns.state[expired] == WAITING]])
        self._predictions.index.remove(expired)

        expired = self._labels.expired(predictions_passed, both_passed, self._terms)
        orphans = expired[self._labels.columns.free_after[expired] == NEVER]
        np.add.at(self._counts.orphaned, self._labels.columns.model[orphans], 1)  # ANY_MODEL, -1, is the last cell
        self._labels.index.remove(expired)

    def to_chunks(self) -> Iterator[bytes]:
        """The whole state in pieces of a few megabytes, to be written one after the other; nothing may be added meanwhile."""
        yield np.array([self.predictions_held, self.labels_held, *self._watermarks.values()], dtype=np.int64).tobytes()
        for count in fields(PairCounts):
            yield getattr(self._counts, count.name).tobytes()
        yield from self._predictions.chunks()
        yield from self._labels.chunks()

    def to_bytes(self) -> bytes:
        return b"".join(self.to_chunks())

    def load(self, data: bytes | memoryview) -> None:
        """Fills a table that nothing was added to with what `to_bytes` gave under the same rules.

        Raises `SnapshotError` for bytes of another length than they say themselves; the table must not be used then.
        """
        source = ByteReader(data)
        predictions, labels, *watermarks = source.read((4,), np.dtype(np.int64)).tolist()
        self._watermarks = dict(zip(self._watermarks, watermarks, strict=True))
        for count in fields(PairCounts):
            cells = getattr(self._counts, count.name)
            cells[:] = source.read(cells.shape, cells.dtype)
        self._predictions.load(source, predictions)
        self._labels.load(source, labels)
        if source.left:
            raise SnapshotError(f"the bytes of a join table go on for {source.left} past its last label; use another snapshot")
        columns, held = self._predictions.columns, self._predictions.index.rows()
        self._pending = self._per_model(columns.model[held[columns.state[held] == WAITING]])

    def _pass(self, stream: Stream, arrival: Int64s) -> Int64s:
        """The log's watermark at each row, itself included."""
        watermark = np.maximum(np.maximum.accumulate(arrival), self._watermarks[stream])
        if len(watermark):
            self._watermarks[stream] = int(watermark[-1])
        return watermark

    def _leave_unsampled(self, ids: UInt64s, outcomes: Int8s) -> None:
        """Settles the rows that could be used but for their ids, which are not in the sample."""
        if self._terms.sample < 1.0:
            outcomes[(outcomes == ACCEPTED) & ~in_sample(ids, self._terms.sample)] = UNSAMPLED

    def _repeats(self, fresh: PredictionRows, watermark: Int64s, expiry: Int64s, content: UInt32s) -> Repeats:
        """Holds rows against the latest prediction of their identity: in the table, or before them in the batch."""
        group = identity_groups(fresh.ids, fresh.identity)
        firsts = Firsts(np.full(len(fresh), NEVER), np.zeros(len(fresh), dtype=np.uint32), np.full(len(fresh), -1))
        query, row = self._predictions.index.find(fresh.ids)
        columns = self._predictions.columns
        same = columns.identity[row] == fresh.identity[query]
        if same.any():
            query, row = query[same], row[same]
            held_until = self._terms.expiry(columns.time[row], columns.model[row])
            latest_last = np.argsort(held_until)
            firsts.expiry[group[query[latest_last]]] = held_until[latest_last]
            firsts.content[group[query[latest_last]]] = columns.content[row[latest_last]]
        return repeats(group, watermark, expiry, content, firsts)

    def _meet_labels(self, fresh: PredictionRows, expiry: Int64s) -> Winners:
        """What new predictions make of the labels held; the winners' `prediction` is the position in `fresh`."""
        position, label = self._labels.index.find(fresh.ids)
        columns = self._labels.columns
        model, value, arrival = fresh.model[position], columns.value[label], columns.arrival[label]
        judged = self._terms.judge(fresh.time[position], model, columns.model[label], value, arrival, arrival + columns.lag[label])
        met = judged.on_time | judged.late
        np.maximum.at(columns.free_after, label[met], expiry[position[met]])
        self._counts.late[:] += self._per_model(model[judged.late])
        candidates = Candidates(position, columns.time[label], arrival, value).take(judged.on_time)
        return self._winners(candidates, fresh.model)

    def _meet_predictions(self, rows: LabelRows, watermark: Int64s) -> tuple[Candidates, Int64s]:
        """What new labels are to the predictions held, by their row there; and each label's `free_after`."""
        position, prediction = self._predictions.index.find(rows.ids)
        columns = self._predictions.columns
        model, time = columns.model[prediction], columns.time[prediction]
        judged = self._terms.judge(time, model, rows.model[position], rows.value[position], rows.arrival[position], watermark[position])
        met = judged.on_time | judged.late
        free_after = np.full(len(rows), NEVER)
        np.maximum.at(free_after, position[met], self._terms.expiry(time[met], model[met]))
        self._counts.late[:] += self._per_model(model[judged.late])
        on_time = position[judged.on_time]
        return Candidates(prediction[judged.on_time], rows.time[on_time], rows.arrival[on_time], rows.value[on_time]), free_after

    def _candidates_of(self, predictions: Int64s) -> Candidates:
        """The labels held that are on time for predictions held. Complete, because a label outlives the predictions that it met."""
        position, label = self._labels.index.find(self._predictions.index.ids(predictions))
        prediction = predictions[position]
        labels, columns = self._labels.columns, self._predictions.columns
        value, arrival = labels.value[label], labels.arrival[label]
        judged = self._terms.judge(
            columns.time[prediction], columns.model[prediction], labels.model[label], value, arrival, arrival + labels.lag[label]
        )
        return Candidates(prediction, labels.time[label], arrival, value).take(judged.on_time)

    def _winners(self, candidates: Candidates, model: Int16s) -> Winners:
        """`model` is of the rows that `candidates.prediction` counts in."""
        of = model[candidates.prediction]
        return winners(candidates, self._terms.first_wins[of], self._terms.conflicts[of])

    def _tally(self, won: Winners, model: Int16s, sign: int) -> None:
        self._counts.joined[:] += sign * self._per_model(model[~won.conflict])
        self._counts.conflict[:] += sign * self._per_model(model[won.conflict])
        np.add.at(self._counts.repeated, model, sign * won.repeated)
        np.add.at(self._counts.replaced, model, sign * won.replaced)

    def _per_model(self, model: Int16s) -> Int64s:
        return np.bincount(model, minlength=len(self._pending))

    def _changes(self, *parts: tuple[int, PredictionRows | PredictionColumns, Winners]) -> PairChanges:
        """Pairs that go (-1) or come (+1): winners, and the columns that their `prediction` counts in."""

        def column(name: str) -> npt.NDArray[Any]:
            return np.concatenate([getattr(predictions, name)[won.prediction] for _, predictions, won in parts])

        model, value = column("model"), np.concatenate([won.value for _, _, won in parts])
        return PairChanges(
            sign=np.concatenate([np.full(len(won), sign, dtype=np.int8) for sign, _, won in parts]),
            model=model,
            identity=column("identity"),
            segment=column("segment"),
            time=column("time"),
            predicted=column("predicted"),
            actual=self._terms.class_index[model, value],
            score=column("score"),
            scores=column("scores") if self._score_width else None,
            label_arrival=np.concatenate([won.arrival for _, _, won in parts]),
        )


def _replaced(before: Winners, after: Winners) -> tuple[Winners, Winners]:
    """The winners that lost their place and those that took one; every prediction of `before` is in `after`."""
    same = np.searchsorted(after.prediction, before.prediction)
    kept = ~before.conflict & ~after.conflict[same] & (before.value == after.value[same]) & (before.arrival == after.arrival[same])
    coming = ~after.conflict
    coming[same[kept]] = False
    return before.take(~before.conflict & ~kept), after.take(coming)
