"""What commits cost on a real Kafka: how long a large one takes, and how much a steady stream writes to `panes` in a minute.

    python -m tests.bench.kafka_commit [--rounds 10] [--kafka HOST:PORT]

A commit of 1,000 changed panes of 5 kB on 4 partitions stands beside a bare producer's transaction of the same bytes, by turns. The steady
state is 5,000 events a second on 4 partitions, a binary model of 20 features and 10 segments; event time is simulated, one partition is
run and its commits are made on Kafka, for several ticks, and beside them stands what zstd would make of the same bytes.
"""

import argparse
import os
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from functools import partial
from itertools import count

import numpy as np
import pyarrow as pa

from monitor.clock import WallClock
from monitor.codec.arrow import encode_labels, encode_predictions
from monitor.events import FeatureKind, Schema, Stream, Task
from monitor.join import Corrections, JoinRules
from monitor.log import ARROW, Commit, Record
from monitor.log.kafka.connection import Connection
from monitor.log.kafka.log import KafkaLog
from monitor.log.kafka.names import Names
from monitor.log.kafka.ownership import KafkaOwnership
from monitor.log.kafka.transactions import BATCH_BYTES, REQUEST_BYTES
from monitor.panes import PanePlan, parse_key
from monitor.pipeline import Bounds, Model, Pipeline
from monitor.reference.profile import layout_of
from monitor.stats.delays import edges_up_to
from monitor.stats.features import NumericLayout
from monitor.stats.layout import Classes
from tests.bench.kafka_worker import broker
from tests.kafka.topics import made_topics, remove_topics

PARTITIONS = 4
PANES = 1_000
PANE_BYTES = 5_000
GOAL_SECONDS = 0.5

SECOND = 1_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
EVENTS_A_SECOND = 5_000
FEATURES = tuple(f"feature_{number}" for number in range(20))
REGIONS = tuple(f"region-{number}" for number in range(10))
SCHEMA = Schema("bench", Task.BINARY, ("no", "yes"), 1, 0.5, dict.fromkeys(FEATURES, FeatureKind.NUMERIC), ("region",))
WINDOWS = (HOUR, DAY, 7 * DAY)
LABELS_AFTER = 5 * MINUTE
"""On average; how late each is follows an exponential distribution."""
WARM_UP = 20 * MINUTE
"""So that the panes are as full, and their numbers as large, as they get."""
GOAL_BYTES = 5_000_000
ZSTD_LEVEL = 3
"""What kafka-python takes, where `zstandard` is installed. Its gzip is fixed at level 9, which costs a hundred times as much."""


def large_commits(offset: int) -> list[Commit]:
    """Every pane anew, as after a tick that changed all of them."""
    share = PANES // PARTITIONS
    offsets = {Stream.PREDICTIONS: offset, Stream.LABELS: offset}
    return [
        Commit(partition, offsets, {f"pane {number:97}".encode(): os.urandom(PANE_BYTES) for number in range(share)}, b"state")
        for partition in range(PARTITIONS)
    ]


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def large(connection: Connection, names: Names, owner: KafkaOwnership, rounds: int) -> None:
    with closing(
        connection.producer(
            transactional_id=f"{names.prefix}bare", batch_size=BATCH_BYTES, max_request_size=REQUEST_BYTES, linger_ms=5, max_block_ms=20_000
        )
    ) as producer:
        producer.init_transactions()

        def bare(commits: list[Commit]) -> None:
            producer.begin_transaction()
            sent = [
                producer.send(names.topic(Stream.DEAD_LETTERS), value, key, partition=commit.partition)
                for commit in commits
                for key, value in commit.panes.items()
            ]
            for one in sent:
                one.get()
            producer.commit_transaction()

        took: list[float] = []
        least: list[float] = []
        for number in range(1, rounds + 2):
            commits = large_commits(number)
            took.append(seconds(partial(owner.commit, commits)))
            least.append(seconds(partial(bare, commits)))
    took, least = took[1:], least[1:]  # the first of each opens what the others find open
    print(f"{PANES:,} panes of {PANE_BYTES:,} B on {PARTITIONS} partitions, {rounds} rounds (goal {GOAL_SECONDS} s)")
    for title, times in (("commit", took), ("bare transaction", least)):
        print(f"  {title:20} median {statistics.median(times):.3f} s   max {max(times):.3f} s")
    print(f"  {'commit / bare':20} median {statistics.median(took) / statistics.median(least):.2f}")


def pipeline() -> Pipeline:
    edges = np.quantile(np.random.default_rng(1).normal(size=10_000), np.arange(1, 32) / 32)
    numeric = dict.fromkeys(FEATURES, NumericLayout(edges, -5.0, 5.0, 1e-6))
    of = layout_of(Classes.of(SCHEMA), numeric, edges_up_to(14 * DAY))
    rules = JoinRules(14 * DAY, Corrections.LAST_WINS)
    model = Model(SCHEMA, rules, PanePlan(WINDOWS, 14 * DAY, DAY), (("region",),), lambda _: of, {"region": REGIONS})
    return Pipeline([model], Bounds(DAY, DAY, 10_000_000, label_names_model=False))


class Steady:
    """One partition's share of the stream, slice by slice of event time: predictions, and the labels that are due by then."""

    def __init__(self) -> None:
        self.pipeline = pipeline()
        self.now = 1_700_000_000_000 // HOUR * HOUR
        self._rng = np.random.default_rng(2)
        self._numbers = count()
        self._offsets = dict.fromkeys((Stream.PREDICTIONS, Stream.LABELS), 0)
        self._due = np.empty((0, 2), dtype=np.int64)
        """When a label arrives, and the number of its prediction."""

    def advance(self, milliseconds: int) -> Commit:
        rng, rows = self._rng, EVENTS_A_SECOND // 2 // PARTITIONS * milliseconds // 1_000
        numbers = np.fromiter(self._numbers, np.int64, rows)
        time = self.now + np.sort(rng.integers(milliseconds, size=rows))
        self.now += milliseconds
        body = encode_predictions(
            model="bench",
            version="1",
            ids=[f"{number:032x}" for number in numbers],
            time=time,
            arrival=time,
            prediction=None,
            scores={"": rng.random(rows)},
            features={name: rng.normal(size=rows) for name in FEATURES},
            segments={"region": rng.choice(REGIONS, rows).tolist()},
        )
        self._take(Stream.PREDICTIONS, body)
        arrival = time + rng.exponential(LABELS_AFTER, rows).astype(np.int64)
        waiting = np.concatenate((self._due, np.stack((arrival, numbers), axis=1)))
        is_due = waiting[:, 0] < self.now
        due, self._due = waiting[is_due], waiting[~is_due]
        due = due[np.argsort(due[:, 0])]
        ids = [f"{number:032x}" for number in due[:, 1]]
        self._take(
            Stream.LABELS, encode_labels(ids=ids, label=rng.choice(("no", "yes"), len(due)).tolist(), arrival=due[:, 0], model="bench")
        )
        return self.pipeline.commit(self._offsets)

    def _take(self, stream: Stream, body: bytes) -> None:
        self.pipeline.take(stream, [Record(self._offsets[stream], self.now, body, ARROW)])
        self._offsets[stream] += 1


def contents(commit: Commit) -> Iterator[tuple[str, bytes]]:
    """What a commit writes, with what each of it is."""
    for key, value in commit.panes.items():
        series, _ = parse_key(key)
        yield f"{series.block} of {series.step // MINUTE} min", key + value
    yield "state", commit.state


def steady(connection: Connection, names: Names, owner: KafkaOwnership) -> None:
    stream = Steady()
    for _ in range(WARM_UP // MINUTE):
        stream.advance(MINUTE)
    owner.commit([stream.advance(MINUTE)])
    print(f"steady state, {EVENTS_A_SECOND:,} events/s on {PARTITIONS} partitions: to `panes` in a minute (goal {GOAL_BYTES / 1e6:.0f} MB)")
    zstd = pa.Codec("zstd", ZSTD_LEVEL)
    for tick in (2 * SECOND, 5 * SECOND, 10 * SECOND, 15 * SECOND):
        commits = [stream.advance(tick) for _ in range(MINUTE // tick)]
        before = held_bytes(connection, names)
        for commit in commits:
            owner.commit([commit])
        written = (held_bytes(connection, names) - before) * PARTITIONS
        sizes: Counter[str] = Counter()
        for commit in commits:
            for what, content in contents(commit):
                sizes[what] += len(content) * PARTITIONS
        batches = [b"".join(content for _, content in contents(commit)) for commit in commits]
        began = time.process_time()
        packed = sum(len(zstd.compress(batch)) for batch in batches) * PARTITIONS
        processor = (time.process_time() - began) * PARTITIONS / 60
        panes = sum(len(commit.panes) for commit in commits) * PARTITIONS
        print(
            f"  a commit every {tick // SECOND:2} s: {written / 1e6:5.1f} MB in {panes:,} panes   "
            f"with zstd about {packed / 1e6:.1f} MB, for {processor:.2%} of a core"
        )
        print("      " + ", ".join(f"{what} {size / 1e6:.1f}" for what, size in sizes.most_common()))


def held_bytes(connection: Connection, names: Names) -> int:
    """Of partition 0 of `panes` in the broker's log."""
    with closing(connection.admin()) as admin:
        folders = admin.describe_log_dirs({names.panes: [0]})
    return sum(
        partition["partition_size"]
        for broker_ in folders
        for folder in broker_["log_dirs"]
        for topic in folder["topics"]
        for partition in topic["partitions"]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--kafka", metavar="HOST:PORT", help="a broker that runs already; default: one of its own")
    options = parser.parse_args()
    with ExitStack() as stack:
        connection = Connection((options.kafka or stack.enter_context(broker()),))
        names = made_topics(connection, PARTITIONS)
        stack.callback(remove_topics, connection, names)
        log = stack.enter_context(closing(KafkaLog(connection, names, partitions=PARTITIONS, clock=WallClock())))
        owner = stack.enter_context(closing(log.acquire(alone=True)))
        large(connection, names, owner, options.rounds)
        steady(connection, names, owner)


if __name__ == "__main__":
    main()
