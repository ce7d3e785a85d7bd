"""Topics on a Kafka for as long as a measurement takes, and the configuration's `log` section that names them."""

from collections.abc import Iterator
from contextlib import contextmanager

from monitor.log.kafka.connection import Connection
from tests.kafka.topics import made_topics, remove_topics

PARTITIONS = 12


@contextmanager
def topics(bootstrap: str) -> Iterator[str]:
    connection = Connection((bootstrap,))
    names = made_topics(connection, PARTITIONS)
    yield f"{{kind: kafka, bootstrap_servers: '{bootstrap}', topic_prefix: '{names.prefix}'}}"
    remove_topics(connection, names)
