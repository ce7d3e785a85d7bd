"""The lag that a worker tells is, to the record, the one that Kafka's own tool computes from the group's offsets."""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass

import pytest

from monitor.clock import WallClock
from monitor.events import SOURCES, Stream
from monitor.join import Corrections, JoinRules
from monitor.log import Message
from monitor.log.kafka.connection import Connection
from monitor.log.kafka.follower import KafkaFollower
from monitor.log.kafka.log import KafkaLog
from monitor.log.kafka.names import Names
from monitor.pace import Pace
from monitor.panes import PanePlan
from monitor.pipeline import Bounds, Model, Pipeline
from monitor.worker import Worker
from tests.bench.pipeline import DAY, HOUR, SCHEMA, layout
from tests.kafka.topics import made_topics, remove_topics

PARTITIONS = 3
DESCRIBE = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"


class NoSnapshots:
    def write(self, *_: object) -> None: ...

    def newest(self, *_: object) -> None: ...


@dataclass
class Deployment:
    names: Names
    log: KafkaLog
    follower: KafkaFollower
    worker: Worker
    unread: int = 0

    def append(self, stream: Stream, partition: int, events: int) -> None:
        now = WallClock().now()
        self.log.append(stream, [Message(partition, now, b"{}") for _ in range(events)])
        self.unread += events

    def take_in(self) -> None:
        """Everything that was appended."""
        while self.unread:
            self.follower.wait(0.2)
            self.unread -= self.worker.poll()


@pytest.fixture
def deployment(kafka: str) -> Iterator[Deployment]:
    connection = Connection((kafka,))
    names, clock, of = made_topics(connection, PARTITIONS), WallClock(), layout()
    model = Model(SCHEMA, JoinRules(14 * DAY, Corrections.LAST_WINS), PanePlan((HOUR,), 14 * DAY, DAY), (), lambda _: of, {})
    bounds = Bounds(DAY, DAY, 1_000, label_names_model=False)
    with closing(KafkaLog(connection, names, partitions=PARTITIONS, clock=clock)) as log:
        follower = log.follow()
        worker = Worker(
            log,
            log.acquire(),
            follower,
            lambda partition: Pipeline([model], bounds, partition=partition, partitions=PARTITIONS),
            NoSnapshots(),
            clock,
            Pace(2**20, 1_000, DAY, None),
        )
        yield Deployment(names, log, follower, worker)
        worker.close()
    remove_topics(connection, names)


def told_by_kafka(said: str) -> dict[tuple[str, int], int]:
    """Topic and partition to lag, of the table that `--describe` prints."""
    lines = [line.split() for line in said.splitlines() if line.strip()]
    heads = next(line for line in lines if line[0] == "GROUP")
    topic, partition, lag = (heads.index(name) for name in ("TOPIC", "PARTITION", "LAG"))
    return {(line[topic], int(line[partition])): int(line[lag]) for line in lines if line[0] != "GROUP" and line[lag].isdecimal()}


def test_the_lag_is_that_of_kafkas_own_tool(deployment: Deployment, kafka_tool: Callable[..., str]) -> None:
    worker, names = deployment.worker, deployment.names
    for partition in range(PARTITIONS):
        deployment.append(Stream.PREDICTIONS, partition, 40 + partition)
        deployment.append(Stream.LABELS, partition, 10 * partition)
    worker.take_on()
    deployment.take_in()
    worker.commit()
    for partition in range(PARTITIONS):
        deployment.append(Stream.PREDICTIONS, partition, 7 * partition)
        deployment.append(Stream.LABELS, partition, 5 + partition)
    deployment.take_in()

    said = kafka_tool(DESCRIBE, "--describe", "--group", names.group_id)
    kafkas = told_by_kafka(said)
    ours = {(names.topic(Stream(stream)), partition): lag for (stream, partition), lag in worker.lag().items()}
    assert ours == kafkas
    assert ours == {
        (names.topic(stream), partition): 7 * partition if stream is Stream.PREDICTIONS else 5 + partition
        for stream in SOURCES
        for partition in range(PARTITIONS)
    }
