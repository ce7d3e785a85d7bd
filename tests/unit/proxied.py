"""A proxy between a client and an upstream that does what a test says, over a real socket on the upstream's side."""

import asyncio
import gzip
import json
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from monitor.clock import ManualClock
from monitor.events import Schema
from monitor.serving.exchanges.reading import Unread
from monitor.serving.http import Event
from monitor.serving.proxy.proxy import Proxy, Upstream
from monitor.serving.tap import Entry
from tests.unit.serving_models import NOON, Answer, schema, tensor

PATH = "/v2/models/flights/infer"
ASKED = {"inputs": [tensor("X", "FP32", [1, 3], [1, 2, 3])]}
ANSWERED = {"model_name": "flights", "model_version": "7", "outputs": [tensor("p", "FP32", [1, 2], [0.25, 0.75])]}


@dataclass
class Peer:
    """The upstream's end of one connection. `requests` are those that it read whole, of all connections."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    number: int
    requests: list[bytes]

    async def read(self) -> bytes:
        """One request, head and body as they stand on the wire. Raises `IncompleteReadError` where the connection ends before it."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        headers = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
        if b"content-length" in headers:
            head += await self.reader.readexactly(int(headers[b"content-length"]))
        elif b"transfer-encoding" in headers:
            while not head.endswith(b"0\r\n\r\n"):
                head += await self.reader.readuntil(b"\r\n")
        self.requests.append(head)
        return head

    async def write(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    def reset(self) -> None:
        """Ends the connection with RST."""
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Behaviour = Callable[[Peer], Awaitable[None]]


@dataclass
class Client:
    """One request as ASGI has it. It stays after its request until `leaves`, and notes what it is sent."""

    method: str = "POST"
    path: str = PATH
    body: Sequence[bytes] = (b"",)
    headers: Sequence[tuple[str, str]] = ()
    query: bytes = b""
    raw_path: bytes | None = None
    sent: list[Event] = field(default_factory=list)
    leaves: asyncio.Event = field(default_factory=asyncio.Event)
    is_started: asyncio.Event = field(default_factory=asyncio.Event)
    _at: int = 0

    @property
    def scope(self) -> dict[str, object]:
        return {
            "type": "http",
            "method": self.method,
            "path": self.path,
            "raw_path": self.path.encode() if self.raw_path is None else self.raw_path,
            "query_string": self.query,
            "headers": [(name.encode(), value.encode()) for name, value in self.headers],
        }

    async def receive(self) -> Event:
        if self._at < len(self.body):
            self._at += 1
            return {"type": "http.request", "body": self.body[self._at - 1], "more_body": self._at < len(self.body)}
        await self.leaves.wait()
        return {"type": "http.disconnect"}

    async def send(self, event: Event) -> None:
        self.sent.append(event)
        self.is_started.set()

    @property
    def answer(self) -> Answer:
        start, *pieces = self.sent
        body = b"".join(piece["body"] for piece in pieces)
        return Answer(start["status"], {name.decode(): value.decode() for name, value in start["headers"]}, body)

    @property
    def is_answered(self) -> bool:
        """Whether its answer came to an end."""
        return bool(self.sent) and self.sent[-1].get("more_body") is False


@dataclass
class Between:
    """A running proxy, what it tapped, and what its upstream was asked."""

    proxy: Proxy
    tapped: list[Unread]
    requests: list[bytes]
    connections: list[Peer]

    async def ask(self, client: Client) -> Client:
        """Raises what the proxy refuses it with."""
        await self.proxy.handle(client.scope, client.receive, client.send)
        return client

    def entries(self) -> list[Entry]:
        return [entry for unread in self.tapped for entry in unread.decode()]


@asynccontextmanager
async def between(behaviour: Behaviour, *, timeout_seconds: float = 30.0, body_limit: int = 100_000) -> AsyncIterator[Between]:
    """A proxy before an upstream that treats each connection so, and hangs up afterwards."""
    requests: list[bytes] = []
    connections: list[Peer] = []

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(Peer(reader, writer, len(connections), requests))
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            await behaviour(connections[-1])
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, limit=1_000_000)
    port = server.sockets[0].getsockname()[1]
    tapped: list[Unread] = []
    proxy = Proxy(
        Upstream(f"http://127.0.0.1:{port}", timeout_seconds),
        ["flights"],
        schema_of,
        tapped.append,
        ManualClock(NOON),
        body_limit=body_limit,
        trusts_client_times=False,
    )
    async with server:
        yield Between(proxy, tapped, requests, connections)
        await proxy.stop(0.0)


def schema_of(model: str, _version: str) -> Schema | None:
    return schema() if model == "flights" else None


def answering(*answers: bytes) -> Behaviour:
    """Answers request after request of any connection so; the last answer is given again."""
    left = list(answers)

    async def behave(peer: Peer) -> None:
        while True:
            await peer.read()
            await peer.write(left.pop(0) if len(left) > 1 else left[0])

    return behave


def ok(body: bytes, *headers: str) -> bytes:
    return answer_bytes("200 OK", body, *headers)


def answer_bytes(status: str, body: bytes, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", *headers, f"content-length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


def infer(document: Mapping[str, object] = ASKED, *headers: tuple[str, str], path: str = PATH) -> Client:
    body = json.dumps(document).encode()
    return Client(path=path, body=[body], headers=[("content-length", str(len(body))), *headers])


def zipped(document: Mapping[str, object]) -> bytes:
    return gzip.compress(json.dumps(document).encode())
