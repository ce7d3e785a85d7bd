"""The REST paths of the Open Inference Protocol v2: health, metadata, inference, and the model repository's index, load and unload.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md, and for the repository
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_model_repository.md
"""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Final, Protocol

import orjson

from monitor import __version__
from monitor.clock import Clock
from monitor.serving import binary
from monitor.serving.binary import HEADER_BYTES
from monitor.serving.http import Receive, Response, Scope, json_response, read_body, read_view
from monitor.serving.inference import Inference
from monitor.serving.measured import Meter, Meters
from monitor.serving.protocol import EXTENSIONS, parse_object
from monitor.serving.refusals import BadRequest, Forbidden, NotFound, NotReady
from monitor.serving.registry import Registry
from monitor.serving.routing import Route, constant, get
from monitor.serving.served import Served
from monitor.serving.tokens import Tokens

TRACE: Final = b"traceparent"
"""W3C Trace Context: https://www.w3.org/TR/trace-context/"""
TRACE_LENGTH: Final = 55
"""Of version 00; later versions begin alike, and are kept as long as that."""

_OCTETS: Final = (b"content-type", b"application/octet-stream")
CONTROL_OFF: Final = (
    "models are not loaded and unloaded by request here: set serving.model_control to explicit (MODEL_MONITOR_SERVING__MODEL_CONTROL)"
)


class Control(Protocol):
    """Loads and unloads models, in this process and wherever else the same port is answered."""

    async def load(self, model: str) -> None: ...

    async def unload(self, model: str) -> None: ...


class V2:
    """Handlers by path. `control` is None where clients may not load and unload; `tokens` say who may where they may."""

    def __init__(
        self,
        registry: Registry,
        inference: Inference,
        control: Control | None,
        tokens: Tokens,
        meters: Meters,
        clock: Clock,
        is_ready: Callable[[], bool],
        body_limit: int,
    ) -> None:
        self._registry = registry
        self._inference = inference
        self._control = control
        self._tokens = tokens
        self._meters = meters
        self._clock = clock
        self._is_ready = is_ready
        self._body_limit = body_limit
        self._health, self._metadata, self._repository = (meters.endpoint(name) for name in ("health", "metadata", "repository"))

    @property
    def models(self) -> Mapping[str, Served]:
        """What `routes` depends on: another object after each change."""
        return self._registry.infer_paths

    def routes(self) -> dict[str, Route]:
        """Every path that can be answered now."""
        extensions = [*EXTENSIONS, *(["model_repository"] if self._control is not None else [])]
        server = json_response({"name": "model-monitor", "version": __version__, "extensions": extensions})
        routes = {
            "/v2": get(constant(server), self._metadata),
            "/v2/health/live": get(constant(json_response({"live": True})), self._health),
            "/v2/health/ready": get(self._server_ready, self._health),
            "/v2/repository/index": Route({"POST": self._index}, self._repository),
        }
        for path, served in self._registry.infer_paths.items():
            name, version = served.codec.model, served.codec.version
            described = Response(200, served.codec.metadata(self._registry.versions(name)))
            model = path.removesuffix("/infer")
            routes[model] = get(constant(described), self._metadata)
            routes[f"{model}/ready"] = get(partial(self._model_ready, json_response({"name": name, "ready": True})), self._health)
            meter = self._meters.endpoint("infer", name, version)
            routes[path] = Route({"POST": partial(self._infer, served, meter)}, meter)
        return routes

    def route(self, path: str) -> Route | None:
        """A path that is not among `routes`. Raises `NotFound` or `NotReady` for a model's, which say why it is not."""
        match path.split("/"):
            case ["", "v2", "repository", "models", model, "load"]:
                return Route({"POST": partial(self._load, model)}, self._repository)
            case ["", "v2", "repository", "models", model, "unload"]:
                return Route({"POST": partial(self._unload, model)}, self._repository)
            case ["", "v2", "models", model, "versions", version, *_]:
                self._registry.find(model, version)
            case ["", "v2", "models", model, *_]:
                self._registry.find(model)
        return None

    async def _infer(self, served: Served, meter: Meter, scope: Scope, receive: Receive) -> Response:
        header_length: int | None = None
        trace: str | None = None
        for name, value in scope["headers"]:
            if name == HEADER_BYTES:
                header_length = binary.header_length(value)
            elif name == TRACE:
                trace = value[:TRACE_LENGTH].decode("latin-1")
        body = await read_view(scope, receive, self._body_limit)
        now = self._clock.now()
        request = served.codec.decode(body, header_length)
        answer = await self._inference.infer(served, request, now, len(body), trace)
        encoded, json_bytes = served.codec.encode(answer, request)
        meter.rows += request.rows
        if json_bytes is None:
            return Response(200, encoded)
        return Response(200, encoded, (_OCTETS, (HEADER_BYTES, b"%d" % json_bytes)))

    async def _server_ready(self, _scope: Scope, _receive: Receive) -> Response:
        if not self._is_ready():
            raise NotReady("the server is starting or stopping")
        return json_response({"ready": True})

    async def _model_ready(self, ready: Response, _scope: Scope, _receive: Receive) -> Response:
        if not self._is_ready():
            raise NotReady("the server is starting or stopping")
        return ready

    async def _index(self, scope: Scope, receive: Receive) -> Response:
        body = await read_body(scope, receive, self._body_limit)
        ready_only = parse_object(body).get("ready", False) if body else False
        if type(ready_only) is not bool:
            raise BadRequest('"ready" must be true or false')
        return json_response([entry._asdict() for entry in self._registry.index(ready_only=ready_only)])

    async def _load(self, model: str, scope: Scope, receive: Receive) -> Response:
        body = await read_body(scope, receive, self._body_limit)
        parameters = parse_object(body).get("parameters") if body else None
        if parameters:
            raise BadRequest('"parameters" of a load are not taken here: put the model and its config.yaml into the repository')
        return await self._controlled(model, scope, lambda control: control.load(model))

    async def _unload(self, model: str, scope: Scope, receive: Receive) -> Response:
        # Its only parameter, unload_dependents, is for ensembles, which are not served.
        await read_body(scope, receive, self._body_limit)
        return await self._controlled(model, scope, lambda control: control.unload(model))

    async def _controlled(self, model: str, scope: Scope, act: Callable[[Control], Awaitable[None]]) -> Response:
        if self._control is None:
            raise NotFound(CONTROL_OFF)
        if not self._tokens.check(scope["headers"]).allows(model):
            raise Forbidden(f'this token is not good for the model "{model[:80]}"')
        await act(self._control)
        return Response(200, orjson.dumps({}))
