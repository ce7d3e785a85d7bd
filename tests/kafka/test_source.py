"""Reading somebody else's topic as a group, on a real broker: from where, what again, and by whom."""

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, suppress

import pytest
from kafka.admin import NewTopic

from monitor.errors import LogError
from monitor.log.kafka.connection import Connection
from monitor.log.kafka.source import Fetched, TopicSource

WITHIN_S = 60


@pytest.fixture
def connection(kafka: str) -> Connection:
    return Connection((kafka,))


@pytest.fixture
def topic(connection: Connection) -> Iterator[str]:
    """One of two partitions."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    with closing(connection.admin()) as admin:
        admin.create_topics([NewTopic(name, 2, 1)])
        admin.wait_for_topics([name])
        yield name
        admin.delete_topics([name])


@pytest.fixture
def source(connection: Connection, topic: str) -> Iterator[Callable[[], TopicSource]]:
    """Makes members of one group."""
    made: list[TopicSource] = []

    def make() -> TopicSource:
        made.append(TopicSource(connection, topic, f"{topic}-group"))
        return made[-1]

    yield make
    for one in made:
        one.close()


def produce(connection: Connection, topic: str, *values: str, partition: int = 0) -> None:
    with closing(connection.producer()) as producer:
        for value in values:
            producer.send(topic, value.encode(), headers=[("CE_id", value.encode()), ("empty", b"")], partition=partition)
        producer.flush()


def read(source: TopicSource, count: int) -> list[Fetched]:
    found: list[Fetched] = []
    until = time.monotonic() + WITHIN_S
    while len(found) < count:
        assert time.monotonic() < until, found
        found += source.poll(0.1)
    return found


def test_a_group_that_is_new_begins_at_the_oldest_and_gets_headers(
    connection: Connection, topic: str, source: Callable[[], TopicSource]
) -> None:
    produce(connection, topic, "a", "b")
    one = source()
    assert read(one, 2) == [
        Fetched(0, 0, [("ce_id", "a"), ("empty", "")], b"a"),
        Fetched(0, 1, [("ce_id", "b"), ("empty", "")], b"b"),
    ]
    assert one.partitions == {0, 1}


def test_what_is_not_committed_is_read_again(connection: Connection, topic: str, source: Callable[[], TopicSource]) -> None:
    produce(connection, topic, "a", "b", "c")
    one = source()
    read(one, 3)
    assert one.commit({0: 1})
    one.close()
    assert [record.value for record in read(source(), 2)] == [b"b", b"c"]


def test_a_member_that_joins_takes_partitions_and_a_late_commit_for_them_is_refused(
    connection: Connection, topic: str, source: Callable[[], TopicSource]
) -> None:
    produce(connection, topic, "a", partition=0)
    produce(connection, topic, "b", partition=1)
    first, second = source(), source()
    read(first, 2)
    until = time.monotonic() + WITHIN_S
    again: list[Fetched] = []
    while not (len(first.partitions) == len(second.partitions) == 1):
        assert time.monotonic() < until
        first.poll(0.1)
        again += second.poll(0.1)
    assert first.partitions | second.partitions == {0, 1}
    (theirs,) = second.partitions
    assert [record.partition for record in again or read(second, 1)] == [theirs]
    assert second.commit({theirs: 1})


def test_a_topic_that_is_not_there_is_told_with_the_remedy(connection: Connection) -> None:
    with closing(TopicSource(connection, f"none-{uuid.uuid4().hex[:8]}", "g")) as source, pytest.raises(LogError) as told:
        source.poll(0.1)
    assert "has no topic none-" in str(told.value)
    assert "correct serving.cloudevents.topic" in str(told.value)


def test_brokers_that_are_away_are_a_log_error() -> None:
    with closing(TopicSource(Connection(("127.0.0.1:1",), bootstrap_timeout_ms=100), "t", "g")) as source:
        for _ in range(2):
            with pytest.raises(LogError, match=r"127\.0\.0\.1:1"):
                source.poll(0.1)
        with suppress(LogError):
            assert not source.commit({0: 1})
