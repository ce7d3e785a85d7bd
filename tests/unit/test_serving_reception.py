"""Requests at a door: what is asked of their senders, bodies that come in pieces, and answers that say how much was taken."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import orjson
import pytest

from monitor.errors import LogFull
from monitor.serving.http import Disconnected, Event
from monitor.serving.ndjson import LINE_BYTES_LIMIT, PIECE_BYTES, pieces
from monitor.serving.rates import Rates
from monitor.serving.tokens import Tokens
from tests.unit.door_parts import BODY_LIMIT, Post, events, label_door, secret, tokens
from tests.unit.serving_models import ListLog

LABEL = b'{"id": "a", "label": "late", "model": "flights"}'


def lines(count: int, first: int = 0) -> bytes:
    return b"".join(b'{"id": "flight-%d", "label": "late"}\n' % number for number in range(first, first + count))


def in_chunks(body: bytes, size: int) -> list[bytes]:
    return [body[begin : begin + size] for begin in range(0, len(body), size)]


def pieces_of(chunks: list[bytes]) -> list[bytes]:
    async def arriving() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    async def collected() -> list[bytes]:
        return [piece async for piece in pieces(arriving())]

    return asyncio.run(collected())


def test_202_says_how_many_events_are_durable() -> None:
    log = ListLog()
    post = Post(label_door(log))
    answer = post(b"[" + LABEL + b"," + LABEL + b"]")
    assert (answer.status, answer.body) == (202, {"accepted": 2})
    assert len(events(log)) == 2
    assert post.counted == [2]


def test_a_refusal_says_that_nothing_was_taken() -> None:
    post = Post(label_door(ListLog(error=LogFull("the log is full"))))
    assert (post(b"{").status, post(b"{").body["accepted"]) == (400, 0)
    answer = post(LABEL)
    assert (answer.status, answer.body["accepted"], answer.headers[b"retry-after"]) == (503, 0, b"5")
    assert answer.headers[b"content-type"] == b"application/json"
    assert post(b" " * (BODY_LIMIT + 1)).status == 413
    assert post.counted == []


def test_lines_beyond_the_limit_of_a_body_are_taken_in_pieces() -> None:
    log = ListLog()
    post = Post(label_door(log))
    body = lines(100_000)
    assert len(body) > 30 * BODY_LIMIT
    answer = post.lines(in_chunks(body, 65_536))
    assert (answer.status, answer.body) == (202, {"accepted": 100_000})
    assert [event["id"] for event in events(log)] == [f"flight-{number}" for number in range(100_000)]
    assert sum(post.counted) == 100_000
    assert max(post.counted) < 10_000
    assert post(in_chunks(body, 65_536)).status == 413


def test_of_a_stream_that_is_refused_the_first_lines_are_taken_and_a_sender_can_go_on_from_there() -> None:
    log = ListLog()
    post = Post(label_door(log))
    good = lines(20_000)
    answer = post.lines(in_chunks(good + b'{"id": "x", "label": "lost"}\n' + lines(20_000, 20_000), 65_536))
    accepted = answer.body["accepted"]
    assert answer.status == 400
    assert "event 20000: label is 'lost'" in answer.body["error"]
    assert 0 < accepted < 20_000
    assert [event["id"] for event in events(log)] == [f"flight-{number}" for number in range(accepted)]
    assert sum(post.counted) == accepted
    rest = b"".join(good.splitlines(keepends=True)[accepted:])
    assert post.lines(rest).body == {"accepted": 20_000 - accepted}
    assert len(events(log)) == 20_000


def test_a_log_that_fails_in_the_middle_is_told_with_what_was_taken() -> None:
    log = ListLog()
    post = Post(label_door(log))
    body = in_chunks(lines(20_000), 65_536)

    def failing_after_some() -> Iterator[bytes]:
        for number, chunk in enumerate(body):
            log.error = LogFull("the log is full") if number >= 5 else None
            yield chunk

    arriving = ({"type": "http.request", "body": chunk, "more_body": True} for chunk in failing_after_some())
    answer = post.receive(arriving, headers={"Content-Type": "application/x-ndjson"})
    assert (answer.status, answer.headers[b"retry-after"]) == (503, b"5")
    assert 0 < answer.body["accepted"] == len(events(log)) < 20_000


def test_a_stream_of_no_event_is_the_clients_error() -> None:
    for body in (b"", b"\n\n \r\n", [b"\n"] * 10):
        answer = Post(label_door(ListLog())).lines(body)
        assert (answer.status, answer.body) == (400, {"error": "the body is empty: expected one event a line", "accepted": 0})


def test_a_client_that_goes_away_leaves_what_was_taken() -> None:
    log = ListLog()
    post = Post(label_door(log))
    arriving = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in in_chunks(lines(20_000), 65_536)]
    with pytest.raises(Disconnected):
        post.receive([*arriving, {"type": "http.disconnect"}], headers={"Content-Type": "application/jsonl"})
    assert 0 < sum(post.counted) == len(events(log)) < 20_000


def test_a_server_that_stops_says_what_was_taken() -> None:
    def cancelled() -> Iterator[Event]:
        yield {"type": "http.request", "body": lines(10_000), "more_body": True}
        raise asyncio.CancelledError

    answer = Post(label_door(ListLog())).receive(cancelled(), headers={"Content-Type": "application/x-ndjson"})
    assert (answer.status, answer.body["accepted"]) == (503, 10_000)


@pytest.mark.parametrize("size", [1, 7, 1_000, 65_536, 10_000_000])
def test_pieces_are_whole_lines_however_they_arrive(size: int) -> None:
    body = lines(20_000 if size > 100 else 9_000) + b'{"the last": "without its end"}'
    cut = pieces_of(in_chunks(body, size))
    assert b"".join(cut) == body
    assert all(piece.endswith(b"\n") for piece in cut[:-1])
    assert all(len(piece) <= PIECE_BYTES + size + 100 for piece in cut)


def test_an_endless_line_is_refused_before_it_fills_the_memory() -> None:
    log = ListLog()
    chunks = [*in_chunks(lines(10_000), 65_536), *[b"x" * 65_536] * 100]
    answer = Post(label_door(log)).lines(chunks)
    assert answer.status == 400
    assert f"a line is longer than {LINE_BYTES_LIMIT:,} bytes" in answer.body["error"]
    assert answer.body["accepted"] == len(events(log)) > 0


def test_tokens_are_asked_for_and_good_for_their_models(tmp_path: Path) -> None:
    log = ListLog()
    post = Post(label_door(log, two_models=True), tokens(tmp_path, airline=("flights",), everything=()))
    no_token, unknown = post(LABEL), post(LABEL, bearer="x" * 20)
    assert (no_token.status, unknown.status) == (401, 401)
    assert no_token.headers[b"www-authenticate"] == unknown.headers[b"www-authenticate"] == b"Bearer"
    train = LABEL.replace(b"flights", b"trains")
    assert [post(body, bearer=secret("airline")).status for body in (LABEL, train)] == [202, 403]
    assert [post(body, bearer=secret("everything")).status for body in (LABEL, train)] == [202, 202]
    assert [event["model"] for event in events(log)] == ["flights", "flights", "trains"]


def test_a_body_is_not_read_before_its_sender_is_known(tmp_path: Path) -> None:
    def never() -> Iterator[Event]:
        raise AssertionError("the body was read")
        yield {}

    post = Post(label_door(ListLog()), tokens(tmp_path, airline=()))
    assert post.receive(never(), bearer="x" * 20).status == 401


def test_the_rate_is_each_tokens_or_each_addresss(tmp_path: Path) -> None:
    ten = b"[" + b",".join([LABEL] * 10) + b"]"
    known = tokens(tmp_path, one=(), two=())
    by_token = Post(label_door(ListLog(), rates=Rates(1, lambda: 0.0)), known)
    assert [by_token(ten, bearer=secret(name)).status for name in ("one", "one", "two")] == [202, 429, 202]
    by_address = Post(label_door(ListLog(), rates=Rates(1, lambda: 0.0)), Tokens([]))
    answers = [by_address(ten, address=address) for address in ("192.0.2.1", "192.0.2.1", "2001:db8::1")]
    assert [answer.status for answer in answers] == [202, 429, 202]
    assert (answers[1].headers[b"retry-after"], answers[1].body["accepted"]) == (b"1", 0)


def test_a_stream_over_the_rate_says_how_far_it_came() -> None:
    log = ListLog()
    answer = Post(label_door(log, rates=Rates(1_000, lambda: 0.0))).lines(in_chunks(lines(50_000), 65_536))
    assert answer.status == 429
    assert 0 < answer.body["accepted"] == len(events(log)) < 20_000


def test_bad_events_count_in_the_rate_too() -> None:
    """They cost the same to read; otherwise whoever sends nothing else would never be stopped."""
    post = Post(label_door(ListLog(), rates=Rates(1, lambda: 0.0)))
    bad = orjson.dumps([{"id": ""}] * 10)
    assert [post(bad).status, post(bad).status] == [400, 429]
