"""The brokers that the tests rely on: they take records, keep them through kills, and end with whom started them."""

import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import NewTopic

from tests.kafka import containers, java
from tests.kafka.brokers import Cluster
from tests.kafka.choice import chosen

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 60.0
GLANCE_SECONDS = 0.05


def until(condition: Callable[[], object], what: str) -> None:
    """Returns when the condition holds; fails, saying what was awaited, when it takes too long."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"in vain for {PATIENCE_SECONDS:.0f} s: {what}"
        time.sleep(GLANCE_SECONDS)


def refuses(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=1).close()
    except ConnectionRefusedError:
        return True
    return False


def create_topic(bootstrap: str, replicas: int = 1) -> str:
    """A topic of one partition that no other test knows."""
    topic = f"brokers-{uuid.uuid4()}"
    with closing(KafkaAdminClient(bootstrap_servers=bootstrap)) as admin:
        admin.create_topics([NewTopic(topic, 1, replicas)])
    return topic


def produce(bootstrap: str, topic: str, *values: bytes) -> None:
    with closing(KafkaProducer(bootstrap_servers=bootstrap, acks="all")) as producer:
        for sent in [producer.send(topic, value) for value in values]:
            sent.get(PATIENCE_SECONDS)


def consume(bootstrap: str, topic: str) -> list[bytes]:
    """All that is in the topic's one partition."""
    partition = TopicPartition(topic, 0)
    with closing(KafkaConsumer(bootstrap_servers=bootstrap)) as consumer:
        consumer.assign([partition])
        consumer.seek_to_beginning(partition)
        end = consumer.end_offsets([partition])[partition]
        values: list[bytes] = []
        while consumer.position(partition) < end:
            values += [record.value for record in consumer.poll(1_000).get(partition, [])]
        return values


def in_sync(bootstrap: str, topic: str) -> set[int]:
    """The brokers that have all of the topic; none where the broker asked does not answer, or has yet to hear of it."""
    with suppress(KafkaException, KeyError):
        return set(AdminClient({"bootstrap.servers": bootstrap}).list_topics(topic, timeout=2).topics[topic].partitions[0].isrs)
    return set()


@pytest.fixture(scope="module")
def three(own_cluster: type[Cluster]) -> Iterator[Cluster]:
    with own_cluster(brokers=3) as cluster:
        yield cluster


def test_the_shared_broker_gives_back_what_it_was_given(kafka: str) -> None:
    topic = create_topic(kafka)
    produce(kafka, topic, b"first", b"second")
    assert consume(kafka, topic) == [b"first", b"second"]


def test_a_tool_of_kafkas_sees_the_shared_broker(kafka: str, kafka_tool: Callable[..., str]) -> None:
    topic = create_topic(kafka)
    assert topic in kafka_tool("org.apache.kafka.tools.TopicCommand", "--list")


def test_brokers_killed_or_stopped_and_started_again_have_what_they_had(three: Cluster) -> None:
    topic = create_topic(three.bootstrap, replicas=3)
    produce(three.bootstrap, topic, b"kept")
    three.kill(1)
    three.start(1)
    three.stop(2)
    three.start(2)
    until(lambda: in_sync(three.bootstrap, topic) == {1, 2, 3}, "all are in sync again")
    assert consume(three.bootstrap, topic) == [b"kept"]


def test_the_others_go_on_without_a_paused_broker_and_take_it_back(three: Cluster) -> None:
    topic = create_topic(three.bootstrap, replicas=3)
    three.pause(3)
    until(lambda: in_sync(three.address(1), topic) == {1, 2}, "broker 3 is missed")
    produce(three.address(1, 2), topic, b"meanwhile")
    three.resume(3)
    until(lambda: in_sync(three.bootstrap, topic) == {1, 2, 3}, "broker 3 is back")
    assert consume(three.bootstrap, topic) == [b"meanwhile"]


def test_a_broker_that_cannot_start_says_why(own_cluster: type[Cluster]) -> None:
    with pytest.raises(RuntimeError, match=r"broker 1 ended(.|\n)*num\.partitions"), own_cluster(properties={"num.partitions": "none"}):
        pass


@pytest.mark.usefixtures("own_cluster")
def test_nothing_is_left_of_brokers_whose_starter_was_killed(tmp_path: Path) -> None:
    if chosen() is not java.JavaRuntime:
        pytest.skip("containers are removed by testcontainers' own reaper")
    script = "from tests.kafka.brokers import Cluster\nwith Cluster() as cluster: print(cluster.address(), flush=True); input()"
    command = [sys.executable, "-c", script]
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as started:
        assert started.stdout is not None
        host, port = started.stdout.readline().strip().split(":")
        socket.create_connection((host, int(port))).close()
        assert list(tmp_path.iterdir())
        started.kill()
    until(lambda: refuses(host, int(port)), "the broker is gone")
    until(lambda: not list(tmp_path.iterdir()), "what it wrote is gone")


def test_the_jars_and_the_image_are_of_one_version() -> None:
    version = containers.IMAGE.partition(":")[2]
    assert f"<kafka.version>{version}</kafka.version>" in java.POM.read_text()
