"""`model-monitor serve` as a process of its own: real sockets, a real model, the real log; and clients that mean no good."""

import json
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from monitor.events import Stream
from tests.e2e.servers import FLIGHT, START_WITHIN_SECONDS, STOP_WITHIN_SECONDS, Serve, answers, launch, ready, received

Start = Callable[..., Serve]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a server that is ready, with the settings given; kills it at the end."""
    running: list[Serve] = []

    def started(*, repository: bool = True, partitions: int = 1, max_bytes: str = "1GB", serving: str = "") -> Serve:
        running.append(launch(tmp_path, repository=repository, partitions=partitions, max_bytes=max_bytes, serving=serving))
        return ready(running[-1])

    yield started
    for serve in running:
        serve.kill()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """One server for the tests that leave it as it was."""
    serve = launch(tmp_path_factory.mktemp("shared"))
    yield ready(serve)
    serve.kill()


def test_what_was_answered_is_logged_and_labels_are_durable(start: Start) -> None:
    serve = start(partitions=4)
    with httpx.Client(base_url=serve.url) as client:
        ids = []
        for number in range(20):
            answer = client.post("/v2/models/flights/infer", json=FLIGHT | {"id": f"flight-{number}"} if number else FLIGHT)
            assert answer.status_code == 200
            ids.append(answer.json()["id"])
        accepted = client.post("/v1/labels", json=[{"id": row_id, "label": "late"} for row_id in ids])
        assert (accepted.status_code, accepted.json()) == (202, {"accepted": 20})
    # Durable means: what a killed process leaves.
    labels = serve.logged(Stream.LABELS)
    assert sorted(str(event["id"]) for event in labels) == sorted(ids)
    assert serve.stop() == 0
    predictions = serve.logged(Stream.PREDICTIONS)
    assert sorted(str(event["id"]) for event in predictions) == sorted(ids)
    assert {event["prediction"] for event in predictions} == {"late"}
    assert len({event["partition"] for event in predictions}) > 1
    assert {event["id"]: event["partition"] for event in predictions} == {event["id"]: event["partition"] for event in labels}
    assert json.loads(serve.stderr.splitlines()[-1])["predictions_written"] == 20


def test_nothing_of_the_runtimes_telemetry_is_left_under_the_home_folder(start: Start, tmp_path: Path) -> None:
    serve = start()
    assert httpx.post(f"{serve.url}/v2/models/flights/infer", json=FLIGHT).status_code == 200
    assert serve.stop() == 0
    assert list((tmp_path / "home").rglob("*")) == []


def test_without_a_repository_it_is_a_gateway(start: Start) -> None:
    serve = start(repository=False)
    assert httpx.post(f"{serve.url}/v2/models/flights/infer", json=FLIGHT).status_code == 404
    prediction = {"id": "a", "time": int(time.time() * 1000), "model": "flights", "version": "1", "features": {"a": 1}, "score": 0.9}
    assert httpx.post(f"{serve.url}/v1/predictions", json=prediction).status_code == 202
    assert [event["id"] for event in serve.logged(Stream.PREDICTIONS)] == ["a"]


def test_a_full_log_is_a_503_for_labels_and_nothing_for_inference(start: Start) -> None:
    serve = start(max_bytes="200kB")
    with httpx.Client(base_url=serve.url) as client:
        for number in range(1_000):
            answer = client.post("/v1/labels", json=[{"id": f"{number}-{row}", "label": "late"} for row in range(200)])
            if answer.status_code != 202:
                break
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "5"
        assert "not taken, send all of it again" in answer.json()["error"]
        assert client.post("/v2/models/flights/infer", json=FLIGHT).status_code == 200
    assert serve.stop() == 0
    ended = json.loads(serve.stderr.splitlines()[-1])
    assert (ended["predictions_lost"], ended["predictions_spooled"]) == (0, 1)


def test_a_port_in_use_is_told_before_anything_else_starts(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        process = launch(tmp_path, port=port).process
        _, stderr = process.communicate(timeout=START_WITHIN_SECONDS)
    assert process.returncode == 1
    assert f"127.0.0.1:{port} is in use: stop what listens there, or set serving.port" in stderr
    assert not (tmp_path / "data").exists()


def test_sigterm_ends_it_with_clients_connected(start: Start) -> None:
    serve = start()
    with httpx.Client(base_url=serve.url) as keep_alive, serve.connect() as silent, serve.connect() as half:
        assert keep_alive.post("/v2/models/flights/infer", json=FLIGHT).status_code == 200
        half.sendall(b"POST /v2/models/flights/infer HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{")
        started = time.monotonic()
        assert serve.stop() == 0
        assert time.monotonic() - started < STOP_WITHIN_SECONDS
        assert silent.recv(1) == b""
    assert len(serve.logged(Stream.PREDICTIONS)) == 1


@pytest.mark.parametrize("serving", ["", "workers: 2"])
def test_no_request_that_was_taken_fails_at_a_stop_and_every_answer_is_logged(start: Start, serving: str) -> None:
    serve = start(serving=serving)
    answered: list[str] = []
    failed: list[Exception] = []

    def ask() -> None:
        with httpx.Client(base_url=serve.url, timeout=STOP_WITHIN_SECONDS) as client:
            while True:
                try:
                    answer = client.post("/v2/models/flights/infer", json=FLIGHT)
                except httpx.ConnectError:
                    # Nobody is let in any more.
                    return
                except httpx.TransportError as error:
                    failed.append(error)
                    return
                assert answer.status_code == 200
                answered.append(answer.json()["id"])

    asking = [threading.Thread(target=ask) for _ in range(8)]
    for each in asking:
        each.start()
    while len(answered) < 200:
        time.sleep(0.01)
    assert serve.stop() == 0
    for each in asking:
        each.join()
    assert failed == []
    assert sorted(str(event["id"]) for event in serve.logged(Stream.PREDICTIONS)) == sorted(answered)


def test_a_second_signal_ends_it_at_once(start: Start) -> None:
    serve = start()
    with serve.connect() as half:
        half.sendall(b"POST /v1/labels HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{")
        serve.process.send_signal(signal.SIGTERM)
        while answers(serve):
            time.sleep(0.01)
        started = time.monotonic()
        assert serve.stop() == 0
        assert time.monotonic() - started < STOP_WITHIN_SECONDS / 4
        assert received(half).startswith(b"HTTP/1.1 503")


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"POST /v2/models/flights/infer HTTP/1.1\r\nhost: x\r\nx-slow: ", b"408"),
        (b"POST /v2/models/flights/infer HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n{", b"408"),
        (b"POST /v2/models/flights/infer HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n1\r\n{\r\n", b"408"),
        (b"", b""),
    ],
    ids=["head", "length", "chunked", "silence"],
)
def test_a_client_that_dawdles_is_cut_off(shared: Serve, sent: bytes, status: bytes) -> None:
    with shared.connect() as slow:
        slow.sendall(sent)
        assert received(slow)[9:12] == status
    assert answers(shared)


def test_dripping_bytes_do_not_extend_the_deadline(shared: Serve) -> None:
    with shared.connect() as slow:
        slow.sendall(b"POST /v1/labels HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n")
        started = time.monotonic()
        slow.settimeout(0.2)
        answer = b""
        while not answer and time.monotonic() - started < STOP_WITHIN_SECONDS:
            slow.sendall(b" ")
            try:
                answer = slow.recv(100)
            except TimeoutError:
                continue
        assert answer.startswith(b"HTTP/1.1 408")
        assert time.monotonic() - started < STOP_WITHIN_SECONDS / 2


def test_bodies_over_the_limit_are_a_413_however_they_come(shared: Serve) -> None:
    large = b'{"inputs": ["' + b"x" * 2_000_000 + b'"]}'
    for content in (large, iter([large[:1_000_000], large[1_000_000:]])):
        answer = httpx.post(f"{shared.url}/v2/models/flights/infer", content=content)
        assert answer.status_code == 413
        assert "larger than 1,000,000 bytes (serving.max_body_bytes)" in answer.json()["error"]


def test_a_413_leaves_the_connection_usable(shared: Serve) -> None:
    with httpx.Client(base_url=shared.url) as client:
        assert client.post("/v1/labels", content=b" " * 2_000_000).status_code == 413
        assert client.post("/v2/models/flights/infer", json=FLIGHT).status_code == 200
        time.sleep(1.2)  # past the deadline of the refused request
        assert client.post("/v2/models/flights/infer", json=FLIGHT).status_code == 200


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"POST /v1/labels HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}garbage", b"400"),
        (b"POST /v1/labels HTTP/1.1\r\nhost: x\r\ncontent-length: -5\r\n\r\n", b"400"),
        (b"POST /v1/labels HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999999999999999\r\n\r\n", b"400"),
        (b"POST /v1/labels HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{} ", b"400"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01", b"400"),
        (b"GET " + b"/x" * 100_000, b"431"),
        (b"GET / HTTP/1.1\r\n" + b"".join(b"x-%d: y\r\n" % number for number in range(100_000)), b"431"),
        (b"GET /../../etc/passwd HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", b"404"),
        (b"GET /v2/models/..%2f..%2fetc/versions/1 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", b"404"),
        (b"GET /v2/models/flights/versions/../1 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", b"404"),
        (b"DELETE /v2/models/flights HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", b"405"),
    ],
)
def test_hostile_bytes_get_a_clear_no_and_the_server_goes_on(shared: Serve, sent: bytes, status: bytes) -> None:
    with shared.connect() as hostile:
        with suppress(BrokenPipeError, ConnectionResetError):
            hostile.sendall(sent)
        assert received(hostile)[9:12] == status
    assert answers(shared)


def test_pipelined_requests_are_answered_in_their_order(shared: Serve) -> None:
    body = json.dumps(FLIGHT).encode()
    head = b"POST /v2/models/flights/infer HTTP/1.1\r\nhost: x\r\ncontent-length: "
    with shared.connect() as client:
        many = b"".join(b"%b%d\r\n\r\n%b" % (head, len(each), each) for each in (b'{"id": "%d", %b' % (n, body[1:]) for n in range(200)))
        client.sendall(many + b"GET /v2 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        ids = re.findall(rb'"version":"1","id":"(\d+)"', received(client).replace(b'"model_', b'"'))
    assert ids == [b"%d" % number for number in range(200)]
