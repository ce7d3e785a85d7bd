"""Following Kafka beside the client library's bare poll loop: `python -m tests.bench.kafka_log HOST:PORT [PARTITIONS]`.

Both read the same topics from the same broker in the same run, by turns: the loop does nothing but `poll`, the follower hands the records
over as the worker reads them. Appends stand beside the library's bare producer, which waits for nothing until it has sent all.
"""

import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from functools import partial

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from rich.console import Console
from rich.table import Table

from monitor.clock import WallClock
from monitor.events import Stream
from monitor.log import ARROW, JSON, Message
from monitor.log.kafka.connection import Connection
from monitor.log.kafka.follower import FETCH_BYTES, FETCH_WAIT_MS, PARTITION_FETCH_BYTES, POLL_RECORDS
from monitor.log.kafka.log import KafkaLog
from monitor.log.kafka.names import Names
from monitor.log.kafka.sending import BATCH_BYTES, REQUEST_BYTES
from tests.bench.log import appended_to_the_log
from tests.kafka.topics import made_topics, remove_topics

EVENTS_A_BATCH = 500
BATCH = os.urandom(60_000)
"""About what 500 predictions of 10 numeric features take in Arrow."""
BATCHES = 2_000
EVENT = (
    b'{"id": "'
    + b"x" * 36
    + b'", "time": 1700000000000, "model": "flights", "version": "1", "features": {'
    + b'"distance": 1.0, ' * 7
    + b"}}"
)
EVENTS = 100_000
ROUNDS = 3
READ_BYTES = 4 * 1024 * 1024
"""What the worker reads at a time."""
BATCHES_AN_APPEND = 4
BATCH_APPENDS = 200
EVENTS_AN_APPEND = 1_000
EVENT_APPENDS = 40
SINGLE_APPENDS = 1_600


def polled(bootstrap: str, places: list[TopicPartition], count: int) -> float:
    """Seconds that the bare loop takes, with the settings that the follower has too."""
    consumer = KafkaConsumer(
        bootstrap_servers=bootstrap,
        isolation_level="read_committed",
        enable_auto_commit=False,
        auto_offset_reset="none",
        metrics_enabled=False,
        max_poll_records=POLL_RECORDS,
        fetch_max_wait_ms=FETCH_WAIT_MS,
        fetch_max_bytes=FETCH_BYTES,
        max_partition_fetch_bytes=PARTITION_FETCH_BYTES,
    )
    consumer.assign(places)
    for place in places:
        consumer.seek(place, 0)
    received = 0
    began = time.perf_counter()
    while received < count:
        received += sum(len(records) for records in consumer.poll(timeout_ms=1_000).values())
    elapsed = time.perf_counter() - began
    consumer.close()
    return elapsed


def followed(log: KafkaLog, stream: Stream, count: int) -> float:
    follower = log.follow()
    for partition in range(log.partitions):
        follower.place(stream, partition, 0)
    received = 0
    began = time.perf_counter()
    while received < count:
        taken = sum(
            len(follower.read(stream, partition, READ_BYTES))
            for partition in range(log.partitions)
            if follower.position(stream, partition) < follower.ends(stream, partition).readable
        )
        received += taken
        if not taken:
            follower.wait(0.1)
    elapsed = time.perf_counter() - began
    follower.close()
    return elapsed


def sent(bootstrap: str, topic: str, messages: list[Message], appends: int) -> float:
    with closing(KafkaProducer(bootstrap_servers=bootstrap, batch_size=BATCH_BYTES, max_request_size=REQUEST_BYTES)) as producer:
        producer.partitions_for(topic)
        began = time.perf_counter()
        for _ in range(appends):
            for message in messages:
                producer.send(topic, message.value, partition=message.partition)
        producer.flush()
        return time.perf_counter() - began


def fill(log: KafkaLog, stream: Stream, value: bytes, content_type: str, count: int) -> None:
    now = WallClock().now()
    step = max(1, 8 * 1024 * 1024 // len(value))
    for first in range(0, count, step):
        numbers = range(first, min(first + step, count))
        log.append(stream, [Message(number % log.partitions, now, value, content_type) for number in numbers])


def main(bootstrap: str, partitions: str = "4") -> None:
    connection = Connection((bootstrap,))
    table = Table("what", "rate", "against the bare client", title=f"Kafka log, {partitions} partitions, at {bootstrap}")

    def compared(what: str, events: int, runs: Mapping[str, Callable[[], float]]) -> None:
        """The first of the runs is the floor. They take turns."""
        elapsed: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(ROUNDS):
            for name, run in runs.items():
                elapsed[name].append(run())
        floor, *_ = (statistics.median(times) for times in elapsed.values())
        for name, times in elapsed.items():
            median = statistics.median(times)
            table.add_row(f"{what}: {name}", f"{events / median:,.0f} events/s", f"{floor / median:.2f}")

    for what, value, content_type, count, events, per_append, appends in (
        (f"JSON, single events of {len(EVENT)} B", EVENT, JSON, EVENTS, 1, EVENTS_AN_APPEND, EVENT_APPENDS),
        (f"Arrow, 500 events in {len(BATCH) // 1000} kB", BATCH, ARROW, BATCHES, EVENTS_A_BATCH, BATCHES_AN_APPEND, BATCH_APPENDS),
    ):
        names = made_topics(connection, int(partitions))
        with closing(KafkaLog(connection, names, partitions=int(partitions), clock=WallClock())) as log:
            fill(log, Stream.PREDICTIONS, value, content_type, count)
            compared(f"read, {what}", count * events, _reads(bootstrap, log, names, count))
            messages = [Message(number % log.partitions, WallClock().now(), value, content_type) for number in range(per_append)]
            compared(
                f"append, {what}, {per_append} a call", appends * per_append * events, _appends(bootstrap, log, names, messages, appends)
            )
            if events == 1:
                one = [messages[0]]
                by_threads = {
                    f"{threads} thread(s)": partial(appended_to_the_log, log, one, SINGLE_APPENDS, threads, Stream.LABELS)
                    for threads in (1, 4, 16)
                }
                compared("append, JSON, one event a call", SINGLE_APPENDS, by_threads)
        remove_topics(connection, names)
    Console(width=140).print(table)
    print("Goals: 500,000 events/s in Arrow with all that a worker does, and half of the bare loop on single events.")


def _reads(bootstrap: str, log: KafkaLog, names: Names, count: int) -> dict[str, Callable[[], float]]:
    places = [names.of(Stream.PREDICTIONS, partition) for partition in range(log.partitions)]
    return {"bare poll loop": lambda: polled(bootstrap, places, count), "follower": lambda: followed(log, Stream.PREDICTIONS, count)}


def _appends(bootstrap: str, log: KafkaLog, names: Names, messages: list[Message], appends: int) -> dict[str, Callable[[], float]]:
    return {
        "bare producer, nothing awaited": lambda: sent(bootstrap, names.topic(Stream.LABELS), messages, appends),
        "the log, 1 thread": lambda: appended_to_the_log(log, messages, appends, 1, Stream.LABELS),
        "the log, 4 threads": lambda: appended_to_the_log(log, messages, appends, 4, Stream.LABELS),
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
