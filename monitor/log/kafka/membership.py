"""This replica as a member of the consumer group: which partitions it has, and whether it may still speak for them. It reads no events.

Its consumer only takes part in the group: what is read is read by another one, which no rebalance disturbs.
"""

import time
from dataclasses import dataclass
from typing import Final

from kafka import KafkaConsumer, TopicPartition
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.structs import ConsumerGroupMetadata, MemberState

from monitor.clock import Milliseconds
from monitor.errors import LogError
from monitor.events import SOURCES
from monitor.log.kafka.connection import Connection, explained
from monitor.log.kafka.names import Names

HEARTBEATS_A_SESSION: Final = 4
LONGEST_HEARTBEAT_MS: Final = 3_000
HANGS_AFTER_MS: Final = 120_000
"""A member that has not come by for so long is thrown out, and so long a rebalance waits for one. A turn of the loop takes seconds."""
JOIN_MS: Final = 3_000
"""The client forgets a join that ends between two polls, and joins once more, which everybody else has to do then too."""
CALL_MS: Final = 20_000
"""The longest wait for an answer of the group's coordinator."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """What one generation of the group gave this member. `metadata` proves it to the broker, which refuses that of a former generation."""

    partitions: tuple[int, ...]
    metadata: ConsumerGroupMetadata


class Membership:
    """One member. The thread that drives it calls `poll` often; `is_current` any thread may ask."""

    def __init__(self, connection: Connection, names: Names, instance_id: str | None, session_timeout_ms: Milliseconds) -> None:
        self._names = names
        self._session_seconds = session_timeout_ms / 1_000
        self._consumer: KafkaConsumer = connection.consumer(
            group_id=names.group_id,
            group_instance_id=instance_id,
            session_timeout_ms=session_timeout_ms,
            heartbeat_interval_ms=min(LONGEST_HEARTBEAT_MS, session_timeout_ms // HEARTBEATS_A_SESSION),
            max_poll_interval_ms=max(HANGS_AFTER_MS, session_timeout_ms),
            # Twin partitions go to the same member only by range; cooperative-sticky tore all of them apart when it was tried.
            partition_assignment_strategy=[RangePartitionAssignor],
        )
        topics = [names.topic(stream) for stream in SOURCES]
        with explained(f"looking up {' and '.join(topics)}"):
            for topic in topics:  # a leader that has not heard of them yet would assign nothing
                self._consumer.partitions_for_topic(topic)
        self._consumer.subscribe(topics)
        self._coordinator = self._consumer._coordinator  # the client tells the age of its heartbeats nowhere else
        # The client takes note of the topics' partitions with the next metadata only; a leader would assign nothing and rebalance again.
        self._coordinator._handle_metadata_update(self._coordinator._cluster)
        self._assignment: Assignment | None = None
        self._joins_since: float | None = None
        self._answered_at = float("-inf")
        """When the request was sent that the group's coordinator answered last."""

    @property
    def assignment(self) -> Assignment | None:
        """The latest one; None before the first."""
        return self._assignment

    def poll(self) -> None:
        """Takes part in the group, which may bring a new `assignment`. It waits only where the member has to join. Raises `LogError`."""
        joins = self._coordinator.need_rejoin()
        if joins and self._joins_since is None:
            self._joins_since = time.monotonic()
        with explained(f"taking part in the group {self._names.group_id}"):
            # Not `KafkaConsumer.poll`, which goes on to fetch, and waits though there is nothing to be fetched.
            self._coordinator.poll(timeout_ms=JOIN_MS if joins else 0)
        self._note_heartbeat()
        metadata = self._consumer.group_metadata()
        if metadata.state != MemberState.STABLE or (self._assignment and _generation(metadata) == _generation(self._assignment.metadata)):
            return
        if self._joins_since is not None:
            self._answered_at = max(self._answered_at, self._joins_since)
            self._joins_since = None
        self._assignment = Assignment(self._assigned(), metadata)

    def _assigned(self) -> tuple[int, ...]:
        by_topic: dict[str, set[int]] = {self._names.topic(stream): set() for stream in SOURCES}
        for topic, partition in self._consumer.assignment():
            by_topic[topic].add(partition)
        predictions, labels = by_topic.values()
        if predictions != labels:
            topics = " and ".join(by_topic)
            raise LogError(
                f"the group {self._names.group_id} gave this member other partitions of one of {topics} than of the other "
                f"({sorted(predictions)}, {sorted(labels)}): both need the same number, and the group no members but model-monitor's"
            )
        return tuple(sorted(predictions))

    def is_current(self) -> bool:
        """Whether nobody else can have been given the partitions of the latest assignment by now.

        They stay this member's while the group is stable and its last answered heartbeat was *sent* less than a session ago, as the broker
        counts from when it received that; and while a rebalance waits for it to join again. It says no from the moment it hears of one.
        """
        self._note_heartbeat()
        assignment, metadata = self._assignment, self._consumer.group_metadata()
        return (
            assignment is not None
            and metadata.state == MemberState.STABLE
            and not self._coordinator.rejoin_needed
            and not self.is_replaced
            and self.is_latest(assignment)
            and time.monotonic() - self._answered_at < self._session_seconds
        )

    @property
    def is_replaced(self) -> bool:
        """Whether another member has its instance id now: a heartbeat was told so, and all that the client does is send no more."""
        coordinator = self._coordinator
        return coordinator.stable() and not coordinator.rejoin_needed and not coordinator._heartbeat_enabled

    def is_latest(self, assignment: Assignment) -> bool:
        """Whether this member is still the one that got the assignment, for all it knows: it has not joined again since."""
        return _generation(self._consumer.group_metadata()) == _generation(assignment.metadata)

    def _note_heartbeat(self) -> None:
        heartbeat = self._coordinator.heartbeat
        sent = heartbeat.last_send
        if heartbeat.last_receive >= sent:
            self._answered_at = max(self._answered_at, sent)

    def committed_offset(self, place: TopicPartition) -> int | None:
        """The group's offset, once no transaction is pending on it; None where there is none. Raises `LogError`."""
        with explained(f"reading the offset that {self._names.group_id} committed for {place.topic}-{place.partition}"):
            offset: int | None = self._consumer.committed(place, timeout_ms=CALL_MS)
        return offset

    def close(self) -> None:
        """Leaves the group (a member with an instance id is given up when its session ends)."""
        self._consumer.close(autocommit=False, timeout_ms=5_000)


def _generation(metadata: ConsumerGroupMetadata) -> tuple[int, str]:
    return metadata.generation_id, metadata.member_id
