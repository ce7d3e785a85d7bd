"""The log on Apache Kafka, for as many machines as there are partitions."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from monitor.clock import Clock, Milliseconds
from monitor.events import Stream
from monitor.log import DeadLetter, Message, Record, dead_letters
from monitor.log.admission import check_messages, check_partition
from monitor.log.kafka.asking import Asking
from monitor.log.kafka.connection import Connection
from monitor.log.kafka.existing import ExistingTopics
from monitor.log.kafka.follower import KafkaFollower
from monitor.log.kafka.names import Names
from monitor.log.kafka.newest import NewestTimestamps
from monitor.log.kafka.offsets import Offsets
from monitor.log.kafka.reading import RandomReading
from monitor.log.kafka.sending import Sender

if TYPE_CHECKING:
    from monitor.log.kafka.ownership import KafkaOwnership

BOOTSTRAP_MS: Final = 10_000
"""How long a call looks for a broker before it is refused."""
SESSION_TIMEOUT_MS: Final = 45_000


class KafkaLog:
    """See `monitor.log.Log`. Connects when it is first used, so that it can be made while the brokers are away; no call waits for longer
    than about half a minute.

    What is read and counted is what is committed. Times before 1970 are kept, but found as if they were 1970-01-01T00:00Z.

    An append is refused as a whole where that can be told beforehand. Once it is under way a part of it may fail while the rest is durable,
    and after a failure of the network nobody knows: `LogError` says so, and appending the call again may repeat some of its messages.
    """

    def __init__(
        self,
        connection: Connection,
        names: Names,
        *,
        partitions: int,
        clock: Clock,
        instance_id: str | None = None,
        session_timeout_ms: int = SESSION_TIMEOUT_MS,
    ) -> None:
        self._connection = replace(connection, bootstrap_timeout_ms=min(connection.bootstrap_timeout_ms, BOOTSTRAP_MS))
        self._names = names
        self._partitions = partitions
        self._clock = clock
        self._instance_id = instance_id
        self._session_timeout_ms = session_timeout_ms
        self._asking = Asking(self._connection)
        self._topics = ExistingTopics(self._asking, names, partitions)
        self._offsets = Offsets(self._asking)
        self._sender = Sender(self._connection, self._topics.check_partitions)
        self._reading = RandomReading(self.follow(), self._offsets, names)
        self._newest = NewestTimestamps(self._offsets, self._reading.read, names)

    @property
    def partitions(self) -> int:
        return self._partitions

    @property
    def identity(self) -> str:
        return self._topics.identity

    def append(self, stream: Stream, messages: Sequence[Message]) -> list[int]:
        check_messages(stream, messages, self._partitions, self._clock.now())
        if not messages:
            return []
        self._topics.ensure()
        return self._sender.send(self._names.topic(stream), self._newest.on_marks(stream, messages))

    def read(self, stream: Stream, partition: int, offset: int, bytes_limit: int) -> list[Record]:
        self._check(partition)
        return self._reading.read(stream, partition, offset, bytes_limit)

    def begin_offset(self, stream: Stream, partition: int) -> int:
        self._check(partition)
        return self._offsets.begin(self._names.of(stream, partition))

    def end_offset(self, stream: Stream, partition: int) -> int:
        self._check(partition)
        return self._offsets.settled_end(self._names.of(stream, partition))

    def offset_for_time(self, stream: Stream, partition: int, timestamp: Milliseconds) -> int:
        self._check(partition)
        found = self._offsets.at(self._names.of(stream, partition), timestamp)
        return self.end_offset(stream, partition) if found is None else found

    def newest_timestamp(self, stream: Stream, partition: int) -> Milliseconds | None:
        self._check(partition)
        return self._newest.of(stream, partition).timestamp

    def dead_letters(self, partitions: Iterable[int]) -> Iterator[tuple[int, DeadLetter]]:
        return dead_letters.oldest_first(self.read, partitions)

    def follow(self) -> KafkaFollower:
        return KafkaFollower(self._connection, self._names, self._partitions, self._topics.ensure)

    def acquire(self, *, displace: bool = False, alone: bool = False) -> "KafkaOwnership":
        from monitor.log.kafka.ownership import KafkaOwnership

        return KafkaOwnership(
            self._connection,
            self._names,
            self._partitions,
            instance_id=self._instance_id,
            session_timeout_ms=self._session_timeout_ms,
            log_identity=self._topics.identity,
            check_topics=self._topics.check,
            alone=alone,
        )

    def close(self) -> None:
        self._sender.close()
        self._reading.close()
        self._asking.close()

    def _check(self, partition: int) -> None:
        check_partition(partition, self._partitions)
        self._topics.ensure()
