"""The daemon: builds the worker, the aggregate and the exporter in a straight line, runs them, and closes them in reverse.

One thread works and computes ticks; the threads of the HTTP door read what it left on the `Board` (`monitor.commands.board`).
"""

import json
import signal
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from threading import Event
from typing import Final, Literal

import click
import structlog
from rich.console import Console
from rich.progress import Progress

from monitor import __version__
from monitor.aggregate import Aggregate
from monitor.clock import WallClock
from monitor.commands.board import Board
from monitor.commands.models import KnownModel, bounds_of, rules_digest
from monitor.commands.opening import open_log
from monitor.commands.snapshots import JoinSnapshots
from monitor.config import ClockKind, Settings
from monitor.events import Stream
from monitor.export.api import readings_json
from monitor.export.exposition import Exposition
from monitor.export.families import Shown
from monitor.export.http import Answers, Door
from monitor.export.page import StatusPage
from monitor.export.table import table
from monitor.pipeline import Pipeline
from monitor.quality.drift import Method
from monitor.worker import Pace, Worker

HEALTHY_FOR_MS: Final = 60_000
"""The loop turns many times a second; one that has not for so long hangs."""
SNAPSHOT_EVERY_MS: Final = 60_000
"""What a crash may have to replay. A snapshot of 5 M waiting predictions takes about a second (tests/bench/join)."""
SHORTEST_REFRESH_S: Final = 5
"""A browser asks for the page no more often than that."""

Format = Literal["table", "json", "openmetrics"]

_logger = structlog.get_logger(__name__)


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
            _logger.info(
                "watching",
                url=f"http://{settings.exporter.host}:{door.port}/",
                log=str(settings.log.path),
                partitions=settings.log.partitions,
                models=[model.name for model in settings.models],
            )
        worker.run(stop, tick_when_due)
        _logger.info("stopping")


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
