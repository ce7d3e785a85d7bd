"""The join's laws against an implementation that looks at both logs as a whole, event by event, and never forgets anything.

The worlds are small on purpose: a handful of ids, bounds of a few milliseconds, times that collide. What varies is everything that
must not matter: how the two logs interleave, where batches end, when rows are freed, and when the table goes through its bytes.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import accumulate, groupby
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.events import Outcome, Stream
from monitor.join import OUTCOMES, Corrections, JoinRules, JoinTable, LabelRows, PairChanges, PredictionRows
from tests.laws.join_oracle import CLASS_INDEX, IDS, MODELS, Label, Mark, Pair, Prediction, World, truth

Scalar = TypeVar("Scalar", bound=np.generic)
Row = tuple[int, int, int, int, int]


def column(rows: Sequence[Prediction] | Sequence[Label], name: str, dtype: type[Scalar]) -> npt.NDArray[Scalar]:
    return np.array([getattr(row, name) for row in rows], dtype=dtype)


def prediction_rows(rows: list[Prediction], first: int) -> PredictionRows:
    """`first` is the position of the first of them in the log."""
    positions = np.arange(first, first + len(rows))
    return PredictionRows(
        ids=IDS[column(rows, "id", np.int64)],
        time=column(rows, "time", np.int64),
        arrival=column(rows, "arrival", np.int64),
        identity=column(rows, "identity", np.int32),
        model=column(rows, "identity", np.int16) % np.int16(MODELS),
        predicted=(positions % 3).astype(np.int16),
        score=positions / 8,
        scores=np.stack((positions / 8, -positions / 8), axis=1).astype(np.float32),
        segment=positions.astype(np.int32),
        content=column(rows, "content", np.uint64),
    )


def label_rows(rows: list[Label]) -> LabelRows:
    return LabelRows(
        ids=IDS[column(rows, "id", np.int64)],
        time=column(rows, "time", np.int64),
        arrival=column(rows, "arrival", np.int64),
        model=column(rows, "model", np.int16),
        value=column(rows, "value", np.int32),
    )


def pairs_of(changes: PairChanges) -> Iterator[tuple[Pair, int]]:
    columns = [getattr(changes, name).tolist() for name in Pair._fields]
    for *values, sign in zip(*columns, changes.sign.tolist(), strict=True):
        changed = Pair(*values)
        yield changed._replace(scores=tuple(changed.scores)), sign


def empty_table(world: World, rows_limit: int = 10_000) -> JoinTable:
    return JoinTable(
        world.rules,
        CLASS_INDEX,
        out_of_order=world.out_of_order,
        early=world.early,
        rows_limit=rows_limit,
        score_width=2,
        tolerance=world.tolerance,
        sample=world.share,
    )


class Step(NamedTuple):
    """The next `size` entries of one log, and what happens to the table afterwards."""

    labels: bool
    size: int
    sweep: bool
    restore: bool


class Driven:
    """A table, and the sum of all that it answered."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.table = empty_table(world)
        self.prediction_outcomes: list[Outcome] = []
        self.differing: list[bool] = []
        self.label_outcomes: list[Outcome] = []
        self.pairs: Counter[Pair] = Counter()

    def run(self, steps: list[Step]) -> None:
        read = {False: 0, True: 0}
        for step in [*steps, Step(False, 10_000, False, False), Step(True, 10_000, False, False)]:
            log = self.world.labels if step.labels else self.world.predictions
            entries = log[read[step.labels] : read[step.labels] + step.size]
            read[step.labels] += len(entries)
            self.add(step.labels, entries)
            if step.sweep:
                self.table.sweep()
            if step.restore:
                restored = empty_table(self.world)
                restored.load(self.table.to_bytes())
                self.table = restored
        self.table.sweep()

    def add(self, labels: bool, entries: Sequence[Prediction | Mark] | Sequence[Label | Mark]) -> None:
        """Hands over entries of one log, those between two time marks at once."""
        for is_mark, run in groupby(entries, lambda entry: isinstance(entry, Mark)):
            if is_mark:
                self.table.advance(Stream.LABELS if labels else Stream.PREDICTIONS, max(mark.arrival for mark in run))
            elif labels:
                self.add_labels([entry for entry in run if isinstance(entry, Label)])
            else:
                self.add_predictions([entry for entry in run if isinstance(entry, Prediction)])

    def add_predictions(self, rows: list[Prediction]) -> None:
        added = self.table.add_predictions(prediction_rows(rows, len(self.prediction_outcomes)))
        self.prediction_outcomes += [OUTCOMES[code] for code in added.outcomes]
        self.differing += added.differing.tolist()
        self.apply(added.changes)

    def add_labels(self, rows: list[Label]) -> None:
        added = self.table.add_labels(label_rows(rows))
        self.label_outcomes += [OUTCOMES[code] for code in added.outcomes]
        self.apply(added.changes)

    def apply(self, changes: PairChanges) -> None:
        for changed, sign in pairs_of(changes):
            self.pairs[changed] += sign
            assert self.pairs[changed] in {0, 1}

    def counts(self) -> dict[str, list[int]]:
        counts = self.table.counts
        names = ("joined", "replaced", "repeated", "late", "conflict", "differing", "orphaned")
        return {name: getattr(counts, name).tolist() for name in names}


def logs_of(
    prediction: st.SearchStrategy[Row], label: st.SearchStrategy[Row], fewest: int
) -> st.SearchStrategy[tuple[list[Row], list[Row]]]:
    """The rows of both logs; with a few at least they meet often enough to show something."""
    return st.tuples(st.lists(prediction, min_size=fewest, max_size=14), st.lists(label, min_size=fewest, max_size=14))


@st.composite
def worlds(draw: st.DrawFn) -> World:
    out_of_order = draw(st.integers(0, 3))
    early = draw(st.integers(0, 3))
    tolerance = draw(st.integers(0, 2))
    rules = tuple(JoinRules(out_of_order + draw(st.integers(0, 5)), draw(st.sampled_from(list(Corrections)))) for _ in range(MODELS))
    pace = draw(st.sampled_from([1, 3]))

    def arrivals(moves: list[int]) -> list[int]:
        """Mostly onward, sometimes back, now and then further back than is allowed."""
        return [max(0, total) for total in accumulate(moves)]

    moves = st.integers(-pace, 3 * pace)
    mostly_one = st.sampled_from([0, 0, 0, 0, 1, 2, 3])  # rows of one id meet, and those are the worlds in which something can go wrong
    ages = st.sampled_from([0, 0, 0, 1, 2, 3, 6, -1, -3])  # mostly what every bound accepts
    prediction = st.tuples(moves, mostly_one, ages, mostly_one, st.integers(0, 1))
    label = st.tuples(moves, mostly_one, st.integers(-4, 3), st.integers(-1, MODELS - 1), st.integers(0, 3))
    made, said = draw(logs_of(prediction, label, fewest=0) | logs_of(prediction, label, fewest=7))
    predictions: list[Prediction | Mark] = [
        Prediction(key, arrival - age, arrival, identity, content)
        for (_, key, age, identity, content), arrival in zip(made, arrivals([row[0] for row in made]), strict=True)
    ]
    labels: list[Label | Mark] = [
        Label(key, arrival + shift, arrival, model, value)
        for (_, key, shift, model, value), arrival in zip(said, arrivals([row[0] for row in said]), strict=True)
    ]
    for log in (predictions, labels):
        for place, ahead in draw(st.lists(st.tuples(st.integers(0, len(log)), st.integers(0, 30)), max_size=2)):
            log.insert(place, Mark(ahead))
    return World(out_of_order, early, tolerance, rules, draw(st.sampled_from([1.0, 1.0, 0.5, 0.2])), predictions, labels)


steps = st.lists(st.builds(Step, st.booleans(), st.integers(1, 5), st.booleans(), st.booleans()), max_size=12)


@settings(max_examples=400, deadline=None)
@given(worlds(), steps)
def test_any_interleaving_batching_freeing_and_restoring_gives_what_the_logs_mean(world: World, steps: list[Step]) -> None:
    driven, expected = Driven(world), truth(world)
    driven.run(steps)
    assert driven.prediction_outcomes == expected.prediction_outcomes
    assert driven.differing == expected.differing
    assert driven.label_outcomes == expected.label_outcomes
    assert +driven.pairs == expected.pairs
    assert driven.counts() == expected.counts


@settings(max_examples=100, deadline=None)
@given(worlds(), steps)
def test_sweeping_after_every_step_answers_as_never_sweeping(world: World, steps: list[Step]) -> None:
    eager, lazy = Driven(world), Driven(world)
    eager.run([step._replace(sweep=True) for step in steps])
    lazy.run([step._replace(sweep=False) for step in steps])
    assert eager.pairs == lazy.pairs
    assert eager.prediction_outcomes == lazy.prediction_outcomes
    assert eager.counts() == lazy.counts()
    assert eager.table.predictions_held == lazy.table.predictions_held
    assert eager.table.labels_held == lazy.table.labels_held


@settings(max_examples=100, deadline=None)
@given(worlds(), steps)
def test_everything_is_freed_once_both_logs_are_far_enough(world: World, steps: list[Step]) -> None:
    driven = Driven(world)
    driven.run(steps)
    for stream in (Stream.PREDICTIONS, Stream.LABELS):
        driven.table.advance(stream, 10_000)
    driven.table.sweep()
    assert (driven.table.predictions_held, driven.table.labels_held) == (0, 0)
    assert [driven.table.pending(model) for model in range(MODELS)] == [0] * MODELS


@settings(max_examples=100, deadline=None)
@given(worlds(), steps)
def test_bytes_restore_to_a_table_of_the_same_bytes(world: World, steps: list[Step]) -> None:
    driven = Driven(world)
    driven.run(steps)
    restored = empty_table(world)
    restored.load(driven.table.to_bytes())
    assert restored.to_bytes() == driven.table.to_bytes()
    assert [restored.pending(model) for model in range(MODELS)] == [driven.table.pending(model) for model in range(MODELS)]


def test_the_worlds_reach_every_outcome_and_every_count() -> None:
    """A law that holds because nothing happens is no law: the generator has to produce each case that the rules name."""
    seen: Counter[str] = Counter()

    @settings(max_examples=400, deadline=None, database=None, derandomize=True)
    @given(worlds())
    def look(world: World) -> None:
        expected = truth(world)
        seen.update(f"prediction {outcome}" for outcome in expected.prediction_outcomes)
        seen.update(f"label {outcome}" for outcome in expected.label_outcomes)
        seen.update(name for name, cells in expected.counts.items() if sum(cells))

    look()
    wanted = {f"prediction {OUTCOMES[code]}" for code in (0, 1, 2, 3, 5)} | {f"label {OUTCOMES[code]}" for code in (0, 2, 3, 5)}
    assert set(seen) >= wanted | {"joined", "replaced", "repeated", "late", "conflict", "differing", "orphaned"}
