"""What a tick and a scrape cost, each beside its floor in the same run.

    python -m tests.bench.scrape [--features 100] [--segments 10] [--versions 1] [--partitions 1]

The tick reads every window anew, as after traffic in all of them; one with nothing new stands beside it. Its floor is NumPy adding up the
same panes, unpacked before. The scrape is an HTTP request for a model that fills its series budget; its floor is http.server handing out
the same bytes. All in processor time of the whole process, the client's included: wall time is that of the machine's neighbours too.
"""

import argparse
import http.client
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import numpy as np
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from monitor.aggregate import Aggregate
from monitor.counters import Counters, Seen
from monitor.events import FeatureKind, Int64s, Schema, Stream, Task
from monitor.export.exposition import Exposition
from monitor.export.families import Sample, Shown, samples
from monitor.export.http import Answers, Door
from monitor.log import Commit
from monitor.model_readings import Baseline, Watched
from monitor.panes import Series
from monitor.quality.drift import Method
from monitor.quality.readings import Tick
from monitor.reference.profile import layout_of
from monitor.stats.delays import edges_up_to
from monitor.stats.features import CategoricalLayout, FeatureLayout, NumericLayout
from monitor.stats.layout import Block, Classes, ModelLayout
from monitor.stats.vector import pack, unpack
from monitor.stats.windows import step_of

HOUR = 3_600_000
DAY = 24 * HOUR
NOW = 1_700_000_000_000 // DAY * DAY
WINDOWS = {"1h": HOUR, "1d": DAY, "7d": 7 * DAY}
ROWS_A_PANE = 300
BUDGET = 5_000
ROUNDS = 5
SHOWN = Shown((Method.PSI,), 0.05).within(BUDGET)


@dataclass(frozen=True, slots=True)
class World:
    """What partitions have committed about one model."""

    watched: Watched
    commits: tuple[Commit, ...]

    def aggregate(self) -> Aggregate:
        merged = Aggregate([self.watched], dict.fromkeys((Stream.PREDICTIONS, Stream.LABELS), len(self.commits)))
        for commit in self.commits:
            merged.apply(commit)
        return merged


def layout_with(features: int) -> ModelLayout:
    """Four numeric features of 32 bins to one of 50 categories."""
    rng = np.random.default_rng(0)
    layouts: dict[str, FeatureLayout] = {
        f"feature {number}": CategoricalLayout(tuple(f"category {place}" for place in range(50)))
        if number % 5 == 0
        else NumericLayout(np.sort(rng.normal(size=31)), -4.0, 4.0, 1.35 / 2**20)
        for number in range(features)
    }
    kinds = {name: FeatureKind.CATEGORICAL if isinstance(of, CategoricalLayout) else FeatureKind.NUMERIC for name, of in layouts.items()}
    schema = Schema("flights", Task.BINARY, ("on_time", "late"), 1, 0.5, kinds, ("carrier",))
    return layout_of(Classes.of(schema), layouts, edges_up_to(14 * DAY))


def drawn(rng: np.random.Generator, layout: ModelLayout, block: Block) -> bytes:
    """A pane that so many rows hit; the first cell counts them."""
    size = layout.size(block)
    hits = ROWS_A_PANE * (len(layout.inputs.features) + 2 if block is Block.INPUTS else 5)
    counts = np.bincount(rng.integers(0, size, hits), minlength=size)
    counts[0] = ROWS_A_PANE
    hit = np.flatnonzero(counts)
    return pack(hit.astype(np.int32), counts[hit])


def world(features: int, segments: int, versions: int, partitions: int) -> World:
    rng = np.random.default_rng(1)
    layout = layout_with(features)
    names = ["", *(f"carrier=carrier {number}" for number in range(segments))]
    baseline = Baseline(
        rng.integers(0, 500, layout.inputs.size),
        rng.integers(0, 50, layout.cohort.size),
        {name: rng.integers(0, 500, layout.inputs.size) for name in names[1:]},
    )
    watched = Watched("flights", "", "binary", "late", WINDOWS, lambda _: layout, lambda _: baseline, frozenset({Method.PSI}))
    counters = Counters()
    counters.predictions = {("flights", str(number)): Seen(NOW - 8 * DAY + number, NOW) for number in range(versions)}
    variants = {
        block: [drawn(rng, layout, block) for _ in range(20)] for block in Block
    }  # drawing each pane takes longer than all the rest
    panes = {}
    for version in range(versions):
        for name in names:
            for length in WINDOWS.values():
                step = step_of(length)
                for block in Block:
                    series = Series("flights", str(version), name, block, step, layout.digest(block))
                    for place in range(length // step):
                        panes[series.key(NOW - place * step)] = variants[block][place % 20]
    offsets = dict.fromkeys((Stream.PREDICTIONS, Stream.LABELS), 0)
    return World(watched, tuple(Commit(partition, offsets, panes, counters.to_bytes()) for partition in range(partitions)))


def processor_ms(work: Callable[[], object], rounds: int = ROUNDS) -> float:
    """The best of so many rounds, milliseconds of processor time."""
    times = []
    for _ in range(rounds):
        began = time.process_time()
        work()
        times.append(time.process_time() - began)
    return min(times) * 1_000


def a_tick(merged: Aggregate) -> Tick:
    lag: dict[tuple[str, int], int] = {
        (stream, partition): 0 for stream in (Stream.PREDICTIONS, Stream.LABELS) for partition in range(merged.partitions)
    }
    return merged.tick(NOW, lag=lag, live=frozenset(range(merged.partitions)))


def adding_up(of: World) -> Callable[[], None]:
    """NumPy adding up the panes of all windows, unpacked before."""
    sizes: dict[int, Int64s] = {}
    cells = []
    for commit in of.commits:
        for value in commit.panes.values():
            cell, amount = unpack(value)
            size = int(cell[-1]) + 1
            sizes.setdefault(size, np.zeros(size, dtype=np.int64))
            cells.append((size, cell, amount))

    def work() -> None:
        for size, cell, amount in cells:
            sizes[size][cell] += amount

    return work


class Objects(Collector):
    """The same samples as prometheus_client's objects."""

    def __init__(self, found: tuple[Sample, ...]) -> None:
        self._found = found

    def collect(self) -> Iterator[Metric]:
        families: dict[str, Metric] = {}
        for sample in self._found:
            metric = sample.metric
            family = families.setdefault(metric.name, Metric(metric.name.removesuffix("_total"), metric.help, metric.kind))
            family.add_sample(metric.name, dict(zip(metric.labels, sample.labels, strict=True)), sample.value)
        yield from families.values()


def through_prometheus_client(found: tuple[Sample, ...]) -> bytes:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Objects(found))
    return generate_latest(registry)


@contextmanager
def bare_server(body: bytes) -> Iterator[int]:
    """http.server that answers everything with these bytes; its port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base class's signature
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


def got(port: int) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", "/metrics", headers={"Connection": "close"})
    body = connection.getresponse().read()
    connection.close()
    return body


def line(what: str, took: float, floor: float | None = None, beside: str = "") -> None:
    print(f"  {what:46}{took:10.2f}{'' if floor is None else f'{took / floor:10.1f}× {beside}'}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("features", 100), ("segments", 10), ("versions", 1), ("partitions", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    of = world(options.features, options.segments, options.versions, options.partitions)
    merged = of.aggregate()
    panes = sum(len(commit.panes) for commit in of.commits)
    print(
        f"{options.features} features × {options.segments} segments × {len(WINDOWS)} windows, {options.versions} version(s), "
        f"{options.partitions} partition(s): {panes:,} panes"
    )
    print(f"  {'':46}{'ms':>10}{'ratio':>10}")
    floor = processor_ms(adding_up(of))
    line("NumPy adds up the same panes (floor)", floor)
    ticked = min(processor_ms(partial(a_tick, of.aggregate()), 1) for _ in range(ROUNDS))
    found = a_tick(merged)
    exposition = Exposition()
    owned = frozenset(range(merged.partitions))
    shown = tuple(samples(found, SHOWN, owned))
    published = processor_ms(lambda: exposition.publish(samples(found, SHOWN, owned), lambda: True))
    line("the tick: readings of every window", ticked, floor, "the floor")
    line(
        "and its samples in both formats",
        published,
        through := processor_ms(lambda: through_prometheus_client(shown)),
        "prometheus_client's one format",
    )
    line("together", ticked + published, floor, "the floor")
    line("a tick with nothing new", processor_ms(lambda: a_tick(merged)), floor, "the floor")
    line("prometheus_client renders the same samples", through)

    door = Door("127.0.0.1", 0, Answers(exposition.render, dict, str, lambda: True, lambda: True))
    door.start()
    body = got(door.port)
    print(f"a scrape of {len(shown):,} samples, {len(body):,} bytes")
    with bare_server(body) as port:
        bare = processor_ms(lambda: got(port), 20)
        line("http.server hands out the same bytes (floor)", bare)
        line("the door", processor_ms(lambda: got(door.port), 20), bare, "the floor")
    door.close()


if __name__ == "__main__":
    main()
