"""Speed and memory of the join, beside a join by a Python dict and by `pandas.merge` of the same rows in the same run.

`python -m tests.bench.join [--pending N ...]`: predictions wait until N are held, then each new one comes with the label of one that
waits. A pair is one prediction and one label, both judged, looked up and kept.
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from monitor.events import Int64s, LabelValues, Schema, Stream, Task, UInt64s
from monitor.join import Corrections, JoinRules, JoinTable, LabelRows, PredictionRows
from monitor.snapshot import Folder, SnapshotStore

HOUR = 3_600_000
HORIZON = 14 * 24 * HOUR
BATCH = 1 << 16
CLASSES = LabelValues.of((Schema("fraud", Task.BINARY, ("no", "yes"), 1, 0.5, {}),)).class_index


def ids_of(numbers: Int64s) -> UInt64s:
    """Spread like the hashes that they stand for (splitmix64)."""
    words = []
    for salt in (1, 2):
        mixed = (numbers.astype(np.uint64) * np.uint64(2) + np.uint64(salt)) * np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        words.append(mixed ^ (mixed >> np.uint64(31)))
    return np.stack(words, axis=1)


def predictions(start: int, stop: int) -> PredictionRows:
    numbers = np.arange(start, stop)
    return PredictionRows(
        ids=ids_of(numbers),
        time=numbers,
        arrival=numbers + 5,
        identity=np.zeros(len(numbers), dtype=np.int32),
        model=np.zeros(len(numbers), dtype=np.int16),
        predicted=(numbers % 2).astype(np.int16),
        score=numbers % 100 / 100,
        scores=None,
        segment=(numbers % 10).astype(np.int32),
        content=numbers.astype(np.uint64),
    )


def labels(start: int, stop: int) -> LabelRows:
    """In another order than their predictions, as life has it."""
    numbers = np.random.default_rng(start).permutation(np.arange(start, stop))
    arrival = np.full(len(numbers), stop) + 60_000
    return LabelRows(
        ids=ids_of(numbers),
        time=arrival,
        arrival=arrival,
        model=np.zeros(len(numbers), dtype=np.int16),
        value=(numbers % 2).astype(np.int32),
    )


def table(rows_limit: int = 20_000_000) -> JoinTable:
    rules = (JoinRules(HORIZON, Corrections.LAST_WINS),)
    return JoinTable(rules, CLASSES, out_of_order=24 * HOUR, early=24 * HOUR, rows_limit=rows_limit)


def seconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def filled(pending: int) -> JoinTable:
    joined = table()
    for start in range(0, pending, BATCH):
        joined.add_predictions(predictions(start, min(start + BATCH, pending)))
    return joined


def pairs_a_second(joined: JoinTable, pending: int, batches: int) -> float:
    """New predictions come and as many of those that wait are labelled, so that `pending` stays what it is."""
    work = [(predictions(pending + k * BATCH, pending + (k + 1) * BATCH), labels(k * BATCH, (k + 1) * BATCH)) for k in range(batches)]

    def run() -> None:
        for made, said in work:
            joined.add_predictions(made)
            changes = joined.add_labels(said).changes
            assert len(changes) == BATCH

    return batches * BATCH / seconds(run)


def columns_of(rows: PredictionRows | LabelRows) -> list[list[object]]:
    return [list(map(bytes, rows.ids)), *(getattr(rows, name).tolist() for name in ("time", "arrival", "model"))]


def dict_pairs_a_second(pending: int, batches: int) -> float:
    """The plain way: a dict by id and a loop over events. It keeps no early labels, forgets nothing, corrects nothing."""
    waiting: dict[object, tuple[object, ...]] = {}

    def add(made: PredictionRows) -> None:
        rest = (made.predicted.tolist(), made.score.tolist(), made.segment.tolist())
        for row in zip(*columns_of(made), *rest, strict=True):
            if row[0] not in waiting:
                waiting[row[0]] = row[1:]

    for start in range(0, pending, BATCH):
        add(predictions(start, min(start + BATCH, pending)))
    work = [(predictions(pending + k * BATCH, pending + (k + 1) * BATCH), labels(k * BATCH, (k + 1) * BATCH)) for k in range(batches)]

    def run() -> None:
        for made, said in work:
            add(made)
            pairs = []
            for key, _, arrival, model, value in zip(*columns_of(said), said.value.tolist(), strict=True):
                row = waiting.get(key)
                if row is not None and row[2] == model and -24 * HOUR <= arrival - row[0] <= HORIZON:
                    pairs.append((*row, value, arrival))
            assert len(pairs) == BATCH

    return batches * BATCH / seconds(run)


def pandas_pairs_a_second(pending: int) -> float:
    """One merge of everything at once, which is what a batch job does: nothing incremental, nothing kept."""
    import pandas as pd

    made, said = predictions(0, pending), labels(0, pending)
    left = pd.DataFrame({"id": made.ids[:, 0], "time": made.time, "predicted": made.predicted, "score": made.score})
    right = pd.DataFrame({"id": said.ids[:, 0], "arrival": said.arrival, "value": said.value})
    return pending / seconds(lambda: left.merge(right, on="id"))


def measured(pending: int, goal: float) -> Iterator[tuple[str, str, str]]:
    filled(2 * BATCH)  # so that the room that batches work in is not counted for the rows
    before = resident()
    joined = filled(pending)
    grown = resident() - before
    yield f"{pending:,} pending: memory a prediction", f"{joined.nbytes / pending:.1f} B", f"resident {grown / pending:.1f} B, goal 64"
    nothing = sorted(seconds(joined.sweep) for _ in range(9))[4]
    yield "sweep that frees nothing", f"{nothing * 1e6:.0f} µs", ""
    with tempfile.TemporaryDirectory() as folder:
        store = SnapshotStore(Folder(Path(folder)), print)
        offsets = {Stream.PREDICTIONS: pending, Stream.LABELS: 0}
        writing = seconds(lambda: store.write(0, offsets, joined, "bench"))
        size = sum(file.stat().st_size for file in Path(folder).iterdir())
        restoring = seconds(lambda: store.newest(0, offsets, "bench", table))
    yield "snapshot, restore", f"{writing:.2f} s, {restoring:.2f} s", f"{size / 1e6:.0f} MB, goal 2 s each"
    batches = 8
    rate = pairs_a_second(joined, pending, batches)
    floor, merge = dict_pairs_a_second(pending, batches), pandas_pairs_a_second(pending)
    yield "join", f"{rate:,.0f} pairs/s", f"goal {goal:,.0f}"
    yield "  beside a dict by id, event by event", f"{floor:,.0f} pairs/s", f"join is {rate / floor:.2f} × that"
    yield "  beside pandas.merge of all rows at once", f"{merge:,.0f} pairs/s", f"join is {rate / merge:.2f} × that"
    yield "memory a row, labels included", f"{joined.nbytes / (joined.predictions_held + joined.labels_held):.1f} B", "goal 64"
    for stream in (Stream.PREDICTIONS, Stream.LABELS):
        joined.advance(stream, HORIZON + 24 * HOUR + pending // 2)
    held = joined.predictions_held
    sweeping = seconds(joined.sweep)
    freed = held - joined.predictions_held
    yield "sweep that frees half", f"{sweeping:.2f} s", f"{freed:,} predictions, {freed / sweeping:,.0f}/s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pending", type=int, nargs="*", default=[100_000, 5_000_000])
    for pending in parser.parse_args().pending:
        for what, figure, beside in measured(pending, 1e6 if pending <= 1_000_000 else 4e5):
            print(f"{what:45} {figure:>22}   {beside}", flush=True)
        print()


if __name__ == "__main__":
    main()
