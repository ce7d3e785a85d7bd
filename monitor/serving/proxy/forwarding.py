"""A request to the upstream and its answer back, as they are: bodies pass in pieces, both ways no faster than they are taken.

A request is sent a second time, on a new connection, only where nothing of it can have reached the upstream, or where its method says that
asking twice does no harm. What fails before the client was answered is a 502 or 504; later it can only be broken off, as the upstream did.
"""

import asyncio
from typing import Final, NamedTuple

import structlog

from monitor.serving.http import CLIENT_CLOSED, Disconnected, Header, Receive, Scope, Send, chunk, header
from monitor.serving.proxy.connection import AnswerHead, UpstreamConnection
from monitor.serving.proxy.failures import BadGateway, ClientGone, ConnectionFailed, GatewayTimeout, TimedOut
from monitor.serving.proxy.heads import answer_headers, request_head
from monitor.serving.proxy.pool import Pool
from monitor.serving.proxy.tapping import Tapping
from monitor.serving.proxy.watch import Watch

IDEMPOTENT: Final = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"})
"""RFC 9110, section 9.2.2."""
REFUSED_PAUSE_SECONDS: Final = 0.05
"""Before the second try to connect: a full backlog passes by itself; an upstream that is gone takes longer than a client waits."""
LAST_STATUS: Final = 599

_logger = structlog.get_logger(__name__)


class Outgoing(NamedTuple):
    """A request as far as it is here: its head, what came of its body, and whether more comes."""

    method: str
    head: bytes
    body: bytes
    more_body: bool
    is_chunked: bool

    def framed(self, piece: bytes, *, is_last: bool) -> bytes:
        if not self.is_chunked:
            return piece
        return (chunk(piece) if piece else b"") + (chunk(b"") if is_last else b"")


class Forwarder:
    """For the event loop's thread. `place` is the upstream's address, for people."""

    def __init__(self, pool: Pool, place: str, timeout_seconds: float) -> None:
        self._pool = pool
        self._place = place
        self._timeout_seconds = timeout_seconds

    async def forward(self, scope: Scope, receive: Receive, send: Send, tapping: Tapping | None) -> int:
        """The status that the client was told.

        Raises, before anything was told, `BadGateway`, `GatewayTimeout`, or `Disconnected` where nobody listens any more. An answer that
        the upstream broke off is left unfinished, for the server to close the connection.
        """
        event = await receive()
        if event["type"] == "http.disconnect":
            raise Disconnected
        is_chunked = header(scope["headers"], b"transfer-encoding") is not None
        head = request_head(scope, is_chunked=is_chunked)
        request = Outgoing(scope["method"], head, event.get("body", b""), event.get("more_body", False), is_chunked)
        if tapping is not None:
            tapping.add_to_request(request.body)
        try:
            try:
                return await self._ask(self._pool.idle() or await self._connect(), request, receive, send, tapping)
            except (TimedOut, ClientGone):
                raise
            except ConnectionFailed as failure:
                # Where nothing was sent, connecting has been tried twice already.
                if failure.is_untouched or request.method not in IDEMPOTENT or request.more_body:
                    raise
                return await self._ask(await self._connect(), request, receive, send, tapping)
        except ClientGone:
            raise Disconnected from None
        except TimedOut as failure:
            raise GatewayTimeout(f"the upstream {self._place}: {failure}") from None
        except ConnectionFailed as failure:
            raise BadGateway(f"the upstream {self._place}: {failure}") from None

    async def _connect(self) -> UpstreamConnection:
        try:
            return await self._pool.connect()
        except TimedOut:
            raise
        except ConnectionFailed:
            await asyncio.sleep(REFUSED_PAUSE_SECONDS)
            return await self._pool.connect()

    async def _ask(self, connection: UpstreamConnection, request: Outgoing, receive: Receive, send: Send, tapping: Tapping | None) -> int:
        """Raises `ConnectionFailed` only while the client has been told nothing."""
        connection.begin(expects_body=request.method != "HEAD")
        watch: Watch | None = None
        try:
            connection.write(request.head + request.framed(request.body, is_last=not request.more_body))
            is_sent = not request.more_body or await self._send_rest(connection, request, receive, tapping)
            watch = Watch(connection, receive, self._timeout_seconds)
            if tapping is not None:
                tapping.look_at_request()
            head = await connection.head()
            if head.status > LAST_STATUS:
                raise ConnectionFailed(f"it answers with the status {head.status}")
            headers, held = answer_headers(head.status, head.headers), b""
            if tapping is not None:
                held = await _enough_of_the_answer(connection, head, tapping)
                headers += tapping.headers()
            status = await self._answer(connection, head.status, headers, held, send, watch, tapping)
            if not is_sent:
                connection.abort(ConnectionFailed("it answered before it had the whole request"))
            return status
        finally:
            if watch is not None:
                watch.end()
            self._pool.give_back(connection)

    async def _answer(
        self,
        connection: UpstreamConnection,
        status: int,
        headers: list[Header],
        held: bytes,
        send: Send,
        watch: Watch,
        tapping: Tapping | None,
    ) -> int:
        """Passes the answer on, whose first bytes are `held`. The status it was told with, or that the client is gone."""
        try:
            await send({"type": "http.response.start", "status": status, "headers": headers})
            is_complete = False
            while not is_complete:
                piece = await connection.piece()
                is_complete = connection.is_complete
                if tapping is not None:
                    tapping.add_to_answer(piece)
                watch.pause()
                await send({"type": "http.response.body", "body": held + piece if held else piece, "more_body": not is_complete})
                watch.resume()
                held = b""
        except ClientGone:
            return CLIENT_CLOSED
        except ConnectionFailed as failure:
            _logger.warning("an answer stays unfinished", upstream=self._place, reason=str(failure))
        except asyncio.CancelledError:
            # Only a server that stops cancels requests. There is no other answer to give any more.
            _logger.warning("an answer stays unfinished", upstream=self._place, reason="this server is stopping")
        else:
            if tapping is not None:
                tapping.finish()
        return status

    async def _send_rest(self, connection: UpstreamConnection, request: Outgoing, receive: Receive, tapping: Tapping | None) -> bool:
        """Sends what is still to come of a request; false where the upstream has answered before it was whole."""
        more_body = True
        while more_body:
            event = await receive()
            if event["type"] == "http.disconnect":
                raise ClientGone("the client went away")
            if connection.has_answered:
                return False
            piece, more_body = event.get("body", b""), event.get("more_body", False)
            connection.write(request.framed(piece, is_last=not more_body))
            if tapping is not None:
                tapping.add_to_request(piece)
            try:
                async with asyncio.timeout(self._timeout_seconds):
                    await connection.drain()
            except TimeoutError:
                raise TimedOut(f"it took nothing for {self._timeout_seconds:g} s (serving.upstream.timeout)") from None
        return True


async def _enough_of_the_answer(connection: UpstreamConnection, head: AnswerHead, tapping: Tapping) -> bytes:
    """As much of the body as it takes to know the id."""
    tapping.begin_answer(head)
    held = []
    while tapping.needs_more_of_the_answer:
        held.append(await connection.piece())
        tapping.add_to_answer(held[-1])
        if connection.is_complete:
            break
    return b"".join(held)
