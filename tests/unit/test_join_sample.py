"""`join.sample`: what becomes of events outside the sample, and what is read of those in it."""

from dataclasses import replace
from pathlib import Path

import mmh3
import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner

from monitor.app import cli
from monitor.codec.identity import digest, partitions_of
from monitor.config import load
from monitor.errors import ConfigError
from monitor.events import Outcome, Stream
from monitor.join.sample import in_sample
from monitor.log import Commit, Committed, Record
from monitor.panes import parse_key
from monitor.pipeline import Pipeline
from monitor.stats.layout import Block
from monitor.stats.vector import unpack
from tests.committed import aggregate, confusion, reading, tick, watched
from tests.worlds import BINARY, BOUNDS, DAY, HOUR, START, label, model_of, pipeline, prediction, record

PREDICTIONS, LABELS = Stream.PREDICTIONS, Stream.LABELS
SHARE = 0.5
HALF = replace(BOUNDS, sample=SHARE)


def is_sampled(number: int) -> bool:
    _, second = mmh3.hash64(f"id-{number}".encode(), signed=False)
    return second < SHARE * 2**64


INSIDE, OTHER_INSIDE, *_ = [number for number in range(20) if is_sampled(number)]
OUTSIDE, OTHER_OUTSIDE, *_ = [number for number in range(20) if not is_sampled(number)]


def feed(worker: Pipeline, stream: Stream, *events: object) -> None:
    worker.take(stream, [record(offset, event) for offset, event in enumerate(events)])


def outcomes(worker: Pipeline, stream: Stream) -> dict[Outcome, int]:
    return {outcome: count for (of, _, outcome), count in worker.counters.events.items() if of is stream}


def rows_counted(worker: Pipeline, block: Block) -> int:
    """What is in the first cells of a block's hourly panes: all predictions, or pairs of two negatives."""
    worker.commit({PREDICTIONS: 0, LABELS: 0})
    found = 0
    for key, value in worker.panes.items():
        series, _ = parse_key(key)
        if (series.block, series.segment, series.step) == (block, "", HOUR):
            cells, amounts = unpack(value)
            found += int(amounts[cells == 0].sum())
    return found


def test_a_prediction_outside_the_sample_is_an_input_and_does_not_wait() -> None:
    worker = pipeline(bounds=HALF)
    feed(worker, PREDICTIONS, prediction(INSIDE, START), prediction(OUTSIDE, START))
    assert outcomes(worker, PREDICTIONS) == {Outcome.ACCEPTED: 1, Outcome.UNSAMPLED: 1}
    assert rows_counted(worker, Block.INPUTS) == 2
    assert worker.join.predictions_held == worker.join.pending(0) == 1


def test_a_label_outside_the_sample_joins_nothing_and_is_no_dead_letter() -> None:
    worker = pipeline(bounds=HALF)
    for number in (INSIDE, OUTSIDE):
        feed(worker, PREDICTIONS, prediction(number, START, score=0.1))
        feed(worker, LABELS, label(number, START + HOUR, "on_time"))
    assert outcomes(worker, LABELS) == {Outcome.ACCEPTED: 1, Outcome.UNSAMPLED: 1}
    assert rows_counted(worker, Block.FEEDBACK) == 1
    assert worker.join.labels_held == 1
    assert worker.commit({PREDICTIONS: 2, LABELS: 2}).dead_letters == ()


def test_every_version_and_model_of_an_id_is_sampled_alike() -> None:
    worker = pipeline(bounds=HALF)
    scores = {"c": 1.0}
    for number in (INSIDE, OUTSIDE):
        feed(worker, PREDICTIONS, *[prediction(number, START, version=version) for version in "12"])
        feed(worker, PREDICTIONS, prediction(number, START, model="kind", features={}, score=None, scores=scores))
    assert worker.counters.events == {
        (PREDICTIONS, "late", Outcome.ACCEPTED): 2,
        (PREDICTIONS, "kind", Outcome.ACCEPTED): 1,
        (PREDICTIONS, "late", Outcome.UNSAMPLED): 2,
        (PREDICTIONS, "kind", Outcome.UNSAMPLED): 1,
    }


def test_a_repeat_is_told_within_the_sample_only() -> None:
    worker = pipeline(bounds=HALF)
    feed(worker, PREDICTIONS, *[prediction(number, START) for number in (INSIDE, INSIDE, OUTSIDE, OUTSIDE)])
    assert outcomes(worker, PREDICTIONS) == {Outcome.ACCEPTED: 1, Outcome.DUPLICATE: 1, Outcome.UNSAMPLED: 2}
    assert rows_counted(worker, Block.INPUTS) == 3


def test_what_is_wrong_with_an_event_is_told_before_whether_it_is_sampled() -> None:
    worker = pipeline(bounds=HALF)
    feed(
        worker,
        PREDICTIONS,
        prediction(OUTSIDE, START + 2 * DAY),
        prediction(OTHER_OUTSIDE, START),
        prediction(OTHER_OUTSIDE, START, arrival=START + 2 * DAY),
        prediction(OTHER_OUTSIDE, START, features=7),
    )
    assert outcomes(worker, PREDICTIONS) == {Outcome.UNSAMPLED: 1, Outcome.OUT_OF_ORDER: 1, Outcome.BAD_TIME: 1, Outcome.INVALID: 1}
    assert rows_counted(worker, Block.INPUTS) == 1


def test_what_is_outside_the_sample_moves_watermarks_and_is_seen() -> None:
    worker = pipeline(bounds=HALF)
    feed(worker, PREDICTIONS, prediction(OUTSIDE, START))
    feed(worker, LABELS, label(OUTSIDE, START + HOUR))
    assert (worker.join.watermark(PREDICTIONS), worker.join.watermark(LABELS)) == (START, START + HOUR)
    assert worker.counters.predictions["late", "1"].last == START
    assert worker.counters.labels["late"].last == START + HOUR


def test_the_limit_of_rows_is_for_those_in_the_sample() -> None:
    worker = pipeline(bounds=replace(HALF, rows_limit=1))
    feed(worker, PREDICTIONS, *[prediction(number, START) for number in (OUTSIDE, OTHER_OUTSIDE, INSIDE, OTHER_INSIDE)])
    assert outcomes(worker, PREDICTIONS) == {Outcome.UNSAMPLED: 2, Outcome.ACCEPTED: 1, Outcome.OVER_LIMIT: 1}


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5])
def test_every_partition_has_its_share_of_the_sample(share: float) -> None:
    """The partition is a hash of the id as well; a sample that went by the same one would leave whole partitions out."""
    ids = pa.array([f"0190b5c2-7a10-7000-8000-{number:012x}" for number in range(120_000)])
    sampled, partition = in_sample(digest(ids), share), partitions_of(ids, 12)
    for number in range(12):
        here = sampled[partition == number]
        assert abs(here.mean() - share) < 4 * np.sqrt(share * (1 - share) / len(here))


# Readings of a sample


def committed(worker: Pipeline) -> Commit:
    return worker.commit({PREDICTIONS: 0, LABELS: 0})


def test_counts_are_of_the_sample_and_maturity_is_of_what_can_be_labelled() -> None:
    worker = pipeline(model_of(BINARY), bounds=HALF)
    numbers = range(400)
    feed(worker, PREDICTIONS, *[prediction(number, START, score=0.9) for number in numbers])
    feed(worker, LABELS, *[label(number, START + HOUR // 2, ("on_time", "late")[number % 4 > 0]) for number in numbers])
    model = replace(watched(model_of(BINARY)), sample=SHARE)
    found = reading(tick(aggregate(committed(worker), model=model), START + HOUR // 2).readings)
    right = sum(is_sampled(number) and number % 4 > 0 for number in numbers)
    wrong = sum(is_sampled(number) and number % 4 == 0 for number in numbers)
    assert confusion(found) == [[0, wrong], [0, right]]
    assert (found.predictions, found.labels) == (400, right + wrong)
    assert found.maturity == pytest.approx(min(1.0, (right + wrong) / 200))
    assert found.performance is not None
    assert found.performance.accuracy == pytest.approx(0.75, abs=4 * np.sqrt(0.75 * 0.25 / 200))


# Another share


def restored(state: bytes, panes: dict[bytes, bytes], logs: dict[Stream, list[Record]], share: float) -> Pipeline:
    worker = pipeline(bounds=replace(BOUNDS, sample=share))
    worker.restore(Committed(0, {stream: len(records) for stream, records in logs.items()}, state), panes.items(), None)
    for stream, records in logs.items():
        worker.replay(stream, records)
    worker.restored()
    return worker


def test_another_share_begins_outcomes_anew_and_takes_out_nothing_it_did_not_put_in() -> None:
    logs = {
        PREDICTIONS: [record(0, prediction(INSIDE, START, score=0.1)), record(1, prediction(OUTSIDE, START, score=0.1))],
        LABELS: [record(0, label(INSIDE, START + HOUR, "on_time")), record(1, label(OUTSIDE, START + HOUR, "on_time"))],
    }
    before = pipeline(bounds=HALF)
    for stream, records in logs.items():
        before.take(stream, records)
    made = before.commit({PREDICTIONS: 2, LABELS: 2})
    after = restored(made.state, dict(made.panes), logs, 1.0)
    assert rows_counted(after, Block.FEEDBACK) == 0
    assert rows_counted(after, Block.INPUTS) == 2
    after.take(LABELS, [record(2, label(OUTSIDE, START + 2 * HOUR, "late")), record(3, label(INSIDE, START + 2 * HOUR, "on_time"))])
    assert rows_counted(after, Block.FEEDBACK) == 1
    assert all(amount >= 0 for _, value in after.panes.items() for amount in unpack(value)[1].tolist())


def test_a_table_of_one_share_is_not_used_for_another() -> None:
    digests = {pipeline(bounds=replace(BOUNDS, sample=share)).join.rules_digest for share in (0.1, 0.5, 1.0)}
    assert len(digests) == 3


# Configuration

SMALLEST = "log: {path: log.db}\nmodels: [{name: m, task: binary, classes: [a, b], positive_class: b}]\n"


@pytest.mark.parametrize("share", [0, 1.5, -0.1])
def test_a_share_that_is_none_is_refused(tmp_path: Path, share: float) -> None:
    file = tmp_path / "model-monitor.yaml"
    file.write_text(f"{SMALLEST}join: {{sample: {share}}}\n")
    with pytest.raises(ConfigError, match=r"join\.sample: expected (more than 0|at most 1)"):
        load(file, {})


def test_config_check_shows_the_memory_of_the_sample(tmp_path: Path) -> None:
    file = tmp_path / "model-monitor.yaml"
    file.write_text(f"{SMALLEST}join: {{sample: 0.1}}\n")
    lines = CliRunner().invoke(cli, ["config", "check", "-c", str(file), "--rate", "100"]).stdout.splitlines()
    horizon = load(file, {}).models[0].horizon // DAY
    assert f"  join memory 100/s x {horizon}d x 0.1 sampled x 64 B = {864_000 * horizon:,} rows" in lines[-1]
