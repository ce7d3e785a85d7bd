"""Bearer tokens by client credentials, from an identity provider of the test's own."""

import base64
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs

import pytest

from monitor.errors import LogError
from monitor.log.kafka.security import SecretText
from monitor.log.kafka.tokens import ANSWER_BYTES, PAUSE_AFTER_FAILURE_S, ClientCredentials

SECRET = "hunter2 & co"


class Provider:
    """Answers each request with the next answer, the last one again and again, and keeps what it was asked."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, Any]] = [(200, {"access_token": "first", "expires_in": 100})]
        self.asked: list[tuple[str, dict[str, list[str]]]] = []
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
                provider.asked.append((self.headers["Authorization"], form))
                status, answer = provider.answers.pop(0) if len(provider.answers) > 1 else provider.answers[0]
                body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Nothing on stderr."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/token"
        self._thread = Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Seconds:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def provider() -> Iterator[Provider]:
    made = Provider()
    yield made
    made.close()


@pytest.fixture
def seconds() -> Seconds:
    return Seconds()


@pytest.fixture
def credentials(provider: Provider, seconds: Seconds) -> ClientCredentials:
    return ClientCredentials(provider.url, "a client", SecretText(SECRET), "kafka", monotonic=seconds)


def test_the_client_proves_itself_as_the_standard_says(provider: Provider, credentials: ClientCredentials) -> None:
    assert credentials.token() == "first"
    ((authorization, form),) = provider.asked
    assert base64.b64decode(authorization.removeprefix("Basic ")).decode() == "a+client:hunter2+%26+co"
    assert form == {"grant_type": ["client_credentials"], "scope": ["kafka"]}


def test_a_token_is_asked_for_once_until_shortly_before_its_end(
    provider: Provider, credentials: ClientCredentials, seconds: Seconds
) -> None:
    provider.answers.append((200, {"access_token": "second", "expires_in": 100}))
    assert [credentials.token() for _ in range(3)] == ["first"] * 3
    seconds.now += 79
    assert (credentials.token(), len(provider.asked)) == ("first", 1)
    seconds.now += 2
    assert (credentials.token(), len(provider.asked)) == ("second", 2)


def test_the_old_token_serves_while_no_new_one_is_to_be_had(provider: Provider, credentials: ClientCredentials, seconds: Seconds) -> None:
    credentials.token()
    provider.answers[:] = [(503, {})]
    seconds.now += 90
    assert credentials.token() == "first"
    seconds.now += 11
    with pytest.raises(LogError, match="status 503"):
        credentials.token()


def test_a_provider_that_fails_is_not_asked_by_every_reconnection(
    provider: Provider, credentials: ClientCredentials, seconds: Seconds
) -> None:
    provider.answers[:] = [(500, {}), (200, {"access_token": "late"})]
    for _ in range(3):
        with pytest.raises(LogError):
            credentials.token()
    assert len(provider.asked) == 1
    seconds.now += PAUSE_AFTER_FAILURE_S
    assert credentials.token() == "late"


@pytest.mark.parametrize(
    ("status", "answer", "said"),
    [
        (
            401,
            {"error": "invalid_client", "error_description": SECRET},
            "status 401, invalid_client. Correct client_id, its secret or scope",
        ),
        (400, {"error": SECRET}, "status 400. Correct"),
        (400, b"<html>", "status 400. Correct"),
        (302, {}, "status 302. Correct"),
        (200, b"<html>", "no JSON object"),
        (200, [1], "no JSON object"),
        (200, b" " * (ANSWER_BYTES + 1), "no JSON object of at most 65,536 bytes"),
        (200, {"token": "x"}, "no access_token that can be sent"),
        (200, {"access_token": "a\x01b"}, "no access_token that can be sent"),
        (200, {"access_token": "x", "expires_in": "soon"}, "no length of time above 0"),
        (200, {"access_token": "x", "expires_in": 0}, "no length of time above 0"),
        (200, {"access_token": "x", "expires_in": True}, "no length of time above 0"),
    ],
)
def test_what_is_wrong_is_said_without_anything_of_the_answer(
    provider: Provider, credentials: ClientCredentials, status: int, answer: object, said: str
) -> None:
    provider.answers[:] = [(status, answer)]
    with pytest.raises(LogError) as refused:
        credentials.token()
    assert said in str(refused.value)
    assert provider.url in str(refused.value)
    assert SECRET not in str(refused.value) + repr(credentials)
    assert len(provider.asked) == 1, "a redirect is not followed"


def test_a_provider_that_is_not_there_is_named() -> None:
    with pytest.raises(LogError, match=r"127.0.0.1:1/token cannot be asked for a token: .*refused.* Correct token_url or token_ca_file"):
        ClientCredentials("http://127.0.0.1:1/token", "c", SecretText("s")).token()
