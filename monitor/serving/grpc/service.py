"""`inference.GRPCInferenceService`, method by method: what each is asked, and who knows the answer."""

from collections.abc import Callable
from typing import Final

import grpc

from monitor import __version__
from monitor.clock import Clock
from monitor.serving.grpc import messages as pb
from monitor.serving.grpc.calls import Call, parsed, unary
from monitor.serving.grpc.descriptions import EXTENSIONS, config_of, metadata_of, statistics_of
from monitor.serving.grpc.infer_messages import read, written
from monitor.serving.grpc.streams import Streams
from monitor.serving.inference import Inference
from monitor.serving.measured import Meters
from monitor.serving.refusals import BadRequest, Forbidden, MethodNotAllowed
from monitor.serving.registry import Registry
from monitor.serving.requests import InferRequest
from monitor.serving.tokens import Tokens
from monitor.serving.v2 import Control

SERVICE: Final = "inference.GRPCInferenceService"


class Service:
    """For the event loop's thread. `control` and `tokens` are as in REST; `is_ready`: the server is neither starting nor stopping."""

    def __init__(
        self,
        registry: Registry,
        inference: Inference,
        control: Control | None,
        tokens: Tokens,
        meters: Meters,
        clock: Clock,
        is_ready: Callable[[], bool],
    ) -> None:
        self._registry = registry
        self._inference = inference
        self._meters = meters
        self._clock = clock
        self._is_ready = is_ready
        self._control = control
        self._tokens = tokens
        self.streams = Streams()

    def handler(self) -> grpc.GenericRpcHandler:
        health, metadata, repository = (self._meters.endpoint(f"grpc_{name}") for name in ("health", "metadata", "repository"))
        infer = self._meters.endpoint("grpc_infer")
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "ServerLive": unary(self._server_live, health),
                "ServerReady": unary(self._server_ready, health),
                "ModelReady": unary(self._model_ready, health),
                "ServerMetadata": unary(self._server_metadata, metadata),
                "ModelMetadata": unary(self._model_metadata, metadata),
                "ModelConfig": unary(self._model_config, metadata),
                "ModelStatistics": unary(self._model_statistics, metadata),
                "ModelInfer": unary(self._infer, infer),
                "ModelStreamInfer": self.streams.handler(self._infer, infer),
                "RepositoryIndex": unary(self._index, repository),
                "RepositoryModelLoad": unary(self._load, repository),
                "RepositoryModelUnload": unary(self._unload, repository),
            },
        )

    async def _infer(self, body: bytes, call: Call) -> pb.ModelInferResponse:
        now = self._clock.now()
        message = parsed(pb.ModelInferRequest, body)
        call.id = message.id
        served = self._registry.find(message.model_name, message.model_version)
        codec = served.codec
        call.meter = self._meters.endpoint("grpc_infer", codec.model, codec.version)
        request = within(read(message, codec), call.seconds_left)
        answer = await self._inference.infer(served, request, now, len(body), call.trace)
        call.meter.rows += request.rows
        return written(answer, request, codec, raw=bool(message.raw_input_contents))

    async def _server_live(self, body: bytes, _call: Call) -> pb.ServerLiveResponse:
        parsed(pb.ServerLiveRequest, body)
        return pb.ServerLiveResponse(live=True)

    async def _server_ready(self, body: bytes, _call: Call) -> pb.ServerReadyResponse:
        parsed(pb.ServerReadyRequest, body)
        return pb.ServerReadyResponse(ready=self._is_ready())

    async def _model_ready(self, body: bytes, _call: Call) -> pb.ModelReadyResponse:
        message = parsed(pb.ModelReadyRequest, body)
        return pb.ModelReadyResponse(ready=self._is_ready() and self._registry.is_ready(message.name, message.version))

    async def _server_metadata(self, body: bytes, _call: Call) -> pb.ServerMetadataResponse:
        parsed(pb.ServerMetadataRequest, body)
        extensions = [*EXTENSIONS, *(["model_repository"] if self._control is not None else [])]
        return pb.ServerMetadataResponse(name="model-monitor", version=__version__, extensions=extensions)

    async def _model_metadata(self, body: bytes, _call: Call) -> pb.ModelMetadataResponse:
        message = parsed(pb.ModelMetadataRequest, body)
        served = self._registry.find(message.name, message.version)
        return metadata_of(served.codec, self._registry.versions(message.name))

    async def _model_config(self, body: bytes, _call: Call) -> pb.ModelConfigResponse:
        message = parsed(pb.ModelConfigRequest, body)
        return pb.ModelConfigResponse(config=config_of(self._registry.find(message.name, message.version).codec))

    async def _model_statistics(self, body: bytes, _call: Call) -> pb.ModelStatisticsResponse:
        message = parsed(pb.ModelStatisticsRequest, body)
        if message.name:
            self._registry.find(message.name, message.version)
        names = [message.name] if message.name else self._registry.names()
        runs = [
            self._meters.runs(name, version)
            for name in names
            for version in self._registry.versions(name)
            if message.version in ("", version)
        ]
        return pb.ModelStatisticsResponse(model_stats=[statistics_of(each) for each in runs])

    async def _index(self, body: bytes, _call: Call) -> pb.RepositoryIndexResponse:
        message = parsed(pb.RepositoryIndexRequest, body)
        entries = self._registry.index(ready_only=message.ready)
        return pb.RepositoryIndexResponse(
            models=[
                pb.RepositoryIndexResponse.ModelIndex(name=entry.name, version=entry.version, state=entry.state, reason=entry.reason)
                for entry in entries
            ]
        )

    async def _load(self, body: bytes, call: Call) -> pb.RepositoryModelLoadResponse:
        message = parsed(pb.RepositoryModelLoadRequest, body)
        control = self._controlling("RepositoryModelLoad", message.model_name, call)
        if message.parameters:
            raise BadRequest(
                "a model's configuration and files come from the repository, not with the request: leave out "
                f"{', '.join(sorted(message.parameters)[:3])[:200]}"
            )
        await control.load(message.model_name)
        return pb.RepositoryModelLoadResponse()

    async def _unload(self, body: bytes, call: Call) -> pb.RepositoryModelUnloadResponse:
        message = parsed(pb.RepositoryModelUnloadRequest, body)
        control = self._controlling("RepositoryModelUnload", message.model_name, call)
        await control.unload(message.model_name)
        return pb.RepositoryModelUnloadResponse()

    def _controlling(self, method: str, model: str, call: Call) -> Control:
        if self._control is None:
            raise MethodNotAllowed(method, ("serving.model_control: explicit",))
        if not self._tokens.check(call.headers).allows(model):
            raise Forbidden(f'this token is not good for the model "{model[:80]}"')
        return self._control


def within(request: InferRequest, seconds: float | None) -> InferRequest:
    """The request with the shorter of its own patience and that of its call."""
    if seconds is None or 0 < request.timeout_seconds <= seconds:
        return request
    # 0 means no limit.
    return request._replace(timeout_seconds=max(seconds, 1e-6))
