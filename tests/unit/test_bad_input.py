"""What must never stop the daemon: each is counted under an outcome, and the good event after it is taken in as if nothing had been."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from monitor.codec.arrow import encode_labels, encode_predictions
from monitor.events import Outcome, Stream
from monitor.log import ARROW, JSON, Record
from monitor.panes import parse_key
from monitor.stats.layout import Block
from monitor.stats.vector import unpack
from tests.worlds import BINARY, BOUNDS, DAY, HOUR, MULTICLASS, START, label, model_of, pipeline, prediction

PREDICTIONS, LABELS = Stream.PREDICTIONS, Stream.LABELS
YEAR_2100 = 4_102_444_800_000
MEGABYTES_10 = "x" * 10_000_000
ROWS = 100_000
CATEGORIES = 1_000_000


def arrow(rows: int = 1, **changes: Any) -> bytes:  # noqa: ANN401  a column of any kind
    """Predictions as an Arrow message, all of one moment."""
    columns: dict[str, Any] = {
        "ids": pa.array([f"arrow-{number}" for number in range(rows)]),
        "time": np.full(rows, START),
        "scores": {"": np.full(rows, 0.7)},
        "features": {"temp": np.full(rows, 1.0)},
    }
    return encode_predictions(model="late", version="1", **(columns | changes))


def text(event: object) -> bytes:
    return json.dumps(event).encode()


def without(key: str) -> bytes:
    return text({name: value for name, value in prediction(1, START).items() if name != key})


BAD_PREDICTIONS: dict[str, tuple[bytes, dict[Outcome, int]]] = {
    "nothing": (b"", {Outcome.UNDECODABLE: 1}),
    "malformed JSON": (b'{"id": "1", ', {Outcome.UNDECODABLE: 1}),
    "not UTF-8": (b'{"id": "\xff"}', {Outcome.UNDECODABLE: 1}),
    "JSON that is no event": (b"[1, null, []]", {Outcome.UNDECODABLE: 3}),
    "an empty array": (b"[]", {Outcome.UNDECODABLE: 1}),
    "nested a thousand times too deep": (b"[" * 100_000, {Outcome.UNDECODABLE: 1}),
    "NaN": (text(prediction(1, START)).replace(b"0.1", b"NaN"), {Outcome.UNDECODABLE: 1}),
    "a number beyond float64": (text(prediction(1, START)).replace(b"0.1", b"1e999"), {Outcome.UNDECODABLE: 1}),
    "1e308 as a feature": (text(prediction(1, START, features={"temp": 1e308, "carrier": "UA"})), {Outcome.ACCEPTED: 1}),
    "1e308 as a score": (text(prediction(1, START, score=1e308)), {Outcome.ACCEPTED: 1}),
    "a feature of the wrong type": (text(prediction(1, START, features={"temp": "warm", "carrier": [1]})), {Outcome.ACCEPTED: 1}),
    "features that are no object": (text(prediction(1, START, features=[1])), {Outcome.INVALID: 1}),
    "a score of the wrong type": (text(prediction(1, START, score="high")), {Outcome.INVALID: 1}),
    "an id of the wrong type": (text(prediction(1, START, id=7)), {Outcome.INVALID: 1}),
    "no id": (without("id"), {Outcome.INVALID: 1}),
    "no time": (without("time"), {Outcome.INVALID: 1}),
    "a local time": (text(prediction(1, START, time="2023-11-14T00:00:00")), {Outcome.INVALID: 1}),
    "an unknown model": (text(prediction(1, START, model="nobody")), {Outcome.UNKNOWN_MODEL: 1}),
    "an unknown class": (text(prediction(1, START, prediction="maybe")), {Outcome.INVALID: 1}),
    "1970": (text(prediction(1, 0)), {Outcome.OUT_OF_ORDER: 1}),
    "2100": (text(prediction(1, YEAR_2100, arrival=START)), {Outcome.BAD_TIME: 1}),
    "an arrival in 2100": (text(prediction(1, YEAR_2100)), {Outcome.BAD_TIME: 1}),
    "out of order beyond the bound": (text(prediction(1, START - DAY - HOUR)), {Outcome.OUT_OF_ORDER: 1}),
    "the same id again": (text(prediction(0, START)), {Outcome.DUPLICATE: 1}),
    "an id of 10 MB": (text(prediction(1, START, id=MEGABYTES_10)), {Outcome.INVALID: 1}),
    "a category of 10 MB": (text(prediction(1, START, features={"carrier": MEGABYTES_10})), {Outcome.ACCEPTED: 1}),
    "an Arrow message cut short": (arrow()[:-30], {Outcome.UNDECODABLE: 1}),
    "an Arrow message without rows": (arrow(0), {Outcome.UNDECODABLE: 1}),
    "NaN and infinity in Arrow": (
        arrow(3, features={"temp": np.array([np.nan, np.inf, -np.inf])}, scores={"": np.array([np.nan, np.inf, 0.5])}),
        {Outcome.ACCEPTED: 1, Outcome.INVALID: 2},
    ),
    "an enormous batch": (arrow(ROWS), {Outcome.ACCEPTED: ROWS}),
    "a million categories": (
        arrow(CATEGORIES, features={"carrier": pa.array([f"c{number}" for number in range(CATEGORIES)])}),
        {Outcome.ACCEPTED: CATEGORIES},
    ),
}
BAD_LABELS: dict[str, tuple[bytes, dict[Outcome, int]]] = {
    "malformed JSON": (b"{", {Outcome.UNDECODABLE: 1}),
    "no class": (text({"id": "id-0", "model": "late", "arrival": START}), {Outcome.INVALID: 1}),
    "an unknown class": (text(label(0, START, "maybe")), {Outcome.INVALID: 1}),
    "a class of the wrong type": (text(label(0, START, {"late": True})), {Outcome.INVALID: 1}),
    "a class of 10 MB": (text(label(0, START, MEGABYTES_10)), {Outcome.INVALID: 1}),
    "an unknown model": (text(label(0, START, "late", model="nobody")), {Outcome.UNKNOWN_MODEL: 1}),
    "a label for nobody": (text(label(99, START)), {Outcome.ACCEPTED: 1}),
    "a time in 2100": (text(label(0, START, "late", time=YEAR_2100)), {Outcome.BAD_TIME: 1}),
    "an arrival in 1970": (text(label(0, 0)), {Outcome.OUT_OF_ORDER: 1}),
    "an Arrow message cut short": (encode_labels(ids=["id-0"], label=["late"])[:50], {Outcome.UNDECODABLE: 1}),
}


def outcomes(stream: Stream, value: bytes, good: dict[str, Any]) -> dict[Outcome, int]:
    """What became of the event, between one good prediction with its label and another; holds that the other counts."""
    worker = pipeline(model_of(BINARY), model_of(MULTICLASS), bounds=replace(BOUNDS, rows_limit=2 * CATEGORIES))
    for kind, event in ((PREDICTIONS, prediction(0, START)), (LABELS, label(0, START, "on_time"))):
        worker.take(kind, [Record(0, START, text(event), JSON)])
    before = worker.counters.events.copy()
    worker.take(stream, [Record(1, START, value, ARROW if value[:4] == b"\xff\xff\xff\xff" else JSON)])
    found = {outcome: count for (of, _, outcome), count in (worker.counters.events - before).items() if of is stream}
    accepted = worker.counters.events[stream, "late", Outcome.ACCEPTED]
    worker.take(stream, [Record(2, START, text(good), JSON)])
    assert worker.counters.events[stream, "late", Outcome.ACCEPTED] == accepted + 1
    made = worker.commit({PREDICTIONS: 3, LABELS: 3})
    whole = [unpack(pane) for key, pane in made.panes.items() if parse_key(key)[0].block is not Block.INPUTS]
    assert all((amount > 0).all() for _, amount in whole)
    return found


@pytest.mark.parametrize(("value", "expected"), BAD_PREDICTIONS.values(), ids=BAD_PREDICTIONS.keys())
def test_a_bad_prediction_is_counted_and_the_next_one_counts(value: bytes, expected: dict[Outcome, int]) -> None:
    assert outcomes(PREDICTIONS, value, prediction(5, START)) == expected


@pytest.mark.parametrize(("value", "expected"), BAD_LABELS.values(), ids=BAD_LABELS.keys())
def test_a_bad_label_is_counted_and_the_next_one_counts(value: bytes, expected: dict[Outcome, int]) -> None:
    assert outcomes(LABELS, value, label(0, START + HOUR, "late")) == expected
