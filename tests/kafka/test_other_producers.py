"""Producers that are not ours: librdkafka, whose own partitioner is another one, with its headers, keys and compression."""

import json
import re
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pytest
from click.testing import CliRunner
from confluent_kafka import KafkaError, Message, Producer

from monitor.app import cli
from monitor.codec.identity import partitions_of
from monitor.log.kafka.connection import Connection
from monitor.log.kafka.names import Names
from tests.kafka.topics import remove_topics

PARTITIONS = 4
EVENTS = 400
BEGAN = 1_700_000_000_000
IDS = [f"order-{number}" for number in range(EVENTS)]
HOME: list[int] = partitions_of(pa.array(IDS), PARTITIONS).tolist()
CONFIG = """
log: {kind: kafka, bootstrap_servers: ["%s"], topic_prefix: "%s", partitions: %d, retention: forever}
models:
  - {name: late, task: binary, classes: [on_time, late], positive_class: late, windows: [1d], features: {temp: numeric}}
"""


@dataclass
class Deployment:
    """Topics of its own, and our commands on them."""

    kafka: str
    names: Names
    folder: Path

    def run(self, *command: str) -> str:
        result = CliRunner().invoke(cli, [*command, "-c", str(self.folder / "model-monitor.yaml")])
        assert result.exit_code == 0, result.output
        return result.stdout

    def produced(self, settings: dict[str, str]) -> list[int | None]:
        """The partitions that librdkafka chose for the predictions."""
        found: dict[bytes | None, int | None] = {}

        def note(error: KafkaError | None, message: Message) -> None:
            assert error is None
            found[message.key()] = message.partition()

        producer = Producer({"bootstrap.servers": self.kafka, **settings})
        for time, identity in enumerate(IDS, start=BEGAN):
            event = {"id": identity, "time": time, "model": "late", "version": "1", "features": {"temp": 1.5}, "score": 0.7}
            producer.produce(
                f"{self.names.prefix}predictions",
                json.dumps(event),
                identity,
                on_delivery=note,
                timestamp=time,
                headers=[("content-type", b"application/json"), ("traceparent", b"00-\xff")],
            )
        assert producer.flush(30) == 0
        return [found[identity.encode()] for identity in IDS]

    def outcomes(self) -> Counter[str]:
        """What `watch` counts of the predictions."""
        counts: Counter[str] = Counter()
        exposed = self.run("watch", "--once", "--format", "openmetrics")
        for outcome, count in re.findall(r'events_total\{stream="predictions",.*outcome="(\w+)"\} (\d+)', exposed):
            counts[outcome] += int(count)
        return +counts


@pytest.fixture
def deployment(kafka: str, tmp_path: Path) -> Iterator[Deployment]:
    names = Names(f"test-{uuid.uuid4().hex[:8]}-")
    (tmp_path / "model-monitor.yaml").write_text(CONFIG % (kafka, names.prefix, PARTITIONS))
    deployment = Deployment(kafka, names, tmp_path)
    deployment.run("topics", "create")
    yield deployment
    remove_topics(Connection((kafka,)), names)


@pytest.mark.parametrize("compression", ["none", "gzip", "lz4", "snappy", "zstd"])
def test_with_the_named_partitioner_every_event_is_where_it_belongs(deployment: Deployment, compression: str) -> None:
    assert deployment.produced({"partitioner": "murmur2_random", "compression.type": compression}) == HOME
    assert deployment.outcomes() == {"accepted": EVENTS}


def test_with_its_own_partitioner_most_are_misrouted_and_kept_with_advice(deployment: Deployment) -> None:
    found = deployment.produced({})
    at_home = sum(partition == home for partition, home in zip(found, HOME, strict=True))
    assert at_home < EVENTS / 2
    assert deployment.outcomes() == {"accepted": at_home, "misrouted": EVENTS - at_home}
    assert "partitioner=murmur2_random" in deployment.run("log", "tail", "dead-letters", "-n", "1")
