"""What is done at a path, by method, and where it is counted."""

from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple

from monitor.serving.http import Receive, Response, Scope
from monitor.serving.measured import Meter

Handler = Callable[[Scope, Receive], Awaitable[Response]]


class Route(NamedTuple):
    """The handlers of one path by method."""

    methods: Mapping[str, Handler]
    meter: Meter


def get(handler: Handler, meter: Meter) -> Route:
    """A path that is read."""
    return Route({"GET": handler, "HEAD": handler}, meter)


def constant(response: Response) -> Handler:
    """Answers everybody the same."""

    async def answer(_scope: Scope, _receive: Receive) -> Response:
        return response

    return answer
