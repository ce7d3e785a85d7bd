"""A connection that a slow or hostile client cannot hold: its request must be whole in time and its head must fit.

uvicorn bounds neither. Checked once per chunk that arrives, so that a request which comes in one pays for no timer.
"""

import asyncio
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_BYTES_LIMIT = 64 * 1024


class Connection(HttpToolsProtocol):
    """uvicorn's protocol with a deadline for every request, from first byte to last; the first one's begins with the connection."""

    request_timeout_seconds: ClassVar[float] = 30.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn narrows it too
        super().connection_made(transport)
        self._in_head = self._incomplete = True
        self._head_began = False
        self._head_bytes = 0
        self._deadline: asyncio.TimerHandle | None = self.loop.call_later(self.request_timeout_seconds, self._expire)

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._head_began:
            # The first chunk of a head may hold the end of an earlier request, so counting starts with the second.
            self._head_began = False
        elif self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES_LIMIT:
                self._refuse(b"431 Request Header Fields Too Large", b"the request's head is larger than %d bytes" % HEAD_BYTES_LIMIT)
                return
        if not self._incomplete:
            self._disarm()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(self.request_timeout_seconds, self._expire)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = self._incomplete = self._head_began = True
        self._head_bytes = 0

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self._in_head = False

    def on_message_complete(self) -> None:
        self._incomplete = False
        super().on_message_complete()

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _expire(self) -> None:
        self._deadline = None
        if self.transport.is_closing():
            return
        if self.pipeline:
            # The server itself is behind: an earlier request of this connection is still being answered.
            self._deadline = self.loop.call_later(self.request_timeout_seconds, self._expire)
            return
        if self.headers is None:
            # Connected and silent: there is no request to answer.
            self.transport.close()
            return
        self._refuse(b"408 Request Timeout", b"the request was not whole after %g s" % self.request_timeout_seconds)

    def _refuse(self, status: bytes, reason: bytes) -> None:
        # Once a response has begun (a body over the limit is answered before it ends), another one would be read as part of it.
        begun = not self._in_head and self.cycle.response_started
        if not begun:
            body = b'{"error": "%s"}' % reason
            head = b"HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % (status, len(body))
            self.transport.write(head + body)
        self.transport.close()


def connection_class(request_timeout_seconds: float) -> type[Connection]:
    """uvicorn makes the connections itself, from a class, so the timeout is an attribute of one."""
    attributes: dict[str, Any] = {"request_timeout_seconds": request_timeout_seconds}
    return type("Connection", (Connection,), attributes)
