"""The daemon's door on real sockets: every route, every refusal, and clients that mean no good."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace

import httpx
import pytest
from structlog.testing import capture_logs

from monitor.errors import AddressInUse
from monitor.export.exposition import OPENMETRICS_TYPE, Exposition
from monitor.export.http import Answers, BadQuery, Door, Limits, UnknownModel
from monitor.export.series_text import TEXT_TYPE

SHORT = Limits(request_seconds=0.3)
GENEROUS = Limits()


@dataclass
class Daemon:
    """What the door is told, to be changed by a test."""

    healthy: bool = True
    ready: bool = True
    queries: list[dict[str, str]] = field(default_factory=list)

    def readings(self, query: dict[str, str]) -> dict[str, object]:
        self.queries.append(query)
        match query.get("model"):
            case "nobody":
                raise UnknownModel("the model 'nobody' is not configured")
            case "bad":
                raise BadQuery("since='x' is not RFC 3339")
            case "bug":
                raise ValueError("secret detail")
            case "nan":
                return {"value": float("nan")}
        return {"now": None, "readings": []}

    def answers(self) -> Answers:
        return Answers(
            Exposition().render, self.readings, lambda: "<p>pagé</p>", is_healthy=lambda: self.healthy, is_ready=lambda: self.ready
        )


@contextmanager
def opened(daemon: Daemon, limits: Limits = GENEROUS) -> Iterator[Door]:
    door = Door("127.0.0.1", 0, daemon.answers(), limits)
    door.start()
    try:
        yield door
    finally:
        door.close()


@pytest.fixture
def daemon() -> Daemon:
    return Daemon()


@pytest.fixture
def client(daemon: Daemon) -> Iterator[httpx.Client]:
    with opened(daemon) as door, httpx.Client(base_url=f"http://127.0.0.1:{door.port}") as client:
        yield client


def connect(door: Door) -> socket.socket:
    return socket.create_connection(("127.0.0.1", door.port), timeout=10)


def everything(connection: socket.socket) -> bytes:
    """What comes until the other side closes."""
    received = b""
    try:
        while part := connection.recv(65_536):
            received += part
    except ConnectionError:
        pass
    return received


def exchanged(door: Door, request: bytes) -> tuple[int, dict[str, object]]:
    """The status of the one answer to raw bytes, and its JSON; the connection is closed after it."""
    with connect(door) as connection:
        connection.sendall(request)
        head, _, body = everything(connection).partition(b"\r\n\r\n")
    assert head.count(b"HTTP/1.1 ") == 1
    return int(head.split(maxsplit=2)[1]), json.loads(body)


@pytest.mark.parametrize(
    ("path", "kind", "text"),
    [
        ("/", "text/html; charset=utf-8", "<p>pagé</p>"),
        ("/healthz", "text/plain; charset=utf-8", "ok\n"),
        ("/readyz", "text/plain; charset=utf-8", "ready\n"),
        ("/api/v1/readings", "application/json", '{"now": null, "readings": []}'),
    ],
)
def test_each_route_answers_and_so_does_its_head(client: httpx.Client, path: str, kind: str, text: str) -> None:
    found, head = client.get(path), client.head(path)
    assert (found.status_code, found.headers["content-type"], found.text) == (200, kind, text)
    assert (head.status_code, head.headers["content-length"], head.content) == (200, str(len(text.encode())), b"")


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("", TEXT_TYPE),
        ("text/plain", TEXT_TYPE),
        ("*/*", TEXT_TYPE),
        ("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2", OPENMETRICS_TYPE),
    ],
)
def test_metrics_are_in_the_format_that_is_accepted(client: httpx.Client, accept: str, kind: str) -> None:
    found = client.get("/metrics", headers={"accept": accept})
    assert (found.status_code, found.headers["content-type"]) == (200, kind)
    assert found.text.endswith("# EOF\n") == (kind == OPENMETRICS_TYPE)


def test_health_and_readiness_are_503_while_they_are_not_given(client: httpx.Client, daemon: Daemon) -> None:
    daemon.healthy = daemon.ready = False
    assert [(client.get(path).status_code, client.get(path).text) for path in ("/healthz", "/readyz")] == [
        (503, "the worker's loop has stopped turning\n"),
        (503, "restoring\n"),
    ]


def test_another_page_is_404_as_json(client: httpx.Client) -> None:
    found = client.get("/favicon.ico")
    assert (found.status_code, found.headers["content-type"]) == (404, "application/json")
    assert "there are /, /metrics" in found.json()["error"]


def test_a_query_is_handed_on(client: httpx.Client, daemon: Daemon) -> None:
    client.get("/api/v1/readings", params={"model": "a&b=<c>", "since": "2013-03-01T00:00:00+00:00", "until": ""})
    assert daemon.queries == [{"model": "a&b=<c>", "since": "2013-03-01T00:00:00+00:00", "until": ""}]


@pytest.mark.parametrize(
    ("query", "status", "error"),
    [
        ("model=bad", 400, "since='x' is not RFC 3339"),
        ("model=nobody", 404, "the model 'nobody' is not configured"),
        ("&".join(f"a{number}=1" for number in range(50)), 400, "the address cannot be read: Max number of fields exceeded"),
    ],
)
def test_a_query_that_cannot_be_answered_says_why(client: httpx.Client, query: str, status: int, error: str) -> None:
    found = client.get(f"/api/v1/readings?{query}")
    assert (found.status_code, found.json()) == (status, {"error": error})


@pytest.mark.parametrize("query", ["model=bug", "model=nan"])
def test_a_bug_is_logged_and_told_without_its_details(client: httpx.Client, query: str) -> None:
    with capture_logs() as logs:
        found = client.get(f"/api/v1/readings?{query}")
    assert (found.status_code, found.json()) == (500, {"error": "this is a bug; the daemon's log says more"})
    assert [(entry["event"], entry["exc_info"]) for entry in logs] == [("a request failed", True)]
    assert client.get("/healthz").status_code == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_other_methods_are_refused(client: httpx.Client, method: str) -> None:
    found = client.request(method, "/", content=b"x" * 10)
    assert (found.status_code, found.headers["allow"], found.headers["content-type"]) == (405, "GET, HEAD", "application/json")


def test_answers_let_no_browser_run_or_keep_anything(client: httpx.Client) -> None:
    headers = client.get("/").headers
    assert (headers["cache-control"], headers["x-content-type-options"]) == ("no-store", "nosniff")
    assert "default-src 'none'" in headers["content-security-policy"]
    assert headers["server"] == "model-monitor"


def test_a_connection_serves_one_request_after_another(daemon: Daemon) -> None:
    with opened(daemon) as door, connect(door) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        received = everything(connection)
    assert received.count(b"HTTP/1.1 200 OK") == 2
    assert received.endswith(b"ready\n")


@pytest.mark.parametrize("header", [b"Content-Length: 44", b"Transfer-Encoding: chunked", b"Content-Length: nonsense"])
def test_a_body_is_never_taken_for_the_next_request(daemon: Daemon, header: bytes) -> None:
    with opened(daemon) as door:
        smuggled = b"GET /api/v1/readings?model=bug HTTP/1.1\r\n\r\n\r\n"
        with connect(door) as connection:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + header + b"\r\n\r\n" + smuggled)
            received = everything(connection)
    assert received.count(b"HTTP/1.1 ") == 1
    assert daemon.queries == []


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400),
        (b"GET\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\n\r\n", 505),
        (b"GET / HTTP/x\r\n\r\n", 400),
        (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\n" + b"X: " + b"a" * 70_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 200 + b"\r\n", 431),
        (b"<script> / HTTP/1.1\r\n\r\n", 405),
        (b"GET //[ HTTP/1.1\r\nConnection: close\r\n\r\n", 404),
        (b"GET http://[ HTTP/1.1\r\nConnection: close\r\n\r\n", 400),
    ],
)
def test_garbage_is_refused_as_json_and_never_echoed(daemon: Daemon, request_bytes: bytes, status: int) -> None:
    with opened(daemon) as door:
        found, document = exchanged(door, request_bytes)
        assert found == status
        assert isinstance(document["error"], str)
        assert "script" not in document["error"]
        assert httpx.get(f"http://127.0.0.1:{door.port}/healthz").status_code == 200


@pytest.mark.parametrize("sent", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: x\r\n"])
def test_a_client_that_does_not_finish_is_cut_off(daemon: Daemon, sent: bytes) -> None:
    with opened(daemon, SHORT) as door, connect(door) as connection:
        connection.sendall(sent)
        assert everything(connection) == b""


def drip(connection: socket.socket, pieces: int) -> None:
    """Sends a byte every 20 ms. Raises ConnectionError once the other side has closed."""
    connection.settimeout(0.02)
    for _ in range(pieces):
        connection.sendall(b"G")
        with suppress(TimeoutError):
            if connection.recv(1) == b"":
                raise ConnectionError


def test_a_client_that_drips_is_cut_off_all_the_same(daemon: Daemon) -> None:
    with opened(daemon, SHORT) as door, connect(door) as connection, pytest.raises(ConnectionError):
        drip(connection, 500)


def test_a_client_that_does_not_read_is_cut_off(daemon: Daemon) -> None:
    endless = replace(daemon.answers(), page=lambda: "x" * 50_000_000)
    door = Door("127.0.0.1", 0, endless, SHORT)
    door.start()
    try:
        with connect(door) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            with connect(door) as other:  # by the time that this one is cut off, so is the first
                assert everything(other) == b""
            assert len(everything(connection)) < 50_000_000
    finally:
        door.close()


def test_beyond_so_many_clients_one_is_closed_at_once_until_another_goes(daemon: Daemon) -> None:
    with opened(daemon, Limits(connections=2)) as door:
        address = f"http://127.0.0.1:{door.port}/healthz"
        with httpx.Client() as first, httpx.Client() as second:
            assert (first.get(address).status_code, second.get(address).status_code) == (200, 200)
            with connect(door) as third:
                assert everything(third) == b""
        received = b""
        for _ in range(10_000):  # a place is free as soon as the door has seen that the two have gone
            with connect(door) as attempt, suppress(ConnectionError):
                attempt.sendall(b"GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n")
                received = everything(attempt)
            if received:
                break
        assert received.startswith(b"HTTP/1.1 200 OK")


def test_an_address_in_use_is_named_with_the_remedy(daemon: Daemon) -> None:
    with opened(daemon) as door, pytest.raises(AddressInUse, match=rf"127\.0\.0\.1:{door.port} .*set exporter\.port"):
        Door("127.0.0.1", door.port, daemon.answers())


def test_a_door_that_was_never_started_closes(daemon: Daemon) -> None:
    Door("127.0.0.1", 0, daemon.answers()).close()


def test_it_listens_on_ipv6_too(daemon: Daemon) -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    try:
        door = Door("::1", 0, daemon.answers())
    except AddressInUse as error:
        pytest.skip(f"no IPv6 loopback here: {error}")
    door.start()
    try:
        assert httpx.get(f"http://[::1]:{door.port}/healthz").status_code == 200
    finally:
        door.close()
