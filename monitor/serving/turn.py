"""One request on a connection and the answer to it, as ASGI has them: `scope`, `receive`, `send`.

An answer whose body is one piece leaves in one write. This knows how HTTP/1.1 frames answers; the connection knows how it frames requests.
"""

import asyncio
from http import HTTPStatus
from typing import Final, Protocol

from monitor.serving.body import Body
from monitor.serving.http import Disconnected, Event, Header, Scope, chunk

STATUS_LINES: Final = {status.value: b"HTTP/1.1 %d %b\r\n" % (status.value, status.phrase.encode()) for status in HTTPStatus}
JOINED_BYTES: Final = 64 * 1024
"""A body up to this is copied behind its head; a larger one is a write of its own."""
DISCARDED_BYTES_LIMIT: Final = 64 * 1024 * 1024
"""A longer body that nobody wants ends the connection."""
_DISCONNECT: Final = {"type": "http.disconnect"}


class Line(Protocol):
    """What a turn needs of its connection."""

    @property
    def keeps(self) -> bool:
        """Whether another request may follow on it."""

    def write(self, data: bytes) -> None: ...

    async def writable(self) -> None:
        """Returns once the client has taken most of what was written, or is gone."""

    def answered(self) -> None:
        """The turn that it is has ended."""


class Turn:
    """A request whose head is known. It has its turn when those before it on the same connection are answered."""

    __slots__ = ("_chunked", "_headers", "_line", "_status", "body", "ended", "expects", "scope", "started", "task")

    def __init__(self, line: Line, scope: Scope, body: Body, *, expects: bool) -> None:
        self.scope = scope
        self.body = body
        self.expects = expects
        """Whether the client holds its body back until it is told to go on."""
        self.started = False
        """Whether the answer has begun to leave."""
        self.ended = False
        self.task: asyncio.Task[None] | None = None
        """Its handler."""
        self._line = line
        self._status = 0
        self._headers: list[Header] = []
        self._chunked = False

    async def receive(self) -> Event:
        """The next piece of the body; after the last one `http.disconnect`, if it comes to that."""
        if self.body.taken:
            await self.body.gone()
            return _DISCONNECT.copy()
        try:
            piece = await self.body.piece()
        except Disconnected:
            return _DISCONNECT.copy()
        return {"type": "http.request", "body": piece, "more_body": not self.body.taken}

    async def send(self, event: Event) -> None:
        """The head, kept until the first piece of the body, and the pieces. To a client that is gone it does nothing."""
        if event["type"] == "http.response.start":
            self._status = event["status"]
            self._headers = event["headers"]
            return
        if self.ended or self.body.lost:
            return
        data: bytes = event.get("body", b"")
        more: bool = event.get("more_body", False)
        if self.scope["method"] == "HEAD":
            size, data = len(data), b""
        else:
            size = len(data)
        if not self.started:
            self.started = True
            head = self._head(size, more)
            if size > JOINED_BYTES:
                self._line.write(head)
            else:
                data = head + self._framed(data, more)
        else:
            data = self._framed(data, more)
        if data:
            self._line.write(data)
        if more:
            await self._line.writable()
        else:
            self.ended = True
            self._line.answered()

    @property
    def keeps(self) -> bool:
        """Whether another request may follow, when what is left of this one's body is short, or comes at all."""
        body = self.body
        if body.complete:
            return self._line.keeps
        return self._line.keeps and not self.expects and body.place is None and (body.announced or 0) <= DISCARDED_BYTES_LIMIT

    def _head(self, size: int, more: bool) -> bytes:
        # A server that this one stands in front of may answer what no standard knows.
        parts = [STATUS_LINES.get(self._status) or b"HTTP/1.1 %d \r\n" % self._status]
        sized = self._status in (204, 304)
        for name, value in self._headers:
            parts += (name, b": ", value, b"\r\n")
            sized = sized or name == b"content-length"
        if not sized:
            self._chunked = more and self.scope["http_version"] == "1.1"
            if self._chunked:
                parts.append(b"transfer-encoding: chunked\r\n")
            elif not more:
                parts.append(b"content-length: %d\r\n" % size)
        parts.append(b"\r\n" if self.keeps else b"connection: close\r\n\r\n")
        return b"".join(parts)

    def _framed(self, data: bytes, more: bool) -> bytes:
        if not self._chunked:
            return data
        return (chunk(data) if data else b"") + (b"" if more else chunk(b""))
