"""Bearer tokens from files: who may send events or control models, and for which models. Of a token only a digest is ever kept.

A file is read again when it changes, also where a link on its way is swapped (Kubernetes rotates secrets so). What makes a bad file
refuse the start only warns later: the token that was good stays good.
"""

import hashlib
import hmac
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from stat import S_IROTH
from typing import Final, NamedTuple

import structlog

from monitor.errors import ConfigError
from monitor.serving.http import Header, header
from monitor.serving.refusals import Unauthorized

_logger = structlog.get_logger(__name__)

TOKEN_CHARACTERS_LEAST: Final = 16
"""Shorter ones can be guessed over the network."""
FILE_BYTES_LIMIT: Final = 4_096
_TOKEN = re.compile(rb"[\x21-\x7e]+")


@dataclass(frozen=True, slots=True)
class Grant:
    """What a bearer may do. `bearer` says which key of the configuration it comes from, never the token itself."""

    models: frozenset[str] | None = None
    """None: all."""
    bearer: str = ""

    def allows(self, model: str | None) -> bool:
        """Whether it is good for this model, or (None) for something that names none and may concern any."""
        return self.models is None or model in self.models


EVERYBODY: Final = Grant()
"""Of whoever reaches the port, where no tokens are configured."""


class TokenFile(NamedTuple):
    """A file that holds a token on one line, and the models it is good for; none named: all."""

    path: Path
    models: tuple[str, ...] = ()


class Tokens:
    """Those of the configuration, in its order. For the event loop's thread."""

    def __init__(self, files: Sequence[TokenFile]) -> None:
        """Raises `ConfigError`, which names the key, the file and the remedy."""
        self._secrets = [_Secret(file, f"serving.doors.tokens[{position}]") for position, file in enumerate(files)]

    def __bool__(self) -> bool:
        return bool(self._secrets)

    def check(self, headers: Iterable[Header]) -> Grant:
        """What the bearer of the request's token may do. Raises `Unauthorized`."""
        if not self._secrets:
            return EVERYBODY
        scheme, _, credentials = (header(headers, b"authorization") or b"").partition(b" ")
        if scheme.lower() != b"bearer" or not credentials.strip():
            raise Unauthorized("a token is needed: send the header `Authorization: Bearer TOKEN`")
        given = hashlib.sha256(credentials.strip()).digest()
        # All of them, whichever is right, so that the time taken says nothing.
        grants = [secret.grant for secret in self._secrets if hmac.compare_digest(secret.digest(), given)]
        if not grants:
            raise Unauthorized("this token is unknown: it is none of those in the files that serving.doors.tokens names")
        return grants[0] if len(grants) == 1 else _together(grants)


class _Secret:
    """One file's token."""

    def __init__(self, file: TokenFile, key: str) -> None:
        self.grant = Grant(frozenset(file.models) if file.models else None, key)
        self._path = file.path
        self._seen = _seen(file.path)
        try:
            self._digest = _digest_in(file.path)
        except _UnusableError as error:
            raise ConfigError(f"{key}.file: {file.path} {error}") from None
        if file.path.stat().st_mode & S_IROTH:
            remedy = "chmod o-r, or defaultMode: 0440 of a Kubernetes secret's volume"
            _logger.warning("everybody on this machine can read a token", key=key, file=str(file.path), remedy=remedy)

    def digest(self) -> bytes:
        """Of the token that the file holds now, or held when it last held one."""
        seen = _seen(self._path)
        if seen != self._seen:
            self._seen = seen
            try:
                self._digest = _digest_in(self._path)
            except _UnusableError as error:
                _logger.warning("a token's file cannot be used; its last token stays good", file=str(self._path), reason=str(error))
            else:
                _logger.info("a token was read again", file=str(self._path))
        return self._digest


class _UnusableError(Exception):
    """Says what is wrong with a file and what to do; never what is in it."""


def _seen(path: Path) -> object:
    """What tells a changed file: its identity, size and times at the end of all links, or why there is none."""
    try:
        status = path.stat()
    except OSError as error:
        return error.errno
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _digest_in(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            token = file.read(FILE_BYTES_LIMIT + 1).strip()
    except OSError as error:
        raise _UnusableError(f"cannot be read ({error.strerror}); expected a file that holds a token on one line") from None
    if len(token) < TOKEN_CHARACTERS_LEAST:
        raise _UnusableError(
            f"{'is empty' if not token else 'holds a token that is too short'}: expected at least {TOKEN_CHARACTERS_LEAST} characters "
            "on one line; make one with `openssl rand -hex 32`"
        )
    if len(token) > FILE_BYTES_LIMIT or not _TOKEN.fullmatch(token):
        raise _UnusableError(
            f"holds something else than a token: expected one line of at most {FILE_BYTES_LIMIT} visible ASCII characters without spaces; "
            "make one with `openssl rand -hex 32`"
        )
    return hashlib.sha256(token).digest()


def _together(grants: Sequence[Grant]) -> Grant:
    """Of one token that several files hold."""
    if any(grant.models is None for grant in grants):
        return Grant(None, grants[0].bearer)
    return Grant(frozenset().union(*(grant.models or () for grant in grants)), grants[0].bearer)
