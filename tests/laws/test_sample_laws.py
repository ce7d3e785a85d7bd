"""Laws of `join.sample`: who is in it is told by the id alone, and joining a sample is joining what was sent without all the others."""

import json
from dataclasses import replace

import mmh3
import pyarrow as pa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monitor.codec.identity import digest
from monitor.events import Outcome, Stream
from monitor.join.sample import in_sample
from monitor.log import TIME_MARK, Record
from monitor.panes import parse_key
from monitor.pipeline import Pipeline
from monitor.stats.layout import Block
from tests.laws.test_pipeline_laws import arrival_of, in_order, labels, predictions
from tests.worlds import BOUNDS, pipeline

IDS = st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20), max_size=30)
SHARES = st.floats(0.0, 1.0, exclude_min=True)
SHARE = 0.5


def is_sampled(name: str, share: float) -> bool:
    """By another implementation of the hash."""
    _, second = mmh3.hash64(name.encode(), signed=False)
    return second < share * 2**64


@given(IDS, SHARES)
def test_the_id_alone_decides(names: list[str], share: float) -> None:
    assert in_sample(digest(pa.array(names, pa.string())), share).tolist() == [is_sampled(name, share) for name in names]


@given(IDS, SHARES, SHARES)
def test_a_smaller_sample_lies_within_a_greater_one(names: list[str], one: float, other: float) -> None:
    ids = digest(pa.array(names, pa.string()))
    smaller, greater = in_sample(ids, min(one, other)), in_sample(ids, max(one, other))
    assert not (smaller & ~greater).any()


def outside(each: Record) -> bool:
    """Whether a record holds an event that names an id which is not in the sample."""
    try:
        event = json.loads(each.value)
    except ValueError:
        return False
    return isinstance(event, dict) and "arrival" in event and not is_sampled(event["id"], SHARE)


def outcome_panes(worker: Pipeline) -> dict[bytes, bytes]:
    worker.commit({Stream.PREDICTIONS: 0, Stream.LABELS: 0})
    return {key: value for key, value in worker.panes.items() if parse_key(key)[0].block is not Block.INPUTS}


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.lists(predictions, max_size=16).map(in_order), st.lists(labels, max_size=16).map(in_order))
def test_a_sample_joins_as_if_nothing_else_had_been_sent(predicted: list[Record], labelled: list[Record]) -> None:
    """Of what is outside nothing is left but that time has passed."""
    sampled, bare = pipeline(bounds=replace(BOUNDS, sample=SHARE)), pipeline()
    for stream, records in ((Stream.PREDICTIONS, predicted), (Stream.LABELS, labelled)):
        sampled.take(stream, records)
        bare.take(stream, [Record(each.offset, arrival_of(each), b"", TIME_MARK) if outside(each) else each for each in records])
    assert outcome_panes(sampled) == outcome_panes(bare)
    assert sampled.join.predictions_held == bare.join.predictions_held
    assert sampled.join.labels_held == bare.join.labels_held
    settled = {key: count for key, count in sampled.counters.events.items() if key[2] in (Outcome.ACCEPTED, Outcome.DUPLICATE)}
    assert settled == {key: count for key, count in bare.counters.events.items() if key[2] in (Outcome.ACCEPTED, Outcome.DUPLICATE)}


def test_some_of_the_worlds_ids_are_in_the_sample_and_some_are_not() -> None:
    assert {is_sampled(f"id-{number}", SHARE) for number in range(6)} == {True, False}
