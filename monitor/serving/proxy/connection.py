"""One keep-alive connection to the upstream, as its user sees it: write a request, wait for the answer's head, take its body piecewise.

Our own over httptools, since a request and its answer take 30 µs of CPU so, 88 µs by aiohttp (3.14) and 630 µs by httpx (0.28):
`python -m tests.bench.proxy --clients`. The proxy as a whole adds 0.11 ms to one-row requests one at a time (0.05 to 0.16 ms), and 0.28 ms,
12 %, to four at a time on an upstream that takes 2 ms; measured on two cores that others used too.
"""

import asyncio
import re
import select
from typing import Final, NamedTuple

import httptools

from monitor.serving.http import Header
from monitor.serving.proxy.failures import BROKE_OFF, ConnectionFailed

HELD_BYTES: Final = 256 * 1024
"""Of an answer that its client takes slowly; beyond it the upstream is not read from."""
HEAD_BYTES_LIMIT: Final = 256 * 1024
"""Of an answer's head."""

_TIMEOUT: Final = re.compile(rb"timeout=(\d{1,9})")


class AnswerHead(NamedTuple):
    """Status and headers, names in lower case."""

    status: int
    headers: list[Header]


class UpstreamConnection(asyncio.Protocol):
    """For one request at a time: `begin`, `write` and `drain`, `head`, then `piece` until it is empty, `rest`.

    Every wait may raise `ConnectionFailed`; `abort` makes it do so. One that is not `is_reusable` after an answer is of no more use.
    """

    def __init__(self) -> None:
        self.idle_since = 0.0
        self.idle_seconds: float | None = None
        """For how long the upstream says that it keeps the connection (`keep-alive: timeout=5`); None: it does not say."""
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._look = select.poll()
        self._parser = httptools.HttpResponseParser(self)
        self._waiter: asyncio.Future[None] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._is_reading_paused = False
        self._failure: ConnectionFailed | None = None
        self._has_surplus = False
        self._is_idle = True
        self.begin(expects_body=True)
        self._is_idle = True

    def begin(self, *, expects_body: bool) -> None:
        """Readies it for a request. The answer to HEAD has no body, whatever its head says."""
        self._expects_body = expects_body
        self._is_idle = False
        self._is_complete = self._is_last = self._ends_with_connection = False
        self._headers: list[Header] = []
        self._head_bytes = 0
        self._head: AnswerHead | None = None
        self._pieces: list[bytes] = []
        self._held_bytes = 0

    @property
    def is_quiet(self) -> bool:
        """Whether the other end has neither hung up nor spoken out of turn, to the knowledge of the kernel."""
        return self._failure is None and not self._look.poll(0)

    @property
    def is_reusable(self) -> bool:
        return self._is_complete and self._failure is None and not self._has_surplus and not self._is_last

    @property
    def is_complete(self) -> bool:
        """Whether the whole answer has come, though not all of it may have been taken."""
        return self._is_complete

    @property
    def has_answered(self) -> bool:
        """Whether there is an answer already, or never will be: nothing more needs to be sent."""
        return self._head is not None or self._failure is not None

    def write(self, data: bytes) -> None:
        assert self._transport is not None
        self._transport.write(data)

    async def drain(self) -> None:
        """Returns when the upstream takes more, or has answered."""
        if self._writable is not None and not self.has_answered:
            await self._writable

    async def head(self) -> AnswerHead:
        while self._head is None:
            await self._more()
        return self._head

    async def piece(self) -> bytes:
        """What has come of the body since; empty at its end."""
        while not self._pieces and not self._is_complete:
            await self._more()
        body = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces = []
        self._held_bytes = 0
        if self._is_reading_paused:
            self._is_reading_paused = False
            assert self._transport is not None
            if not self._transport.is_closing():
                self._transport.resume_reading()
        return body

    def rest(self) -> None:
        """Nobody uses it for now."""
        self._is_idle = True
        self.idle_since = self._loop.time()

    def abort(self, failure: ConnectionFailed) -> None:
        """Closes it at once; who waits for it is told why."""
        self._fail(failure)
        if self._transport is not None:
            self._transport.abort()

    # What the event loop calls.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # a stream's transport is one
        self._transport = transport
        self._look.register(transport.get_extra_info("socket").fileno(), select.POLLIN)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._ends_with_connection and exc is None and self._failure is None:
            self._is_complete = True
        self._fail(ConnectionFailed(BROKE_OFF if exc is None else f"it broke off: {exc}"))

    def data_received(self, data: bytes) -> None:
        if self._is_idle:
            # Whatever it is would be taken for the answer to the next request.
            self.abort(ConnectionFailed("it spoke without being asked"))
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._has_surplus = True
            if not self._is_complete:
                self.abort(ConnectionFailed(f"what it answers is not HTTP/1.1: {error!s:.200}"))
                return
        if self._head is None:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES_LIMIT:
                self.abort(ConnectionFailed(f"the head of its answer is larger than {HEAD_BYTES_LIMIT:,} bytes"))
                return
        elif self._held_bytes > HELD_BYTES and not self._is_reading_paused and not self._is_complete:
            assert self._transport is not None
            self._is_reading_paused = True
            self._transport.pause_reading()
        self._wake()

    def pause_writing(self) -> None:
        self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        self._release_writer()
        self._writable = None

    # What the parser calls, within `data_received`. After a whole answer there is nothing that it may find.

    def on_message_begin(self) -> None:
        if self._is_complete:
            self._has_surplus = True

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._head is None:  # else it is a trailer
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        if self._head is not None:
            return
        status = self._parser.get_status_code()
        if status < 200:
            # 100 and 103 go before the answer; clients get a 100 of their own from the server that they speak to.
            self._headers = []
            return
        self._head = AnswerHead(status, self._headers)
        self._is_last = not self._parser.should_keep_alive()
        framing = b""
        for name, value in self._headers:
            if name in {b"content-length", b"transfer-encoding"}:
                framing = value
            elif name == b"keep-alive" and (found := _TIMEOUT.search(value)):
                self.idle_seconds = float(found[1])
        self._ends_with_connection = not framing
        if not self._expects_body:
            # This parser would wait for a body.
            self._parser = httptools.HttpResponseParser(self)
            self._is_complete = True

    def on_body(self, body: bytes) -> None:
        if self._expects_body and not self._is_complete:
            self._pieces.append(body)
            self._held_bytes += len(body)

    def on_message_complete(self) -> None:
        if self._head is not None:
            self._is_complete = True

    async def _more(self) -> None:
        if self._failure is not None:
            raise self._failure
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        if self.has_answered:
            self._release_writer()

    def _release_writer(self) -> None:
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)

    def _fail(self, failure: ConnectionFailed) -> None:
        if self._failure is None:
            self._failure = failure
        self._wake()
