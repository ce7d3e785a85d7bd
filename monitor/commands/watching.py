"""The daemon: builds the worker, the aggregate and the exporter in a straight line, runs them, and closes them in reverse.

One thread works and computes ticks; the threads of the HTTP door read what it left on the `Board` (`monitor.commands.board`).
"""

import json
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from threading import Event
from typing import Final, Literal

import click
import structlog
from rich.console import Console
from rich.progress import Progress

from monitor import __version__
from monitor.aggregate import Aggregate
from monitor.clock import Clock, WallClock
from monitor.commands.board import Board
from monitor.commands.garbage import collect_seldom
from monitor.commands.models import KnownModel, bounds_of, rules_digest
from monitor.commands.opening import open_log
from monitor.commands.snapshots import JoinSnapshots
from monitor.config import ClockKind, Settings
from monitor.config.log import KafkaLogSettings
from monitor.errors import LogAway
from monitor.events import SOURCES
from monitor.export.api import readings_json
from monitor.export.exposition import Exposition
from monitor.export.families import Shown
from monitor.export.http import Answers, Door
from monitor.export.page import StatusPage
from monitor.export.table import table
from monitor.log import Ownership
from monitor.log.kafka.sessions import transaction_timeout_ms
from monitor.pace import Pace
from monitor.pipeline import Pipeline
from monitor.quality.drift import Method
from monitor.quality.readings import Freshness
from monitor.strict_yaml.quantities import duration_text
from monitor.worker import Worker

HEALTHY_FOR_MS: Final = 60_000
"""The loop turns many times a second; one that has not for so long hangs."""
SIGN_OF_LIFE_MS: Final = 10_000
"""Among several replicas: a partition without a commit for well over this time counts as one that nobody works on."""
RETRY_S: Final = 2.0
"""Between two tries to find the brokers, each of which waits for them already."""
COMMIT_BYTES_A_SECOND: Final = 60_000
"""Of each partition, before compression: about 1 MB a minute after it. 5,000 events a second of a model with 20 features and 10 segments
change more than that within 2 s (`tests/bench/kafka_commit`)."""
SHORTEST_REFRESH_S: Final = 5
"""A browser asks for the page no more often than that."""

Format = Literal["table", "json", "openmetrics"]

_logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Member:
    """What this replica works with once the log has let it in."""

    worker: Worker
    ownership: Ownership
    has_shared_snapshots: bool


def board_of(settings: Settings, known: Sequence[KnownModel], clock: Clock, *, once: bool) -> Board:
    """What is shown, before anything is known but the configuration."""
    shown = Shown(tuple(map(Method, settings.exporter.drift_methods)), settings.exporter.invalid_events_limit)
    return Board(
        Aggregate(
            [model.for_aggregate(settings.join.sample) for model in known],
            dict.fromkeys(SOURCES, settings.log.partitions),
        ),
        Exposition(),
        StatusPage(__version__, max(SHORTEST_REFRESH_S, settings.exporter.tick // 1_000)),
        shown if once else shown.within(settings.exporter.max_series_per_model),
        clock,
    )


def take_part(settings: Settings, known: Sequence[KnownModel], clock: Clock, stack: ExitStack, *, once: bool) -> Member:
    """Opens the log and becomes an owner of it; `stack` closes both.

    Raises `OwnedElsewhere` where a daemon holds the same state, or with `once` any member is there.
    """
    if isinstance(settings.log, KafkaLogSettings):
        _check_topics(settings, settings.log)
    log = open_log(settings, clock)
    stack.callback(log.close)
    models = [model.for_pipeline(settings.log.out_of_order) for model in known]
    bounds, partitions = bounds_of(settings), log.partitions
    digest = rules_digest([model.schema for model in known], log.identity)
    snapshots = JoinSnapshots(settings.state.path, digest, shared=settings.state.shared)
    follower = log.follow()
    stack.callback(follower.close)
    ownership = log.acquire(alone=once)
    worker = Worker(
        log,
        ownership,
        follower,
        lambda partition: Pipeline(models, bounds, partition=partition, partitions=partitions),
        snapshots,
        clock,
        pace_of(settings, once=once),
    )
    stack.callback(worker.close)
    return Member(worker, ownership, snapshots.is_shared)


def _check_topics(settings: Settings, log: KafkaLogSettings) -> None:
    """Raises `LogError` where the topics would lose events, or keep a daemon from its work."""
    from monitor.commands.topic_specs import check_topics

    for finding in check_topics(settings, log):
        _logger.warning("topics", finding=str(finding))


def pace_of(settings: Settings, *, once: bool) -> Pace:
    """Signs of life, and ticks that shorten while commits are slow, are for a log that several replicas share."""
    marks_idle_logs = settings.clock is ClockKind.WALL and not once
    idle_after = settings.log.idle_after if marks_idle_logs else None
    pace = Pace(settings.worker.poll_bytes, settings.worker.tick, settings.state.snapshot_every, idle_after)
    if settings.log.kind == "embedded":
        return pace
    return replace(
        pace,
        sign_of_life=SIGN_OF_LIFE_MS,
        longest_commit=transaction_timeout_ms(settings.log.session_timeout),
        commit_bytes_a_second=COMMIT_BYTES_A_SECOND,
    )


class Turns:
    """What happens each time that the worker's loop goes round: the board follows the commits, and a tick is computed when it is due."""

    def __init__(self, settings: Settings, member: Member, board: Board, clock: Clock) -> None:
        self._settings = settings
        self._member = member
        self._board = board
        self._clock = clock
        self._ticked_at = 0
        self._ticked_in: tuple[int, bool] | None = None
        """The assignment, and whether it was restored."""
        self._has_warned = False

    def turn(self) -> None:
        """A tick is due also when the assignment has changed or is restored: what is shown follows it at once."""
        worker, ownership = self._member.worker, self._member.ownership
        self._board.follow(ownership.changes())
        state, now = (worker.assignment, worker.is_restored), self._clock.now()
        if state == self._ticked_in and now - self._ticked_at < self._settings.exporter.tick:
            return
        self._board.update(worker, ownership, now if self._settings.clock is ClockKind.WALL else self._board.aggregate.newest())
        self._ticked_at, self._ticked_in = self._clock.now(), state
        if not (self._has_warned or self._member.has_shared_snapshots) and ownership.live_partitions() - set(ownership.partitions):
            self._warn_what_a_take_over_costs()

    def _warn_what_a_take_over_costs(self) -> None:
        self._has_warned = True
        longest = max(map(self._settings.retention_needed, self._settings.models))
        _logger.warning(
            "whoever takes a partition over has to read its predictions and labels again, because the join snapshots of this replica lie "
            "where no other finds them: let state.path be the URL of an object store, or a folder that all replicas see with state.shared",
            path=str(self._settings.state.path),
            read_again_up_to=duration_text(longest),
        )


@dataclass(slots=True)
class Watchdog:
    """Whether the worker's loop goes round; before there is one, nothing can hang."""

    clock: Clock
    worker: Worker | None = None

    def is_healthy(self) -> bool:
        return self.worker is None or self.clock.now() - self.worker.turned_at < HEALTHY_FOR_MS


def run(settings: Settings) -> None:
    """Until SIGTERM or SIGINT."""
    stop = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    clock = WallClock()
    with ExitStack() as stack:
        known = [KnownModel(model) for model in settings.models]
        board, watchdog = board_of(settings, known, clock, once=False), Watchdog(clock)
        answers = Answers(board.exposition.render, board.readings, board.render_page, watchdog.is_healthy, lambda: board.is_ready)

        def open_door() -> Door:
            door = Door(settings.exporter.host, settings.exporter.port, answers)
            stack.callback(door.close)
            door.start()
            return door

        if settings.log.kind == "embedded":  # it says at once who else holds it, which tells more than that its port is taken
            member = take_part(settings, known, clock, stack, once=False)
            door = open_door()
        else:  # a cluster may take its time, and probes have to be answered meanwhile
            door = open_door()
            let_in = _let_in(lambda attempt: take_part(settings, known, clock, attempt, once=False), stack, stop)
            if let_in is None:
                return
            member = let_in
        watchdog.worker = member.worker
        _logger.info(
            "watching",
            url=f"http://{settings.exporter.host}:{door.port}/",
            log=settings.log.place,
            partitions=settings.log.partitions,
            models=[model.name for model in settings.models],
        )
        collect_seldom()
        member.worker.run(stop, Turns(settings, member, board, clock).turn)
        _logger.info("stopping")


def _let_in(enter: Callable[[ExitStack], Member], stack: ExitStack, stop: Event) -> Member | None:
    """Tries until the log answers; None once `stop` is set. Whatever cannot pass by itself is raised at once."""
    while not stop.is_set():
        try:
            with ExitStack() as attempt:
                member = enter(attempt)
                stack.enter_context(attempt.pop_all())
                return member
        except LogAway as error:
            _logger.warning("the log is away; trying again", reason=str(error), retry_seconds=RETRY_S)
            stop.wait(RETRY_S)
    return None


def once(settings: Settings, form: Format) -> None:
    """To the log's present end, and the readings on stdout."""
    clock = WallClock()
    with ExitStack() as stack:
        known = [KnownModel(model) for model in settings.models]
        board = board_of(settings, known, clock, once=True)
        member = take_part(settings, known, clock, stack, once=True)
        collect_seldom()
        _drain(member.worker)
        board.follow(member.ownership.changes())
        tick = board.update(member.worker, member.ownership, board.aggregate.newest())
    match form:
        case "json":
            coverage = {state.model: state.coverage for state in tick.models}
            click.echo(json.dumps(readings_json(tick.now, tick.readings, coverage, Freshness(False)), allow_nan=False, indent=2))
        case "openmetrics":
            click.echo(board.exposition.openmetrics(), nl=False)
        case "table":
            for line in table(tick.readings):
                click.echo(line)


def _drain(worker: Worker) -> None:
    """Reads to the log's present end, with a progress bar on a terminal."""
    worker.take_on()
    total = worker.unread()
    with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as progress:
        task = progress.add_task("records", total=total)
        worker.drain(lambda: progress.update(task, completed=total - worker.unread()))
