"""What passes the proxy: bytes as they are, both ways, whatever the upstream does."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest
import uvloop

from monitor.serving.http import Disconnected
from monitor.serving.proxy.failures import BadGateway, GatewayTimeout
from monitor.serving.proxy.heads import passed_on
from tests.unit.proxied import Behaviour, Between, Client, Peer, answer_bytes, answering, between, ok

Value = TypeVar("Value")


def run(work: Coroutine[Any, Any, Value]) -> Value:
    """On the event loop that the server runs on."""
    return uvloop.run(asyncio.wait_for(work, 20))


def asked(behaviour: Behaviour, *clients: Client, timeout_seconds: float = 30.0) -> Between:
    """One client after another."""

    async def work() -> Between:
        async with between(behaviour, timeout_seconds=timeout_seconds) as proxied:
            for client in clients:
                await proxied.ask(client)
            return proxied

    return run(work())


def test_a_request_passes_as_it_is_but_for_what_is_the_connections_own() -> None:
    client = Client(
        "PUT",
        "/a b",
        [b"\0\xff\r\n"],
        [
            ("host", "model.example"),
            ("x-twice", "1"),
            ("x-twice", "2"),
            ("connection", "keep-alive, x-mine"),
            ("x-mine", "gone"),
            ("te", "trailers"),
            ("expect", "100-continue"),
            ("content-length", "4"),
        ],
        b"q=%20&q",
        b"/a%20b//../%2F",
    )
    asked_for = asked(answering(ok(b"")), client).requests
    assert asked_for == [
        b"PUT /a%20b//../%2F?q=%20&q HTTP/1.1\r\nhost: model.example\r\nx-twice: 1\r\nx-twice: 2\r\ncontent-length: 4\r\n\r\n\0\xff\r\n"
    ]


def test_a_length_is_passed_on_whatever_a_client_calls_its_connections_own() -> None:
    headers = [(b"connection", b"content-length, host, x"), (b"content-length", b"3"), (b"host", b"h"), (b"x", b"y")]
    assert passed_on(headers) == [(b"content-length", b"3"), (b"host", b"h")]


def test_an_answer_passes_as_it_is() -> None:
    body = bytes(range(256))
    client = Client("GET", "/v2")
    asked(answering(answer_bytes("418 I'm a teapot", body, "Server: mine", "X-A: 1", "X-A: 2", "Connection: keep-alive")), client)
    assert client.sent[0]["status"] == 418
    assert client.sent[0]["headers"] == [(b"server", b"mine"), (b"x-a", b"1"), (b"x-a", b"2"), (b"content-length", b"256")]
    assert client.answer.body == body
    assert client.is_answered


def test_a_body_in_pieces_stays_one() -> None:
    client = Client(body=[b"ab", b"", b"c" * 70_000, b"d"], headers=[("transfer-encoding", "chunked")])
    (request,) = asked(answering(ok(b"")), client).requests
    assert request.split(b"\r\n\r\n", 1)[1] == b"2\r\nab\r\n11170\r\n" + b"c" * 70_000 + b"\r\n1\r\nd\r\n0\r\n\r\n"
    client = Client(body=[b"ab", b"cd"], headers=[("content-length", "4")])
    (request,) = asked(answering(ok(b"")), client).requests
    assert request.endswith(b"content-length: 4\r\n\r\nabcd")


def test_a_chunked_answer_comes_out_whole_and_without_its_framing() -> None:
    answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nx-trailer: 1\r\n\r\n"
    client = Client("GET", "/")
    asked(answering(answer), client, Client("GET", "/"))
    assert (client.answer.body, client.sent[0]["headers"]) == (b"abcde", [])
    assert client.is_answered


def test_an_answer_that_ends_with_its_connection_is_whole_then() -> None:
    async def behave(peer: Peer) -> None:
        await peer.read()
        await peer.write(b"HTTP/1.0 200 OK\r\n\r\nuntil the end")

    client = Client("GET", "/")
    asked(behave, client)
    assert (client.answer.body, client.is_answered) == (b"until the end", True)


def test_pieces_of_an_answer_are_not_waited_for() -> None:
    async def work() -> None:
        goes_on = asyncio.Event()

        async def behave(peer: Peer) -> None:
            await peer.read()
            await peer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nab")
            await goes_on.wait()
            await peer.write(b"cd")

        async with between(behave) as proxied:
            client = Client("GET", "/")
            request = asyncio.create_task(proxied.ask(client))
            await client.is_started.wait()
            goes_on.set()
            await request
        assert client.answer.body == b"abcd"

    run(work())


def test_what_precedes_an_answer_is_no_answer() -> None:
    client = Client("GET", "/")
    asked(answering(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + ok(b"it")), client)
    assert (client.answer.status, client.answer.body, client.sent[0]["headers"]) == (200, b"it", [(b"content-length", b"2")])


def test_answers_without_a_body_leave_the_connection_usable() -> None:
    heads = [
        b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n",
    ]
    clients = [Client("HEAD", "/"), Client("DELETE", "/"), Client("GET", "/"), Client("GET", "/")]
    proxied = asked(answering(*heads, ok(b"last")), *clients)
    assert [(client.answer.status, client.answer.body) for client in clients] == [(200, b""), (204, b""), (304, b""), (200, b"last")]
    assert [client.answer.headers.get("content-length") for client in clients] == ["9", None, None, "4"]
    assert len(proxied.connections) == 1


def test_one_connection_serves_request_after_request() -> None:
    assert len(asked(answering(ok(b"a")), *(Client() for _ in range(5))).connections) == 1


@pytest.mark.parametrize(
    "last",
    [
        ok(b"a", "connection: close"),
        ok(b"a") + b"surplus",
        ok(b"a") + ok(b"unasked for"),
        ok(b"a", "keep-alive: timeout=0"),
    ],
)
def test_a_connection_that_cannot_be_trusted_is_not_used_again(last: bytes) -> None:
    clients = [Client(), Client()]
    proxied = asked(answering(last, ok(b"b")), *clients)
    assert [client.answer.body for client in clients] == [b"a", b"b"]
    assert len(proxied.connections) == 2


def test_a_connection_that_the_upstream_has_closed_is_noticed_before_a_request_is_sent() -> None:
    async def work() -> None:
        async def behave(peer: Peer) -> None:
            await peer.read()
            await peer.write(ok(b"%d" % peer.number))

        async with between(behave) as proxied:
            first = await proxied.ask(Client())
            await proxied.connections[0].writer.wait_closed()
            second = await proxied.ask(Client())
        assert (first.answer.body, second.answer.body) == (b"0", b"1")

    run(work())


def test_an_upstream_that_is_not_there_is_a_502_that_says_so() -> None:
    async def work() -> None:
        async with between(answering(ok(b""))) as proxied:
            pass
        with pytest.raises(BadGateway, match=r"^the upstream http://127.0.0.1:\d+: .*refused"):
            await proxied.ask(Client())

    run(work())


@pytest.mark.parametrize(("method", "requests"), [("GET", 2), ("POST", 1)])
def test_only_what_may_be_asked_twice_is_asked_again_when_a_connection_breaks(method: str, requests: int) -> None:
    async def work() -> list[bytes]:
        async def behave(peer: Peer) -> None:
            await peer.read()
            if peer.number == 0:
                peer.reset()
                return
            await peer.write(ok(b"a"))

        async with between(behave) as proxied:
            if method == "GET":
                assert (await proxied.ask(Client(method))).answer.body == b"a"
            else:
                with pytest.raises(BadGateway, match="it broke off"):
                    await proxied.ask(Client(method))
            return proxied.requests

    assert len(run(work())) == requests


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"SSH-2.0-OpenSSH_9.6\r\n", "not HTTP/1.1"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n", "not HTTP/1.1"),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 300_000, "head of its answer is larger than"),
        (b"HTTP/1.1 200 OK\r\nx: y", "broke off before its answer was whole"),
        (b"HTTP/1.1 777 OK\r\ncontent-length: 0\r\n\r\n", "the status 777"),
        (b"", "broke off before"),
    ],
)
def test_what_is_no_answer_is_a_502(answer: bytes, told: str) -> None:
    async def behave(peer: Peer) -> None:
        await peer.read()
        await peer.write(answer)

    with pytest.raises(BadGateway, match=told):
        asked(behave, Client())


@pytest.mark.parametrize("head", ["content-length: 9", "transfer-encoding: chunked"])
@pytest.mark.parametrize("is_reset", [False, True])
def test_a_half_answer_is_left_unfinished(head: str, is_reset: bool) -> None:
    async def behave(peer: Peer) -> None:
        await peer.read()
        await peer.write(f"HTTP/1.1 200 OK\r\n{head}\r\nconnection: close\r\n\r\n4\r\nab".encode())
        if is_reset:
            await client.is_started.wait()
            peer.reset()

    client = Client("GET", "/")
    asked(behave, client)
    assert client.sent[0]["status"] == 200
    assert not client.is_answered


def test_an_upstream_that_is_silent_is_a_504() -> None:
    async def behave(peer: Peer) -> None:
        await peer.read()
        await peer.reader.read()

    with pytest.raises(GatewayTimeout, match=r"it gave nothing for 0\.02 s"):
        asked(behave, Client(), timeout_seconds=0.02)


def test_an_upstream_that_falls_silent_leaves_its_answer_unfinished() -> None:
    async def behave(peer: Peer) -> None:
        await peer.read()
        await peer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nab")
        await peer.reader.read()

    client = Client("GET", "/")
    asked(behave, client, timeout_seconds=0.02)
    assert client.sent
    assert not client.is_answered


def test_an_upstream_that_takes_no_body_is_a_504() -> None:
    async def behave(peer: Peer) -> None:
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a stream's transport reads
        await asyncio.Event().wait()

    body = [b"x" * 1_000_000] * 40
    with pytest.raises(GatewayTimeout, match="it took nothing"):
        asked(behave, Client(body=body, headers=[("content-length", "40000000")]), timeout_seconds=0.05)


def test_an_answer_to_half_a_request_is_passed_on_and_the_connection_given_up() -> None:
    async def behave(peer: Peer) -> None:
        await peer.reader.readuntil(b"ab")
        await peer.write(answer_bytes("413 Too Large", b"no"))
        await peer.reader.read()

    async def work() -> None:
        async with between(behave) as proxied:
            client = Client(body=[b"ab", b"cd"] + [b"ef"] * 100, headers=[("content-length", "204")])
            receive = client.receive

            async def slowly() -> Any:  # noqa: ANN401  # an event
                # As a client does that sends on what the socket takes: the loop runs between its pieces.
                for _ in range(20):
                    await asyncio.sleep(0)
                return await receive()

            await proxied.proxy.handle(client.scope, slowly, client.send)
            assert (client.answer.status, client.answer.body) == (413, b"no")
            assert client._at < 102
            second = Client(body=[b"ab"], headers=[("content-length", "2")])
            await proxied.ask(second)
            assert len(proxied.connections) == 2

    run(work())


def test_a_client_that_leaves_ends_the_upstreams_work() -> None:
    async def work() -> None:
        is_asked, is_left = asyncio.Event(), asyncio.Event()

        async def behave(peer: Peer) -> None:
            await peer.read()
            is_asked.set()
            assert await peer.reader.read() == b""
            is_left.set()

        async with between(behave) as proxied:
            client = Client()
            request = asyncio.create_task(proxied.ask(client))
            await is_asked.wait()
            client.leaves.set()
            with pytest.raises(Disconnected):
                await request
            await is_left.wait()
        assert client.sent == []

    run(work())


def test_a_client_that_leaves_before_its_request_is_whole_ends_it_too() -> None:
    async def work() -> None:
        is_left = asyncio.Event()

        async def behave(peer: Peer) -> None:
            with pytest.raises(asyncio.IncompleteReadError):
                await peer.read()
            is_left.set()

        async with between(behave) as proxied:
            client = Client(body=[b"ab"], headers=[("content-length", "4")])
            client.leaves.set()
            receive = client.receive

            async def cut_short() -> Any:  # noqa: ANN401  # an event
                return {**(await receive()), "more_body": True}

            with pytest.raises(Disconnected):
                await proxied.proxy.handle(client.scope, cut_short, client.send)
            await is_left.wait()

    run(work())


def test_a_client_that_takes_its_answer_slowly_holds_the_upstream_back() -> None:
    async def work() -> None:
        total, written, taken = 20_000_000, 0, asyncio.Event()

        async def behave(peer: Peer) -> None:
            nonlocal written
            await peer.read()
            await peer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % total)
            while written < total:
                written += 100_000
                await peer.write(b"x" * 100_000)

        async with between(behave) as proxied:
            client = Client("GET", "/")

            async def send(event: Any) -> None:  # noqa: ANN401  # an event
                client.sent.append(event)
                if event["type"] == "http.response.body":
                    await taken.wait()

            request = asyncio.create_task(proxied.proxy.handle(client.scope, client.receive, send))
            before = -1
            while before != written or not written:
                before = written
                await asyncio.sleep(0.05)
            assert written < total / 2
            taken.set()
            await request
        assert len(client.answer.body) == total

    run(work())


def test_requests_at_the_same_time_do_not_wait_for_each_other() -> None:
    async def work() -> None:
        everybody = asyncio.Barrier(20)

        async def behave(peer: Peer) -> None:
            while True:
                request = await peer.read()
                await everybody.wait()
                await peer.write(ok(request.split(b" ")[1]))

        async with between(behave) as proxied:
            clients = [Client("GET", f"/{number}") for number in range(20)]
            await asyncio.gather(*map(proxied.ask, clients))
        assert [client.answer.body for client in clients] == [client.path.encode() for client in clients]

    run(work())


def test_a_stopping_server_breaks_an_answer_off() -> None:
    async def work() -> None:
        async def behave(peer: Peer) -> None:
            await peer.read()
            await peer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nab")
            await peer.reader.read()

        async with between(behave) as proxied:
            client = Client("GET", "/")
            request = asyncio.create_task(proxied.ask(client))
            await client.is_started.wait()
            request.cancel()
            await request
        assert not client.is_answered

    run(work())
