"""Arrow in memory → join → panes on one core, beside its floor: only decoding and binning the same messages.

    python -m tests.bench.pipeline [--events 1000000]

Half of the events are predictions of a binary model with 10 numeric features, half their labels an hour later; messages of 500 events, as
the server writes them, 64 a poll. Then where the time goes, by stage.
"""

import argparse
import time
from collections.abc import Iterator

import numpy as np

from monitor.codec import decode_labels, decode_predictions
from monitor.codec.arrow import encode_labels, encode_predictions
from monitor.events import FeatureKind, LabelValues, Schema, Stream, Task
from monitor.join import Corrections, JoinRules, JoinTable
from monitor.log import ARROW, Record
from monitor.panes import PanePlan, PaneTable
from monitor.pipeline import Bounds, Model, Pipeline
from monitor.reference.profile import layout_of
from monitor.stats.delays import edges_up_to
from monitor.stats.features import NumericLayout
from monitor.stats.layout import Classes, ModelLayout

HOUR = 3_600_000
DAY = 24 * HOUR
MESSAGE = 500
POLL = 64
FEATURES = tuple(f"feature_{number}" for number in range(10))
SCHEMA = Schema("bench", Task.BINARY, ("no", "yes"), 1, 0.5, dict.fromkeys(FEATURES, FeatureKind.NUMERIC))

Poll = tuple[list[Record], list[Record]]


def layout() -> ModelLayout:
    edges = np.quantile(np.random.default_rng(1).normal(size=10_000), np.arange(1, 32) / 32)
    return layout_of(Classes.of(SCHEMA), {name: NumericLayout(edges, -5.0, 5.0, 1e-6) for name in FEATURES}, edges_up_to(14 * DAY))


def polls(events: int) -> list[Poll]:
    """Polls of predictions and of their labels, in log order: 1,000 predictions a second of event time."""
    rng = np.random.default_rng(0)
    predicted, labelled = [], []
    for number in range(events // 2 // MESSAGE):
        rows = number * MESSAGE + np.arange(MESSAGE)
        moment = 1_700_000_000_000 + rows
        ids = [f"0190b5c2-7a10-7000-8000-{row:012x}" for row in rows.tolist()]
        score = rng.random(MESSAGE)
        body = encode_predictions(
            model="bench",
            version="1",
            ids=ids,
            time=moment,
            arrival=moment,
            prediction=None,
            scores={"": score},
            features={name: rng.normal(size=MESSAGE) for name in FEATURES},
            segments={},
        )
        predicted.append(Record(number, int(moment[-1]), body, ARROW))
        label = np.where(rng.random(MESSAGE) < score, "yes", "no").tolist()
        body = encode_labels(ids=ids, label=label, time=None, arrival=moment + HOUR, model="bench")
        labelled.append(Record(number, int(moment[-1]) + HOUR, body, ARROW))
    return [(predicted[at : at + POLL], labelled[at : at + POLL]) for at in range(0, len(predicted), POLL)]


def whole(found: list[Poll], model: Model) -> float:
    """Seconds for everything, the commit included."""
    pipeline = Pipeline([model], Bounds(DAY, DAY, 10_000_000, label_names_model=False))
    began = time.perf_counter()
    for predicted, labelled in found:
        pipeline.take(Stream.PREDICTIONS, predicted)
        pipeline.take(Stream.LABELS, labelled)
    pipeline.commit({Stream.PREDICTIONS: len(found), Stream.LABELS: len(found)})
    return time.perf_counter() - began


def floor(found: list[Poll], of: ModelLayout) -> float:
    """Seconds for decoding the same messages and finding the cells of the features: no join, no sums."""
    values = LabelValues.of((SCHEMA,))
    began = time.perf_counter()
    for predicted, labelled in found:
        for group in decode_predictions(predicted, (SCHEMA,)).groups:
            of.inputs.hits(group)
        decode_labels(labelled, (SCHEMA,), values, False)
    return time.perf_counter() - began


def stages(found: list[Poll], model: Model) -> Iterator[tuple[str, float]]:
    """Seconds inside the parts of one run, by wrapping them."""
    spent: dict[str, float] = {}

    def timed(owner: type, name: str, stage: str) -> None:
        inner = getattr(owner, name)

        def outer(*arguments: object, **named: object) -> object:
            began = time.perf_counter()
            try:
                return inner(*arguments, **named)
            finally:
                spent[stage] = spent.get(stage, 0.0) + time.perf_counter() - began

        setattr(owner, name, outer)

    timed(JoinTable, "add_predictions", "join: predictions")
    timed(JoinTable, "add_labels", "join: labels")
    timed(PaneTable, "add", "panes: sums")
    timed(PaneTable, "flush", "panes: flush")
    timed(type(model.layout_of("").inputs), "hits", "binning")
    total = whole(found, model)
    yield from spent.items()
    yield "decoding and the rest", total - sum(spent.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000)
    events = parser.parse_args().events
    found, of = polls(events), layout()
    model = Model(SCHEMA, JoinRules(14 * DAY, Corrections.LAST_WINS), PanePlan((HOUR, DAY, 7 * DAY), 14 * DAY, DAY), (), lambda _: of, {})
    whole(found[:2], model)
    pairs = [(whole(found, model), floor(found, of)) for _ in range(3)]
    took, least = min(took for took, _ in pairs), min(least for _, least in pairs)
    print(f"{events:,} events, best of 3, one core")
    print(f"{'pipeline':24}{events / took:12,.0f} events/s")
    print(f"{'floor: decode and bin':24}{events / least:12,.0f} events/s   pipeline / floor {least / took:.2f}")
    for stage, seconds in stages(found, model):
        print(f"  {stage:22}{seconds / events * 1e9:12,.0f} ns/event")


if __name__ == "__main__":
    main()
