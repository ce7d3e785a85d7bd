"""Connections to one upstream: the one used last is used next, and one that may be closed any moment is not used any more."""

import asyncio
from collections import deque
from typing import Final

from monitor.serving.proxy.connection import UpstreamConnection
from monitor.serving.proxy.failures import ConnectionFailed, TimedOut

IDLE_LIMIT: Final = 256
"""Connections kept for later. As many as there are requests may be in use."""
IDLE_SECONDS: Final = 4.0
"""A request must not meet a connection that the upstream closes in that moment, since it cannot be sent again. uvicorn, which is in
KServe's and MLServer's Python servers, closes after 5 s and does not say so; to connect to the same machine takes 0.1 ms."""
TOLD_MARGIN_SECONDS: Final = 1.0
"""Before the time that an upstream names itself."""
CONNECT_SECONDS: Final = 5.0


class Pool:
    """For the event loop's thread. Nothing is connected before it is needed."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._idle: deque[UpstreamConnection] = deque()

    def idle(self) -> UpstreamConnection | None:
        """A connection that was used before and, for all that is known here, still stands."""
        now = asyncio.get_running_loop().time()
        while self._idle:
            connection = self._idle.pop()
            if not _is_stale(connection, now) and connection.is_quiet:
                return connection
            connection.abort(ConnectionFailed("it was idle for too long"))
        return None

    async def connect(self) -> UpstreamConnection:
        """A new one. Raises `ConnectionFailed`."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                _, connection = await loop.create_connection(UpstreamConnection, self._host, self._port)
        except TimeoutError:
            raise TimedOut(f"no connection within {CONNECT_SECONDS:g} s", is_untouched=True) from None
        except OSError as error:
            raise ConnectionFailed(error.strerror or str(error), is_untouched=True) from None
        return connection

    def give_back(self, connection: UpstreamConnection) -> None:
        """Keeps it for the next request, where it is good for one."""
        if not connection.is_reusable or len(self._idle) >= IDLE_LIMIT:
            connection.abort(ConnectionFailed("it is not needed any more"))
            return
        connection.rest()
        self._idle.append(connection)
        while self._idle and _is_stale(self._idle[0], connection.idle_since):
            self._idle.popleft().abort(ConnectionFailed("it was idle for too long"))

    def close(self) -> None:
        """Closes those that are idle; those in use are their users'."""
        while self._idle:
            self._idle.pop().abort(ConnectionFailed("the proxy is stopping"))


def _is_stale(connection: UpstreamConnection, now: float) -> bool:
    told = connection.idle_seconds
    return now - connection.idle_since > (IDLE_SECONDS if told is None else min(told - TOLD_MARGIN_SECONDS, 60.0))
