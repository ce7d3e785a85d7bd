"""A POST at a door: who sends it, how its body comes, and what is answered, which always says how many events were taken."""

import asyncio
from collections.abc import AsyncIterator, Callable

import orjson

from monitor.serving.doors import Door
from monitor.serving.http import Disconnected, Receive, Response, Scope, header, json_response, read_body
from monitor.serving.ndjson import CONTENT_TYPES, pieces
from monitor.serving.refusals import BadRequest, NotReady, Refusal
from monitor.serving.taking import Sender
from monitor.serving.tokens import Tokens


class Reception:
    """Handles the requests of one door. `on_accepted` is told of each number of events that became durable."""

    def __init__(self, door: Door, tokens: Tokens, body_limit: int, on_accepted: Callable[[int], None]) -> None:
        self._door = door
        self._tokens = tokens
        self._body_limit = body_limit
        self._on_accepted = on_accepted

    async def __call__(self, scope: Scope, receive: Receive) -> Response:
        """202 `{"accepted": n}`, or a refusal with how many of the first events were taken, so that a sender can go on from there."""
        accepted = 0
        try:
            sender = self._sender(scope)
            self._door.check_rate(sender)
            if _is_lines(scope):
                async for piece in pieces(_chunks(receive)):
                    accepted += self._taken(await self._door.accept_lines(piece, accepted, sender))
                if not accepted:
                    raise BadRequest("the body is empty: expected one event a line")
            else:
                body = bytes(await read_body(scope, receive, self._body_limit))
                accepted = self._taken(await self._door.accept(body, sender))
        except Refusal as refusal:
            return _refused(refusal, accepted)
        except asyncio.CancelledError:
            # Only a server that stops cancels requests. What was under way may become durable yet; sending it again changes nothing.
            return _refused(NotReady("the server is stopping: send the rest again later"), accepted)
        return json_response({"accepted": accepted}, 202)

    def _taken(self, events: int) -> int:
        self._on_accepted(events)
        return events

    def _sender(self, scope: Scope) -> Sender:
        grant = self._tokens.check(scope["headers"])
        client = scope.get("client")
        return Sender(grant, grant.bearer or (client[0] if client else ""))


def _is_lines(scope: Scope) -> bool:
    content_type = header(scope["headers"], b"content-type") or b""
    return content_type.partition(b";")[0].strip().lower() in CONTENT_TYPES


async def _chunks(receive: Receive) -> AsyncIterator[bytes]:
    """The body as it arrives. Raises `Disconnected` where the client goes away before its end."""
    more = True
    while more:
        event = await receive()
        if event["type"] == "http.disconnect":
            raise Disconnected
        yield event.get("body", b"")
        more = event.get("more_body", False)


def _refused(refusal: Refusal, accepted: int) -> Response:
    answer = Response(refusal.status, orjson.dumps({"error": str(refusal), "accepted": accepted}))
    return answer._replace(headers=(*answer.headers, *refusal.headers))
