"""Ends a request that is waited for in vain: its client went away, or nothing has come from the upstream for too long.

Costs one timer for an answer that comes at once: only after a while is the client looked at, in a task of its own.
"""

import asyncio
from typing import Final

from monitor.serving.http import Receive
from monitor.serving.proxy.connection import UpstreamConnection
from monitor.serving.proxy.failures import ClientGone, TimedOut

LOOK_AFTER_SECONDS: Final = 0.05


class Watch:
    """From when the request has been sent until `end`. `receive` is nobody else's meanwhile."""

    __slots__ = ("_connection", "_loop", "_receive", "_since", "_task", "_timeout_seconds", "_timer")

    def __init__(self, connection: UpstreamConnection, receive: Receive, timeout_seconds: float) -> None:
        self._connection = connection
        self._receive = receive
        self._timeout_seconds = timeout_seconds
        self._loop = asyncio.get_running_loop()
        self._since: float | None = self._loop.time()
        self._task: asyncio.Task[None] | None = None
        self._timer = self._loop.call_later(min(LOOK_AFTER_SECONDS, timeout_seconds), self._check)

    def pause(self) -> None:
        """The upstream is not waited for, but the client, which takes its answer."""
        self._since = None

    def resume(self) -> None:
        """The upstream is waited for from now on."""
        self._since = self._loop.time()

    def end(self) -> None:
        self._timer.cancel()
        if self._task is not None:
            self._task.cancel()

    def _check(self) -> None:
        if self._task is None:
            self._task = self._loop.create_task(self._await_client())
        now = self._loop.time()
        left = self._timeout_seconds - (0.0 if self._since is None else now - self._since)
        if left <= 0:
            self._connection.abort(TimedOut(f"it gave nothing for {self._timeout_seconds:g} s (serving.upstream.timeout)"))
            return
        self._timer = self._loop.call_later(left, self._check)

    async def _await_client(self) -> None:
        if (await self._receive())["type"] == "http.disconnect":
            self._connection.abort(ClientGone("the client went away"))
