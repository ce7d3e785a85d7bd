"""A server's address and one keep-alive HTTP connection to it, on which several requests may be under way.

As thin as it can be: the demo's client shares two cores with the server and the daemon. Knows requests and answers, not when to send.
"""

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

import httptools

from monitor.demo.schedule import Request
from monitor.errors import MonitorError


@dataclass(frozen=True, slots=True)
class Server:
    """Where the load goes. `base` is a path before the protocol's own, for a server behind a gateway."""

    host: str
    port: int
    secure: bool = False
    base: str = ""

    @classmethod
    def of(cls, url: str) -> "Server":
        """Raises `MonitorError` for what is no http or https URL."""
        parts = urlsplit(url if "//" in url else f"http://{url}")
        try:
            port = parts.port or (443 if parts.scheme == "https" else 80)
        except ValueError:
            port = 0
        if parts.scheme not in ("http", "https") or not parts.hostname or not port:
            raise MonitorError(f"{url} is not a server's URL: expected one such as http://10.0.0.7:8000")
        return cls(parts.hostname, port, parts.scheme == "https", parts.path.rstrip("/"))

    def __str__(self) -> str:
        return f"{'https' if self.secure else 'http'}://{self.authority}{self.base}"

    @property
    def authority(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def head(self, path: str) -> bytes:
        """The request line and headers of a JSON body, up to its length."""
        return f"POST {self.base}{path} HTTP/1.1\r\nhost: {self.authority}\r\ncontent-type: application/json\r\ncontent-length: ".encode()


Answered = Callable[[Request, int, bytes], None]
"""Called with a request, its answer's status and body."""


class Connection(asyncio.Protocol):
    """Answers come in the order of the requests; those that never came are in `unanswered` when `lost` is called."""

    def __init__(self, head: bytes, answered: Answered, lost: Callable[["Connection"], None]) -> None:
        self.unanswered: deque[Request] = deque()
        self._head = head
        self._answered = answered
        self._lost = lost
        self._parser = httptools.HttpResponseParser(self)
        self._body = b""
        self._transport: asyncio.Transport | None = None

    @classmethod
    async def open(cls, server: Server, path: str, answered: Answered, lost: Callable[["Connection"], None]) -> "Connection":
        """Raises OSError."""
        context = ssl.create_default_context() if server.secure else None
        head = server.head(path)
        _, connection = await asyncio.get_running_loop().create_connection(
            lambda: cls(head, answered, lost), server.host, server.port, ssl=context
        )
        return connection

    def send(self, request: Request) -> None:
        """Writes the request; on a connection that is closing it stays unanswered until `lost` tells."""
        self.unanswered.append(request)
        if self._transport is not None:
            self._transport.write(b"%b%d\r\n\r\n%b" % (self._head, len(request.body), request.body))

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._lost(self)

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        body, self._body = self._body, b""
        if self.unanswered:
            self._answered(self.unanswered.popleft(), self._parser.get_status_code(), body)
        if not self._parser.should_keep_alive():
            self.close()
