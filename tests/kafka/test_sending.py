"""Appending to a real Kafka: what is refused before anything is sent, what the broker refuses, and what happens while it is away."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import NamedTuple

import pytest
from kafka.admin import NewPartitions

from monitor.clock import ManualClock
from monitor.errors import FutureTimestamp, LogError
from monitor.events import Stream
from monitor.log.kafka.connection import Connection
from monitor.log.kafka.log import KafkaLog
from monitor.log.kafka.names import Names
from monitor.log.kafka.sending import REQUEST_BYTES
from tests.contract.log_contract import ALL, HOUR, NOW, message, values
from tests.kafka.brokers import Cluster
from tests.kafka.topics import made_topics, remove_topics

LABELS = Stream.LABELS


class Deployment(NamedTuple):
    connection: Connection
    names: Names
    log: KafkaLog


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW)


@pytest.fixture
def deployment(kafka: str, clock: ManualClock) -> Iterator[Deployment]:
    connection = Connection((kafka,))
    names = made_topics(connection, 1, **{"max.message.bytes": "1000000"})
    with closing(KafkaLog(connection, names, partitions=1, clock=clock)) as log:
        yield Deployment(connection, names, log)
    remove_topics(connection, names)


def test_a_message_that_cannot_be_sent_is_refused_with_all_of_its_call(deployment: Deployment) -> None:
    with pytest.raises(LogError, match=f"a message of .* bytes was refused; at most {REQUEST_BYTES} can be sent"):
        deployment.log.append(LABELS, [message(b"small"), message(b"x" * REQUEST_BYTES)])
    assert deployment.log.end_offset(LABELS, 0) == 0


def test_a_message_larger_than_the_topic_takes_names_the_setting_and_the_log_goes_on(deployment: Deployment) -> None:
    with pytest.raises(LogError, match=r"the broker refused 1 of 1 messages as too large\. Raise the topic's max\.message\.bytes"):
        deployment.log.append(LABELS, [message(b"x" * 2_000_000)])
    deployment.log.append(LABELS, [message(b"small")])
    assert values(deployment.log.read(LABELS, 0, 0, ALL)) == [b"small"]


def test_a_time_that_lies_ahead_of_the_brokers_clock_is_told_as_such(deployment: Deployment, clock: ManualClock) -> None:
    clock.current = int(time.time() * 1000) + 3 * HOUR
    with pytest.raises(FutureTimestamp, match=r"the broker refused 1 of 1 messages.*Set this machine's clock right"):
        deployment.log.append(LABELS, [message(timestamp=clock.now())])


def test_a_call_larger_than_what_may_be_under_way_is_sent_in_portions(deployment: Deployment) -> None:
    sent = [b"%d" % number + b"x" * 400_000 for number in range(100)]
    offsets = deployment.log.append(LABELS, [message(value) for value in sent])
    assert offsets == list(range(100))
    assert values(deployment.log.read(LABELS, 0, 0, ALL)) == sent


def test_partitions_that_were_added_are_noticed(deployment: Deployment) -> None:
    with closing(deployment.connection.admin()) as admin:
        admin.create_partitions({deployment.names.topic(LABELS): NewPartitions(2)})
    with pytest.raises(LogError, match=r"labels has 2 partitions, but log\.partitions is 1"):
        deployment.log.append(LABELS, [message()])


def test_a_log_is_made_without_a_broker_and_all_who_wait_for_one_are_told_that_there_is_none() -> None:
    connection = Connection(("127.0.0.1:1",), bootstrap_timeout_ms=300)
    with closing(KafkaLog(connection, Names(), partitions=1, clock=ManualClock(NOW))) as log, ThreadPoolExecutor(4) as pool:
        for refused in [pool.submit(log.append, LABELS, [message()]) for _ in range(4)]:
            with pytest.raises(LogError, match=r"Kafka at 127\.0\.0\.1:1 did not answer"):
                refused.result(20)


def test_a_closed_log_takes_nothing_more(deployment: Deployment) -> None:
    deployment.log.close()
    with pytest.raises(LogError, match="closed"):
        deployment.log.append(LABELS, [message()])


def test_an_append_while_the_broker_is_away_fails_in_bounded_time_and_later_ones_succeed(own_cluster: type[Cluster]) -> None:
    with own_cluster() as cluster:
        connection = Connection((cluster.bootstrap,))
        names = made_topics(connection, partitions=1)
        with closing(KafkaLog(connection, names, partitions=1, clock=ManualClock(NOW))) as log:
            log.append(LABELS, [message(b"before")])
            cluster.kill(1)
            began = time.monotonic()
            with pytest.raises(LogError, match=r"1 of 1 messages were not acknowledged.*some may be in the log all the same"):
                log.append(LABELS, [message(b"while it is away")])
            assert time.monotonic() - began < 30
            cluster.start(1)
            log.append(LABELS, [message(b"after")])
            assert values(log.read(LABELS, 0, 0, ALL))[-1] == b"after"
