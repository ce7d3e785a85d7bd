"""A worker on a real Kafka, commits included, beside the client's bare poll loop over the same messages; both on one core.

    python -m tests.bench.kafka_worker [--events 2000000] [--singles 200000] [--kafka HOST:PORT] [--quix PYTHON]

Half of the events are predictions of a binary model with 10 numeric features, half their labels, over 4 partitions: first in Arrow messages
of 500 as the server writes them, then as single JSON events. `--quix` names the Python of an environment with `quixstreams`: its join of
the same JSON topics, by key in its state store, is the peer. The worker runs with the collector of garbage set as `watch` sets it, the bare
loop as Python comes. On a busy machine only the ratio of processor time tells anything.
"""

import argparse
import gc
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from monitor.clock import WallClock
from monitor.codec.arrow import encode_labels, encode_predictions
from monitor.codec.identity import partitions_of
from monitor.commands.garbage import collect_seldom
from monitor.events import SOURCES, Int64s, Stream
from monitor.join import Corrections, JoinRules
from monitor.log import ARROW, Message, Ownership
from monitor.log.kafka.connection import Connection
from monitor.log.kafka.follower import PARTITION_FETCH_BYTES, POLL_RECORDS
from monitor.log.kafka.log import KafkaLog
from monitor.log.kafka.names import Names
from monitor.pace import Pace
from monitor.panes import PanePlan
from monitor.pipeline import Bounds, Model, Pipeline
from monitor.worker import Snapshots, Worker
from tests.bench.pipeline import DAY, FEATURES, HOUR, SCHEMA, layout
from tests.kafka.topics import made_topics, remove_topics

PARTITIONS = 4
MESSAGE = 500
TICK_MS = 2_000
POLL_BYTES = 16 * 2**20
APPEND_BYTES = 16 * 2**20

QUIX = """
import sys, time
from quixstreams import Application

bootstrap, group, predictions, labels, state, pairs = sys.argv[1:]
app = Application(bootstrap, consumer_group=group, auto_offset_reset="earliest", loglevel="ERROR", commit_interval=2.0, state_dir=state)
made = app.dataframe(app.topic(predictions))
said = app.dataframe(app.topic(labels))
moments = []


def note(_):
    moments.append(time.perf_counter())


def note_first(_):
    if not moments:
        note(_)


made.update(note_first)
said.update(note_first).join_asof(made, how="inner", on_merge="keep-left", grace_ms=14 * 86_400_000).update(note)
app.run(count=int(pairs), timeout=10.0, collect=False)
print(len(moments) - 1, moments[-1] - moments[0])
"""


def identity(row: int) -> str:
    return f"0190b5c2-7a10-7000-8000-{row:012x}"


def rows_by_partition(count: int) -> list[Int64s]:
    """The numbers of so many events by the partition of their ids, ascending."""
    home = partitions_of(pa.array(map(identity, range(count))), PARTITIONS)
    return [np.flatnonzero(home == partition) for partition in range(PARTITIONS)]


def arrow_messages(predictions: int) -> Iterator[tuple[Stream, Message]]:
    """So many predictions and their labels, an hour later, in messages of `MESSAGE`."""
    rng = np.random.default_rng(0)
    started = WallClock().now() - 2 * HOUR
    for partition, rows in enumerate(rows_by_partition(predictions)):
        for begin in range(0, len(rows), MESSAGE):
            places = rows[begin : begin + MESSAGE]
            moment = started + places // 10
            ids = list(map(identity, places.tolist()))
            score = rng.random(len(places))
            body = encode_predictions(
                model="bench",
                version="1",
                ids=ids,
                time=moment,
                arrival=moment,
                prediction=None,
                scores={"": score},
                features={name: rng.normal(size=len(places)) for name in FEATURES},
                segments={},
            )
            yield Stream.PREDICTIONS, Message(partition, int(moment[-1]), body, ARROW)
            label = np.where(rng.random(len(places)) < score, "yes", "no").tolist()
            body = encode_labels(ids=ids, label=label, time=None, arrival=moment + HOUR, model="bench")
            yield Stream.LABELS, Message(partition, int(moment[-1]) + HOUR, body, ARROW)


def append_all(log: KafkaLog, messages: Iterator[tuple[Stream, Message]]) -> None:
    waiting: dict[Stream, list[Message]] = {stream: [] for stream in SOURCES}
    size = 0
    for stream, message in messages:
        waiting[stream].append(message)
        size += len(message.value)
        if size > APPEND_BYTES:
            for source, found in waiting.items():
                log.append(source, found)
                found.clear()
            size = 0
    for source, found in waiting.items():
        log.append(source, found)


def send_singles(connection: Connection, names: Names, predictions: int) -> None:
    """The same as single JSON events. They have a key, which the worker does not need and its peer does."""
    rng = np.random.default_rng(0)
    started = WallClock().now() - 2 * HOUR
    headers = [("content-type", b"application/json")]
    with closing(connection.producer(batch_size=512 * 1024, linger_ms=5)) as producer:
        for row in range(predictions):
            moment, score, key = started + row // 10, round(float(rng.random()), 4), identity(row)
            features = {name: round(float(value), 3) for name, value in zip(FEATURES, rng.normal(size=len(FEATURES)), strict=True)}
            made = {"id": key, "time": moment, "model": "bench", "version": "1", "features": features, "score": score}
            said = {"id": key, "label": "yes" if rng.random() < score else "no", "model": "bench"}
            for stream, event, arrival in ((Stream.PREDICTIONS, made, moment), (Stream.LABELS, said, moment + HOUR)):
                value = json.dumps(event).encode()
                producer.send(names.topic(stream), value, key.encode(), headers, timestamp_ms=arrival)
            if row % 10_000 == 0:
                producer.flush()


def bare(connection: Connection, names: Names) -> None:
    """The client hands over every message, and nothing else happens."""
    settings = {"auto_offset_reset": "earliest", "max_poll_records": POLL_RECORDS, "max_partition_fetch_bytes": PARTITION_FETCH_BYTES}
    with closing(connection.consumer(**settings)) as consumer:
        places = [names.of(stream, partition) for stream in SOURCES for partition in range(PARTITIONS)]
        consumer.assign(places)
        ends = consumer.end_offsets(places)
        consumer.seek_to_beginning(*places)
        while any(consumer.position(place) < ends[place] for place in places):
            consumer.poll(timeout_ms=200)


class NoSnapshots:
    """For a bench that is about something else."""

    def write(self, *_: object) -> None: ...

    def newest(self, *_: object) -> None: ...


@dataclass(frozen=True, slots=True)
class Running:
    """A worker that owns every partition."""

    worker: Worker
    ownership: Ownership

    def drain(self) -> None:
        """As `watch` does, whose aggregate follows the commits."""

        def follow() -> None:
            self.ownership.changes()

        self.worker.drain(follow)


@contextmanager
def worker_on(connection: Connection, names: Names, model: Model, snapshots: Snapshots, bounds: Bounds) -> Iterator[Running]:
    clock = WallClock()
    with ExitStack() as stack:
        log = stack.enter_context(closing(KafkaLog(connection, names, partitions=PARTITIONS, clock=clock)))
        ownership = log.acquire(alone=True)
        worker = Worker(
            log,
            ownership,
            log.follow(),
            lambda partition: Pipeline([model], bounds, partition=partition, partitions=PARTITIONS),
            snapshots,
            clock,
            Pace(POLL_BYTES, TICK_MS, 10**9, None),
        )
        stack.callback(worker.close)
        yield Running(worker, ownership)


def binary_model() -> Model:
    of = layout()
    return Model(SCHEMA, JoinRules(14 * DAY, Corrections.LAST_WINS), PanePlan((HOUR, DAY, 7 * DAY), 14 * DAY, DAY), (), lambda _: of, {})


BOUNDS = Bounds(DAY, DAY, 20_000_000, label_names_model=False)


@contextmanager
def collecting_as_watch_does() -> Iterator[None]:
    before = gc.get_threshold()
    collect_seldom()
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


@dataclass(frozen=True, slots=True)
class Spent:
    """Seconds of the wall clock, and of the processor."""

    wall: float
    processor: float

    @classmethod
    def on(cls, work: Callable[[], object]) -> "Spent":
        wall, processor = time.perf_counter(), time.process_time()
        work()
        return cls(time.perf_counter() - wall, time.process_time() - processor)


def whole(connection: Connection, names: Names) -> Spent:
    """A restored worker takes every message in and commits it."""
    with worker_on(connection, names, binary_model(), NoSnapshots(), BOUNDS) as running:
        running.worker.take_on()
        with collecting_as_watch_does():
            return Spent.on(running.drain)


def quix(python: str, bootstrap: str, names: Names, pairs: int) -> tuple[float, int]:
    """Seconds until Quix Streams has found so many pairs, or found no more, and how many those were."""
    group = f"{names.prefix}quix"
    topics = [names.topic(stream) for stream in SOURCES]
    with tempfile.TemporaryDirectory() as state:
        arguments = [python, "-c", QUIX, bootstrap, group, *topics, state, str(pairs)]
        said = subprocess.run(arguments, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout.split()
    return float(said[1]), int(said[0])


def compared(title: str, events: int, connection: Connection, names: Names) -> Spent:
    floors = [Spent.on(lambda: bare(connection, names)) for _ in range(2)]
    took = whole(connection, names)
    floors.append(Spent.on(lambda: bare(connection, names)))
    least = Spent(min(floor.wall for floor in floors), min(floor.processor for floor in floors))
    beside = f"worker / bare {least.wall / took.wall:.2f}, of processor time {least.processor / took.processor:.2f}"
    print(f"{title:24}{events / took.wall:11,.0f} events/s   bare poll loop {events / least.wall:11,.0f}   {beside}", flush=True)
    return took


def arrow(connection: Connection, events: int) -> None:
    names = made_topics(connection, PARTITIONS)
    try:
        with closing(KafkaLog(connection, names, partitions=PARTITIONS, clock=WallClock())) as log:
            append_all(log, arrow_messages(events // 2))
        compared(f"Arrow, {MESSAGE} a message", events, connection, names)
    finally:
        remove_topics(connection, names)


def singles(connection: Connection, events: int, bootstrap: str, quix_python: str | None) -> None:
    names = made_topics(connection, PARTITIONS)
    try:
        send_singles(connection, names, events // 2)
        took = compared("JSON, one a message", events, connection, names)
        if quix_python:
            seconds, pairs = quix(quix_python, bootstrap, names, events // 2)
            found = f"{pairs:,} of {events // 2:,} pairs found"
            print(f"{'  Quix Streams':24}{events / seconds:11,.0f} events/s   {found}   worker / Quix {seconds / took.wall:.1f}")
    finally:
        remove_topics(connection, names)
        with closing(connection.admin()) as admin:  # Quix keeps its state in a topic too
            admin.delete_topics([topic for topic in admin.list_topics() if f"{names.prefix}quix" in topic])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=2_000_000)
    parser.add_argument("--singles", type=int, default=200_000)
    parser.add_argument("--kafka", metavar="HOST:PORT", help="a broker that runs already; default: one of its own")
    parser.add_argument("--quix", metavar="PYTHON", help="the interpreter of an environment with quixstreams")
    options = parser.parse_args()
    with ExitStack() as stack:
        bootstrap = options.kafka or stack.enter_context(broker())
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
        connection = Connection((bootstrap,))
        arrow(connection, options.events)
        singles(connection, options.singles, bootstrap, options.quix)


@contextmanager
def broker() -> Iterator[str]:
    """The address of one of one's own."""
    from tests.kafka.brokers import Cluster

    with Cluster() as cluster:
        yield cluster.bootstrap


if __name__ == "__main__":
    main()
