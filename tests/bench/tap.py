"""What the tap costs the request path and the drain: `python -m tests.bench.tap`.

The request path: nanoseconds a `put`, beside a bare `deque.append` of the same entry in the same run, with the drain thread running, at a
rate that a busy server has. The drain: microseconds of CPU a prediction, straight to the log, by way of the disk, and with the disk full.
"""

import logging
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import click
import numpy as np
import structlog

from monitor.clock import WallClock
from monitor.errors import LogAway
from monitor.events import FeatureKind, Schema, Stream, Task
from monitor.log import Message
from monitor.serving.batches import encode
from monitor.serving.monitored import FeatureSource, Monitored
from monitor.serving.outbox import Outbox
from monitor.serving.row_parameters import NO_PARAMETERS
from monitor.serving.scores import ScoreSource
from monitor.serving.spool.slots import Spool
from monitor.serving.tap import Entry, Tap, Tapped

WIDTH = 24
RATE = 10_000
BURST = 50
"""Puts that are timed at a time: what requests of one tick of the event loop are."""


class Sink:
    """A log that takes everything, or nothing."""

    partitions = 8

    def __init__(self, *, is_away: bool) -> None:
        self._is_away = is_away

    def append(self, stream: Stream, messages: Sequence[Message]) -> list[int]:
        if self._is_away:
            raise LogAway("nobody answers")
        return list(range(len(messages)))


def tapped() -> Tapped:
    names = [f"f{number}" for number in range(WIDTH)]
    schema = Schema("bench", Task.BINARY, ("no", "yes"), 1, 0.5, dict.fromkeys(names, FeatureKind.NUMERIC))
    sources = tuple(FeatureSource(name, "X", column) for column, name in enumerate(names))
    return Tapped("bench", "1", Monitored(schema, sources, ScoreSource(0, (1,)), None))


def entries(count: int) -> list[Entry]:
    of, draw = tapped(), np.random.default_rng(1)
    tables, scores = draw.random((count, 1, WIDTH), dtype=np.float32), draw.random((count, 1, 2), dtype=np.float32)
    now = WallClock().now()
    return [Entry(of, 1, {"X": tables[row]}, [scores[row]], [str(uuid4())], now, NO_PARAMETERS, 2_000) for row in range(count)]


@contextmanager
def tap(sink: Sink, spool: Spool | None, queue_bytes: int) -> Iterator[Tap]:
    outbox = Outbox(sink, spool)
    running = Tap(outbox, encode, bytes_limit=queue_bytes, trust_client_times=False)
    outbox.start()
    running.start()
    yield running
    running.stop(30.0)
    outbox.stop(0.0)


def paced(puts: Sequence[Callable[[Entry], object]], given: Sequence[Entry]) -> list[list[float]]:
    """Nanoseconds that each of the calls takes, burst by burst, in turn, at about `RATE` entries a second."""
    measured: list[list[float]] = [[] for _ in puts]
    due = time.perf_counter()
    for begin in range(0, len(given), BURST):
        burst = given[begin : begin + BURST]
        for put, figures in zip(puts, measured, strict=True):
            began = time.perf_counter_ns()
            for entry in burst:
                put(entry)
            figures.append((time.perf_counter_ns() - began) / len(burst))
        due += len(burst) / RATE
        time.sleep(max(0.0, due - time.perf_counter()))
    return measured


@click.command()
@click.option("--seconds", default=5, show_default=True, help="Of each measurement.")
def main(seconds: int) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    given = entries(seconds * RATE)
    bare: deque[Entry] = deque()
    click.echo(f"{'the log':24} {'put, ns: median':>16} {'p99':>8} {'deque.append: median':>21} {'p99':>8} {'drain, µs CPU a row':>20}")
    for name, is_away, bytes_limit in (
        ("takes everything", False, 10**9),
        ("away, onto disk", True, 10**9),
        ("away, the disk full", True, 10**6),
    ):
        with tempfile.TemporaryDirectory(dir=".") as folder:
            spool = Spool(Path(folder), slot=0, workers=1, bytes_limit=bytes_limit, clock=WallClock())
            with tap(Sink(is_away=is_away), spool, 10**9) as running:
                began, own = time.process_time(), time.thread_time()
                put, appended = paced((running.put, bare.append), given)
                own = time.thread_time() - own
            drained = (time.process_time() - began - own) / len(given)
            bare.clear()
            counts = running.counts()
            assert counts.accepted == counts.written + sum(counts.lost.values()) + counts.spooled + counts.queued == len(given)
        figures = [float(of(times)) for times in (put, appended) for of in (np.median, lambda times: np.percentile(times, 99))]
        click.echo(f"{name:24} {figures[0]:16.0f} {figures[1]:8.0f} {figures[2]:21.0f} {figures[3]:8.0f} {drained * 1e6:20.1f}")


if __name__ == "__main__":
    main()
