"""The demo from top to bottom: train, start what production would have, send the year, tell what was seen.

The processes are real, the load goes through the front door, and what is told comes from the daemon's own readings.
"""

import asyncio
import time
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.console import Console

from monitor.demo import recipe
from monitor.demo.asking import Address, MonthReading
from monitor.demo.connection import Server
from monitor.demo.driving import Audience, await_settled, drive, months_read
from monitor.demo.flights import Flights
from monitor.demo.goodbye import how_to_go_on
from monitor.demo.load import Progress, send
from monitor.demo.preparing import configured, flights_to_send, trained
from monitor.demo.processes import Processes, monitor_command
from monitor.demo.progress import display
from monitor.demo.schedule import label_events, requests
from monitor.demo.story import explanation, table
from monitor.demo.topics import make_topics
from monitor.demo.workspace import Workspace, explained, opened

if TYPE_CHECKING:
    from collections.abc import Callable

    from monitor.config.log import KafkaLogSettings
    from monitor.log.kafka.connection import Connection

ATTEND_EVERY_SECONDS: Final = 0.5


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says. `until` is exclusive; `kafka` is where the brokers are, None for the embedded log."""

    folder: Path
    once: bool
    days_per_second: float | None
    until: date | None
    kafka: str | None = None


@dataclass(frozen=True, slots=True)
class _Stage:
    """What runs while the year is played."""

    server: Address
    daemon: Address
    processes: Processes


def run(options: Options, console: Console, connection_of: "Callable[[KafkaLogSettings], Connection]") -> None:
    """The whole demo, its table on stdout. Raises `MonitorError`; whatever ends it, no child outlives it."""
    say = partial(console.print, soft_wrap=True, highlight=False, markup=False)
    with ExitStack() as stack:
        workspace = stack.enter_context(opened(options.folder))
        stack.enter_context(explained(workspace.folder))
        say(f"The demo's folder is {workspace.folder}")
        workspace.prepare(options.kafka)
        settings = configured(workspace)
        if settings.log.kind == "kafka":
            make_topics(workspace, settings.log, connection_of(settings.log))
            say(f"Its log is on {settings.log.place}")
        facts, flights = trained(workspace, options.until, say)
        processes = stack.enter_context(Processes(say))
        stage = _Stage(
            Address.of(settings.serving.host, settings.serving.port),
            Address.of(settings.exporter.host, settings.exporter.port),
            processes,
        )
        _start(stage, workspace)
        say(f"Sending {len(flights):,} flights to {stage.server}; watch them at {stage.daemon}/")
        months = _year(stage, flights, options, console)
        shown = [month for month in months if month.month.startswith(str(recipe.SERVING_STARTS.year))]
        print(table(shown), explanation(shown, facts), sep="\n\n", flush=True)  # noqa: T201  what was asked for, on stdout
        for month in months[len(shown) :]:
            say(f"{month.predictions} flights of New Year's Eve left in {month.month} by UTC and are in no line.")
        if not options.once:
            say(how_to_go_on(stage.server, stage.daemon, int(max(flights.scheduled.max(), flights.landed.max()))))
            _stay(processes)


def send_only(options: Options, target: Server, console: Console) -> None:
    """Sends the load to a server that runs elsewhere. Raises `MonitorError`."""
    flights = flights_to_send(options.until)
    progress = Progress()
    with display(console, _events(flights)) as shown:
        load = send(requests(flights), target, progress, options.days_per_second)
        asyncio.run(drive(load, progress, Audience(None, shown, attend=lambda: None)))
    console.print(f"{target} took {progress.events:,} events.", soft_wrap=True, highlight=False)


def _start(stage: _Stage, workspace: Workspace) -> None:
    for name, address, path in (("serve", stage.server, "/v2/health/ready"), ("watch", stage.daemon, "/readyz")):
        command = monitor_command(name, "-c", str(workspace.configuration))
        stage.processes.start(name, command, workspace.log_of(name), partial(address.answers, path))
    stage.processes.await_ready()


def _year(stage: _Stage, flights: Flights, options: Options, console: Console) -> list[MonthReading]:
    """Sends the flights, waits for the daemon to have committed them, and asks it for the months."""
    progress = Progress()
    with display(console, _events(flights)) as shown:
        audience = Audience(stage.daemon, shown, stage.processes.attend)
        load = send(requests(flights), Server(stage.server.host, stage.server.port), progress, options.days_per_second)
        asyncio.run(drive(load, progress, audience))
        reached = await_settled(stage.daemon, progress, audience)
    if reached.events < progress.events:
        lost = progress.events - reached.events
        console.print(f"{lost} events were answered and never reached the log: a killed server had them in memory.", soft_wrap=True)
    return months_read(stage.daemon, int(flights.scheduled[0]), int(flights.scheduled[-1]), reached.accepted_predictions)


def _events(flights: Flights) -> int:
    return len(flights) + len(label_events(flights))


def _stay(processes: Processes) -> None:
    try:
        while True:
            time.sleep(ATTEND_EVERY_SECONDS)
            processes.attend()
    except KeyboardInterrupt:
        return
