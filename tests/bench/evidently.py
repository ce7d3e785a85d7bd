"""Log to readings beside Evidently: quality and drift of 100,000 labelled rows × 20 features, the same rows for both.

    python -m tests.bench.evidently [--rows 100000]

Ours reads Arrow messages of 500 predictions and their labels from an embedded log on disk, joins, counts, commits, and computes every
reading of a window. Evidently's DataDrift and Classification presets get the joined rows as a data frame in memory. Needs the `report`
extra.
"""

import argparse
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from monitor.aggregate import Aggregate
from monitor.clock import WallClock
from monitor.codec.arrow import encode_labels, encode_predictions
from monitor.events import Bools, FeatureKind, ModelRows, NumericColumn, Schema, Stream, Task, TextColumn
from monitor.join import Corrections, JoinRules
from monitor.log import ARROW, Message
from monitor.log.embedded import EmbeddedLog
from monitor.model_readings import Baseline, Watched
from monitor.panes import PanePlan
from monitor.pipeline import Bounds, Model, Pipeline
from monitor.quality.drift import ALL_METHODS
from monitor.reference.profile import layout_of
from monitor.stats.delays import edges_up_to
from monitor.stats.features import CategoricalLayout, FeatureLayout, NumericLayout
from monitor.stats.layout import Classes, ModelLayout
from monitor.stats.vector import accumulate, pack

HOUR = 3_600_000
DAY = 24 * HOUR
BEGIN = 1_700_000_000_000 // DAY * DAY
NUMERIC = tuple(f"numeric_{number}" for number in range(16))
CATEGORICAL = tuple(f"categorical_{number}" for number in range(4))
CATEGORIES = tuple(f"category {number}" for number in range(16))
SCHEMA = Schema(
    "bench",
    Task.BINARY,
    ("no", "yes"),
    1,
    0.5,
    dict.fromkeys(NUMERIC, FeatureKind.NUMERIC) | dict.fromkeys(CATEGORICAL, FeatureKind.CATEGORICAL),
)
MESSAGE = 500
POLL_BYTES = 16 * 2**20
"""As the daemon reads by default."""


def rows(count: int, shift: float, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({name: rng.normal(shift * (place % 3), 1.0, count) for place, name in enumerate(NUMERIC)})
    for name in CATEGORICAL:
        frame[name] = rng.choice(CATEGORIES, count)
    frame["score"] = rng.random(count)
    frame["prediction"] = np.where(frame["score"] >= SCHEMA.threshold, "yes", "no")
    frame["label"] = np.where(rng.random(count) < frame["score"], "yes", "no")
    return frame


def profile(frame: pd.DataFrame) -> tuple[ModelLayout, Baseline]:
    """The reference's layout and vectors."""
    features: dict[str, FeatureLayout] = {}
    no: Bools = np.zeros(len(frame), dtype=np.bool_)
    columns: dict[str, NumericColumn | TextColumn] = {}
    for name in NUMERIC:
        values = frame[name].to_numpy()
        quartiles = np.quantile(values, (0.25, 0.75))
        features[name] = NumericLayout(
            np.quantile(values, np.arange(1, 32) / 32), values.min(), values.max(), float(np.diff(quartiles)[0]) / 2**20
        )
        columns[name] = NumericColumn(values, no, no)
    for name in CATEGORICAL:
        features[name] = CategoricalLayout(CATEGORIES)
        columns[name] = TextColumn(frame[name].map(CATEGORIES.index).to_numpy(dtype=np.int32), CATEGORIES)
    layout = layout_of(Classes.of(SCHEMA), features, edges_up_to(3 * DAY))
    predicted = (frame["prediction"] == "yes").to_numpy().astype(np.int16)
    scores = frame[["score"]].to_numpy()
    hits = layout.inputs.hits(ModelRows(0, np.arange(len(frame)), predicted, scores, columns, {}, np.zeros(len(frame), dtype=np.uint64)))
    inputs = np.bincount(hits.cells.ravel(), minlength=layout.inputs.size)
    assert hits.extra is not None
    np.add.at(inputs, hits.extra.cell, hits.extra.amount)
    one = np.ones(len(frame), dtype=np.int64)
    added = layout.cohort.additions(one, (frame["label"] == "yes").to_numpy().astype(np.int16), predicted, scores, 0 * one)
    cohort = np.zeros(layout.cohort.size, dtype=np.int64)
    np.add.at(cohort, added.cell, added.amount)
    return layout, Baseline(accumulate([pack(np.flatnonzero(inputs).astype(np.int32), inputs[inputs != 0])], layout.inputs.size), cohort)


def fill(log: EmbeddedLog, frame: pd.DataFrame) -> None:
    for begin in range(0, len(frame), MESSAGE):
        part = frame.iloc[begin : begin + MESSAGE]
        moment = BEGIN + (begin + np.arange(len(part))) * (DAY // len(frame))
        ids = [f"id-{number:032}" for number in range(begin, begin + len(part))]
        features = {name: part[name].to_numpy() for name in (*NUMERIC, *CATEGORICAL)}
        body = encode_predictions(
            model="bench",
            version="1",
            ids=ids,
            time=moment,
            arrival=moment,
            prediction=part["prediction"].tolist(),
            scores={"": part["score"].to_numpy()},
            features=features,
            segments={},
        )
        log.append(Stream.PREDICTIONS, [Message(0, int(moment[-1]), body, ARROW)])
        body = encode_labels(ids=ids, label=part["label"].tolist(), time=None, arrival=moment + HOUR, model="bench")
        log.append(Stream.LABELS, [Message(0, int(moment[-1]) + HOUR, body, ARROW)])


def ours(log: EmbeddedLog, layout: ModelLayout, baseline: Baseline) -> float:
    """Seconds from the log on disk to every reading of a day's window, the commit included."""
    began = time.perf_counter()
    plan = PanePlan((2 * DAY,), 3 * DAY, DAY)
    model = Model(SCHEMA, JoinRules(3 * DAY, Corrections.LAST_WINS), plan, (), lambda _: layout, {})
    pipeline = Pipeline([model], Bounds(DAY, DAY, 10_000_000, label_names_model=False))
    watched = Watched("bench", "", "binary", "yes", {"2d": 2 * DAY}, lambda _: layout, lambda _: baseline, ALL_METHODS)
    aggregate = Aggregate([watched], {Stream.PREDICTIONS: 1, Stream.LABELS: 1})
    positions = dict.fromkeys((Stream.PREDICTIONS, Stream.LABELS), 0)
    ownership = log.acquire()
    for stream in positions:
        while records := log.read(stream, 0, positions[stream], POLL_BYTES):
            pipeline.take(stream, records)
            positions[stream] = records[-1].offset + 1
    commit = pipeline.commit(positions)
    ownership.commit([commit])
    aggregate.apply(commit)
    tick = aggregate.tick(aggregate.newest(), lag={}, live=frozenset({0}))
    ownership.close()
    took = time.perf_counter() - began
    assert tick.readings[0].labels == tick.readings[0].predictions
    return took


def theirs(reference: pd.DataFrame, current: pd.DataFrame) -> float:
    """Seconds for the two presets, imports left out."""
    from evidently import BinaryClassification, DataDefinition, Dataset, Report
    from evidently.presets import ClassificationPreset, DataDriftPreset

    definition = DataDefinition(
        numerical_columns=[*NUMERIC, "score"],
        categorical_columns=[*CATEGORICAL, "prediction", "label"],
        classification=[BinaryClassification(target="label", prediction_labels="prediction", prediction_probas="score", pos_label="yes")],
    )
    began = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        report = Report([DataDriftPreset(), ClassificationPreset()])
        report.run(Dataset.from_pandas(current, definition), Dataset.from_pandas(reference, definition)).dict()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    count = parser.parse_args().rows
    reference, current = rows(count, 0.0, 1), rows(count, 0.3, 2)
    layout, baseline = profile(reference)
    with tempfile.TemporaryDirectory() as folder:
        seconds = []
        for run in range(3):
            log = EmbeddedLog(Path(folder) / f"{run}.db", partitions=1, clock=WallClock())
            fill(log, current)
            seconds.append(ours(log, layout, baseline))
            log.close()
    mine, other = min(seconds), theirs(reference, current)
    print(f"{count:,} rows × {len(SCHEMA.features)} features")
    print(f"  ours, log to readings, all methods (best of 3)  {mine * 1e3:10,.0f} ms")
    print(f"  Evidently, data frame to report (once)          {other * 1e3:10,.0f} ms   {other / mine:.0f}×")


if __name__ == "__main__":
    main()
