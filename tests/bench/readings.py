"""What readings cost: quality and drift of 100,000 labelled rows × 20 features, and a tick's worth of drift, in one run with their peers.

`python -m tests.bench.readings [--rows N]`. Peers compute the same numbers from the rows; each is a function of `Flights` in `PEERS`, so
that one which needs a process of its own (Evidently) is one more line there.
"""

import argparse
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.stats import ks_2samp, wasserstein_distance
from sklearn.metrics import average_precision_score, brier_score_loss, classification_report, log_loss, roc_auc_score

from monitor.events import Column, Floats, Int64s, ModelRows, NumericColumn, Schema, Task, TextColumn
from monitor.quality.drift import ALL_METHODS, Method, inputs_drift, label_drift
from monitor.quality.performance import cohort_performance
from monitor.stats.features import CategoricalLayout, FeatureLayout, NumericLayout
from monitor.stats.layout import Classes, CohortLayout, InputsLayout
from monitor.stats.vector import Additions, accumulate, add_up, pack

NUMERIC, CATEGORICAL = 16, 4
PANES = 24
REFERENCE_ROWS = 50_000
ROUNDS = 5
TICK_FEATURES, TICK_READINGS = 100, 33
CLASSES = Classes.of(Schema("flights", Task.BINARY, ("on_time", "late"), 1, 0.235, {}))
DELAYS = np.array([0, 3_600_000, 86_400_000], dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Flights:
    """n labelled rows as a pipeline has them once they are joined."""

    columns: Mapping[str, Column]
    scores: Floats
    predicted: Int64s
    actual: Int64s

    @classmethod
    def drawn(cls, count: int, shift: float, seed: int) -> "Flights":
        rng = np.random.default_rng(seed)
        columns: dict[str, Column] = {}
        no = np.zeros(count, dtype=np.bool_)
        for number in range(NUMERIC):
            columns[f"numeric {number}"] = NumericColumn(rng.normal(shift * (number % 3), 1.0, count), no, no)
        for number in range(CATEGORICAL):
            carriers = tuple(f"carrier {place}" for place in range(16))
            columns[f"categorical {number}"] = TextColumn(rng.integers(0, 16, count).astype(np.int32), carriers)
        scores = rng.beta(1.5, 4.0 - shift, count)
        actual = (rng.random(count) < scores).astype(np.int64)
        return cls(columns, scores, (scores >= CLASSES.threshold).astype(np.int64), actual)

    def __len__(self) -> int:
        return len(self.scores)


@dataclass(frozen=True, slots=True)
class Panes:
    """One packed vector a step, of each block."""

    inputs: list[bytes]
    cohort: list[bytes]


def layouts(reference: Flights) -> tuple[InputsLayout, CohortLayout]:
    features: dict[str, FeatureLayout] = {}
    for name, column in reference.columns.items():
        match column:
            case NumericColumn(values=values):
                edges = np.quantile(values, np.arange(1, 32) / 32)
                spread = float(np.subtract(*np.quantile(values, (0.75, 0.25))))
                features[name] = NumericLayout(edges, float(values.min()), float(values.max()), spread / 2**20)
            case TextColumn(categories=categories):
                features[name] = CategoricalLayout(categories)
    return InputsLayout(CLASSES, features), CohortLayout(CLASSES, DELAYS)


def panes_of(rows: Flights, inputs: InputsLayout, cohort: CohortLayout) -> Panes:
    """What the pipeline adds, in `PANES` steps."""
    step = np.arange(len(rows)) * PANES // len(rows)
    model_rows = ModelRows(
        model=0,
        rows=np.arange(len(rows)),
        predicted=rows.predicted.astype(np.int16),
        scores=rows.scores[:, None],
        features=rows.columns,
        segments={},
        content=np.zeros(len(rows), dtype=np.uint64),
    )
    hits = inputs.hits(model_rows)
    counted = np.bincount((hits.cells + step * inputs.size).ravel(), minlength=PANES * inputs.size)
    if hits.extra is not None:
        np.add.at(counted, hits.extra.cell + step[hits.extra.row] * inputs.size, hits.extra.amount)
    packed = [pack(np.flatnonzero(pane).astype(np.int32), pane[pane != 0]) for pane in counted.reshape(PANES, -1)]
    one = np.ones(len(rows), dtype=np.int64)
    added = cohort.additions(one, rows.actual.astype(np.int16), model_rows.predicted, model_rows.scores, one * 1_000)
    return Panes(packed, [_pack(added, step, pane) for pane in range(PANES)])


def _pack(added: Additions, step: Int64s, pane: int) -> bytes:
    mine = step[added.row] == pane
    cell, amount = add_up(added.cell[mine].astype(np.int64), added.amount[mine])
    return pack(cell.astype(np.int32), amount)


def numpy_scipy_and_sklearn(reference: Flights, current: Flights) -> None:
    """The readings of `performance` and `drift` from rows, each by the library call that a person would write."""
    classification_report(current.actual, current.predicted, output_dict=True)
    for metric in (roc_auc_score, average_precision_score, log_loss, brier_score_loss):
        metric(current.actual, current.scores)
    for name, column in current.columns.items():
        before = reference.columns[name]
        if isinstance(column, NumericColumn) and isinstance(before, NumericColumn):
            edges = np.concatenate(([-np.inf], np.quantile(before.values, np.arange(1, 32) / 32), [np.inf]))
            for rows in (before, column):
                np.histogram(rows.values, edges)
            ks_2samp(before.values, column.values, method="asymp")
            wasserstein_distance(before.values, column.values)
        elif isinstance(column, TextColumn) and isinstance(before, TextColumn):
            for texts in (before, column):
                np.bincount(texts.codes, minlength=len(texts.categories))


PEERS: dict[str, Callable[[Flights, Flights], None]] = {"NumPy, SciPy and scikit-learn on the rows": numpy_scipy_and_sklearn}


def best_of(rounds: int, work: Callable[[], object]) -> float:
    """Seconds."""
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times)


def readings_of_rows(count: int) -> None:
    reference, current = Flights.drawn(REFERENCE_ROWS, 0.0, seed=1), Flights.drawn(count, 0.3, seed=2)
    inputs, cohort = layouts(reference)
    before, panes = panes_of(reference, inputs, cohort), panes_of(current, inputs, cohort)
    reference_inputs = accumulate(before.inputs, inputs.size)
    reference_cohort = accumulate(before.cohort, cohort.size)

    def added_up() -> tuple[Int64s, Int64s]:
        return accumulate(panes.inputs, inputs.size), accumulate(panes.cohort, cohort.size)

    def readings() -> None:
        inputs_vector, cohort_vector = added_up()
        cohort_performance(cohort, cohort_vector)
        inputs_drift(inputs, reference_inputs, inputs_vector)
        label_drift(cohort, reference_cohort, cohort_vector)

    floor = best_of(ROUNDS, added_up)
    ours = best_of(ROUNDS, readings)
    with_panes = ours + best_of(ROUNDS, lambda: panes_of(current, inputs, cohort))
    print(f"{count:,} rows × {NUMERIC + CATEGORICAL} features, {PANES} panes, all methods, beside {REFERENCE_ROWS:,} reference rows")
    print(f"  {'':42}{'ms':>10}{'ratio':>10}")
    print(f"  {'adding up the panes (floor)':42}{floor * 1e3:10.2f}{ours / floor:9.1f}×  readings over it")
    print(f"  {'panes to readings':42}{ours * 1e3:10.2f}")
    print(f"  {'rows to panes to readings':42}{with_panes * 1e3:10.2f}")
    for name, peer in PEERS.items():
        theirs = best_of(1, lambda peer=peer: peer(reference, current))  # type: ignore[misc]  # mypy has no type for a default in a lambda
        print(f"  {name:42}{theirs * 1e3:10.2f}{theirs / with_panes:9.1f}×  from rows, {theirs / ours:,.0f}× from panes")


def drift_of_a_tick() -> None:
    rng = np.random.default_rng(0)
    features: dict[str, FeatureLayout] = {
        f"feature {number}": CategoricalLayout(tuple(f"category {place}" for place in range(50)))
        if number % 5 == 0
        else NumericLayout(np.sort(rng.normal(size=31)), -4.0, 4.0, 1.35 / 2**20)
        for number in range(TICK_FEATURES)
    }
    layout = InputsLayout(CLASSES, features)
    reference = rng.integers(0, 500, layout.size)
    windows = [rng.integers(0, 500, layout.size) for _ in range(TICK_READINGS)]
    counts = np.stack(windows) + 0.5
    floor = best_of(ROUNDS, lambda: ((counts - reference) * np.log(counts / (reference + 0.5))).sum(axis=1))
    print(f"a tick: {TICK_FEATURES} features × {TICK_READINGS} segments and windows")
    print(f"  {'':42}{'ms':>10}{'ratio':>10}")
    print(f"  {'the logarithms of all PSIs (floor)':42}{floor * 1e3:10.2f}")
    for name, methods in (("psi", frozenset({Method.PSI})), ("all seven methods", ALL_METHODS)):
        ours = best_of(ROUNDS, lambda methods=methods: [inputs_drift(layout, reference, window, methods) for window in windows])  # type: ignore[misc]  # as above
        print(f"  {name:42}{ours * 1e3:10.2f}{ours / floor:9.0f}×  over it")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    rows: int = parser.parse_args().rows
    readings_of_rows(rows)
    drift_of_a_tick()


if __name__ == "__main__":
    main()
