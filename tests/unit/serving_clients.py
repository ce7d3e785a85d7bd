"""A server of a few handlers on a real socket in the test's own event loop, and clients that speak bytes."""

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Self

from monitor.serving.http import Disconnected, Receive, Response, Scope, Send, header, json_response, read_view, refusal_response, respond
from monitor.serving.measured import Meters
from monitor.serving.refusals import NotFound, NotReady, Refusal
from monitor.serving.server import Server, ServerSettings, Service, bind

BODY_LIMIT = 1_000_000
PATIENT = ServerSettings(request_timeout_seconds=30, keep_alive_seconds=30)


class Handlers:
    """Each path is one of the ways in which an application may treat a request.

    `/echo` answers the body, and `/stubborn` even where its client is gone; `/length` answers its length, `/ignore` does not look at it;
    `/pieces` answers in chunks what it receives in pieces. `/slow` waits until it may go on, `/watch` until its client goes away; `/large`
    is 5 MB, `/broken` fails. Others are a 404.
    """

    def __init__(self) -> None:
        self.ready = False
        self.go_on = asyncio.Event()
        self.begun = asyncio.Event()
        self.disconnected = asyncio.Event()
        self.kinds: list[type] = []
        """Of the bodies that `/length` got."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            if scope["path"] == "/pieces":
                await _in_pieces(receive, send)
                return
            response = await self._answer(scope, receive)
        except Refusal as refusal:
            response = refusal_response(refusal)
        except Disconnected:
            self.disconnected.set()
            if scope["path"] != "/stubborn":
                return
            response = json_response("nobody hears this")
        except asyncio.CancelledError:
            response = refusal_response(NotReady("stopping"))
        await respond(send, response)

    async def _answer(self, scope: Scope, receive: Receive) -> Response:
        match scope["path"]:
            case "/echo" | "/stubborn":
                return Response(200, bytes(await read_view(scope, receive, BODY_LIMIT)))
            case "/length":
                body = await read_view(scope, receive, BODY_LIMIT)
                self.kinds.append(type(body))
                return json_response(len(body))
            case "/ignore":
                return json_response("ignored", 401)
            case "/slow":
                self.begun.set()
                await self.go_on.wait()
                return json_response("slow")
            case "/watch":
                await read_view(scope, receive, BODY_LIMIT)
                self.begun.set()
                event = await receive()
                self.disconnected.set()
                return json_response(event["type"])
            case "/large":
                return Response(200, b"x" * 5_000_000)
            case "/broken":
                raise ValueError("a bug")
        raise NotFound(f"{scope['method']} {scope['path']} {scope['query_string'].decode()} {header(scope['headers'], b'x-a')!r}")


async def _in_pieces(receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    more = True
    while more:
        event = await receive()
        more = event["more_body"]
        await send({"type": "http.response.body", "body": event["body"], "more_body": True})
    await send({"type": "http.response.body", "body": b""})


@dataclass
class Client:
    """One connection, with nothing but bytes."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @classmethod
    async def connect(cls, address: tuple[str, int]) -> Self:
        return cls(*await asyncio.open_connection(*address))

    async def send(self, *parts: bytes) -> None:
        """Each part by itself, so that the server may read them apart."""
        for part in parts:
            self.writer.write(part)
            await self.writer.drain()

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """The next answer: status, headers, body. Raises `IncompleteReadError` where the connection ends first."""
        async with asyncio.timeout(10):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in head[1:-2])}
            if headers.get("transfer-encoding") == "chunked":
                body = b""
                while size := int(await self.reader.readline(), 16):
                    body += await self.reader.readexactly(size)
                    await self.reader.readline()
                await self.reader.readline()
            else:
                body = await self.reader.readexactly(int(headers.get("content-length", 0)))
        return int(head[0].split()[1]), headers, body

    async def rest(self) -> bytes:
        """Everything until the server closes, or cuts off."""
        async with asyncio.timeout(10):
            try:
                return await self.reader.read(-1)
            except ConnectionError:
                return b""

    async def ask(self, request: bytes) -> tuple[int, dict[str, str], bytes]:
        await self.send(request)
        return await self.answer()

    def close(self) -> None:
        self.writer.close()


@dataclass
class Served:
    """The server under test. Every client is closed at its end."""

    handlers: Handlers
    server: Server
    meters: Meters
    bound: socket.socket
    address: tuple[str, int]
    serving: "asyncio.Task[None]"
    clients: list[Client] = field(default_factory=list)

    async def connect(self) -> Client:
        client = await Client.connect(self.address)
        self.clients.append(client)
        return client

    async def answers(self) -> bool:
        """Whether somebody new is served as he should be."""
        status, _, body = await (await self.connect()).ask(post(b"/echo", b"good"))
        return (status, body) == (200, b"good")

    async def begin_stop(self) -> None:
        """Returns once nobody new is let in, without waiting for anybody."""
        self.server.stop()
        while self.bound.fileno() >= 0:  # noqa: ASYNC110  # nothing tells
            await asyncio.sleep(0)

    def refused(self) -> dict[int, int]:
        """What was said no to before it was a request, by status."""
        return {code: count for code, count in self.meters.endpoint("connection").codes.items() if count}


@asynccontextmanager
async def served(settings: ServerSettings = PATIENT, services: Sequence[Service] = (), **changed: float) -> AsyncIterator[Served]:
    """A server that answers, with these settings changed."""
    handlers, meters = Handlers(), Meters()
    bound = bind("127.0.0.1", 0)
    address = bound.getsockname()
    server = Server(handlers, bound, replace(settings, **changed), meters, services)  # type: ignore[arg-type]  # each of its own type
    listening = asyncio.Event()
    serving = asyncio.create_task(server.serve(listening.set))
    await listening.wait()
    this = Served(handlers, server, meters, bound, address, serving)
    yield this
    handlers.go_on.set()
    server.stop()
    server.stop()
    await serving
    for client in this.clients:
        client.close()


def post(path: bytes, body: bytes, *headers: bytes) -> bytes:
    return b"\r\n".join([b"POST %b HTTP/1.1" % path, b"host: x", b"content-length: %d" % len(body), *headers, b"", body])


def get(path: bytes, *headers: bytes) -> bytes:
    return b"\r\n".join([b"GET %b HTTP/1.1" % path, b"host: x", *headers, b"", b""])
