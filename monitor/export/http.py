"""The daemon's HTTP door: metrics, health, the JSON API and the status page. Reads only, in threads, bounded and with time limits.

It answers from what the worker published; nothing here waits for the log.
"""

import json
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer, ThreadingMixIn
from threading import Lock, Thread
from typing import ClassVar, Final, cast
from urllib.parse import parse_qs, urlsplit

import structlog

from monitor.errors import AddressInUse

CONNECTIONS_LIMIT: Final = 64
REQUEST_SECONDS: Final = 15.0
"""How long a request may take, from the wait for it to the last byte of its answer; then the client is cut off, however busy it looks."""
QUERY_FIELDS_LIMIT: Final = 20
_LOOK_SECONDS: Final = 0.1
"""Between two looks for clients whose time is up."""

_JSON: Final = "application/json"
_PLAIN: Final = "text/plain; charset=utf-8"
_HTML: Final = "text/html; charset=utf-8"
_SAFE_HEADERS: Final = (
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
    ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'"),
)

_logger = structlog.get_logger(__name__)


class BadQuery(ValueError):
    """A query that the client has to change; the message says how."""


class UnknownModel(LookupError):
    """A model that is not configured."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What the door needs to be told.

    `metrics` takes the Accept header; `readings` the query's parameters, and raises `BadQuery` or `UnknownModel`.
    """

    metrics: Callable[[str], tuple[bytes, str]]
    readings: Callable[[dict[str, str]], dict[str, object]]
    page: Callable[[], str]
    is_healthy: Callable[[], bool]
    is_ready: Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Limits:
    """How many clients at a time, and how long each request may take."""

    connections: int = CONNECTIONS_LIMIT
    request_seconds: float = REQUEST_SECONDS


_DEFAULT_LIMITS: Final = Limits()


class _Handler(BaseHTTPRequestHandler):
    """The requests of one connection. `answers` is set on the subclass that a `Door` makes for itself."""

    answers: ClassVar[Answers]
    protocol_version = "HTTP/1.1"

    def version_string(self) -> str:
        return "model-monitor"

    def handle_one_request(self) -> None:
        cast("_BoundedServer", self.server).allow_time(self.connection)
        super().handle_one_request()

    def do_GET(self) -> None:
        if self.headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in self.headers:
            self.close_connection = True  # a body is not read, and must not be taken for the next request
        try:
            self._route()
        except BadQuery as error:
            self._answer_json(HTTPStatus.BAD_REQUEST, {"error": str(error)})
        except UnknownModel as error:
            self._answer_json(HTTPStatus.NOT_FOUND, {"error": str(error.args[0])})
        except Exception:
            _logger.exception("a request failed", path=self.path)
            self._answer_json(HTTPStatus.INTERNAL_SERVER_ERROR, {"error": "this is a bug; the daemon's log says more"})

    do_HEAD = do_GET  # noqa: N815  the base class looks methods up by this name

    def _route(self) -> None:
        try:
            address = urlsplit(self.path)
            query = parse_qs(address.query, keep_blank_values=True, max_num_fields=QUERY_FIELDS_LIMIT)
        except ValueError as error:
            raise BadQuery(f"the address cannot be read: {error}") from error
        match address.path:
            case "/metrics":
                self._answer(HTTPStatus.OK, *self.answers.metrics(self.headers.get("Accept", "")))
            case "/healthz":
                self._answer_state(self.answers.is_healthy(), "ok", "the worker's loop has stopped turning")
            case "/readyz":
                self._answer_state(self.answers.is_ready(), "ready", "restoring")
            case "/api/v1/readings":
                self._answer_json(HTTPStatus.OK, self.answers.readings({name: values[-1] for name, values in query.items()}))
            case "/":
                self._answer(HTTPStatus.OK, self.answers.page().encode(errors="backslashreplace"), _HTML)
            case _:
                self._answer_json(
                    HTTPStatus.NOT_FOUND, {"error": "no such page; there are /, /metrics, /healthz, /readyz and /api/v1/readings"}
                )

    def _answer_state(self, is_so: bool, yes: str, no: str) -> None:
        self._answer(HTTPStatus.OK if is_so else HTTPStatus.SERVICE_UNAVAILABLE, f"{yes if is_so else no}\n".encode(), _PLAIN)

    def _answer_json(self, status: HTTPStatus, document: dict[str, object]) -> None:
        self._answer(status, json.dumps(document, allow_nan=False).encode(), _JSON)

    def _answer(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        with suppress(OSError):  # the client has gone, or was cut off
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            if self.close_connection:
                self.send_header("Connection", "close")
            if status == HTTPStatus.METHOD_NOT_ALLOWED:
                self.send_header("Allow", "GET, HEAD")
            for name, value in _SAFE_HEADERS:
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the base class refuses (a garbled request line, endless headers, another method), as JSON instead of a page."""
        status = HTTPStatus.METHOD_NOT_ALLOWED if code == HTTPStatus.NOT_IMPLEMENTED else HTTPStatus(code)
        self.request_version = self.protocol_version  # HTTP/0.9 until a request line was understood, and its answers have no head
        self.close_connection = True
        self._answer_json(status, {"error": f"{status.phrase}: GET and HEAD of HTTP/1.1 are understood"})

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base class's signature
        """Scrapes are not worth a line each."""


class _BoundedServer(ThreadingMixIn, TCPServer):
    """A thread a client, for so many clients at a time; a further one is closed at once, and one whose time is up is cut off."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = CONNECTIONS_LIMIT

    def __init__(self, address: tuple[str, int], handler: type[_Handler], limits: Limits) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._limits = limits
        self._deadlines: dict[socket.socket, float] = {}
        self._lock = Lock()
        super().__init__(address, handler)

    def allow_time(self, client: socket.socket) -> None:
        """Begins the time of the client's next request."""
        with self._lock:
            self._deadlines[client] = time.monotonic() + self._limits.request_seconds

    def verify_request(self, request: object, client_address: object) -> bool:
        with self._lock:
            return len(self._deadlines) < self._limits.connections

    def process_request(self, request: object, client_address: object) -> None:
        client = cast("socket.socket", request)
        self.allow_time(client)
        super().process_request(client, client_address)

    def shutdown_request(self, request: object) -> None:
        client = cast("socket.socket", request)
        with self._lock:
            self._deadlines.pop(client, None)
        super().shutdown_request(client)

    def service_actions(self) -> None:
        """The base class calls this between two looks for new clients."""
        now = time.monotonic()
        with self._lock:
            for client in [client for client, deadline in self._deadlines.items() if deadline < now]:
                with suppress(OSError):  # it has gone already
                    client.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that breaks its connection is no error of ours."""


class Door:
    """Listens from construction on; `start` answers. Raises `AddressInUse`."""

    def __init__(self, host: str, port: int, answers: Answers, limits: Limits = _DEFAULT_LIMITS) -> None:
        handler = type("Handler", (_Handler,), {"answers": answers})
        try:
            self._server = _BoundedServer((host, port), handler, limits)
        except OSError as error:
            raise AddressInUse(
                f"cannot listen on {host}:{port} ({error.strerror}): stop what listens there, or set exporter.port "
                "(MODEL_MONITOR_EXPORTER__PORT)"
            ) from error
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": _LOOK_SECONDS}, name="http", daemon=True)

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Stops listening; requests under way are given up."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()
