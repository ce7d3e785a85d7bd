"""Topics of a test's own on the broker that all tests share."""

import time
import uuid
from contextlib import closing

from kafka.admin import NewTopic
from kafka.errors import TopicAlreadyExistsError

from monitor.log.kafka.connection import Connection
from monitor.log.kafka.names import Names

REMOVED_WITHIN_S = 20.0
LARGEST_MESSAGE = 16 * 1024 * 1024
KEPT = {"retention.ms": "-1", "max.message.bytes": str(LARGEST_MESSAGE), "message.timestamp.after.max.ms": "3600000"}
"""Records of tests are stamped in 1970, which is older than any retention."""


def made_topics(connection: Connection, partitions: int, **settings: str) -> Names:
    """The names of new and empty ones."""
    names = Names(f"test-{uuid.uuid4().hex[:12]}-")
    remake_topics(connection, names, partitions, **settings)
    return names


def remake_topics(connection: Connection, names: Names, partitions: int, **settings: str) -> None:
    """Makes those that were removed, which takes the broker a moment."""
    until = time.monotonic() + REMOVED_WITHIN_S
    missing = set(names.topics)
    with closing(connection.admin()) as admin:
        while missing:
            for topic in sorted(missing):
                try:
                    admin.create_topics([NewTopic(topic, partitions, 1, topic_configs=KEPT | settings)])
                    missing.remove(topic)
                except TopicAlreadyExistsError:
                    assert time.monotonic() < until, f"{topic} is there still"
        admin.wait_for_topics(list(names.topics))


def remove_topics(connection: Connection, names: Names) -> None:
    with closing(connection.admin()) as admin:
        admin.delete_topics(list(names.topics))
