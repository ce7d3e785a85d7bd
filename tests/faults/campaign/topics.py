"""A round's topics, through Kafka's own interfaces: made as a person would, compacted on demand, and held against what was sent."""

import json
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tests.e2e.demos import monitor
from tests.faults.campaign.oracle import DeadRow
from tests.faults.campaign.sent import Sent

COMPACT_ALWAYS = {"segment.ms": "500", "min.cleanable.dirty.ratio": "0.001", "max.compaction.lag.ms": "1000", "min.compaction.lag.ms": "0"}

READ_WITHIN_SECONDS = 20.0


def create(configuration: Path) -> None:
    monitor("topics", "create", "-c", configuration)


def compact_always(bootstrap: str, topic: str) -> None:
    from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient

    admin = KafkaAdminClient(bootstrap_servers=bootstrap.split(","))
    try:
        admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, COMPACT_ALWAYS)])
    finally:
        admin.close()


def sent_otherwise(bootstrap: str, prefix: str, records: Iterable[Sent]) -> Sequence[str]:
    """Partitions that hold another number of records than were sent there: then the producer failed, not what is being tried."""
    from kafka import KafkaConsumer, TopicPartition

    wanted = Counter((record.stream, record.partition) for record in records)
    consumer = KafkaConsumer(bootstrap_servers=bootstrap.split(","))
    try:
        places = {TopicPartition(f"{prefix}{stream}", partition): count for (stream, partition), count in wanted.items()}
        ends = consumer.end_offsets(list(places))
    finally:
        consumer.close()
    return [
        f"{place.topic}-{place.partition} holds {ends[place]} records of {count} sent: the campaign's own producer repeated or lost some"
        for place, count in places.items()
        if ends[place] != count
    ]


def dead_letters(bootstrap: str, topic: str) -> Counter[DeadRow]:
    """What the committed dead letters say about their origins."""
    found: Counter[DeadRow] = Counter()
    for record in _committed(bootstrap, topic):
        headers = {key: value.decode() for key, value in record.headers}
        for row in json.loads(headers["rows"]):
            found[headers["stream"], record.partition, int(headers["offset"]), row, headers["outcome"]] += 1
    return found


def _committed(bootstrap: str, topic: str) -> list[Any]:
    """Every record of a topic that belongs to no open or aborted transaction."""
    from kafka import KafkaConsumer, TopicPartition

    consumer = KafkaConsumer(bootstrap_servers=bootstrap.split(","), isolation_level="read_committed", enable_auto_commit=False)
    try:
        places = [TopicPartition(topic, partition) for partition in sorted(consumer.partitions_for_topic(topic))]
        consumer.assign(places)
        consumer.seek_to_beginning(*places)
        ends = consumer.end_offsets(places)
        records: list[Any] = []
        until = time.monotonic() + READ_WITHIN_SECONDS
        while any(consumer.position(place) < ends[place] for place in places) and time.monotonic() < until:
            records += (record for of_place in consumer.poll(timeout_ms=200).values() for record in of_place)
        return records
    finally:
        consumer.close()
