"""A payload logger's topic to predictions on a real broker: a reader that dies is followed by one that misses nothing."""

import json
import random
import time
import uuid
from collections.abc import Iterator
from contextlib import closing

import pyarrow as pa
import pytest
from kafka.admin import NewTopic

from monitor.clock import WallClock
from monitor.events import Stream
from monitor.log.kafka.connection import Connection
from monitor.log.kafka.log import KafkaLog
from monitor.log.kafka.source import TopicSource
from monitor.serving.batches import encode
from monitor.serving.cloudevents.intake import Intake
from monitor.serving.cloudevents.pairing import Patience
from monitor.serving.cloudevents.topic import TopicReader
from tests.kafka.topics import made_topics, remove_topics
from tests.unit.serving_models import schema, tensor

WITHIN_S = 60
PAIRS = 300


@pytest.fixture
def connection(kafka: str) -> Connection:
    return Connection((kafka,))


@pytest.fixture
def log(connection: Connection) -> Iterator[KafkaLog]:
    names = made_topics(connection, partitions=2)
    with closing(KafkaLog(connection, names, partitions=2, clock=WallClock())) as log:
        yield log
    remove_topics(connection, names)


@pytest.fixture
def topic(connection: Connection) -> Iterator[str]:
    name = f"test-{uuid.uuid4().hex[:12]}"
    with closing(connection.admin()) as admin:
        admin.create_topics([NewTopic(name, 3, 1)])
        admin.wait_for_topics([name])
        yield name
        admin.delete_topics([name])


def produce(connection: Connection, topic: str, ids: list[str]) -> None:
    """Both halves of each exchange, in any order, each somewhere."""
    asked = json.dumps({"inputs": [tensor("X", "FP32", [1, 3], [1, 2, 3])]}).encode()
    answered = json.dumps({"outputs": [tensor("p", "FP32", [1, 2], [0.25, 0.75])]}).encode()
    halves = [(each, side, body) for each in ids for side, body in (("request", asked), ("response", answered))]
    random.Random(7).shuffle(halves)
    with closing(connection.producer()) as producer:
        for identity, side, body in halves:
            attributes = {"id": identity, "type": f"org.kubeflow.serving.inference.{side}", "inferenceservicename": "flights"}
            headers = [(f"ce_{name}", value.encode()) for name, value in attributes.items()]
            producer.send(topic, body, headers=[*headers, ("content-type", b"application/json")])
        producer.flush()


def reader(connection: Connection, topic: str, log: KafkaLog) -> tuple[TopicReader, TopicSource]:
    patience = Patience(600_000, 100_000, 100_000_000)
    intake = Intake(["flights"], lambda _model, _version: schema(), patience, WallClock(), body_limit=10_000, trusts_client_times=False)
    source = TopicSource(connection, topic, f"{topic}-group")
    return TopicReader(source, intake, encode, log, trusts_client_times=False), source


def logged(log: KafkaLog) -> list[str]:
    ids: list[str] = []
    for partition in range(log.partitions):
        offset = 0
        while records := log.read(Stream.PREDICTIONS, partition, offset, 1_000_000):
            offset = records[-1].offset + 1
            for record in records:
                ids += pa.ipc.open_stream(record.value).read_all()["id"].to_pylist()
    return ids


def test_readers_that_die_half_way_lose_nothing(connection: Connection, topic: str, log: KafkaLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitor.log.kafka.source.POLL_RECORDS", 40)
    ids = [f"id-{number}" for number in range(PAIRS)]
    produce(connection, topic, ids)
    until = time.monotonic() + WITHIN_S
    deaths = 0
    while set(logged(log)) != set(ids):
        assert time.monotonic() < until
        one, source = reader(connection, topic, log)
        # Half of them die with halves in their hands that nobody else has seen; the last ones live long enough.
        for _ in range(4 + 4 * deaths):
            one.turn(0.2)
        source.close()
        deaths += 1
    assert deaths > 1
    assert set(logged(log)) == set(ids)


def test_a_reader_that_runs_to_the_end_logs_each_once_and_commits_all(connection: Connection, topic: str, log: KafkaLog) -> None:
    ids = [f"id-{number}" for number in range(PAIRS)]
    produce(connection, topic, ids)
    one, _ = reader(connection, topic, log)
    one.start()
    until = time.monotonic() + WITHIN_S
    while one.written < PAIRS:
        assert time.monotonic() < until
        time.sleep(0.05)
    one.stop(20)
    assert sorted(logged(log)) == sorted(ids)
    another, source = reader(connection, topic, log)
    for _ in range(10):
        another.turn(0.3)
    source.close()
    assert another.written == 0
