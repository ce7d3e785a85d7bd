"""Runs the application under uvicorn from a bound socket to a clean stop, within bounds that clients cannot stretch."""

import contextlib
import errno
import gc
import signal
import socket
from collections.abc import Callable, Generator
from dataclasses import dataclass
from types import FrameType

import uvicorn

from monitor.errors import AddressInUse, MonitorError
from monitor.serving.app import App
from monitor.serving.connection import connection_class

BACKLOG = 2048
DRAIN_SECONDS = 8
"""What requests in progress get after SIGTERM; with the tap's flush it stays within the 20 s that are promised."""
COLLECTOR_THRESHOLDS = (10_000, 20, 20)


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """What the configuration's `serving` section says about connections."""

    request_timeout_seconds: float
    keep_alive_seconds: float


def bind(host: str, port: int) -> socket.socket:
    """A bound socket that does not listen yet, so that a taken port is known before anything is loaded. Raises `AddressInUse`."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except socket.gaierror as error:
        raise MonitorError(
            f"serving.host: {host!r} is no address of this machine ({error.strerror}); expected an IP address or a name"
        ) from None
    bound = socket.socket(family, kind, protocol)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind(address)
    except OSError as error:
        bound.close()
        raise _bind_error(host, port, error) from None
    return bound


def address_of(bound: socket.socket) -> str:
    """host:port, as a URL has it."""
    host, port = bound.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def run(app: App, bound: socket.socket, settings: ServerSettings, on_listening: Callable[[], None]) -> None:
    """Serves until SIGTERM or SIGINT; returns once no request is in progress, or `DRAIN_SECONDS` later. Raises `AddressInUse`."""
    try:
        # Two that bind at once both succeed; only one of them can listen.
        bound.listen(BACKLOG)
    except OSError as error:
        host, port = bound.getsockname()[:2]
        raise _bind_error(host, port, error) from None
    config = uvicorn.Config(
        app,
        http=connection_class(settings.request_timeout_seconds),
        loop="uvloop",
        ws="none",
        lifespan="off",
        interface="asgi3",
        access_log=False,
        log_config=None,
        log_level="warning",
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_keep_alive=settings.keep_alive_seconds,  # type: ignore[arg-type]  # goes to call_later, which takes fractions
        timeout_graceful_shutdown=DRAIN_SECONDS,
        backlog=BACKLOG,
    )
    # What is loaded stays: the collector need not walk it again, and it need not run for every few hundred of a busy server's predictions
    # that wait for the tap. One comparison on a shared machine had 13 µs less CPU a request; it was not
    # repeated, so it is a direction, not a figure.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECTOR_THRESHOLDS)
    _Server(config, app, on_listening).run(sockets=[bound])


class _Server(uvicorn.Server):
    """uvicorn's server, but for the signals: it raises them again after its stop, which would end the process before the tap is flushed."""

    def __init__(self, config: uvicorn.Config, app: App, on_listening: Callable[[], None]) -> None:
        super().__init__(config)
        self._app = app
        self._on_listening = on_listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._app.ready = True
        self._on_listening()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._app.ready = False
        super().handle_exit(sig, frame)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        former = {sig: signal.signal(sig, self.handle_exit) for sig in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for sig, handler in former.items():
                signal.signal(sig, handler)


def _bind_error(host: str, port: int, error: OSError) -> MonitorError:
    if error.errno == errno.EADDRINUSE:
        return AddressInUse(
            f"{host}:{port} is in use: stop what listens there, or set serving.port (MODEL_MONITOR_SERVING__PORT) to a free one"
        )
    return MonitorError(
        f"{host}:{port} cannot be listened on: {error.strerror}; expected an address of this machine in serving.host, and a port it may use"
    )
