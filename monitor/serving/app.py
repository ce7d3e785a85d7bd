"""What a request meets, in order: its path, its method, its handler; then the answer is sent and counted. Raw ASGI.

Every path is known once the models are loaded, so routing is one dictionary look-up, and nothing of a request's path ever reaches the
file system.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import structlog

from monitor import __version__
from monitor.clock import Clock, Milliseconds
from monitor.log.admission import FUTURE_LIMIT_MS
from monitor.serving.doors import Door
from monitor.serving.http import Disconnected, Receive, Response, Scope, Send, header, json_response, read_body, refusal_response, respond
from monitor.serving.ids import Mint
from monitor.serving.measured import LATENCY_BOUNDS_SECONDS, Meter, ServingStats, stats_of
from monitor.serving.protocol import InferRequest
from monitor.serving.refusals import BadRequest, MethodNotAllowed, NotFound, NotReady, Refusal
from monitor.serving.row_parameters import NO_PARAMETERS
from monitor.serving.served import Served, ServedModels
from monitor.serving.tap import Entry, Tap

_logger = structlog.get_logger(__name__)

Handler = Callable[[Scope, Receive], Awaitable[Response]]
Render = Callable[[ServingStats], tuple[bytes, bytes]]
"""The text of the metrics page and its content type."""


CLIENT_CLOSED = 499
"""Counted, never sent: the client went away, or was cut off, before its request was whole. nginx's number for it."""


@dataclass(frozen=True, slots=True)
class AppSettings:
    """What the configuration's `serving` section says about requests."""

    body_limit: int
    trust_client_times: bool


class Route(NamedTuple):
    """What is done at one path, by method, and where it is counted."""

    methods: Mapping[str, Handler]
    meter: Meter


class App:
    """The ASGI application. `ready` is set by whoever runs it, once it answers and until it stops."""

    def __init__(
        self,
        models: ServedModels,
        doors: Mapping[str, Door],
        tap: Tap | None,
        threads: Executor,
        settings: AppSettings,
        clock: Clock,
        render: Render,
    ) -> None:
        self.ready = False
        self._models = models
        self._tap = tap
        self._threads = threads
        self._settings = settings
        self._clock = clock
        self._render = render
        self._mint = Mint()
        self._unrouted = Meter("other")
        self._routes = self._all_routes(models, doors)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        route = self._routes.get(scope["path"])
        try:
            if route is None:
                raise NotFound(self._not_found(scope["path"]))
            handler = route.methods.get(scope["method"])
            if handler is None:
                raise MethodNotAllowed(scope["method"], route.methods)
            response = await handler(scope, receive)
        except Refusal as refusal:
            response = refusal_response(refusal)
        except Disconnected:
            _meter_of(route, self._unrouted).observe(CLIENT_CLOSED, time.perf_counter() - started)
            return
        except asyncio.CancelledError:
            # Only a server that stops cancels requests, those that were not whole or not answered in time.
            response = refusal_response(NotReady("the server is stopping: send this again later"))
        except Exception:
            _logger.exception("a request failed", path=scope["path"][:200])
            response = json_response({"error": "internal error; the server's log has the details"}, 500)
        _meter_of(route, self._unrouted).observe(response.status, time.perf_counter() - started)
        await respond(send, response)

    def stats(self) -> ServingStats:
        meters = {id(route.meter): route.meter for route in self._routes.values()}
        return ServingStats(
            self.ready,
            LATENCY_BOUNDS_SECONDS,
            tuple(stats_of(meter) for meter in [*meters.values(), self._unrouted]),
            None if self._tap is None else self._tap.counts(),
        )

    def _all_routes(self, models: ServedModels, doors: Mapping[str, Door]) -> dict[str, Route]:
        health, metadata = Meter("health"), Meter("metadata")
        server = json_response({"name": "model-monitor", "version": __version__, "extensions": []})
        routes = {
            "/v2": _get(self._constant(server), metadata),
            "/v2/health/live": _get(self._constant(json_response({"live": True})), health),
            "/v2/health/ready": _get(self._server_ready, health),
            "/metrics": _get(self._metrics, Meter("metrics")),
        }
        infer: dict[int, Meter] = {}
        for path, served in models.paths():
            name, version = served.codec.model, served.codec.version
            described = Response(200, served.codec.metadata(list(models.versions[name])))
            routes[f"/v2/models/{path}"] = _get(self._constant(described), metadata)
            routes[f"/v2/models/{path}/ready"] = _get(partial(self._model_ready, json_response({"name": name, "ready": True})), health)
            meter = infer.setdefault(id(served), Meter("infer", name, version))
            routes[f"/v2/models/{path}/infer"] = Route({"POST": partial(self._infer, served, meter)}, meter)
        for path, door in doors.items():
            meter = Meter(path.rpartition("/")[2])
            routes[path] = Route({"POST": partial(self._accept, door, meter)}, meter)
        return routes

    async def _infer(self, served: Served, meter: Meter, scope: Scope, receive: Receive) -> Response:
        body = await read_body(scope, receive, self._settings.body_limit)
        now = self._clock.now()
        try:
            request = served.codec.decode(body)
        except BadRequest:
            if header(scope["headers"], b"inference-header-content-length") is not None:
                raise BadRequest("binary tensors are not supported yet: send JSON (tritonclient: binary_data=False)") from None
            raise
        tapped = served.tapped
        if tapped is not None and request.parameters is not NO_PARAMETERS:
            self._check_for_the_log(request, tapped.monitored.check_features, now)
        model = served.model
        if request.rows <= model.inline_rows:
            outputs = model.run(request.feeds)
        else:
            outputs = await asyncio.get_running_loop().run_in_executor(self._threads, model.run, request.feeds)
        ids, request_id = self._ids(request, now)
        answer = served.codec.encode(outputs, request, ids, request_id)
        meter.rows += request.rows
        if tapped is not None and self._tap is not None:
            # Text parsed from JSON takes about four times its length as Python objects; numbers take less.
            cost = 512 + 4 * len(body) + 128 * request.rows
            self._tap.put(Entry(tapped, request.rows, request.feeds, outputs, ids, now, request.parameters, cost))
        return Response(200, answer)

    def _check_for_the_log(
        self, request: InferRequest, check_features: Callable[[Mapping[str, list[object]]], None], now: Milliseconds
    ) -> None:
        parameters = request.parameters
        if parameters.features:
            check_features(parameters.features)
        if parameters.times and self._settings.trust_client_times and max(parameters.times) > now + FUTURE_LIMIT_MS:
            raise BadRequest('"parameters.times" lies more than an hour ahead of the server\'s clock')

    def _ids(self, request: InferRequest, now: Milliseconds) -> tuple[list[str], str]:
        """The rows' ids and the request's: as sent, derived from each other, or minted."""
        ids = request.parameters.ids
        if ids is None:
            if not request.id:
                ids = self._mint.ids(request.rows, now)
            elif request.rows == 1:
                ids = [request.id]
            else:
                ids = [f"{request.id}/{row}" for row in range(request.rows)]
        return ids, request.id or (ids[0] if request.rows == 1 else self._mint.ids(1, now)[0])

    async def _accept(self, door: Door, meter: Meter, scope: Scope, receive: Receive) -> Response:
        body = await read_body(scope, receive, self._settings.body_limit)
        accepted = await door.accept(body)
        meter.rows += accepted
        return json_response({"accepted": accepted}, 202)

    async def _server_ready(self, _scope: Scope, _receive: Receive) -> Response:
        if not self.ready:
            raise NotReady("the server is starting or stopping")
        return json_response({"ready": True})

    async def _model_ready(self, ready: Response, _scope: Scope, _receive: Receive) -> Response:
        if not self.ready:
            raise NotReady("the server is starting or stopping")
        return ready

    async def _metrics(self, _scope: Scope, _receive: Receive) -> Response:
        text, content_type = self._render(self.stats())
        return Response(200, text, ((b"content-type", content_type),))

    def _constant(self, response: Response) -> Handler:
        async def answer(_scope: Scope, _receive: Receive) -> Response:
            return response

        return answer

    def _not_found(self, path: str) -> str:
        parts = path.split("/")
        if parts[:3] == ["", "v2", "models"] and len(parts) > 3:
            versions = self._models.versions.get(parts[3])
            if versions is None:
                return f'unknown model "{parts[3][:80]}"; this server has {", ".join(self._models.versions) or "none"}'
            if parts[4:5] == ["versions"] and parts[5:6] and parts[5] not in versions:
                return f'model "{parts[3]}" has no version "{parts[5][:80]}"; it has {", ".join(versions)}'
        return f"no such path: {path[:200]}"


def _meter_of(route: Route | None, otherwise: Meter) -> Meter:
    return otherwise if route is None else route.meter


def _get(handler: Handler, meter: Meter) -> Route:
    return Route({"GET": handler, "HEAD": handler}, meter)
