"""Bearer tokens from an identity provider, by a client's own credentials (RFC 6749, section 4.4).

Nothing that the provider answers is shown but its error code: it may hold what nobody should read in a log.
"""

import base64
import json
import re
import ssl
import time
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from threading import Lock
from typing import Final
from urllib.error import HTTPError
from urllib.parse import quote_plus, urlencode
from urllib.request import HTTPRedirectHandler, HTTPSHandler, OpenerDirector, Request, build_opener

from monitor.errors import LogError
from monitor.log.kafka.security import Secret

ANSWERS_WITHIN_S: Final = 5.0
"""The client asks in the thread that sends its heartbeats too: far below a session's timeout."""
ANSWER_BYTES: Final = 64 * 1024
RENEWED_AT: Final = 0.8
"""The part of a token's life after which another is asked for."""
LIFE_UNLESS_SAID_S: Final = 300.0
PAUSE_AFTER_FAILURE_S: Final = 2.0
"""A client that reconnects asks ten times a second."""

TOKEN: Final = re.compile(r"[A-Za-z0-9\-._~+/]+=*")
"""RFC 6750, section 2.1."""
ERROR_CODE: Final = re.compile(r"[a-z_]{1,64}")


class ClientCredentials:
    """Tokens for one client, each for as long as it is valid. Any number of threads may ask.

    `monotonic` is seconds that never go back. `ca_file` None: the authorities that the system trusts.
    """

    def __init__(
        self,
        url: str,
        client_id: str,
        client_secret: Secret,
        scope: str | None = None,
        ca_file: Path | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = url
        self._client_id = client_id
        self._client_secret = client_secret
        self._scope = scope
        self._ca_file = ca_file
        self._monotonic = monotonic
        self._lock = Lock()
        self._token = ""
        self._renewed_from = self._valid_until = float("-inf")
        self._failure: LogError | None = None
        self._failure_until = float("-inf")

    def __repr__(self) -> str:
        return f"ClientCredentials({self._url!r}, {self._client_id!r})"

    def token(self) -> str:
        """One that is valid now; asks for another shortly before its end, and keeps to the old one while that fails. Raises `LogError`."""
        with self._lock:
            now = self._monotonic()
            if now >= self._renewed_from and now >= self._failure_until:
                try:
                    self._renew(now)
                except LogError as error:
                    self._failure, self._failure_until = error, self._monotonic() + PAUSE_AFTER_FAILURE_S
            if now < self._valid_until:
                return self._token
            assert self._failure is not None
            raise LogError(str(self._failure)) from self._failure

    def _renew(self, now: float) -> None:
        answer = self._asked()
        token, life = answer.get("access_token"), answer.get("expires_in", LIFE_UNLESS_SAID_S)
        if not isinstance(token, str) or not TOKEN.fullmatch(token):
            raise LogError(f"{self._url}: the answer has no access_token that can be sent. Is it the token endpoint?")
        if isinstance(life, bool) or not isinstance(life, int | float) or not 0 < life < 10**9:
            raise LogError(f"{self._url}: the answer's expires_in is no length of time above 0 in seconds")
        self._token, self._renewed_from, self._valid_until = token, now + RENEWED_AT * life, now + life

    def _asked(self) -> dict[str, object]:
        form = {"grant_type": "client_credentials"} | ({} if self._scope is None else {"scope": self._scope})
        pair = f"{quote_plus(self._client_id)}:{quote_plus(self._client_secret.read())}"
        headers = {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}", "Accept": "application/json"}
        request = Request(self._url, urlencode(form).encode(), headers)  # noqa: S310  # https, or http to this machine: the configuration's check
        try:
            with self._opener().open(request, timeout=ANSWERS_WITHIN_S) as response:
                body = response.read(ANSWER_BYTES + 1)
        except HTTPError as error:
            with error:
                code = _error_code(error.read(ANSWER_BYTES))
            raise LogError(f"{self._url} gives no token: status {error.code}{code}. Correct client_id, its secret or scope") from None
        except (OSError, HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            raise LogError(f"{self._url} cannot be asked for a token: {reason}. Correct token_url or token_ca_file") from None
        try:
            answer = json.loads(body) if len(body) <= ANSWER_BYTES else None
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise LogError(f"{self._url}: the answer is no JSON object of at most {ANSWER_BYTES:,} bytes. Is it the token endpoint?")
        return answer

    def _opener(self) -> OpenerDirector:
        return build_opener(_NoRedirect, HTTPSHandler(context=ssl.create_default_context(cafile=self._ca_file)))


class _NoRedirect(HTTPRedirectHandler):
    """The secret goes where the configuration says, and nowhere else: a redirect is an answer like any other refusal."""

    def redirect_request(self, *_: object) -> None:
        return None


def _error_code(body: bytes) -> str:
    """`, invalid_client`; empty where the body has no such code."""
    try:
        code = json.loads(body)["error"]
    except (ValueError, KeyError, TypeError):
        return ""
    return f", {code}" if isinstance(code, str) and ERROR_CODE.fullmatch(code) else ""
