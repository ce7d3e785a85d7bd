"""Following a real Kafka: transactions, records that retention removed, logs that were cut short, bounds, and brokers that go away."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
import structlog
from kafka import KafkaProducer
from structlog.testing import capture_logs

from monitor.clock import ManualClock
from monitor.errors import LogDamaged, LogError
from monitor.events import Stream
from monitor.log import Ends, Record
from monitor.log.kafka.connection import Connection
from monitor.log.kafka.follower import KafkaFollower
from monitor.log.kafka.log import KafkaLog
from monitor.log.kafka.names import Names
from tests.contract.follow_contract import LONG_S, read_all
from tests.contract.log_contract import ALL, NOW, message, values
from tests.kafka.brokers import Cluster
from tests.kafka.topics import made_topics, remake_topics, remove_topics

LABELS = Stream.LABELS


@pytest.fixture(autouse=True)
def a_logger_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was used before keeps the way out of that time."""
    monkeypatch.setattr("monitor.log.kafka.follower._logger", structlog.get_logger())


@pytest.fixture
def connection(kafka: str) -> Connection:
    return Connection((kafka,))


@pytest.fixture
def names(connection: Connection) -> Iterator[Names]:
    names = made_topics(connection, partitions=1)
    yield names
    remove_topics(connection, names)


@pytest.fixture
def log(connection: Connection, names: Names) -> Iterator[KafkaLog]:
    with closing(KafkaLog(connection, names, partitions=1, clock=ManualClock(NOW))) as log:
        yield log


@pytest.fixture
def follower(log: KafkaLog) -> Iterator[KafkaFollower]:
    with closing(log.follow()) as follower:
        yield follower


@pytest.fixture
def transactional(connection: Connection, names: Names) -> Iterator[KafkaProducer]:
    """Somebody else's producer to the same topics."""
    with closing(connection.producer(transactional_id=f"{names.prefix}someone")) as producer:
        producer.init_transactions()
        yield producer


def waited_until(follower: KafkaFollower, holds: Callable[[], bool]) -> None:
    until = time.monotonic() + LONG_S
    while not holds():
        assert time.monotonic() < until
        follower.wait(0.1)


def removed_before(connection: Connection, names: Names, offset: int) -> None:
    """What retention does, at once."""
    with closing(connection.admin()) as admin:
        admin.delete_records({names.of(LABELS, 0): offset})


# Transactions


def test_what_was_aborted_is_passed_over_to_the_end_of_the_log(
    log: KafkaLog, follower: KafkaFollower, transactional: KafkaProducer, names: Names
) -> None:
    log.append(LABELS, [message(b"before")])
    transactional.begin_transaction()
    transactional.send(names.topic(LABELS), b"aborted", partition=0).get(LONG_S)
    transactional.abort_transaction()
    follower.place(LABELS, 0, 0)
    assert values(read_all(follower, LABELS, 0, 1)) == [b"before"]
    waited_until(follower, lambda: follower.position(LABELS, 0) == 3)
    assert follower.ends(LABELS, 0) == Ends(3, 3)
    log.append(LABELS, [message(b"after")])
    assert values(read_all(follower, LABELS, 0, 1)) == [b"after"]


def test_an_open_transaction_ends_what_is_readable_but_not_what_is_appended(
    log: KafkaLog, follower: KafkaFollower, transactional: KafkaProducer, names: Names
) -> None:
    follower.place(LABELS, 0, 0)
    log.append(LABELS, [message(b"before")])
    transactional.begin_transaction()
    transactional.send(names.topic(LABELS), b"open", partition=0).get(LONG_S)
    log.append(LABELS, [message(b"behind it")])
    assert values(read_all(follower, LABELS, 0, 1)) == [b"before"]
    waited_until(follower, lambda: follower.ends(LABELS, 0) == Ends(1, 3))
    assert follower.read(LABELS, 0, ALL) == []
    assert follower.position(LABELS, 0) == 1
    transactional.commit_transaction()
    assert values(read_all(follower, LABELS, 0, 2)) == [b"open", b"behind it"]
    waited_until(follower, lambda: follower.position(LABELS, 0) == 4)
    assert follower.ends(LABELS, 0) == Ends(4, 4)


# Records that are gone


def test_an_offset_that_is_gone_stands_for_the_oldest_with_a_warning_that_counts_what_was_lost(
    log: KafkaLog, follower: KafkaFollower, connection: Connection, names: Names
) -> None:
    log.append(LABELS, [message(b"%d" % number) for number in range(5)])
    removed_before(connection, names, 3)
    with capture_logs() as logged:
        follower.place(LABELS, 0, 0)  # whoever has read nothing lost nothing
        assert logged == []
        follower.place(LABELS, 0, 1)
    assert [(one["log_level"], one["records"], one["oldest"]) for one in logged] == [("warning", 2, 3)]
    assert follower.position(LABELS, 0) == 3
    assert values(read_all(follower, LABELS, 0, 2)) == [b"3", b"4"]


def test_records_that_go_while_they_are_followed_are_counted_too(
    log: KafkaLog, follower: KafkaFollower, connection: Connection, names: Names
) -> None:
    log.append(LABELS, [message(b"%d" % number) for number in range(2)])
    follower.place(LABELS, 0, 0)
    read_all(follower, LABELS, 0, 2)
    with closing(log.follow()) as other:
        other.place(LABELS, 0, 2)
        log.append(LABELS, [message(b"%d" % number) for number in range(2, 6)])
        removed_before(connection, names, 5)
        with capture_logs() as logged:
            assert values(read_all(other, LABELS, 0, 1)) == [b"5"]
    assert [(one["log_level"], one["records"], one["read_up_to"]) for one in logged] == [("warning", 3, 2)]


def test_a_topic_that_was_made_anew_is_not_read_on(log: KafkaLog, follower: KafkaFollower, connection: Connection, names: Names) -> None:
    log.append(LABELS, [message() for _ in range(3)])
    follower.place(LABELS, 0, 0)
    read_all(follower, LABELS, 0, 3)
    remove_topics(connection, names)
    remake_topics(connection, names, partitions=1)
    with pytest.raises(LogDamaged, match="ends at the offset 0, but was read up to 3 before"):
        waited_until(follower, lambda: False)


# Bounds


def test_what_is_buffered_is_bounded_and_nothing_is_left_out(connection: Connection, names: Names, log: KafkaLog) -> None:
    sent = [b"%d" % number + b"x" * 100_000 for number in range(200)]
    for first in range(0, 200, 50):
        log.append(LABELS, [message(value) for value in sent[first : first + 50]])
    with closing(KafkaFollower(connection, names, 1, lambda: None, buffered_bytes=1_000_000)) as follower:
        follower.place(LABELS, 0, 0)
        read: list[Record] = []
        until = time.monotonic() + LONG_S
        while len(read) < len(sent) and time.monotonic() < until:
            for _ in range(5):
                follower.wait(0.01)
                assert follower.held_bytes < 1_000_000 + 5_000_000  # one fetch more
            read += follower.read(LABELS, 0, 300_000)
        assert values(read) == sent


# Topics that are not as they should be


def test_a_topic_that_is_missing_names_the_command_that_makes_it(connection: Connection) -> None:
    with (
        closing(KafkaLog(connection, Names("never-made-"), partitions=1, clock=ManualClock())) as log,
        closing(log.follow()) as follower,
        pytest.raises(LogError, match=r"the topic never-made-predictions does not exist\. Run `model-monitor topics create`"),
    ):
        follower.place(LABELS, 0, 0)


def test_another_number_of_partitions_says_what_can_be_done(connection: Connection, names: Names) -> None:
    with (
        closing(KafkaLog(connection, names, partitions=3, clock=ManualClock())) as log,
        pytest.raises(
            LogError, match=r"predictions has 1 partitions, but log\.partitions is 3.*set log\.partitions back.*new log\.topic_prefix"
        ),
    ):
        log.follow().place(LABELS, 0, 0)


# Brokers that go away


def test_reading_goes_on_when_the_broker_is_back_and_the_log_says_once_that_it_was_away(own_cluster: type[Cluster]) -> None:
    with own_cluster() as cluster:
        connection = Connection((cluster.bootstrap,))
        names = made_topics(connection, partitions=1)
        with closing(KafkaLog(connection, names, partitions=1, clock=ManualClock(NOW))) as log:
            follower = KafkaFollower(connection, names, 1, lambda: None, silence_seconds=1.0)
            follower.place(LABELS, 0, 0)
            log.append(LABELS, [message(b"before")])
            assert values(read_all(follower, LABELS, 0, 1)) == [b"before"]
            with capture_logs() as logged:
                cluster.kill(1)
                waited_until(follower, lambda: bool(logged))
                cluster.start(1)
                log.append(LABELS, [message(b"after")])
                assert values(read_all(follower, LABELS, 0, 1)) == [b"after"]
            follower.close()
    assert [one["event"] for one in logged][:2] == ["no answer from Kafka: nothing is read until there is one", "Kafka answers again"]


def test_partitions_that_were_paused_with_records_in_hand_are_all_read_on(kafka: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client forgot one of two of them; see `_let_go_of_what_is_empty`."""
    monkeypatch.setattr("monitor.log.kafka.follower.POLL_RECORDS", 10)
    connection = Connection((kafka,))
    names = made_topics(connection, partitions=3)
    with closing(KafkaLog(connection, names, partitions=3, clock=ManualClock(NOW))) as log:
        log.append(LABELS, [message(b"%d" % number, number % 3) for number in range(600)])
        with closing(KafkaFollower(connection, names, 3, lambda: None, buffered_bytes=1)) as follower:
            for partition in range(3):
                follower.place(LABELS, partition, 0)
            for _ in range(10):
                follower.wait(0.1)  # all of them are paused now, each with records in the client's hand
            for partition in range(3):
                assert len(read_all(follower, LABELS, partition, 200)) == 200
    remove_topics(connection, names)
