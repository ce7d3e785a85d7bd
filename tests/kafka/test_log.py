"""The log on a real Kafka keeps the contract; and what is true of it alone."""

from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest

from monitor.clock import ManualClock
from monitor.errors import LogDamaged
from monitor.events import Stream
from monitor.log import ARROW, TIME_MARK, Log, Message, Record
from monitor.log.kafka.asking import Asking
from monitor.log.kafka.connection import Connection
from monitor.log.kafka.existing import ExistingTopics
from monitor.log.kafka.log import KafkaLog
from monitor.log.kafka.names import Names
from tests.contract.dead_letter_contract import DeadLetterContract
from tests.contract.follow_contract import FollowContract
from tests.contract.log_contract import ALL, NOW, PARTITIONS, LogContract, MakeLog, message
from tests.kafka.topics import made_topics, remake_topics, remove_topics


class TestKafkaLog(LogContract, FollowContract, DeadLetterContract):
    @pytest.fixture
    def connection(self, kafka: str) -> Connection:
        return Connection((kafka,))

    @pytest.fixture
    def names(self, connection: Connection) -> Iterator[Names]:
        names = made_topics(connection, PARTITIONS)
        yield names
        remove_topics(connection, names)

    @pytest.fixture
    def make_log(self, connection: Connection, names: Names, clock: ManualClock) -> Iterator[MakeLog]:
        with ExitStack() as opened:

            def make(*, retention_ms: int | None = None, max_bytes: int | None = None) -> Log:  # noqa: ARG001  # Kafka runs its retention
                # Members of one instance id displace one another; others would share the partitions (`test_ownership`).
                log = KafkaLog(connection, names, partitions=PARTITIONS, clock=clock, instance_id="one")
                opened.callback(log.close)
                return log

            yield make

    # What is true of Kafka alone

    def test_its_identity_is_that_of_the_topics(self, make_log: MakeLog, connection: Connection) -> None:
        other_names = made_topics(connection, PARTITIONS)
        with closing(KafkaLog(connection, other_names, partitions=PARTITIONS, clock=ManualClock(NOW))) as other:
            assert make_log().identity == make_log().identity != other.identity
            assert len(other.identity) == 32
        remove_topics(connection, other_names)

    def test_a_topic_that_was_made_anew_is_noticed(self, connection: Connection) -> None:
        names = made_topics(connection, PARTITIONS)
        with closing(Asking(connection)) as asking:
            topics = ExistingTopics(asking, names, PARTITIONS)
            topics.check()
            remove_topics(connection, names)
            remake_topics(connection, names, PARTITIONS)
            with pytest.raises(LogDamaged, match="was deleted and made anew"):
                topics.check()
            assert ExistingTopics(asking, names, PARTITIONS).identity != topics.identity
        remove_topics(connection, names)

    def test_the_newest_timestamp_is_right_across_marks(self, make_log: MakeLog) -> None:
        log, fresh = make_log(), make_log()
        expected = None
        for timestamps, mark in (([], 5), ([10, 40, 20], 50), ([30], 60), ([45, 44], 70), ([80], 90), ([], 100)):
            log.append(Stream.LABELS, [message(timestamp=timestamp) for timestamp in timestamps])
            expected = max([*timestamps, *([expected] if expected is not None else [])], default=None)
            for asked in (log, fresh, make_log()):
                assert asked.newest_timestamp(Stream.LABELS, 0) == expected
            log.append(Stream.LABELS, [Message(0, mark, b"", TIME_MARK)])
            for asked in (log, fresh, make_log()):
                assert asked.newest_timestamp(Stream.LABELS, 0) == expected

    def test_a_mark_tells_what_was_newest_though_the_events_are_gone(self, make_log: MakeLog, connection: Connection, names: Names) -> None:
        make_log().append(Stream.LABELS, [message(timestamp=30), message(timestamp=10)])
        make_log().append(Stream.LABELS, [Message(0, 99, b"", TIME_MARK)])
        with closing(connection.admin()) as admin:
            admin.delete_records({names.of(Stream.LABELS, 0): 2})
        assert make_log().newest_timestamp(Stream.LABELS, 0) == 30

    def test_messages_of_other_producers_are_read_as_they_meant_them(self, log: Log, connection: Connection, names: Names) -> None:
        with closing(connection.producer()) as producer:
            for value, headers in (
                (b"no header", []),
                (b"a type", [("content-type", ARROW.encode())]),
                (b"not UTF-8", [("content-type", b"text/\xff"), ("x", b"\xff")]),
                (b"key and null", [("content-type", b"application/json; charset=utf-8"), ("y", b"")]),
            ):
                producer.send(names.topic(Stream.LABELS), value, b"key", headers, partition=0, timestamp_ms=7)
            producer.send(names.topic(Stream.LABELS), None, b"key", partition=0, timestamp_ms=8).get(10)
        assert log.read(Stream.LABELS, 0, 0, ALL) == [
            Record(0, 7, b"no header"),
            Record(1, 7, b"a type", ARROW),
            Record(2, 7, b"not UTF-8", "text/\ufffd", {"x": "\ufffd"}),
            Record(3, 7, b"key and null", "application/json; charset=utf-8", {"y": ""}),
            Record(4, 8, b""),
        ]
