"""One request that is to be logged, on its way: its copy, its id, and what becomes of them once it is answered."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from monitor.clock import Clock
from monitor.serving.binary import HEADER_BYTES
from monitor.serving.exchanges.bodies import ENCODINGS, NO_ENCODING, Body
from monitor.serving.exchanges.identity import header_value, id_in
from monitor.serving.exchanges.reading import EXCHANGE_BYTES, Exchange, Reader, Unread
from monitor.serving.http import Header, Scope, header
from monitor.serving.ids import Mint
from monitor.serving.proxy.connection import AnswerHead
from monitor.serving.proxy.copying import Allowance, Copy

ID_HEADER: Final = b"x-model-monitor-id"
TOO_LARGE: Final = "too_large"
ENCODING: Final = "encoding"
UNTAPPED: Final = (TOO_LARGE, ENCODING)


@dataclass(frozen=True, slots=True)
class Taps:
    """What all tapped requests share. `put` takes an exchange and neither waits nor raises."""

    put: Callable[[Unread], None]
    clock: Clock
    allowance: Allowance
    mint: Mint = field(default_factory=Mint)
    untapped: Counter[str] = field(default_factory=Counter)
    """Requests that were answered with 200 and passed without being logged, by reason."""


class Tapping:
    """The forwarder's calls in their order: `add_to_request`…, `look_at_request`, `begin_answer`, `add_to_answer`…, `headers`, `finish`.

    `drop` at the end, whatever came of it.
    """

    __slots__ = ("_answer", "_copy", "_id", "_is_answered", "_reader", "_request", "_scope", "_taps", "_version")

    def __init__(self, taps: Taps, reader: Reader, version: str, scope: Scope) -> None:
        self._taps = taps
        self._reader = reader
        self._version = version
        self._scope = scope
        self._copy = Copy(taps.allowance)
        self._id: str | None = None
        self._request = self._answer = Body(b"")
        """As far as their heads tell, until the bytes are there."""
        self._is_answered = False

    @property
    def needs_more_of_the_answer(self) -> bool:
        """Whether the answer may have to tell the id, which its head names: so none of it may be sent yet."""
        return self._is_answered and self._id is None and self._copy.is_whole

    def add_to_request(self, piece: bytes) -> None:
        self._copy.add_to_request(piece)

    def add_to_answer(self, piece: bytes) -> None:
        if self._is_answered:
            self._copy.add_to_answer(piece)

    def look_at_request(self) -> None:
        """Finds its id while the upstream works on it."""
        self._request = _told_by(self._scope["headers"])
        if self._copy.is_whole and _is_readable(self._request):
            self._request = self._request._replace(data=self._copy.request)
            self._id = id_in(self._request)

    def begin_answer(self, head: AnswerHead) -> None:
        if head.status != 200:
            return
        self._answer = _told_by(head.headers)
        self._is_answered = _is_readable(self._request) and _is_readable(self._answer)
        if not self._is_answered:
            self._taps.untapped[ENCODING] += 1

    def headers(self) -> list[Header]:
        """The one that tells the client by which id its labels will be known; none where nothing is logged."""
        if not self._is_answered or not self._copy.is_whole:
            return []
        if self._id is None:
            self._id = id_in(self._answer._replace(data=self._copy.answer))
        if self._id is None:
            (self._id,) = self._taps.mint.ids(1, self._taps.clock.now())
        return [(ID_HEADER, header_value(self._id))]

    def finish(self) -> None:
        """The client has its answer: the copy goes to the tap."""
        if not self._is_answered:
            return
        if not self._copy.is_whole or self._id is None:
            self._taps.untapped[TOO_LARGE] += 1
            return
        answer = self._answer._replace(data=self._copy.answer)
        trace = header(self._scope["headers"], b"traceparent")
        now = self._taps.clock.now()
        exchange = Exchange(self._request, answer, self._version, self._id, now, None if trace is None else trace.decode("latin-1"))
        self._taps.put(Unread(self._reader, exchange, EXCHANGE_BYTES + len(self._request.data) + len(answer.data)))

    def drop(self) -> None:
        """Nothing is under way any more."""
        self._copy.release()


def _told_by(headers: list[Header]) -> Body:
    """A body as far as the head tells."""
    encoding, json_bytes = NO_ENCODING, None
    for name, value in headers:
        if name == b"content-encoding":
            encoding = value.strip().lower()
        elif name == HEADER_BYTES and value.isdigit() and len(value) < 19:
            json_bytes = int(value)
    return Body(b"", NO_ENCODING if encoding == b"identity" else encoding, json_bytes)


def _is_readable(body: Body) -> bool:
    return not body.encoding or body.encoding in ENCODINGS
