"""What all connections of one server share, and who ends the patience with them."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from monitor.serving.http import Receive, Scope, Send
from monitor.serving.measured import Meter

if TYPE_CHECKING:
    from monitor.serving.connection import Connection

Application = Callable[[Scope, Receive, Send], Awaitable[None]]

READ_BYTES: Final = 64 * 1024


@dataclass(slots=True, eq=False)
class House:
    """What the connections of one server share. `refusals` counts requests that never became one."""

    app: Application
    loop: asyncio.AbstractEventLoop
    request_timeout_seconds: float
    keep_alive_seconds: float
    refusals: Meter
    connections: "set[Connection]" = field(default_factory=set)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    """Of the requests that are being answered."""
    scratch: memoryview = field(default_factory=lambda: memoryview(bytearray(READ_BYTES)))
    """What is read goes through here and is parsed before anything else is read, so that one does for all connections."""
    stopping: bool = False
    empty: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once it is stopping and no connection is left."""

    def expire(self) -> None:
        """Ends the patience with everyone whose time is up."""
        now = self.loop.time()
        for connection in [each for each in self.connections if each.due <= now]:
            connection.expire()
