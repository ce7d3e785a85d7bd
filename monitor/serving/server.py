"""Runs the application from a bound socket to a clean stop, within bounds that clients cannot stretch.

The stop: not ready; after `stop_delay_seconds` nobody new is let in; what has begun is answered, with `connection: close`; what has not
ended after `DRAIN_SECONDS` is told 503. Whoever's bytes are on their way then has `ON_ITS_WAY_SECONDS` to arrive.
"""

import asyncio
import gc
import resource
import signal
import socket
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Final, Protocol

import structlog
import uvloop

from monitor.serving import series
from monitor.serving.binding import address_of, bind, listen
from monitor.serving.house import House
from monitor.serving.http import Receive, Scope, Send
from monitor.serving.listening import Listener
from monitor.serving.measured import Meters
from monitor.serving.tally import Tally
from monitor.serving.workers.crowd import Crowd

__all__ = ["ServerSettings", "Service", "address_of", "bind", "run"]

_logger = structlog.get_logger(__name__)

DRAIN_SECONDS: Final = 8.0
"""What requests in progress get after SIGTERM; with the tap's flush it stays within the 20 s that are promised."""
ON_ITS_WAY_SECONDS: Final = 0.2
CUT_OFF_SECONDS: Final = 1.0
"""For those that were cut off to be told so."""
SWEEP_SECONDS: Final = 0.25
"""How often it is looked whose time is up: one look for all costs less than a timer for each."""
FILES_WANTED: Final = 65_536
RESERVED_FILES: Final = 128
"""File descriptors for all that is no connection: models, logs, siblings."""
COLLECTOR_THRESHOLDS: Final = (10_000, 20, 20)


class Application(Protocol):
    """ASGI, and a flag that is set from when it is served until it stops."""

    ready: bool

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...


class Service(Protocol):
    """What runs beside HTTP on the same loop: gRPC, the channel between workers."""

    async def start(self) -> None:
        """Before the first request. What it raises ends the server."""

    async def stop(self, grace_seconds: float) -> None:
        """When nobody new is let in: ends what has begun, within that time."""


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """What the configuration's `serving` section says about connections."""

    request_timeout_seconds: float
    keep_alive_seconds: float
    connections_limit: int = 8_192
    """Of one process; fewer where it may not have so many files open."""
    stop_delay_seconds: float = 0.0
    """How long it goes on, not ready, before it stops: for load balancers that are slow to notice."""


def run(
    app: Application,
    bound: socket.socket,
    settings: ServerSettings,
    on_listening: Callable[[], None],
    *,
    meters: Meters | None = None,
    services: Sequence[Service] = (),
    crowd: Crowd | None = None,
) -> None:
    """Serves until SIGTERM or SIGINT; returns once no request is in progress, or `DRAIN_SECONDS` later. Raises `AddressInUse`.

    A second signal cuts the waiting short. `crowd` are the processes that share the socket, None where there is no other.
    """
    # What is loaded stays: the collector need not walk it again, and it need not run for every few hundred of a busy server's predictions
    # that wait for the tap. One comparison on a shared machine had 13 µs less CPU a request; it was not
    # repeated, so it is a direction, not a figure.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECTOR_THRESHOLDS)
    server = Server(app, bound, settings, meters or Meters(), services, crowd)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_until_signalled(server, on_listening))


class Server:
    """One application on one socket. For the event loop's thread."""

    def __init__(
        self,
        app: Application,
        bound: socket.socket,
        settings: ServerSettings,
        meters: Meters,
        services: Sequence[Service] = (),
        crowd: Crowd | None = None,
    ) -> None:
        self._app = app
        self._bound = bound
        self._settings = settings
        self._meters = meters
        self._services = services
        self._crowd = crowd
        self._stopping = asyncio.Event()
        self._hurried = asyncio.Event()

    def stop(self) -> None:
        """Begins the stop; called again, hurries it."""
        self._app.ready = False
        if self._stopping.is_set():
            self._hurried.set()
        self._stopping.set()

    async def serve(self, on_listening: Callable[[], None]) -> None:
        """Returns after the stop. Raises `AddressInUse`, and what a service raises at its start."""
        settings = self._settings
        limit = min(settings.connections_limit, _files_limit() - RESERVED_FILES)
        house = House(
            self._app,
            asyncio.get_running_loop(),
            settings.request_timeout_seconds,
            settings.keep_alive_seconds,
            self._meters.endpoint("connection"),
        )

        def add_to(tally: Tally) -> None:
            tally.add(series.READY, (), int(self._app.ready))
            tally.add(series.CONNECTIONS, (), len(house.connections))
            tally.add(series.CONNECTIONS_LIMIT, (), limit)
            tally.add(series.ACTIVE_REQUESTS, (), len(house.tasks))

        self._meters.also(add_to)
        listener = Listener(self._bound, house, limit, self._crowd)
        async with AsyncExitStack() as started:
            for service in self._services:
                await service.start()
                started.push_async_callback(service.stop, 0.0)
            listen(self._bound)
            listener.start()
            self._app.ready = True
            on_listening()
            sweeping = asyncio.create_task(_sweep(house, self._crowd))
            await self._stopping.wait()
            await _within(settings.stop_delay_seconds, self._hurried.wait())
            started.pop_all()
            ends = [self._drain(house, listener), *(service.stop(DRAIN_SECONDS) for service in self._services)]
            for outcome in await asyncio.gather(*ends, return_exceptions=True):
                if isinstance(outcome, Exception):
                    # One that fails must not keep the others from their end.
                    _logger.error("the stop of a part failed", exc_info=outcome)
            sweeping.cancel()

    async def _drain(self, house: House, listener: Listener) -> None:
        house.stopping = True
        listener.stop()
        await listener.settled()
        await _within(ON_ITS_WAY_SECONDS, self._hurried.wait())
        if not house.connections:
            return
        for connection in list(house.connections):
            connection.close_if_idle()
        await _within(DRAIN_SECONDS, house.empty.wait(), self._hurried.wait())
        if house.tasks:
            _logger.warning("requests are cut off: they were not whole, or not answered, in time", requests=len(house.tasks))
        for task in list(house.tasks):
            task.cancel()
        await _within(CUT_OFF_SECONDS, house.empty.wait())
        for connection in list(house.connections):
            connection.abort()


async def _until_signalled(server: Server, on_listening: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, server.stop)
    await server.serve(on_listening)


async def _sweep(house: House, crowd: Crowd | None) -> None:
    while True:
        await asyncio.sleep(SWEEP_SECONDS)
        if crowd is not None:
            crowd.tell(len(house.connections))
        house.expire()


async def _within(seconds: float, *events: Coroutine[object, object, object]) -> None:
    """Waits for the first of them, at most so long."""
    tasks = [asyncio.ensure_future(event) for event in events]
    try:
        await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


def _files_limit() -> int:
    """How many files this process may have open, having asked for all that it may ask for."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < FILES_WANTED and soft != resource.RLIM_INFINITY:
        soft = FILES_WANTED if hard == resource.RLIM_INFINITY else min(FILES_WANTED, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return FILES_WANTED if soft == resource.RLIM_INFINITY else soft
