"""Where a partition begins and ends, and which offset a time has: asked of the brokers each time, counting what can be read only."""

import time
from typing import Final

from kafka import TopicPartition
from kafka.protocol.consumer import IsolationLevel, OffsetSpec
from kafka.structs import OffsetAndTimestamp

from monitor.clock import Milliseconds
from monitor.log.kafka.asking import Asking

SETTLE_S: Final = 1.0
"""How long a transaction is waited for: one that takes longer is still being written."""
LOOK_EVERY_S: Final = 0.02


class Offsets:
    """Raises `LogError` where the brokers cannot be asked."""

    def __init__(self, asking: Asking) -> None:
        self._asking = asking

    def begin(self, partition: TopicPartition) -> int:
        return int(self._asked(partition, OffsetSpec.EARLIEST).offset)

    def end(self, partition: TopicPartition) -> int:
        """After the last record that can be read: before the first one of a transaction that has not ended."""
        return int(self._asked(partition, OffsetSpec.LATEST).offset)

    def settled_end(self, partition: TopicPartition) -> int:
        """The same, once transactions have ended that are just doing so: their end is durable before it can be seen."""
        appended = self._asked(partition, OffsetSpec.LATEST, IsolationLevel.READ_UNCOMMITTED).offset
        until = time.monotonic() + SETTLE_S
        while (end := self.end(partition)) < appended and time.monotonic() < until:
            time.sleep(LOOK_EVERY_S)
        return end

    def at(self, partition: TopicPartition, timestamp: Milliseconds) -> int | None:
        """The first one whose record's timestamp is at or after this one."""
        found = self._asked(partition, max(timestamp, 0))
        return None if found.offset < 0 else int(found.offset)

    def greatest(self, partition: TopicPartition) -> tuple[int, Milliseconds] | None:
        """The offset with the greatest timestamp, and that. A transaction's end has both too."""
        found = self._asked(partition, OffsetSpec.MAX_TIMESTAMP)
        return None if found.offset < 0 else (int(found.offset), int(found.timestamp))

    def _asked(self, partition: TopicPartition, what: int, isolation: IsolationLevel = IsolationLevel.READ_COMMITTED) -> OffsetAndTimestamp:
        return self._asking.ask(
            f"looking up offsets of {partition.topic}-{partition.partition}",
            lambda admin: admin.list_partition_offsets({partition: what}, isolation)[partition],
        )
