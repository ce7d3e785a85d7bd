"""Our HTTP server, byte by byte: what it answers to good clients, to odd ones and to bad ones, and how it stops."""

import asyncio
import json
import socket
import struct
from collections.abc import Awaitable, Callable
from functools import wraps

import psutil
import pytest

from monitor.serving.body import BELIEVED_BYTES, Body
from monitor.serving.server import SWEEP_SECONDS
from tests.unit.serving_clients import BODY_LIMIT, Client, get, post, served

TOO_MUCH = 30_000_000


def in_loop(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    @wraps(test)
    def run(*arguments: object, **named: object) -> None:
        asyncio.run(asyncio.wait_for(test(*arguments, **named), 30))

    return run


# Good clients.


@in_loop
async def test_a_connection_is_kept_and_answers_come_in_the_order_of_pipelined_requests() -> None:
    async with served() as server:
        client = await server.connect()
        await client.send(b"".join(post(b"/echo", b"%d" % number) for number in range(500)))
        assert [(await client.answer())[2] for _ in range(500)] == [b"%d" % number for number in range(500)]
        assert (await client.ask(post(b"/echo", b"more")))[2] == b"more"


@in_loop
async def test_a_slow_first_answer_keeps_the_ones_behind_it_waiting() -> None:
    async with served() as server:
        client = await server.connect()
        await client.send(post(b"/slow", b"") + post(b"/echo", b"second"))
        await server.handlers.begun.wait()
        assert await server.answers()
        server.handlers.go_on.set()
        assert [(await client.answer())[2] for _ in range(2)] == [b'"slow"', b"second"]


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, BODY_LIMIT])
@pytest.mark.parametrize("apart", [False, True], ids=["together", "apart"])
@in_loop
async def test_a_body_of_any_length_arrives_as_it_was_sent(size: int, apart: bool) -> None:
    body = bytes(number % 251 for number in range(size))
    async with served() as server:
        client = await server.connect()
        for _ in range(2):
            request = post(b"/echo", body)
            head, _, _ = request.partition(b"\r\n\r\n")
            if apart:
                await client.send(head[:20], head[20:] + b"\r\n\r\n", body[:7], body[7:])
            else:
                await client.send(request)
            assert (await client.answer())[2] == body


@in_loop
async def test_a_chunked_body_arrives_whole_and_the_connection_goes_on() -> None:
    async with served() as server:
        client = await server.connect()
        head = b"POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
        await client.send(head, b"3\r\nabc\r\n", b"4;name=value\r\ndefg\r\n0\r\ntrailer: x\r\n\r\n" + post(b"/echo", b"next"))
        assert [(await client.answer())[2] for _ in range(2)] == [b"abcdefg", b"next"]


@in_loop
async def test_pieces_are_handed_on_as_they_come_and_answered_in_chunks() -> None:
    async with served() as server:
        client = await server.connect()
        await client.send(b"POST /pieces HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n")
        await client.reader.readuntil(b"\r\n\r\n")
        assert await client.reader.readexactly(8) == b"3\r\nabc\r\n"
        await client.send(b"2\r\nde\r\n0\r\n\r\n")
        assert await client.reader.readuntil(b"0\r\n\r\n") == b"2\r\nde\r\n0\r\n\r\n"
        assert await server.answers()


@in_loop
async def test_head_is_answered_like_get_without_the_body() -> None:
    async with served() as server:
        client = await server.connect()
        await client.send(b"HEAD /large HTTP/1.1\r\nhost: x\r\n\r\n" + post(b"/echo", b"next"))
        head = await client.reader.readuntil(b"\r\n\r\n")
        assert b"content-length: 5000000\r\n" in head
        assert (await client.answer())[2] == b"next"


@in_loop
async def test_expect_continue_is_told_to_go_on_only_where_the_body_is_wanted() -> None:
    async with served() as server:
        wanted = await server.connect()
        await wanted.send(b"POST /echo HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n")
        assert await wanted.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert (await wanted.ask(b"body"))[2] == b"body"
        refused = await server.connect()
        status, headers, _ = await refused.ask(
            b"POST /length HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2000000\r\n\r\n"
        )
        assert (status, headers["connection"]) == (413, "close")


@in_loop
async def test_http_1_0_and_connection_close_are_answered_and_closed() -> None:
    async with served() as server:
        for request in (b"GET /x HTTP/1.0\r\n\r\n", get(b"/x", b"connection: close")):
            client = await server.connect()
            status, headers, _ = await client.ask(request)
            assert (status, headers["connection"]) == (404, "close")
            assert await client.rest() == b""


@pytest.mark.parametrize("behind", [b"", post(b"/echo", b"second")], ids=["one", "two"])
@in_loop
async def test_a_client_that_closes_its_half_gets_its_answers(behind: bytes) -> None:
    async with served() as server:
        client = await server.connect()
        await client.send(post(b"/slow", b"") + behind)
        client.writer.write_eof()
        await server.handlers.begun.wait()
        assert await server.answers()
        server.handlers.go_on.set()
        assert (await client.rest()).endswith(b"second" if behind else b'"slow"')


@in_loop
async def test_a_handler_that_asks_is_told_when_its_client_goes_away() -> None:
    async with served() as server:
        half = await server.connect()
        await half.send(get(b"/watch"))
        half.writer.write_eof()
        assert (await half.answer())[2] == b'"http.disconnect"'
        server.handlers.begun.clear()
        server.handlers.disconnected.clear()
        gone = await server.connect()
        await gone.send(get(b"/watch"))
        await server.handlers.begun.wait()
        # What is unread in the server is thrown away, so that it cannot be taken for a closed half.
        gone.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        gone.writer.transport.abort()
        await server.handlers.disconnected.wait()


@in_loop
async def test_no_more_is_read_than_can_be_answered() -> None:
    async with served() as server:
        for beginning in (post(b"/slow", b""), b"POST /slow HTTP/1.1\r\nhost: x\r\ncontent-length: 900000000\r\n\r\n"):
            flooding = socket.create_connection(server.address)
            flooding.setblocking(False)
            await asyncio.get_running_loop().sock_sendall(flooding, beginning)
            sent = stalls = 0
            while stalls < 10 and sent < TOO_MUCH:
                try:
                    sent += flooding.send(post(b"/echo", b"x") * 1_000)
                    stalls = 0
                except BlockingIOError:
                    stalls += 1
                assert await server.answers()
            # The kernel holds some of it.
            assert sent < TOO_MUCH
            flooding.close()


@in_loop
async def test_a_large_answer_to_a_slow_reader_arrives_whole_and_holds_up_nobody() -> None:
    async with served() as server:
        client = await server.connect()
        await client.send(get(b"/large") + post(b"/echo", b"next"))
        assert await server.answers()
        assert len((await client.answer())[2]) == 5_000_000
        assert (await client.answer())[2] == b"next"


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"/a/%2e%2e/b?q=1", "/a/../b q=1"),
        (b"http://elsewhere:1/a?q", "/a q"),
        (b"/%00", "/\0 "),
        (b"/%ff%fe", "/\ufffd\ufffd "),
        (b"/%zz", "/%zz "),
        (b"/a%2Fb", "/a/b "),
        (b"//a", "//a "),
    ],
)
@in_loop
async def test_paths_are_decoded_and_never_more_than_text(target: bytes, path: str) -> None:
    async with served() as server:
        status, _, body = await (await server.connect()).ask(get(target, b"X-A: 1"))
        assert (status, json.loads(body)["error"]) == (404, f"GET {path} b'1'")


@in_loop
async def test_an_offer_of_another_protocol_is_passed_over() -> None:
    async with served() as server:
        client = await server.connect()
        status, headers, _ = await client.ask(get(b"/x", b"connection: upgrade", b"upgrade: websocket"))
        assert (status, headers["connection"]) == (404, "close")


# Bodies that nobody wants.


@pytest.mark.parametrize("path", [b"/ignore", b"/length"])
@in_loop
async def test_an_answer_before_the_end_of_the_body_leaves_the_connection_usable(path: bytes) -> None:
    async with served() as server:
        client = await server.connect()
        status, _, _ = await client.ask(post(path, b"x" * 3_000_000))
        assert status in (401, 413)
        assert (await client.ask(post(b"/echo", b"next")))[2] == b"next"
        chunk = b"f4240\r\n" + b"x" * 1_000_000 + b"\r\n"
        status, _, _ = await client.ask(b"POST %b HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n%b0\r\n\r\n" % (path, chunk * 3))
        assert status in (401, 413)
        assert (await client.ask(post(b"/echo", b"next")))[2] == b"next"


@in_loop
async def test_an_announcement_alone_takes_no_memory() -> None:
    async with served() as server:
        await server.answers()
        process = psutil.Process()
        before = process.memory_info().rss
        clients = [await server.connect() for _ in range(50)]
        for client in clients:
            await client.send(b"POST /length HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % BODY_LIMIT)
        assert await server.answers()
        assert process.memory_info().rss - before < 50 * BODY_LIMIT / 5
        await clients[0].send(b"x" * BODY_LIMIT)
        assert (await clients[0].answer())[2] == b"1000000"


@in_loop
async def test_a_body_of_several_reads_is_a_view_of_where_it_was_received() -> None:
    async with served() as server:
        client = await server.connect()
        assert (await client.ask(post(b"/length", b"x" * BODY_LIMIT)))[2] == b"1000000"
        assert (await client.ask(post(b"/length", b"x" * 1_000)))[2] == b"1000"
        assert server.handlers.kinds == [memoryview, bytes]


@in_loop
async def test_an_announcement_is_believed_by_and_by() -> None:
    body = Body(16_000_000, lambda: None)
    body.add(b"begin")
    whole = asyncio.create_task(body.whole(16_000_000))
    await asyncio.sleep(0)
    places = []
    while (place := body.place) is not None and not body.complete:
        places.append(len(place))
        place[:] = b"x" * len(place)
        body.filled(len(place))
    assert places == [BELIEVED_BYTES - 5, 16_000_000 - BELIEVED_BYTES]
    received = await whole
    assert bytes(received[:6]) == b"beginx"
    assert len(received) == 16_000_000


# Bad clients.


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (post(b"/echo", b"x", b"content-length: 1"), 400),
        (post(b"/echo", b"x", b"content-length: 2"), 400),
        (b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n", 400),
        (b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 1_0\r\n\r\n", 400),
        (b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: +1\r\n\r\nx", 400),
        (b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 0x1\r\n\r\nx", 400),
        (b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 1, 1\r\n\r\nx", 400),
        (b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999999999999999\r\n\r\n", 400),
        (b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 9999999999999999\r\n\r\n", 413),
        (b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n0\r\n\r\n", 400),
        (b"POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked, gzip\r\n\r\n0\r\n\r\n", 400),
        (b"POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: \x0bchunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding : chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n-1\r\n", 400),
        (b"POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\n", 400),
        (b"POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n", 400),
        (b"GET /a b HTTP/1.1\r\nhost: x\r\n\r\n", 400),
        (b"GET /\0 HTTP/1.1\r\nhost: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: x\r\nx: \0\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nx y: z\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\n\r\n", 400),
        (b"NONE / HTTP/1.1\r\nhost: x\r\n\r\n", 400),
        (b"CONNECT elsewhere:443 HTTP/1.1\r\nhost: x\r\n\r\n", 400),
        (b"GET elsewhere HTTP/1.1\r\nhost: x\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01", 400),
        (b"\0" * 1_000, 400),
        (b"GET /" + b"x" * 200_000, 431),
        (b"GET / HTTP/1.1\r\nx: " + b"y" * 200_000, 431),
        (b"GET / HTTP/1.1\r\n" + b"".join(b"x%d: y\r\n" % number for number in range(300)) + b"\r\n", 431),
    ],
)
@in_loop
async def test_what_is_no_request_is_refused_the_connection_ends_and_the_server_goes_on(sent: bytes, status: int) -> None:
    async with served() as server:
        client = await server.connect()
        await client.send(sent)
        told, headers, body = await client.answer()
        assert told == status, body
        assert json.loads(body)["error"]
        if status != 413:
            assert headers["connection"] == "close"
            assert server.refused() == {status: 1}
            client.writer.write_eof()
            assert await client.rest() == b""
        assert await server.answers()


@in_loop
async def test_a_request_that_is_smuggled_behind_another_is_never_answered() -> None:
    smuggled = b"GET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n"
    for request in (
        b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n%b"
        % (5 + len(smuggled), smuggled),
        b"POST /echo HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n%b" % smuggled,
        b"POST /echo HTTP/1.0\r\n\r\n%b" % smuggled,
    ):
        async with served() as server:
            client = await server.connect()
            await client.send(request)
            await client.answer()
            assert await client.rest() == b""


@in_loop
async def test_garbage_after_good_requests_is_refused_after_their_answers() -> None:
    async with served() as server:
        client = await server.connect()
        await client.send(post(b"/slow", b"") + post(b"/echo", b"second") + b"\0\0\0")
        await server.handlers.begun.wait()
        server.handlers.go_on.set()
        answers = [await client.answer() for _ in range(3)]
        assert [(status, body) for status, _, body in answers[:2]] == [(200, b'"slow"'), (200, b"second")]
        assert answers[2][0] == 400


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"", None),
        (b"GET /x HTTP/1.1\r\nhost", 408),
        (b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nhalf", 408),
        (b"POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhalf", 408),
        (b"POST /pieces HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nhalf", 200),
        (b"POST /ignore HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nhalf", 401),
        (get(b"/x"), 404),
    ],
    ids=["silent", "head", "body", "chunked body", "body that is streamed", "body that nobody wants", "between two requests"],
)
@in_loop
async def test_a_client_that_sends_nothing_more_is_cut_off(sent: bytes, status: int | None) -> None:
    async with served(request_timeout_seconds=0.1, keep_alive_seconds=0.1) as server:
        client = await server.connect()
        await client.send(sent)
        answer = await client.rest()
        assert answer[9:12] == (b"" if status is None else b"%d" % status)
        assert server.refused() == ({408: 1} if status == 408 else {})


@in_loop
async def test_a_client_is_not_cut_off_for_what_the_server_does_not_read() -> None:
    async with served(request_timeout_seconds=0.1) as server:
        client = await server.connect()
        await client.send(b"POST /slow HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nhalf")
        await server.handlers.begun.wait()
        await asyncio.sleep(3 * SWEEP_SECONDS)
        server.handlers.go_on.set()
        assert (await client.answer())[0] == 200


@in_loop
async def test_a_handler_that_answers_one_who_was_cut_off_answers_nobody() -> None:
    async with served(request_timeout_seconds=0.1) as server:
        client = await server.connect()
        await client.send(b"POST /stubborn HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nhalf")
        answer = await client.rest()
        assert answer.startswith(b"HTTP/1.1 408")
        assert answer.count(b"HTTP/1.1") == 1
        assert server.handlers.disconnected.is_set()


@in_loop
async def test_a_client_that_drips_is_cut_off_all_the_same() -> None:
    async with served(request_timeout_seconds=0.3) as server:
        client = await server.connect()
        await client.send(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n")
        dripping = asyncio.create_task(_drip(client))
        assert (await client.answer())[0] == 408
        dripping.cancel()


async def _drip(client: Client) -> None:
    while True:
        await client.send(b" ")
        await asyncio.sleep(0.01)


@in_loop
async def test_a_client_that_does_not_read_its_answers_is_cut_off() -> None:
    async with served(keep_alive_seconds=0.1) as server:
        deaf = socket.create_connection(server.address)
        deaf.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(deaf, get(b"/large"))
        async with asyncio.timeout(10):
            while True:
                await asyncio.sleep(0.05)
                try:
                    deaf.send(b"x")
                except BlockingIOError:
                    continue
                except OSError:
                    break
        deaf.close()
        assert await server.answers()


@in_loop
async def test_one_connection_too_many_is_told_so_and_the_next_after_an_end_is_served() -> None:
    async with served(connections_limit=3) as server:
        clients = [await server.connect() for _ in range(3)]
        for client in clients:
            assert (await client.ask(get(b"/x")))[0] == 404
        status, headers, body = await (await server.connect()).answer()
        assert (status, headers["retry-after"], headers["connection"]) == (503, "1", "close")
        assert b"too many connections" in body
        clients[0].close()
        await clients[0].writer.wait_closed()
        async with asyncio.timeout(10):
            while True:
                try:
                    if await server.answers():
                        break
                except AssertionError:
                    pass


@in_loop
async def test_thousands_of_idle_connections_hold_up_nobody() -> None:
    async with served() as server:
        for _ in range(2_000):
            await server.connect()
        assert await server.answers()


@in_loop
async def test_a_client_that_leaves_before_its_request_is_whole_is_told_to_the_handler() -> None:
    async with served() as server:
        client = await server.connect()
        await client.send(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nhalf")
        client.close()
        await server.handlers.disconnected.wait()


@in_loop
async def test_a_handler_that_fails_costs_its_connection_and_no_more() -> None:
    async with served() as server:
        client = await server.connect()
        await client.send(get(b"/broken"))
        assert await client.rest() == b""
        assert await server.answers()


# The stop.


@in_loop
async def test_a_stop_closes_idle_connections_and_answers_what_has_begun_with_connection_close() -> None:
    async with served() as server:
        idle, silent, busy = [await server.connect() for _ in range(3)]
        await idle.ask(get(b"/x"))
        await busy.send(post(b"/slow", b""))
        await server.handlers.begun.wait()
        server.server.stop()
        assert not server.handlers.ready
        assert await idle.rest() == await silent.rest() == b""
        assert not server.serving.done()
        server.handlers.go_on.set()
        status, headers, _ = await busy.answer()
        assert (status, headers["connection"]) == (200, "close")
        await server.serving


@in_loop
async def test_a_request_that_is_on_its_way_at_the_stop_is_answered_and_nobody_new_is_let_in() -> None:
    async with served() as server:
        client, unaccepted = await server.connect(), await server.connect()
        await client.ask(get(b"/x"))
        await server.begin_stop()
        for each in (client, unaccepted):
            await each.send(post(b"/echo", b"late"))
        for each in (client, unaccepted):
            status, headers, body = await each.answer()
            assert (status, headers["connection"], body) == (200, "close", b"late")
        with pytest.raises(ConnectionRefusedError):
            await server.connect()
        await server.serving


@in_loop
async def test_pipelined_requests_are_all_answered_at_a_stop() -> None:
    async with served() as server:
        client = await server.connect()
        await client.send(post(b"/slow", b"") + post(b"/echo", b"second") + post(b"/echo", b"third"))
        await server.handlers.begun.wait()
        await server.begin_stop()
        server.handlers.go_on.set()
        answers = [await client.answer() for _ in range(3)]
        assert [body for _, _, body in answers] == [b'"slow"', b"second", b"third"]
        assert ["connection" in headers for _, headers, _ in answers] == [False, False, True]


@in_loop
async def test_a_second_signal_cuts_off_what_has_not_ended_with_a_503() -> None:
    async with served() as server:
        busy, half = await server.connect(), await server.connect()
        await busy.send(post(b"/slow", b""))
        await half.send(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nhalf")
        await server.handlers.begun.wait()
        await server.begin_stop()
        server.server.stop()
        assert (await busy.answer())[0] == (await half.answer())[0] == 503
        await server.serving


@in_loop
async def test_services_start_before_the_first_request_and_stop_beside_the_last_ones() -> None:
    happened: list[str] = []

    class Failing:
        async def start(self) -> None:
            pass

        async def stop(self, grace_seconds: float) -> None:
            raise OSError("no way to end")

    class Noting:
        async def start(self) -> None:
            happened.append("started")

        async def stop(self, grace_seconds: float) -> None:
            happened.append(f"stopped within {grace_seconds:g}")

    async with served(services=[Failing(), Noting()]) as server:
        client = await server.connect()
        await client.send(post(b"/slow", b""))
        await server.handlers.begun.wait()
        assert happened == ["started"]
        server.server.stop()
        server.handlers.go_on.set()
        assert (await client.answer())[0] == 200
        await server.serving
        assert happened == ["started", "stopped within 8"]


@in_loop
async def test_it_goes_on_for_the_stop_delay_not_ready() -> None:
    async with served(stop_delay_seconds=30) as server:
        server.server.stop()
        assert not server.handlers.ready
        client = await server.connect()
        for _ in range(5):
            status, headers, _ = await client.ask(post(b"/echo", b""))
            assert (status, "connection" in headers) == (200, False)


@in_loop
async def test_whom_the_kernel_has_let_in_by_the_stop_is_answered() -> None:
    async with served() as server:
        # Connected while the event loop stands still.
        waiting = [socket.create_connection(server.address) for _ in range(50)]
        for each in waiting:
            each.sendall(post(b"/echo", b"late"))
        server.server.stop()
        await server.serving
        for each in waiting:
            assert each.recv(1_000).endswith(b"late")
            each.close()
