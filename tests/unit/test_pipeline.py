"""What becomes of events on their way: panes, counts, dead letters, one fact a test."""

import json

import numpy as np
import pytest

from monitor.events import Outcome, Stream
from monitor.ledger import DEAD_LETTER_BYTES
from monitor.log import TIME_MARK, Record
from monitor.panes import parse_key
from monitor.pipeline import Pipeline
from monitor.stats.layout import Block
from monitor.stats.vector import unpack
from tests.worlds import BINARY, DAY, HOUR, MULTICLASS, START, label, model_of, pipeline, prediction, record

PREDICTIONS, LABELS = Stream.PREDICTIONS, Stream.LABELS


def feed(worker: Pipeline, stream: Stream, *events: object) -> None:
    worker.take(stream, [record(offset, event) for offset, event in enumerate(events)])


def cells(worker: Pipeline, block: Block, *, segment: str = "", step: int = HOUR) -> dict[int, dict[int, int]]:
    """Amounts by cell, by hours since START, of every version."""
    worker.commit({PREDICTIONS: 0, LABELS: 0})
    found = {}
    for key, value in worker.panes.items():
        series, start = parse_key(key)
        if (series.block, series.segment, series.step) == (block, segment, step):
            cell, amount = unpack(value)
            found[(start - START) // HOUR] = dict(zip(cell.tolist(), amount.tolist(), strict=True))
    return found


def confusion(worker: Pipeline, block: Block = Block.FEEDBACK) -> dict[int, list[list[int]]]:
    return {hour: [[of.get(0, 0), of.get(1, 0)], [of.get(2, 0), of.get(3, 0)]] for hour, of in cells(worker, block).items()}


def test_a_label_counts_at_its_arrival_on_the_feedback_clock() -> None:
    worker = pipeline()
    feed(worker, PREDICTIONS, prediction(1, START, score=0.9))
    feed(worker, LABELS, label(1, START + 5 * HOUR, "late"))
    assert confusion(worker) == {5: [[0, 0], [0, 1]]}


def test_a_corrected_label_moves_one_count() -> None:
    worker = pipeline()
    feed(worker, PREDICTIONS, prediction(1, START, score=0.9))
    feed(worker, LABELS, label(1, START + 5 * HOUR, "on_time"), label(1, START + 7 * HOUR, "late"))
    assert confusion(worker) == {7: [[0, 0], [0, 1]]}


def test_a_correction_after_a_commit_takes_the_old_count_out() -> None:
    worker = pipeline()
    feed(worker, PREDICTIONS, prediction(1, START, score=0.9))
    feed(worker, LABELS, label(1, START + 5 * HOUR, "on_time"))
    assert confusion(worker) == {5: [[0, 1], [0, 0]]}
    feed(worker, LABELS, label(1, START + 7 * HOUR, "late"))
    assert confusion(worker) == {7: [[0, 0], [0, 1]]}


def test_a_label_before_its_prediction_waits_for_it() -> None:
    worker = pipeline()
    feed(worker, LABELS, label(1, START - 2 * HOUR, "late"))
    feed(worker, PREDICTIONS, prediction(1, START, score=0.2))
    assert confusion(worker) == {-2: [[0, 0], [1, 0]]}


def test_inputs_count_by_the_predictions_own_time_in_every_segment() -> None:
    worker = pipeline()
    feed(worker, PREDICTIONS, prediction(1, START), prediction(2, START + HOUR, features={"temp": 1.0, "carrier": "DL"}))
    assert {hour: of[0] for hour, of in cells(worker, Block.INPUTS).items()} == {0: 1, 1: 1}
    assert {hour: of[0] for hour, of in cells(worker, Block.INPUTS, segment="carrier=DL").items()} == {0: 1, 1: 1}
    assert {hour: of[0] for hour, of in cells(worker, Block.INPUTS, segment="carrier=UA").items()} == {}


def test_a_prediction_without_its_segments_feature_is_in_the_segment_missing() -> None:
    worker = pipeline()
    feed(worker, PREDICTIONS, prediction(1, START, features={"temp": 1.0}))
    assert {hour: of[0] for hour, of in cells(worker, Block.INPUTS, segment="carrier=missing").items()} == {0: 1}


def test_every_received_event_has_one_outcome() -> None:
    worker = pipeline()
    feed(
        worker,
        PREDICTIONS,
        prediction(1, START),
        prediction(1, START),
        prediction(2, START, model="nobody"),
        prediction(3, START, features=7),
        prediction(4, START, arrival=START + 30 * HOUR, time=START + 40 * HOUR),
        prediction(5, START),
        prediction(6, START, arrival=START - DAY, time=START - DAY),
        b"{",
        b"",
        [prediction(7, START + 29 * HOUR, arrival=START + 30 * HOUR), {"id": 3}],
    )
    events = {(model, outcome): count for (_, model, outcome), count in worker.counters.events.items()}
    assert events == {
        ("late", Outcome.ACCEPTED): 2,
        ("late", Outcome.DUPLICATE): 1,
        ("", Outcome.UNKNOWN_MODEL): 1,
        ("late", Outcome.INVALID): 1,
        ("late", Outcome.BAD_TIME): 1,
        ("late", Outcome.OUT_OF_ORDER): 2,
        ("", Outcome.UNDECODABLE): 2,
        ("", Outcome.INVALID): 1,
    }
    assert sum(events.values()) == 11


def test_what_cannot_be_used_is_kept_whole_with_its_reason() -> None:
    worker = pipeline()
    feed(worker, PREDICTIONS, b"{broken", prediction(1, START), prediction(2, START, model="nobody"))
    letters = worker.commit({PREDICTIONS: 3, LABELS: 0}).dead_letters
    assert [(letter.offset, letter.outcome, letter.value[:7]) for letter in letters] == [
        (0, "undecodable", b"{broken"),
        (2, "unknown_model", b'{"id": '),
    ]
    assert "nobody" in letters[1].reason


def test_dead_letters_are_bounded_and_counted_beyond_that() -> None:
    worker = pipeline()
    garbage = b"\xff" * (DEAD_LETTER_BYTES // 3)
    feed(worker, PREDICTIONS, *[garbage + bytes([number]) for number in range(5)])
    assert len(worker.commit({PREDICTIONS: 5, LABELS: 0}).dead_letters) == 2
    assert worker.counters.events[PREDICTIONS, "", Outcome.UNDECODABLE] == 5


def test_a_row_off_its_partition_is_misrouted_and_moves_no_watermark() -> None:
    workers = [pipeline(partition=partition, partitions=2) for partition in range(2)]
    for worker in workers:
        feed(worker, PREDICTIONS, *[prediction(number, START + number * HOUR) for number in range(8)])
    accepted = [worker.counters.events[PREDICTIONS, "late", Outcome.ACCEPTED] for worker in workers]
    misrouted = [worker.counters.events[PREDICTIONS, "late", Outcome.MISROUTED] for worker in workers]
    assert sum(accepted) == sum(misrouted) == 8
    assert min(accepted) > 0
    letters = workers[0].commit({PREDICTIONS: 8, LABELS: 0}).dead_letters
    assert "murmur2" in letters[0].reason


def test_a_time_mark_moves_the_watermark_and_is_in_no_count() -> None:
    worker = pipeline()
    worker.take(PREDICTIONS, [record(0, prediction(1, START)), Record(1, START + 2 * DAY, b"", TIME_MARK), record(2, prediction(2, START))])
    assert worker.join.watermark(PREDICTIONS) == START + 2 * DAY
    assert worker.counters.newest[PREDICTIONS] == START
    assert worker.counters.events == {(PREDICTIONS, "late", Outcome.ACCEPTED): 1, (PREDICTIONS, "late", Outcome.OUT_OF_ORDER): 1}


def test_an_unlimited_number_of_segment_values_is_other_beyond_the_bound() -> None:
    worker = pipeline()
    feed(worker, PREDICTIONS, *[prediction(number, START, features={"temp": 1.0, "carrier": f"carrier {number}"}) for number in range(60)])
    assert cells(worker, Block.INPUTS, segment="carrier=other")[0][0] == 60 - 49  # UA, of the reference, is one of the 50


def test_multiclass_rows_reach_the_cells_of_their_classes() -> None:
    worker = pipeline(model_of(MULTICLASS))
    feed(worker, PREDICTIONS, prediction(1, START, model="kind", score=None, scores={"c": 0.2, "a": 0.5, "b": 0.3}))
    feed(worker, LABELS, label(1, START + HOUR, "b", model="kind"))
    assert cells(worker, Block.FEEDBACK) == {1: {2 * 3 + 1: 1}}


@pytest.mark.parametrize("scale", [1e12, 1e308])
def test_an_outlier_can_be_corrected_exactly(scale: float) -> None:
    """Floating sums are not exactly removable: correcting a 1e12 outlier left 0.09998 of 0.1. Integer sums are."""
    calm, upset = pipeline(), pipeline()
    for worker in (calm, upset):
        feed(
            worker, PREDICTIONS, prediction(1, START, score=0.1), prediction(2, START, features={"temp": scale, "carrier": "UA"}, score=1.0)
        )
    feed(calm, LABELS, label(1, START + HOUR), label(2, START + 3 * HOUR, "late"))
    feed(upset, LABELS, label(1, START + HOUR), label(2, START + 2 * HOUR, "on_time"), label(2, START + 3 * HOUR, "late"))
    assert cells(calm, Block.COHORT) == cells(upset, Block.COHORT)


def test_the_committed_state_is_readable_json() -> None:
    worker = pipeline()
    feed(worker, PREDICTIONS, prediction(1, START))
    state = json.loads(worker.commit({PREDICTIONS: 1, LABELS: 0}).state)
    assert state["events"] == [["predictions", "late", "accepted", 1]]
    assert state["versions"] == [["late", "1"]]


def test_losses_are_means_over_scored_rows_only() -> None:
    worker = pipeline()
    feed(worker, PREDICTIONS, prediction(1, START, score=0.8), prediction(2, START, score=None, prediction="late"))
    feed(worker, LABELS, label(1, START + HOUR), label(2, START + HOUR))
    layout = model_of(BINARY).layout_of("1").cohort
    losses = cells(worker, Block.COHORT)[0]
    assert losses[layout.losses.start] == 1
    assert losses[layout.losses.start + 1] / 2**30 == pytest.approx(-np.log(0.8), abs=1e-9)


def test_misrouted_rows_use_no_version_code_up() -> None:
    worker = pipeline(partition=0, partitions=2)
    feed(worker, PREDICTIONS, *[prediction(number, START, version=f"v{number}") for number in range(8)])
    state = json.loads(worker.commit({PREDICTIONS: 8, LABELS: 0}).state)
    assert len(state["versions"]) == worker.counters.events[PREDICTIONS, "late", Outcome.ACCEPTED] < 8
