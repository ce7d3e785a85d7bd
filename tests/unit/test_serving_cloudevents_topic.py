"""From a topic of CloudEvents to the log: what is committed when, and what a log that refuses changes."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import pyarrow as pa
import pytest

from monitor.clock import ManualClock
from monitor.errors import LogError
from monitor.events import Stream
from monitor.log import Message
from monitor.serving.batches import encode
from monitor.serving.cloudevents.intake import Intake
from monitor.serving.cloudevents.pairing import Patience
from monitor.serving.cloudevents.topic import TopicReader
from tests.unit.serving_models import NOON, schema, tensor

REQUEST, RESPONSE = "org.kubeflow.serving.inference.request", "org.kubeflow.serving.inference.response"
ASKED = {"inputs": [tensor("X", "FP32", [1, 3], [1, 2, 3])]}
ANSWERED = {"outputs": [tensor("p", "FP32", [1, 2], [0.25, 0.75])]}


class Record(NamedTuple):
    partition: int
    offset: int
    headers: list[tuple[str, str]]
    value: bytes


@dataclass
class Topic:
    """A source that hands over what a test puts there, all that is left at each poll."""

    records: list[Record] = field(default_factory=list)
    partitions: frozenset[int] = frozenset({0, 1})
    committed: dict[int, int] = field(default_factory=dict)
    is_ours: bool = True

    def put(self, kind: str, identity: str, partition: int = 0) -> None:
        offset = sum(record.partition == partition for record in self.records)
        headers = [("ce_id", identity), ("ce_type", kind), ("ce_inferenceservicename", "flights"), ("content-type", "application/json")]
        self.records.append(Record(partition, offset, headers, json.dumps(ASKED if kind == REQUEST else ANSWERED).encode()))

    def poll(self, seconds: float) -> list[Record]:
        left, self._read = self.records[self._read :], len(self.records)
        return left

    _read: int = 0

    def commit(self, offsets: Mapping[int, int]) -> bool:
        if self.is_ours:
            self.committed |= offsets
        return self.is_ours

    def close(self) -> None: ...


@dataclass
class Log:
    """Keeps predictions; refuses the first so many times."""

    partitions: int = 1
    refusals: int = 0
    ids: list[str] = field(default_factory=list)

    def append(self, stream: Stream, messages: Sequence[Message]) -> list[int]:
        assert stream is Stream.PREDICTIONS
        if self.refusals:
            self.refusals -= 1
            raise LogError("away")
        for message in messages:
            self.ids += pa.ipc.open_stream(message.value).read_all()["id"].to_pylist()
        return list(range(len(messages)))


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOON)


@pytest.fixture
def topic() -> Topic:
    return Topic()


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def reader(topic: Topic, log: Log, clock: ManualClock) -> TopicReader:
    patience = Patience(1_000, 3, 1_000_000)
    intake = Intake(["flights"], lambda _model, _version: schema(), patience, clock, body_limit=10_000, trusts_client_times=False)
    return TopicReader(topic, intake, encode, log, trusts_client_times=False)


def test_a_pair_is_in_the_log_before_it_is_committed(reader: TopicReader, topic: Topic, log: Log) -> None:
    topic.put(REQUEST, "a")
    reader.turn()
    assert (log.ids, topic.committed) == ([], {0: 0})
    topic.put(RESPONSE, "a")
    reader.turn()
    assert (log.ids, topic.committed, reader.written) == (["a"], {0: 2}, 1)


def test_nothing_beyond_the_oldest_that_waits_is_committed(reader: TopicReader, topic: Topic, log: Log, clock: ManualClock) -> None:
    for kind, identity, partition in [(REQUEST, "a", 0), (RESPONSE, "a", 1), (REQUEST, "waits", 0), (REQUEST, "b", 0), (RESPONSE, "b", 0)]:
        topic.put(kind, identity, partition)
    reader.turn()
    assert (log.ids, topic.committed) == (["a", "b"], {0: 1, 1: 1})
    clock.advance(1_001)
    reader.turn()
    assert topic.committed == {0: 4, 1: 1}


def test_what_crowds_out_the_oldest_moves_the_commit_on(reader: TopicReader, topic: Topic) -> None:
    for identity in "abcd":
        topic.put(REQUEST, identity)
    reader.turn()
    assert topic.committed == {0: 1}


def test_what_is_no_event_is_passed_over(reader: TopicReader, topic: Topic, log: Log) -> None:
    topic.records.append(Record(0, 0, [], b"{}"))
    topic.records.append(Record(0, 1, [("content-type", "application/cloudevents+json")], b"{"))
    topic.put(REQUEST, "a")
    topic.put(RESPONSE, "a")
    topic.records[-1] = topic.records[-1]._replace(value=b"[]")
    reader.turn()
    assert (log.ids, topic.committed, reader.lost) == ([], {0: 4}, 1)


def test_a_log_that_refuses_holds_the_commit_back_and_loses_nothing(
    reader: TopicReader, topic: Topic, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monitor.serving.cloudevents.topic.RETRY_FIRST_SECONDS", 0.0)
    topic.put(REQUEST, "a")
    topic.put(RESPONSE, "a")
    log.refusals = 3
    reader.turn()
    assert (log.ids, topic.committed) == (["a"], {0: 2})


def test_stopping_while_the_log_refuses_commits_nothing(reader: TopicReader, topic: Topic, log: Log) -> None:
    topic.put(REQUEST, "a")
    topic.put(RESPONSE, "a")
    log.refusals = 1_000_000
    reader._stopping.set()
    with pytest.raises(LogError):
        reader.turn()
    assert topic.committed == {}


def test_halves_of_a_partition_that_went_to_somebody_else_are_forgotten(reader: TopicReader, topic: Topic, log: Log) -> None:
    topic.put(REQUEST, "a", 0)
    topic.put(REQUEST, "b", 1)
    reader.turn()
    topic.partitions = frozenset({1})
    topic.put(RESPONSE, "a", 1)
    topic.put(RESPONSE, "b", 1)
    reader.turn()
    assert (log.ids, topic.committed) == (["b"], {0: 0, 1: 1})


def test_a_commit_that_comes_too_late_is_made_again_when_it_may(reader: TopicReader, topic: Topic) -> None:
    topic.put("other", "a")
    topic.is_ours = False
    reader.turn()
    assert topic.committed == {}
    topic.is_ours = True
    reader.turn()
    assert topic.committed == {0: 1}
