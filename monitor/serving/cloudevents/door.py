"""`POST /v1/cloudevents`: 202 once an event was taken into the tap, or waits for its other half.

KServe's logger tries once and looks at no answer, so that making events durable first, as the doors for labels do, would only make it wait:
they get what our own requests get, no more. Bounded memory, then the spool, then counted loss.
"""

from collections.abc import Callable

from monitor.serving.cloudevents.events import HTTP_PREFIX
from monitor.serving.cloudevents.intake import Intake
from monitor.serving.exchanges.reading import Unread
from monitor.serving.http import Receive, Response, Scope, json_response, read_body


class CloudEventsDoor:
    """For the event loop's thread. `put` is the tap's `put_exchange`."""

    def __init__(self, intake: Intake, put: Callable[[Unread], None], body_limit: int) -> None:
        self._intake = intake
        self._put = put
        self._body_limit = body_limit

    async def handle(self, scope: Scope, receive: Receive) -> Response:
        """202 `{"accepted": n}` with the number of events, those of no concern here among them. Raises a `Refusal`."""
        body = bytes(await read_body(scope, receive, self._body_limit))
        headers = ((name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"])
        events = self._intake.read(headers, body, HTTP_PREFIX)
        for unread in self._intake.take(events):
            self._put(unread)
        return json_response({"accepted": len(events)}, 202)
