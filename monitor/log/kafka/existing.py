"""The topics as the cluster has them: whether they are those that the configuration speaks of, and which ones they are.

A topic that was deleted and made anew has the same name and another id; offsets of the one mean nothing in the other.
"""

import hashlib
import threading
from typing import Final

from kafka.errors import TopicAuthorizationFailedError, UnknownTopicOrPartitionError, for_code

from monitor.errors import LogDamaged, LogError
from monitor.events import Stream
from monitor.log.kafka.asking import Asking
from monitor.log.kafka.names import Names

IDENTITY_LENGTH: Final = 32


class ExistingTopics:
    """Looked up when first asked for, and by `check`. Raises `LogError` where they are missing or have other numbers of partitions."""

    def __init__(self, asking: Asking, names: Names, partitions: int) -> None:
        self._asking = asking
        self._names = names
        self._partitions = partitions
        self._first_look = threading.Lock()
        self._identity: str | None = None

    @property
    def identity(self) -> str:
        """Told from the ids of the topics that offsets and commits are of."""
        if self._identity is None:
            with self._first_look:
                if self._identity is None:
                    self._identity = self._looked_up()
        return self._identity

    def ensure(self) -> None:
        """That they were found once."""
        _ = self.identity

    def check(self) -> None:
        """That they are the same still. Raises `LogDamaged` where one of them was made anew."""
        if self._looked_up() != self.identity:
            raise LogDamaged(
                f"one of the topics {', '.join(self._lasting)} was deleted and made anew since this process started: what was read of it "
                "says nothing about the new one. Start again to begin with that"
            )

    def check_partitions(self, topic: str, found: int) -> None:
        """Partitions may be added at any time: for whoever sees how many there are."""
        if found != self._partitions:
            raise LogDamaged(
                f"the topic {topic} has {found} partitions, but log.partitions is {self._partitions}. Events are kept and joined by their "
                "partition, so the number is for good: set log.partitions back to what the topics have. Where it was changed in Kafka "
                "after events were written, choose a new log.topic_prefix, run `model-monitor topics create`, and send the events there"
            )

    @property
    def _lasting(self) -> tuple[str, ...]:
        return (self._names.topic(Stream.PREDICTIONS), self._names.topic(Stream.LABELS), self._names.panes)

    def _looked_up(self) -> str:
        cluster = self._asking.ask("looking up the cluster", lambda admin: admin.describe_cluster())["cluster_id"]
        topics = self._asking.ask("looking up the topics", lambda admin: admin.describe_topics(list(self._names.topics)))
        described = {topic["name"]: topic for topic in topics}
        for name in self._names.topics:
            error = for_code(described[name]["error_code"])
            if error is UnknownTopicOrPartitionError:
                raise LogError(f"the topic {name} does not exist. Run `model-monitor topics create`, or correct log.topic_prefix")
            if error is TopicAuthorizationFailedError:
                raise LogError(f"the topic {name} may not be looked up: `model-monitor topics create --dry-run` prints the ACLs needed")
            self.check_partitions(name, len(described[name]["partitions"]))
        told = "\n".join([cluster, *(f"{name} {described[name]['topic_id']}" for name in self._lasting)])
        return hashlib.sha256(told.encode()).hexdigest()[:IDENTITY_LENGTH]
