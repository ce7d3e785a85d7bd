"""What a request meets, in order: its path, its method, its handler; then the answer is sent and counted. Raw ASGI.

Every path of a loaded model is known, so routing is one dictionary look-up, made anew when the models change; and nothing of a request's
path ever reaches the file system.
"""

import asyncio
import time
from collections.abc import Mapping
from typing import Final

import structlog

from monitor.serving.http import CLIENT_CLOSED, Disconnected, Event, Receive, Scope, Send, json_response, refusal_response, respond
from monitor.serving.measured import Meters
from monitor.serving.proxy.proxy import Proxy
from monitor.serving.refusals import MethodNotAllowed, NotFound, NotReady, Refusal
from monitor.serving.routing import Route
from monitor.serving.v2 import V2

_logger = structlog.get_logger(__name__)

STOPPING: Final = NotReady("the server is stopping: send this again later")
"""For requests that are cancelled: only a server that stops does that, to those that were not whole or not answered in time."""


class App:
    """The ASGI application. `ready` is set by whoever runs it, once it answers and until it stops.

    `routes` are ours whatever is served; every other path is the protocol's, or, in front of another server, that one's.
    """

    def __init__(self, routes: Mapping[str, Route], v2: V2, meters: Meters, proxy: Proxy | None = None) -> None:
        self.ready = False
        self._own = dict(routes)
        self._v2 = v2
        self._proxy = proxy
        self._proxied = meters.endpoint("proxy")
        self._unrouted = meters.endpoint("other")
        self._models = v2.models
        self._routes: dict[str, Route] = {}

    @property
    def routes(self) -> Mapping[str, Route]:
        """Those of now, by path."""
        if self._models is not self._v2.models or not self._routes:
            self._models = self._v2.models
            self._routes = {} if self._proxy is not None else self._v2.routes()
            self._routes |= self._own
        return self._routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        path = scope["path"]
        route = self.routes.get(path)
        if route is None and self._proxy is not None:
            await self._pass_on(self._proxy, started, scope, receive, send)
            return
        meter = self._unrouted
        try:
            if route is None:
                route = self._v2.route(path)
            if route is None:
                raise NotFound(f"no such path: {path[:200]}")
            meter = route.meter
            handler = route.methods.get(scope["method"])
            if handler is None:
                raise MethodNotAllowed(scope["method"], route.methods)
            response = await handler(scope, receive)
        except Refusal as refusal:
            response = refusal_response(refusal)
        except Disconnected:
            meter.observe(CLIENT_CLOSED, time.perf_counter() - started)
            return
        except asyncio.CancelledError:
            response = refusal_response(STOPPING)
        except Exception:
            _logger.exception("a request failed", path=path[:200])
            response = json_response({"error": "internal error; the server's log has the details"}, 500)
        meter.observe(response.status, time.perf_counter() - started)
        await respond(send, response)

    async def _pass_on(self, proxy: Proxy, started: float, scope: Scope, receive: Receive, send: Send) -> None:
        is_answered = False

        async def sent(event: Event) -> None:
            nonlocal is_answered
            is_answered = True
            await send(event)

        refusal: Refusal | None = None
        try:
            status = await proxy.handle(scope, receive, sent)
        except Refusal as refused:
            refusal = refused
        except Disconnected:
            status = CLIENT_CLOSED
        except asyncio.CancelledError:
            refusal = STOPPING
        if refusal is not None:
            status = refusal.status
            if not is_answered:
                await respond(send, refusal_response(refusal))
        self._proxied.observe(status, time.perf_counter() - started)
