"""HTTP as the handlers see it: a body read within its limit, a response in two messages. No framework between the connection and these."""

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, Final, NamedTuple

import orjson

from monitor.serving.refusals import Refusal, TooLarge

Scope = MutableMapping[str, Any]
Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]

Header = tuple[bytes, bytes]
_JSON = (b"content-type", b"application/json")

CLIENT_CLOSED: Final = 499
"""Counted, never sent: the client went away, or was cut off, before it was answered. nginx's number for it."""

WHOLE_BODY: Final = "model_monitor.whole_body"
"""An extension of ASGI in `scope["extensions"]`: `async (limit) -> bytes | memoryview`, the body in one piece that was copied at most once.
Our own connections have it; under any other server the body comes by `receive`."""


class Response(NamedTuple):
    """A status, a whole body and the headers but for its length. A tuple, since one is built for every request."""

    status: int
    body: bytes
    headers: tuple[Header, ...] = (_JSON,)


class Disconnected(Exception):
    """The client went away before its request was whole; there is nobody to answer."""


def json_response(document: object, status: int = 200) -> Response:
    return Response(status, orjson.dumps(document))


def refusal_response(refusal: Refusal) -> Response:
    """What every refusal looks like: `{"error": message}`."""
    return Response(refusal.status, orjson.dumps({"error": str(refusal)}), (_JSON, *refusal.headers))


async def read_body(scope: Scope, receive: Receive, limit: int) -> bytes:
    """The whole body. Raises `TooLarge` as soon as it is known to be, `Disconnected` where the client is gone.

    How long it may take is the connection's business, so that the usual request, which is there at once, needs no timer.
    """
    body = await read_view(scope, receive, limit)
    return body if isinstance(body, bytes) else bytes(body)


async def read_view(scope: Scope, receive: Receive, limit: int) -> bytes | memoryview:
    """The same, for whoever can do with a view: nothing is copied once more."""
    whole = scope.get("extensions", {}).get(WHOLE_BODY)
    if whole is not None:
        body: bytes | memoryview = await whole(limit)
        return body
    announced = header(scope["headers"], b"content-length")
    if announced is not None and int(announced) > limit:
        raise too_large(limit)
    parts: list[bytes] = []
    size = 0
    more = True
    while more:
        event = await receive()
        if event["type"] == "http.disconnect":
            raise Disconnected
        parts.append(event.get("body", b""))
        size += len(parts[-1])
        if size > limit:
            raise too_large(limit)
        more = event.get("more_body", False)
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def respond(send: Send, response: Response) -> None:
    await send(
        {
            "type": "http.response.start",
            "status": response.status,
            "headers": [*response.headers, (b"content-length", b"%d" % len(response.body))],
        }
    )
    await send({"type": "http.response.body", "body": response.body})


def chunk(body: bytes) -> bytes:
    """A piece of a chunked body; of nothing, its end."""
    return b"%x\r\n%b\r\n" % (len(body), body) if body else b"0\r\n\r\n"


def header(headers: Iterable[Header], name: bytes) -> bytes | None:
    """The first value of a header; ASGI gives the names in lower case."""
    return next((value for key, value in headers if key == name), None)


def too_large(limit: int) -> TooLarge:
    return TooLarge(f"the body is larger than {limit:,} bytes (serving.max_body_bytes): send fewer rows at a time")
