"""The daemon: builds the worker, the aggregate and the exporter in a straight line, runs them, and closes them in reverse.

One thread works and computes ticks; the threads of the HTTP door read what it left on the `Board`.
"""

import json
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Event, Lock
from typing import Final, Literal

import click
from rich.console import Console
from rich.progress import Progress

from monitor import __version__
from monitor.aggregate import Aggregate, RangeError
from monitor.clock import Milliseconds, WallClock
from monitor.commands.models import KnownModel, bounds_of, rules_digest
from monitor.commands.opening import open_log
from monitor.commands.snapshots import JoinSnapshots
from monitor.config import ClockKind, Settings
from monitor.events import Stream
from monitor.export import catalogue
from monitor.export.api import readings_json
from monitor.export.exposition import Exposition
from monitor.export.families import Sample, Shown, samples
from monitor.export.http import Answers, BadQuery, Door, UnknownModel
from monitor.export.page import StatusPage
from monitor.export.table import table
from monitor.log import Commit, Committed
from monitor.pipeline import Pipeline
from monitor.quality.drift import Method
from monitor.quality.readings import Tick
from monitor.worker import Pace, Worker

HEALTHY_FOR_MS: Final = 60_000
"""The loop turns many times a second; one that has not for so long hangs."""
SNAPSHOT_EVERY_MS: Final = 60_000
"""What a crash may have to replay. A snapshot of 5 M waiting predictions takes about a second (tests/bench/join)."""
SHORTEST_REFRESH_S: Final = 5
"""A browser asks for the page no more often than that."""

Format = Literal["table", "json", "openmetrics"]


@dataclass(slots=True)
class Board:
    """What HTTP threads read and the worker's thread writes: the aggregate behind a lock, and the latest tick."""

    aggregate: Aggregate
    exposition: Exposition
    page: StatusPage
    shown: Shown
    is_ready: bool = False
    _tick: Tick = field(init=False)
    _lock: Lock = field(default_factory=Lock)

    def __post_init__(self) -> None:
        """Until the first tick there is what the configuration alone tells."""
        self._tick = self.aggregate.tick(None, lag={}, pending={})
        self._publish(0.0)

    def update(self, worker: Worker, now: Milliseconds | None) -> Tick:
        """Computes a tick and publishes it."""
        began = time.perf_counter()
        lag, pending = worker.lag(), worker.pending()
        with self._lock:
            self._tick = self.aggregate.tick(now, lag=lag, pending=pending)
        self._publish(time.perf_counter() - began)
        return self._tick

    def _publish(self, tick_seconds: float) -> None:
        own = (Sample(catalogue.TICK_DURATION, (), tick_seconds), Sample(catalogue.BUILD_INFO, (__version__,), 1))
        self.exposition.publish((*samples(self._tick, self.shown), *own))

    def load(self, committed: Committed, panes: Sequence[tuple[bytes, bytes]]) -> None:
        with self._lock:
            self.aggregate.load(committed.partition, committed.state, panes)

    def apply(self, commit: Commit) -> None:
        with self._lock:
            self.aggregate.apply(commit)

    def readings(self, query: dict[str, str]) -> dict[str, object]:
        """`/api/v1/readings`: the latest tick's, or with `model`, `since` and `until` those of a range."""
        tick, model = self._tick, query.get("model")
        unknown = sorted(set(query) - {"model", "since", "until"})
        if unknown:
            raise BadQuery(f"unknown parameter {unknown[0]!r}; there are model, since and until")
        if model is not None and model not in (state.model for state in tick.models):
            raise UnknownModel(f"the model {model!r} is not configured")
        if "since" not in query and "until" not in query:
            return readings_json(tick.now, [reading for reading in tick.readings if model in (None, reading.model)])
        if model is None or "since" not in query or "until" not in query:
            raise BadQuery("a range needs model, since and until")
        since, until = _moment(query, "since"), _moment(query, "until")
        try:
            with self._lock:
                return readings_json(tick.now, self.aggregate.between(model, since, until))
        except RangeError as error:
            raise BadQuery(str(error)) from error

    def render_page(self) -> str:
        return self.page.render(self._tick, ready=self.is_ready)


def _moment(query: dict[str, str], name: str) -> Milliseconds:
    try:
        moment = datetime.fromisoformat(query[name])
        in_utc = moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:  # the latter where an offset leaves the years 1 to 9999
        raise BadQuery(f"{name}={query[name]!r} is not RFC 3339, such as 2013-03-01T00:00:00Z") from error
    if moment.tzinfo is None:
        raise BadQuery(f"{name}={query[name]!r} has no offset; end it with Z for UTC")
    return round(in_utc.timestamp() * 1_000)


@dataclass(frozen=True, slots=True)
class Daemon:
    """What both ways of running need, restored by neither."""

    worker: Worker
    board: Board


def build(settings: Settings, stack: ExitStack, *, once: bool) -> Daemon:
    """Everything but the HTTP door; `stack` closes it. Raises `OwnedElsewhere` where a daemon holds the same state."""
    known = [KnownModel(model) for model in settings.models]
    clock = WallClock()
    log = open_log(settings, clock)
    stack.callback(log.close)
    ownership = log.acquire()
    stack.callback(ownership.close)
    models = [model.for_pipeline(settings.log.out_of_order) for model in known]
    pipelines = {
        partition: Pipeline(models, bounds_of(settings), partition=partition, partitions=log.partitions)
        for partition in ownership.partitions
    }
    shown = Shown(tuple(map(Method, settings.exporter.drift_methods)), settings.exporter.invalid_events_limit)
    board = Board(
        Aggregate([model.for_aggregate() for model in known], dict.fromkeys((Stream.PREDICTIONS, Stream.LABELS), log.partitions)),
        Exposition(),
        StatusPage(__version__, max(SHORTEST_REFRESH_S, settings.exporter.tick // 1_000)),
        shown if once else shown.within(settings.exporter.max_series_per_model),
    )
    marks_idle_logs = settings.clock is ClockKind.WALL and not once
    worker = Worker(
        log,
        ownership,
        pipelines,
        JoinSnapshots(settings.state.path, rules_digest([model.schema for model in known], log.identity), pipelines),
        clock,
        Pace(settings.worker.poll_bytes, settings.worker.tick, SNAPSHOT_EVERY_MS, settings.log.idle_after if marks_idle_logs else None),
        board.apply,
    )
    stack.callback(worker.close)
    return Daemon(worker, board)


def run(settings: Settings) -> None:
    """Until SIGTERM or SIGINT."""
    stop = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    clock = WallClock()
    with ExitStack() as stack:
        daemon = build(settings, stack, once=False)
        worker, board = daemon.worker, daemon.board
        answers = Answers(
            board.exposition.render,
            board.readings,
            board.render_page,
            is_healthy=lambda: clock.now() - worker.turned_at < HEALTHY_FOR_MS,
            is_ready=lambda: board.is_ready,
        )
        door = Door(settings.exporter.host, settings.exporter.port, answers)
        stack.callback(door.close)
        door.start()
        worker.restore(board.load, stop)
        last_tick = 0

        def tick_when_due() -> None:
            nonlocal last_tick
            if clock.now() - last_tick >= settings.exporter.tick:
                board.update(worker, clock.now() if settings.clock is ClockKind.WALL else board.aggregate.newest())
                last_tick = clock.now()

        if not stop.is_set():
            tick_when_due()
            board.is_ready = True
            click.echo(f"watching; http://{settings.exporter.host}:{door.port}/", err=True)
        worker.run(stop, tick_when_due)


def once(settings: Settings, form: Format) -> None:
    """To the log's present end, and the readings on stdout."""
    with ExitStack() as stack:
        daemon = build(settings, stack, once=True)
        worker, board = daemon.worker, daemon.board
        worker.restore(board.load)
        _drain(worker)
        tick = board.update(worker, board.aggregate.newest())
    match form:
        case "json":
            click.echo(json.dumps(readings_json(tick.now, tick.readings), allow_nan=False, indent=2))
        case "openmetrics":
            click.echo(board.exposition.openmetrics(), nl=False)
        case "table":
            for line in table(tick.readings):
                click.echo(line)


def _drain(worker: Worker) -> None:
    """Reads to the log's present end, with a progress bar on a terminal."""
    total = worker.unread()
    with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as progress:
        task = progress.add_task("records", total=total)
        worker.drain(lambda: progress.update(task, completed=total - worker.unread()))
