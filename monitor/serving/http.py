"""HTTP as the handlers see it: a body read within its limit, a response in two messages. No framework between uvicorn and these."""

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, NamedTuple

import orjson

from monitor.serving.refusals import Refusal, TooLarge

Scope = MutableMapping[str, Any]
Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]

Header = tuple[bytes, bytes]
_JSON = (b"content-type", b"application/json")


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

    How long it may take is the connection's business (`connection.py`), so that the usual request, which is there at once, needs no timer.
    """
    event = await receive()
    body: bytes = event.get("body", b"")
    if not event.get("more_body", False):
        if event["type"] == "http.disconnect":
            raise Disconnected
        if len(body) > limit:
            raise _too_large(limit)
        return body
    announced = header(scope["headers"], b"content-length")
    if announced is not None and int(announced) > limit:
        raise _too_large(limit)
    parts = [body]
    size = len(body)
    while event.get("more_body", False):
        event = await receive()
        if event["type"] == "http.disconnect":
            raise Disconnected
        parts.append(event.get("body", b""))
        size += len(parts[-1])
        if size > limit:
            raise _too_large(limit)
    return b"".join(parts)


async def respond(send: Send, response: Response) -> None:
    await send(
        {
            "type": "http.response.start",
            "status": response.status,
            "headers": [*response.headers, (b"content-length", b"%d" % len(response.body))],
        }
    )
    await send({"type": "http.response.body", "body": response.body})


def header(headers: Iterable[Header], name: bytes) -> bytes | None:
    """The first value of a header; ASGI gives the names in lower case."""
    return next((value for key, value in headers if key == name), None)


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"the body is larger than {limit:,} bytes (serving.max_body_bytes): send fewer rows at a time")
