"""A client that asks at a steady rate whatever the answers take, and counts each wait from when its request was due.

An open loop, unlike `wrk`'s: a server that stalls is asked all the same, so that a stall shows in the latencies of everybody behind it.
"""

import asyncio
import os
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

import httptools
import numpy as np

PULSE_SECONDS = 0.001


@dataclass(frozen=True)
class Paced:
    """What came of it. Latencies are seconds, from when a request was due to the end of its answer; `failed` are answers but 200."""

    latencies: list[float]
    failed: int
    asked: int

    def quantile_ms(self, share: float) -> float:
        return float(np.quantile(self.latencies, share)) * 1e3


class Connection(asyncio.Protocol):
    """One keep-alive connection, which joins `free` whenever it is answered."""

    def __init__(self, free: "deque[Connection]", came: "Came") -> None:
        self._free = free
        self._came = came
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._due = 0.0

    def ask(self, request: bytes, due: float) -> None:
        assert self._transport is not None
        self._due = due
        self._transport.write(request)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._free.append(self)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        self._came.latencies.append(time.perf_counter() - self._due)
        self._came.failed += self._parser.get_status_code() != 200
        self._free.append(self)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()


@dataclass
class Came:
    """Answers so far."""

    latencies: list[float]
    failed: int = 0


def ask(port: int, request: bytes, *, per_second: float, seconds: float, connections: int, cores: Iterable[int]) -> Paced:
    """Asks the server at `port` on this machine for that long; the first fifth of the time is not counted."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)
    return asyncio.run(_asked(port, request, per_second, seconds, connections))


async def _asked(port: int, request: bytes, per_second: float, seconds: float, connections: int) -> Paced:
    free: deque[Connection] = deque()
    came = Came([])
    loop = asyncio.get_running_loop()
    made = [(await loop.create_connection(lambda: Connection(free, came), "127.0.0.1", port))[1] for _ in range(connections)]
    began = time.perf_counter()
    asked = uncounted = 0
    warm = True
    while (elapsed := time.perf_counter() - began) < seconds:
        if warm and elapsed > seconds / 5:
            warm, uncounted = False, asked
            came.latencies.clear()
        while free and asked < elapsed * per_second:
            free.popleft().ask(request, began + asked / per_second)
            asked += 1
        await asyncio.sleep(PULSE_SECONDS)
    for connection in made:
        connection.close()
    return Paced(came.latencies, came.failed, asked - uncounted)
