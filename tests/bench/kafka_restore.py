"""How a worker comes back on a real Kafka, and what it holds meanwhile.

    python -m tests.bench.kafka_restore [--pending 5000000] [--events 10000000] [--kafka HOST:PORT]

First a stream of so many events with a fixed number pending: what the process holds after each million. Then the restore of so many
waiting predictions from snapshots in a folder to the start of catch-up, beside reading the same bytes; and without a snapshot, by replaying
the log, in seconds a million events.
"""

import argparse
import tempfile
import time
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import numpy as np

from monitor.clock import WallClock
from monitor.codec.arrow import encode_labels, encode_predictions
from monitor.commands.snapshots import JoinSnapshots
from monitor.events import Schema, Stream, Task
from monitor.join import Corrections, JoinRules
from monitor.log import ARROW, Message
from monitor.log.kafka.connection import Connection
from monitor.log.kafka.log import KafkaLog
from monitor.log.kafka.names import Names
from monitor.panes import PanePlan
from monitor.pipeline import Bounds, Model
from monitor.reference.profile import layout_of
from monitor.stats.delays import edges_up_to
from monitor.stats.layout import Classes
from tests.bench.join import BATCH, predictions, resident
from tests.bench.kafka_worker import (
    BOUNDS,
    MESSAGE,
    PARTITIONS,
    NoSnapshots,
    append_all,
    arrow_messages,
    binary_model,
    broker,
    identity,
    rows_by_partition,
    worker_on,
)
from tests.bench.pipeline import HOUR
from tests.kafka.topics import made_topics, remove_topics

REPLAYED = 400_000
GOAL_SECONDS = 5.0
MINUTE = 60_000
MILLION = 1_000_000
KEPT = 30 * MINUTE
"""Horizon and out-of-order bound of the stream with a fixed number pending; its ids come again after more than twice that."""
IDS = 100_000


def restored_from_snapshots(connection: Connection, names: Names, pending: int) -> None:
    """The log holds `REPLAYED` events, all committed; the snapshots hold `pending` further predictions."""
    with closing(KafkaLog(connection, names, partitions=PARTITIONS, clock=WallClock())) as log:
        append_all(log, arrow_messages(REPLAYED // 2))
    with tempfile.TemporaryDirectory() as folder:
        snapshots = JoinSnapshots(Path(folder), "bench")
        with worker_on(connection, names, binary_model(), snapshots, BOUNDS) as running:
            worker = running.worker
            worker.take_on()
            running.drain()
            for partition in worker.partitions:
                join, now = worker.pipeline(partition).join, WallClock().now()
                for start in range(partition * pending // PARTITIONS, (partition + 1) * pending // PARTITIONS, BATCH):
                    rows = predictions(start, min(start + BATCH, (partition + 1) * pending // PARTITIONS))
                    moment = np.full(len(rows.time), now - HOUR)
                    join.add_predictions(replace(rows, time=moment, arrival=moment))
        files = [file for file in Path(folder).rglob("*") if file.is_file()]
        began = time.perf_counter()
        for file in files:
            zlib.crc32(file.read_bytes())
        reading = time.perf_counter() - began
        with worker_on(connection, names, binary_model(), snapshots, BOUNDS) as running:
            worker = running.worker
            began = time.perf_counter()
            worker.take_on()
            took = time.perf_counter() - began
            held = sum(worker.pipeline(partition).join.predictions_held for partition in worker.partitions)
        print(f"restore of {held:,} pending from snapshots to the start of catch-up: {took:.2f} s (goal {GOAL_SECONDS:.0f} s)")
        print(f"  their {sum(file.stat().st_size for file in files) / 1e6:,.0f} MB read and checked alone: {reading:.2f} s")
    with worker_on(connection, names, binary_model(), NoSnapshots(), BOUNDS) as running:
        began = time.perf_counter()
        running.worker.take_on()
        took = time.perf_counter() - began
    print(f"replay without a snapshot: {took / REPLAYED * MILLION:.2f} s a million events ({REPLAYED:,} of them)", flush=True)


def small_model() -> Model:
    schema = Schema("bench", Task.BINARY, ("no", "yes"), 1, 0.5, {})
    of = layout_of(Classes.of(schema), {}, edges_up_to(KEPT))
    return Model(schema, JoinRules(KEPT, Corrections.LAST_WINS), PanePlan((HOUR,), KEPT, KEPT), (), lambda _: of, {})


def rounds(started: int) -> Iterator[list[tuple[Stream, Message]]]:
    """The same ids again and again, each time so much later that all of the former are forgotten."""
    rng = np.random.default_rng(0)
    homes = rows_by_partition(IDS)
    names = [list(map(identity, rows.tolist())) for rows in homes]
    while True:
        found = []
        for partition, ids in enumerate(names):
            for begin in range(0, len(ids), MESSAGE):
                own = ids[begin : begin + MESSAGE]
                moment = started + (5 * KEPT * homes[partition][begin : begin + MESSAGE]) // IDS
                score = rng.random(len(own))
                made = encode_predictions(model="bench", version="1", ids=own, time=moment, arrival=moment, scores={"": score})
                said = encode_labels(
                    ids=own, label=np.where(rng.random(len(own)) < score, "yes", "no").tolist(), arrival=moment + MINUTE, model="bench"
                )
                found.append((Stream.PREDICTIONS, Message(partition, int(moment[-1]), made, ARROW)))
                found.append((Stream.LABELS, Message(partition, int(moment[-1]) + MINUTE, said, ARROW)))
        yield found
        started += 5 * KEPT


def steady(connection: Connection, names: Names, events: int) -> None:
    a_round = 2 * IDS
    stream = rounds(WallClock().now() - (events // a_round + 2) * 5 * KEPT)
    bounds = Bounds(KEPT, KEPT, MILLION, label_names_model=False)
    resident_after: list[int] = []
    print(f"{events:,} events with a fixed number pending")
    with (
        closing(KafkaLog(connection, names, partitions=PARTITIONS, clock=WallClock())) as log,
        worker_on(connection, names, small_model(), NoSnapshots(), bounds) as running,
    ):
        worker = running.worker
        for million in range(1, events // MILLION + 1):
            for _ in range(MILLION // a_round):
                append_all(log, iter(next(stream)))
            running.drain()
            held = sum(worker.pipeline(partition).join.predictions_held for partition in worker.partitions)
            resident_after.append(resident())
            print(f"  after {million:3} million: {held:7,} predictions held, {resident_after[-1] / 1e6:6.0f} MB resident", flush=True)
    settled = resident_after[len(resident_after) // 3 :]
    print(f"  from {len(resident_after) // 3 + 1} million on: last / first {settled[-1] / settled[0]:.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pending", type=int, default=5_000_000)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--kafka", metavar="HOST:PORT", help="a broker that runs already; default: one of its own")
    options = parser.parse_args()
    with ExitStack() as stack:
        connection = Connection((options.kafka or stack.enter_context(broker()),))
        for work, amount in ((steady, options.events), (restored_from_snapshots, options.pending)):
            names = made_topics(connection, PARTITIONS)
            try:
                work(connection, names, amount)
            finally:
                remove_topics(connection, names)


if __name__ == "__main__":
    main()
