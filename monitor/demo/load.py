"""Sends the schedule over HTTP: in order, as fast as the server answers or at a given speed, a bounded number ahead.

Each stream has a *lane*, a few connections with several requests under way, so that neither side waits for the other's round trip.
What the server did not take, because it was away or said 503, is sent again, oldest first, before anything new: no disorder can grow
beyond what was under way. A request whose answer was lost may arrive twice; the monitor counts it as a duplicate.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from monitor.clock import Milliseconds
from monitor.demo.connection import Connection, Server
from monitor.demo.flights import DAY_MS
from monitor.demo.recipe import MODEL
from monitor.demo.schedule import Request
from monitor.errors import MonitorError
from monitor.events import Stream

PATIENCE_SECONDS: Final = 60.0
"""How long a server may be away or refuse before the load gives up; a restart takes a few seconds."""
FIRST_BACKOFF_SECONDS: Final = 0.05
LONGEST_BACKOFF_SECONDS: Final = 2.0
HTTP_OK: Final = range(200, 300)
HTTP_UNAVAILABLE: Final = 503


class LoadError(MonitorError):
    """The server refused what the demo sent, or was away for too long."""


@dataclass(frozen=True, slots=True)
class Door:
    """Where a stream is sent, over how many connections, with how many requests under way on each."""

    path: str
    connections: int
    depth: int

    @property
    def limit(self) -> int:
        return self.connections * self.depth


DOORS: Final = {
    Stream.PREDICTIONS: Door(f"/v2/models/{MODEL}/infer", connections=2, depth=16),
    Stream.LABELS: Door("/v1/labels", connections=8, depth=1),
}
"""Inference is computed, so few connections and deep; a label's answer waits for the disk, so one at a time on many. Under way are then at
most 32 minutes with departures and 4 hours of labels, well inside the 24 hours of disorder that the log accepts."""


@dataclass(slots=True)
class Progress:
    """How far the load is: events answered by stream, the event time of what was sent last, requests sent more than once."""

    answered: dict[Stream, int] = field(default_factory=lambda: dict.fromkeys(DOORS, 0))
    due: Milliseconds = 0
    resent: int = 0

    @property
    def events(self) -> int:
        return sum(self.answered.values())


class _Lane:
    """One stream's connections and the requests under way on them; `_returned` are those that have to be sent again."""

    def __init__(self, server: Server, stream: Stream, progress: Progress) -> None:
        self._server = server
        self._stream = stream
        self._door = DOORS[stream]
        self._progress = progress
        self._connections: list[Connection] = []
        self._returned: list[Request] = []
        self._under_way = 0
        self._change: asyncio.Future[None] | None = None
        self._awaited = 0
        self._refusal: str | None = None
        self._problem = ""
        self._patient_until: float | None = None
        self._backoff = FIRST_BACKOFF_SECONDS

    @property
    def troubled(self) -> bool:
        return bool(self._returned) or self._refusal is not None

    async def send(self, request: Request) -> None:
        """Sends as soon as there is room; waits for half of it then, so that a wait is paid once for many requests."""
        if self._under_way + len(self._returned) >= self._door.limit:
            await self.settle(self._door.limit // 2)
        if len(self._connections) < self._door.connections:
            await self._connect()
        self._write(request)

    async def settle(self, remaining: int) -> None:
        """Waits until at most `remaining` requests are unanswered and none is to be sent again. Raises `LoadError`."""
        while True:
            if self._refusal is not None:
                raise LoadError(self._refusal)
            if self._returned:
                await self._send_again()
            elif self._under_way > remaining:
                self._awaited = remaining
                self._change = asyncio.get_running_loop().create_future()
                await self._change
            else:
                return

    def close(self) -> None:
        for connection in tuple(self._connections):
            connection.close()

    async def _send_again(self) -> None:
        now = asyncio.get_running_loop().time()
        self._patient_until = now + PATIENCE_SECONDS if self._patient_until is None else self._patient_until
        if now > self._patient_until:
            raise LoadError(f"{self._server} has not taken {self._stream} for {PATIENCE_SECONDS:.0f} seconds ({self._problem}).")
        await asyncio.sleep(self._backoff)
        self._backoff = min(2 * self._backoff, LONGEST_BACKOFF_SECONDS)
        if await self._connect():
            again = sorted(self._returned, key=lambda request: request.due)
            self._returned.clear()
            self._progress.resent += len(again)
            for request in again:
                self._write(request)

    async def _connect(self) -> bool:
        try:
            while len(self._connections) < self._door.connections:
                self._connections.append(await Connection.open(self._server, self._door.path, self._answered, self._lost))
        except OSError as error:
            self._problem = str(error)
        return bool(self._connections)

    def _write(self, request: Request) -> None:
        if self._connections:
            self._under_way += 1
            min(self._connections, key=lambda connection: len(connection.unanswered)).send(request)
        else:
            self._returned.append(request)

    def _answered(self, request: Request, status: int, body: bytes) -> None:
        self._under_way -= 1
        if status in HTTP_OK:
            self._progress.answered[self._stream] += request.events
            self._patient_until, self._backoff = None, FIRST_BACKOFF_SECONDS
        elif status == HTTP_UNAVAILABLE:
            self._problem = f"503 {body.decode(errors='replace')}"
            self._returned.append(request)
        else:
            self._refusal = f"{self._server}{self._door.path} answered {status}: {body.decode(errors='replace')[:500]}"
        if self._under_way <= self._awaited or self.troubled:
            self._wake()

    def _lost(self, connection: Connection) -> None:
        self._problem = "the connection was lost"
        self._under_way -= len(connection.unanswered)
        self._returned.extend(connection.unanswered)
        if connection in self._connections:
            self._connections.remove(connection)
        self._wake()

    def _wake(self) -> None:
        if self._change is not None and not self._change.done():
            self._change.set_result(None)


async def send(requests: Iterable[Request], server: Server, progress: Progress, days_per_second: float | None = None) -> None:
    """Sends everything and returns when everything is answered. Raises `LoadError`."""
    lanes = {stream: _Lane(server, stream, progress) for stream in DOORS}
    pace = _Pace(days_per_second) if days_per_second else None
    try:
        for request in requests:
            if pace is not None:
                await pace.wait_for(request.due)
            for stream, lane in lanes.items():
                if lane.troubled:
                    await lane.settle(DOORS[stream].limit)
            await lanes[request.stream].send(request)
            progress.due = request.due
        for lane in lanes.values():
            await lane.settle(0)
    finally:
        for lane in lanes.values():
            lane.close()


class _Pace:
    """Event time against the loop's clock, from the first request on."""

    def __init__(self, days_per_second: float) -> None:
        self._ms_per_second = days_per_second * DAY_MS
        self._origin: tuple[float, Milliseconds] | None = None

    async def wait_for(self, due: Milliseconds) -> None:
        now = asyncio.get_running_loop().time()
        if self._origin is None:
            self._origin = now, due
        started, first = self._origin
        await asyncio.sleep(max(0.0, started + (due - first) / self._ms_per_second - now))
