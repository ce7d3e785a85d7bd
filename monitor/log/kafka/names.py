"""What the topics and the group are called: the configured prefix and a fixed name, nothing between."""

from dataclasses import dataclass
from typing import Final

from kafka import TopicPartition

from monitor.events import Stream

PANES: Final = "panes"


@dataclass(frozen=True, slots=True)
class Names:
    """The names that one deployment uses in a cluster."""

    prefix: str = ""
    group: str = "model-monitor"

    def topic(self, stream: Stream) -> str:
        return self.prefix + stream.value

    @property
    def panes(self) -> str:
        return self.prefix + PANES

    @property
    def topics(self) -> tuple[str, ...]:
        """All that a deployment has, each with the same number of partitions."""
        return (*(self.topic(stream) for stream in Stream), self.panes)

    @property
    def group_id(self) -> str:
        return self.prefix + self.group

    def of(self, stream: Stream, partition: int) -> TopicPartition:
        return TopicPartition(self.topic(stream), partition)

    def panes_of(self, partition: int) -> TopicPartition:
        return TopicPartition(self.panes, partition)
