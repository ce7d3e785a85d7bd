"""What the proxy taps of what passes, and by which id the client hears of it."""

import asyncio
import json
import re
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

import pytest
import uvloop

from monitor.serving.proxy.copying import Allowance, Copy
from monitor.serving.refusals import BadRequest
from monitor.serving.tap import Entry
from tests.unit.proxied import ANSWERED, ASKED, PATH, Between, Client, Peer, answer_bytes, answering, between, infer, ok, zipped
from tests.unit.serving_models import NOON, tensor

Value = TypeVar("Value")
TWO_ASKED = {"inputs": [tensor("X", "FP32", [2, 3], [1, 2, 3, 4, 5, 6])]}
TWO_ANSWERED = ANSWERED | {"outputs": [tensor("p", "FP32", [2, 2], [0.25, 0.75, 1, 0])]}


def run(work: Coroutine[Any, Any, Value]) -> Value:
    return uvloop.run(asyncio.wait_for(work, 20))


def passed(client: Client, answer: bytes, body_limit: int = 100_000) -> Between:
    async def work() -> Between:
        async with between(answering(answer), body_limit=body_limit) as proxied:
            await proxied.ask(client)
            return proxied

    return run(work())


def tapped(asked: Mapping[str, object], answered: Mapping[str, object], *headers: tuple[str, str], path: str = PATH) -> tuple[str, Entry]:
    """The id that the client was told, and the entry."""
    client = infer(asked, *headers, path=path)
    (entry,) = passed(client, ok(json.dumps(answered).encode())).entries()
    return client.answer.headers["x-model-monitor-id"], entry


def test_a_request_becomes_the_entry_that_one_of_our_own_would_be() -> None:
    told, entry = tapped(ASKED | {"id": "q"}, ANSWERED, ("traceparent", "00-1-2-01"))
    assert (told, entry.ids, entry.rows, entry.arrival, entry.trace) == ("q", ["q"], 1, NOON, "00-1-2-01")
    assert (entry.tapped.model, entry.tapped.version) == ("flights", "7")
    monitored = entry.tapped.monitored
    assert {name: values.tolist() for name, values in monitored.features(entry.inputs).items()} == {"a": [1], "b": [2], "c": [3]}
    assert monitored.score is not None
    assert monitored.scores(entry.outputs[monitored.score.output]).tolist() == [[0.75]]
    assert entry.cost > len(json.dumps(ASKED)) + len(json.dumps(ANSWERED))


def test_the_id_is_the_requests_else_the_answers_else_minted() -> None:
    def ids(asked: Mapping[str, object], answered: Mapping[str, object]) -> tuple[str, list[str]]:
        told, entry = tapped(asked, answered)
        return told, entry.ids

    assert ids(ASKED | {"id": "q"}, ANSWERED | {"id": "a"}) == ("q", ["q"])
    assert ids(ASKED, ANSWERED | {"id": "a"}) == ("a", ["a"])
    assert ids(TWO_ASKED | {"id": "q"}, TWO_ANSWERED) == ("q", ["q/0", "q/1"])
    assert ids(TWO_ASKED | {"id": "q", "parameters": {"ids": ["x", "y"]}}, TWO_ANSWERED) == ("q", ["x", "y"])
    assert ids(TWO_ASKED, TWO_ANSWERED | {"id": "a", "parameters": {"ids": ["x", "y"]}}) == ("a", ["x", "y"])
    told, rows = ids(TWO_ASKED, TWO_ANSWERED)
    assert re.fullmatch(r"013d25d2-ba00-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", told)
    assert rows == [f"{told}/0", f"{told}/1"]
    told, rows = ids(ASKED | {"id": "é %\n"}, ANSWERED)
    assert (told, rows) == ("%C3%A9%20%25%0A", ["é %\n"])


def test_bytes_stay_as_they_are_though_an_id_was_minted() -> None:
    client = infer()
    answer = json.dumps(ANSWERED).encode()
    proxied = passed(client, ok(answer, "content-type: application/json"))
    assert client.answer.body == answer
    assert proxied.requests[0].endswith(b"\r\n\r\n" + json.dumps(ASKED).encode())
    assert set(client.answer.headers) == {"content-type", "content-length", "x-model-monitor-id"}


def test_an_answer_that_may_hold_the_id_is_held_until_it_does() -> None:
    async def work() -> Client:
        answer = json.dumps(ANSWERED | {"id": "late"}).encode()

        async def behave(peer: Peer) -> None:
            await peer.read()
            await peer.write(ok(answer)[:-20])
            await asyncio.sleep(0)
            await peer.write(ok(answer)[-20:])

        async with between(behave) as proxied:
            client = await proxied.ask(infer())
            assert proxied.entries()[0].ids == ["late"]
            return client

    client = run(work())
    assert client.answer.headers["x-model-monitor-id"] == "late"
    assert client.answer.json == ANSWERED | {"id": "late"}


def test_the_version_is_the_answers_else_the_paths() -> None:
    nameless = {"outputs": ANSWERED["outputs"]}
    path = "/v2/models/flights/versions/3/infer"
    assert [tapped(ASKED, answered, path=path)[1].tapped.version for answered in (ANSWERED, nameless)] == ["7", "3"]
    assert tapped(ASKED, nameless)[1].tapped.version == ""


def test_binary_tensors_are_read_in_both_directions() -> None:
    def message(key: str, datatype: str, shape: list[int], raw: bytes) -> tuple[bytes, bytes]:
        listed = {"name": "X", "datatype": datatype, "shape": shape, "parameters": {"binary_data_size": len(raw)}}
        return json.dumps({"id": "q", key: [listed]}).encode(), raw

    import numpy as np

    head, raw = message("inputs", "FP16", [1, 3], np.array([1, 2, np.nan], "<f2").tobytes())
    client = Client(body=[head + raw], headers=[("inference-header-content-length", str(len(head)))])
    answer_head, answer_raw = message("outputs", "FP64", [1, 1], np.array([0.5], "<f8").tobytes())
    proxied = passed(client, ok(answer_head + answer_raw, f"Inference-Header-Content-Length: {len(answer_head)}"))
    (entry,) = proxied.entries()
    assert np.array_equal(entry.inputs["X"], [[1, 2, np.nan]], equal_nan=True)
    assert entry.outputs[0].tolist() == [[0.5]]
    assert client.answer.body == answer_head + answer_raw


@pytest.mark.parametrize("limit", [100_000, 300])
def test_compressed_bodies_pass_as_they_are_and_are_read_within_the_limit(limit: int) -> None:
    body, answer = zipped({"id": "q", "inputs": ASKED["inputs"], "x": " " * 1_000}), zipped(ANSWERED)
    client = Client(body=[body], headers=[("content-encoding", "gzip")])
    proxied = passed(client, ok(answer, "content-encoding: gzip"), limit)
    assert client.answer.body == answer
    assert client.answer.headers["x-model-monitor-id"] == "q"
    if limit == 300:
        with pytest.raises(BadRequest, match="larger than 300 bytes"):
            proxied.entries()
    else:
        assert proxied.entries()[0].ids == ["q"]


def test_what_is_compressed_otherwise_passes_and_is_counted() -> None:
    client = infer(ASKED, ("content-encoding", "br"))
    proxied = passed(client, ok(b"{}"))
    assert (client.answer.status, proxied.tapped, proxied.proxy.counts().untapped) == (200, [], {"too_large": 0, "encoding": 1})
    assert "x-model-monitor-id" not in client.answer.headers


@pytest.mark.parametrize("is_large", ["request", "answer"])
def test_what_is_larger_than_may_be_kept_passes_and_is_counted(is_large: str) -> None:
    document = ASKED | {"id": "q"} | ({"x": "y" * 1_000} if is_large == "request" else {})
    answer = json.dumps(ANSWERED | ({"x": "y" * 1_000} if is_large == "answer" else {})).encode()
    client = infer(document)
    proxied = passed(client, ok(answer), body_limit=500)
    assert (client.answer.body, proxied.tapped, proxied.proxy.counts().untapped) == (answer, [], {"too_large": 1, "encoding": 0})
    # Nothing is held any more: as much as ever may be kept of the next.
    assert proxied.proxy._taps.allowance.held_bytes == 0


@pytest.mark.parametrize(
    ("client", "status"),
    [
        (infer(), "500 Internal Server Error"),
        (infer(), "201 Created"),
        (infer(path="/v2/models/other/infer"), "200 OK"),
        (infer(path="/v2/models/flights/ready"), "200 OK"),
        (infer(path="/v2/models/flights/infer/x"), "200 OK"),
        (Client("GET"), "200 OK"),
    ],
)
def test_other_requests_and_answers_only_pass(client: Client, status: str) -> None:
    proxied = passed(client, answer_bytes(status, json.dumps(ANSWERED).encode()))
    assert (client.answer.json, proxied.tapped) == (ANSWERED, [])
    assert "x-model-monitor-id" not in client.answer.headers
    assert sum(proxied.proxy.counts().untapped.values()) == 0


def test_a_half_answer_is_not_tapped() -> None:
    async def work() -> Between:
        async def behave(peer: Peer) -> None:
            await peer.read()
            await peer.write(b'HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{"id": "a", ')

        async with between(behave) as proxied:
            client = await proxied.ask(infer(ASKED | {"id": "q"}))
            assert not client.is_answered
            return proxied

    proxied = run(work())
    assert proxied.tapped == []
    assert proxied.proxy._taps.allowance.held_bytes == 0


def test_what_cannot_be_mapped_is_counted_and_harms_nobody() -> None:
    async def work() -> None:
        unlike = ASKED | {"inputs": [tensor("X", "FP32", [1, 4], [1, 2, 3, 4])]}
        async with between(answering(ok(json.dumps(ANSWERED).encode()))) as proxied:
            for document in (unlike, unlike, ASKED):
                assert (await proxied.ask(infer(document))).answer.status == 200
            first, second, third = proxied.tapped
            for unread in (first, second):
                with pytest.raises(BadRequest, match="cannot be mapped"):
                    unread.decode()
            assert len(third.decode()) == 1
            assert proxied.proxy.counts().unmapped == {"flights": 2}

    run(work())


def test_what_is_kept_is_bounded_for_each_body_and_for_all() -> None:
    allowance = Allowance(body_bytes=10, total_bytes=25)
    first, second, third = Copy(allowance), Copy(allowance), Copy(allowance)
    first.add_to_request(b"12345")
    first.add_to_request(b"67890")
    second.add_to_answer(b"1234567890")
    third.add_to_answer(b"123456")
    assert (first.is_whole, second.is_whole, third.is_whole, allowance.held_bytes) == (True, True, False, 20)
    second.add_to_answer(b"1")
    # What was kept in vain makes room at once, however long the rest of the body takes.
    assert (second.is_whole, allowance.held_bytes) == (False, 10)
    assert (first.request, first.answer, second.answer) == (b"1234567890", b"", b"")
    first.release()
    first.release()
    assert allowance.held_bytes == 0
