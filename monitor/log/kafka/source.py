"""Reading a topic of somebody else's as a member of a consumer group: on from what the group has committed, at first from the oldest.

Nothing is committed but by the caller, so that what was read and not yet dealt with is read again by whoever has the partition next.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import structlog
from kafka import KafkaConsumer, TopicPartition
from kafka.errors import CommitFailedError, KafkaError, RebalanceInProgressError
from kafka.structs import OffsetAndMetadata

from monitor.errors import LogError
from monitor.log.kafka.connection import Connection, explained
from monitor.log.kafka.refusals import reason_and_remedy

POLL_RECORDS: Final = 2_000
FETCH_BYTES: Final = 8 * 1024 * 1024
CALL_MS: Final = 20_000
"""The longest wait for an answer of the group's coordinator."""

_logger = structlog.get_logger(__name__)


class Fetched(NamedTuple):
    """A record, with the names of its headers in lower case. A tombstone's value is empty."""

    partition: int
    offset: int
    headers: list[tuple[str, str]]
    value: bytes


class TopicSource:
    """For one thread. Connects when it is first polled, and again after an error, which is always a `LogError`."""

    def __init__(self, connection: Connection, topic: str, group: str) -> None:
        self._connection = connection
        self._topic = topic
        self._group = group
        self._consumer: KafkaConsumer | None = None
        self._assigned: frozenset[int] = frozenset()

    @property
    def partitions(self) -> frozenset[int]:
        """Those that the group gave this member, as of the last `poll`."""
        return self._assigned

    def poll(self, seconds: float) -> list[Fetched]:
        """Waits for so long at most; takes part in the group meanwhile."""
        consumer = self._connected()
        try:
            received = consumer.poll(timeout_ms=int(seconds * 1_000))
            self._assigned = frozenset(place.partition for place in consumer.assignment())
        except KafkaError as error:
            self._disconnect()
            raise LogError(f"reading {self._topic} from {self._connection} failed: {reason_and_remedy(error)}") from error
        return [
            Fetched(place.partition, record.offset, _headers(record.headers), record.value or b"")
            for place, records in received.items()
            for record in records
        ]

    def commit(self, offsets: Mapping[int, int]) -> bool:
        """The next offsets to read, by partition; false where the group has given them to somebody else, who reads again."""
        if self._consumer is None or not offsets:
            return False
        committed = {TopicPartition(self._topic, partition): OffsetAndMetadata(offset, "", -1) for partition, offset in offsets.items()}
        try:
            with explained(f"committing what {self._group} has read of {self._topic}"):
                self._consumer.commit(committed, timeout_ms=CALL_MS)
        except LogError as error:
            if isinstance(error.__cause__, CommitFailedError | RebalanceInProgressError):
                return False
            self._disconnect()
            raise
        return True

    def close(self) -> None:
        """Leaves the group."""
        self._disconnect()

    def _connected(self) -> KafkaConsumer:
        if self._consumer is None:
            consumer = self._connection.consumer(
                group_id=self._group,
                auto_offset_reset="earliest",
                max_poll_records=POLL_RECORDS,
                fetch_max_bytes=FETCH_BYTES,
            )
            try:
                self._check_topic(consumer)
                consumer.subscribe([self._topic])
            except BaseException:
                consumer.close(autocommit=False)
                raise
            self._consumer = consumer
        return self._consumer

    def _check_topic(self, consumer: KafkaConsumer) -> None:
        with explained(f"looking up {self._topic}"):
            partitions = consumer.partitions_for_topic(self._topic)
        if not partitions:
            raise LogError(
                f"{self._connection} has no topic {self._topic}, or this client may not read it: make it, or correct "
                "serving.cloudevents.topic"
            )

    def _disconnect(self) -> None:
        consumer, self._consumer = self._consumer, None
        self._assigned = frozenset()
        if consumer is not None:
            try:
                consumer.close(autocommit=False, timeout_ms=5_000)
            except KafkaError as error:
                _logger.info("the group was not left in order", group=self._group, reason=str(error))


def _headers(headers: Sequence[tuple[str, bytes | None]]) -> list[tuple[str, str]]:
    return [(name.lower(), (value or b"").decode(errors="replace")) for name, value in headers]
