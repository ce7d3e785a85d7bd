"""The load against a small server that misbehaves on purpose: order, retries, and what ends it."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from monitor.demo import load
from monitor.demo.connection import Server
from monitor.demo.load import DOORS, LoadError, Progress, send
from monitor.demo.schedule import Request
from monitor.errors import MonitorError
from monitor.events import Stream

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
ACCEPTED_IN_CHUNKS = b"HTTP/1.1 202 Accepted\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nfull"
REFUSED = b'HTTP/1.1 400 Bad Request\r\ncontent-length: 7\r\n\r\n{"e":1}'
HANG_UP = b""


@dataclass
class Misbehaving:
    """Answers each request with what `answer` says for its body; an empty answer closes the connection."""

    answer: Callable[[bytes, int], bytes]
    taken: list[bytes] = field(default_factory=list)
    times_asked: dict[bytes, int] = field(default_factory=dict)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                body = await reader.readexactly(length)
                self.times_asked[body] = self.times_asked.get(body, 0) + 1
                answer = self.answer(body, self.times_asked[body])
                if answer in (OK, ACCEPTED_IN_CHUNKS):
                    self.taken.append(body)
                if answer == HANG_UP:
                    return
                writer.write(answer)
        except asyncio.IncompleteReadError:
            return
        finally:
            writer.close()


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "FIRST_BACKOFF_SECONDS", 0.0)


def deliver(server: Misbehaving, requests: Iterator[Request] | list[Request]) -> Progress:
    async def both() -> Progress:
        progress = Progress()
        listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
        async with listener:
            port: int = listener.sockets[0].getsockname()[1]
            await send(requests, Server("127.0.0.1", port), progress)
        return progress

    return asyncio.run(asyncio.wait_for(both(), 20))


def some(count: int, stream: Stream = Stream.PREDICTIONS) -> list[Request]:
    return [Request(stream, number, b"%d" % number, events=2) for number in range(count)]


def test_everything_is_taken_once_and_counted() -> None:
    server = Misbehaving(lambda _body, _time: OK)
    progress = deliver(server, some(500) + some(300, Stream.LABELS))
    assert len(server.taken) == 800
    assert progress.answered == {Stream.PREDICTIONS: 1_000, Stream.LABELS: 600}


def test_disorder_is_bounded_by_what_is_under_way() -> None:
    server = Misbehaving(lambda _body, _time: OK)
    deliver(server, some(500))
    assert all(abs(int(body) - place) < DOORS[Stream.PREDICTIONS].limit for place, body in enumerate(server.taken))


def test_no_more_than_the_limit_is_under_way() -> None:
    pulled = 0

    def counting() -> Iterator[Request]:
        nonlocal pulled
        for request in some(200):
            pulled += 1
            yield request

    def answer(body: bytes, _time: int) -> bytes:
        assert pulled - len(server.taken) <= DOORS[Stream.PREDICTIONS].limit + 1, body
        return OK

    server = Misbehaving(answer)
    deliver(server, counting())
    assert len(server.taken) == 200


def test_an_answer_in_chunks_is_an_answer() -> None:
    assert deliver(Misbehaving(lambda _body, _time: ACCEPTED_IN_CHUNKS), some(50)).events == 100


def test_what_met_a_503_is_sent_again_before_anything_new() -> None:
    server = Misbehaving(lambda body, time: UNAVAILABLE if int(body) % 7 == 0 and time < 3 else OK)
    progress = deliver(server, some(100))
    assert sorted(map(int, server.taken)) == list(range(100))
    assert all(abs(int(body) - place) < 2 * DOORS[Stream.PREDICTIONS].limit for place, body in enumerate(server.taken))
    assert (progress.events, progress.resent > 0) == (200, True)


def test_what_was_under_way_on_a_lost_connection_is_sent_again() -> None:
    server = Misbehaving(lambda body, time: HANG_UP if int(body) in (40, 90) and time == 1 else OK)
    progress = deliver(server, some(120))
    assert set(map(int, server.taken)) == set(range(120))
    assert progress.events == 240


def test_a_refusal_ends_the_load_with_the_servers_words() -> None:
    with pytest.raises(LoadError, match=r'/v2/models/flights/infer answered 400: \{"e":1\}'):
        deliver(Misbehaving(lambda body, _time: REFUSED if body == b"30" else OK), some(100))


def test_patience_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "PATIENCE_SECONDS", 0.01)
    with pytest.raises(LoadError, match=r"has not taken labels for .* \(503 full\)"):
        deliver(Misbehaving(lambda _body, _time: UNAVAILABLE), some(1, Stream.LABELS))


def test_a_server_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "PATIENCE_SECONDS", 0.01)
    with pytest.raises(LoadError, match=r"http://127\.0\.0\.1:9 has not taken predictions"):
        asyncio.run(send(some(1), Server("127.0.0.1", 9), Progress()))


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("http://10.0.0.7:8000", Server("10.0.0.7", 8000)),
        ("10.0.0.7:8000", Server("10.0.0.7", 8000)),
        ("https://models.example/ns/", Server("models.example", 443, secure=True, base="/ns")),
        ("http://[::1]:8000", Server("::1", 8000)),
    ],
)
def test_a_target_is_a_url(url: str, server: Server) -> None:
    assert Server.of(url) == server


@pytest.mark.parametrize("url", ["ftp://host", "http://", "http://host:port", ""])
def test_what_is_no_target_is_refused(url: str) -> None:
    with pytest.raises(MonitorError, match="expected one such as"):
        Server.of(url)
