"""Wires the inference server in a straight line, and closes it in reverse: log, models, spool, tap, doors, protocols, workers' channel."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import structlog

from monitor import __version__
from monitor.clock import Clock, WallClock
from monitor.commands.event_doors import EventDoors, cloudevents_route, privacy_of
from monitor.commands.model_source import registry_of, schema_of_served, standing_of
from monitor.commands.opening import open_log
from monitor.config import Settings
from monitor.errors import AddressInUse
from monitor.events import Schema, Stream
from monitor.export.serving_metrics import render
from monitor.log import Log
from monitor.serving import server
from monitor.serving.app import App
from monitor.serving.batches import encode
from monitor.serving.binding import address_of
from monitor.serving.gpus import Gpus
from monitor.serving.http import Receive, Response, Scope
from monitor.serving.inference import Inference
from monitor.serving.measured import Meters
from monitor.serving.openapi import Offer, openapi
from monitor.serving.outbox import Outbox
from monitor.serving.polling import Polling
from monitor.serving.proxy.proxy import Proxy, Upstream
from monitor.serving.registry import Registry
from monitor.serving.routing import Handler, get
from monitor.serving.sources import of_labels, of_models, of_proxy, of_tap
from monitor.serving.spool.slots import Spool
from monitor.serving.tap import Tap
from monitor.serving.tensor_schemas import ServedTensors
from monitor.serving.tokens import TokenFile, Tokens
from monitor.serving.v2 import V2, Control
from monitor.serving.workers.siblings import Siblings
from monitor.serving.workers.slots import Slot

if TYPE_CHECKING:
    import socket

    from monitor.config.serving import ServingSettings
    from monitor.serving.grpc.server import GrpcServer

TAP_FLUSH_SECONDS: Final = 3.0
"""What the tap gets to hand its queue on at the end, and then what the log gets to take it; the spool has the rest. With the drain of
requests this stays within the promised 20 s."""
LOG_FLUSH_SECONDS: Final = 4.0
_logger = structlog.get_logger(__name__)


def work(settings: Settings, slot: Slot, bound: "socket.socket") -> None:
    """Serves until SIGTERM or SIGINT as the process that `slot` says this is, from the bound socket on."""
    section = settings.serving
    clock = WallClock()
    meters = Meters()
    with ExitStack() as closing:
        schemas = {model.name: schema_of_served(model) for model in settings.models}
        privacy = {model.name: privacy_of(model, schemas[model.name]) for model in settings.models}
        tokens = Tokens([TokenFile(token.file, token.models) for token in section.doors.tokens])
        log = open_log(settings, clock)
        closing.callback(log.close)
        registry = registry_of(section, schemas, meters, closing)
        # Arrow imports pandas, where that is installed, when it makes its first array: seconds that no request should wait for.
        pa.array([])
        outbox = _outbox(section, log, slot, clock)
        outbox.start()
        closing.callback(outbox.stop, LOG_FLUSH_SECONDS)
        tap = Tap(outbox, partial(encode, privacy=privacy), bytes_limit=section.queue_bytes, trust_client_times=section.trust_client_times)
        tap.start()
        closing.callback(tap.stop, TAP_FLUSH_SECONDS)
        _measure(meters, tap, outbox, registry, clock, closing)
        siblings = Siblings(slot, meters, {"load": registry.load, "unload": registry.unload})
        closing.callback(siblings.record)
        inference = Inference(tap, trusts_client_times=section.trust_client_times)
        doors = EventDoors(settings, schemas, privacy, log, outbox, tokens, meters, clock, closing)
        routes = {f"/v1/{stream}": doors.route(stream) for stream in (Stream.LABELS, Stream.PREDICTIONS)}
        if section.cloudevents is not None:
            routes["/v1/cloudevents"] = cloudevents_route(settings, schemas, privacy, log, tap, meters, clock, closing)
        proxy = _proxy(section, schemas, tap, meters, clock)
        control = _Everywhere(siblings) if section.model_control == "explicit" else None
        readiness = _Readiness()
        v2 = V2(registry, inference, control, tokens, meters, clock, readiness.is_ready, section.max_body_bytes)
        routes["/metrics"] = get(_metrics(siblings), meters.endpoint("metrics"))
        routes["/openapi.json"] = get(_document(settings, registry, tuple(schemas.values()), tokens), meters.endpoint("metadata"))
        app = readiness.app = App(routes, v2, meters, proxy)
        services: list[server.Service] = [siblings]
        if proxy is not None:
            services.append(proxy)
        if section.model_control == "poll":
            services.append(Polling(registry, section.poll_every / 1_000))
        if section.has_grpc:
            services.append(_grpc(section, registry, inference, meters, clock, control, tokens, readiness, slot))
        limits = server.ServerSettings(section.request_timeout / 1_000, section.keep_alive / 1_000)

        def on_listening() -> None:
            slot.tell_ready()
            url = f"http://{address_of(bound)}"
            _logger.info("serving", url=url, models=registry.names(), log=settings.log.place, worker=slot.number, workers=slot.workers)

        server.run(app, bound, limits, on_listening, meters=meters, services=services, crowd=slot.crowd())
        _logger.info("stopping", flush_seconds=TAP_FLUSH_SECONDS + LOG_FLUSH_SECONDS)
    counts = tap.counts()
    lost = sum(counts.lost.values())
    _logger.info("stopped", predictions_written=counts.written, predictions_lost=lost, predictions_spooled=counts.spooled)


def _measure(meters: Meters, tap: Tap, outbox: Outbox, registry: Registry, clock: Clock, closing: ExitStack) -> None:
    """Has everything that counts beside the requests told with them."""
    gpus = Gpus()
    gpus.start()
    closing.callback(gpus.stop)
    labels = partial(outbox.counts, Stream.LABELS)
    for source in (of_tap(tap.counts, clock), of_labels(labels), of_models(partial(standing_of, registry)), gpus):
        meters.also(source)


def _outbox(section: "ServingSettings", log: Log, slot: Slot, clock: Clock) -> Outbox:
    spool = section.spool
    if not spool.enabled:
        return Outbox(log)
    return Outbox(log, Spool(spool.path, slot=slot.number, workers=slot.workers, bytes_limit=spool.max_bytes, clock=clock))


def _proxy(section: "ServingSettings", schemas: Mapping[str, Schema], tap: Tap, meters: Meters, clock: Clock) -> Proxy | None:
    """What stands in front of another server, where there is one."""
    if section.upstream is None:
        return None
    proxy = Proxy(
        Upstream(section.upstream.url, section.upstream.timeout / 1_000),
        schemas,
        lambda name, _version: schemas.get(name),
        tap.put_exchange,
        clock,
        body_limit=section.max_body_bytes,
        trusts_client_times=section.trust_client_times,
    )
    meters.also(of_proxy(proxy.counts))
    return proxy


def _grpc(
    section: "ServingSettings",
    registry: Registry,
    inference: Inference,
    meters: Meters,
    clock: Clock,
    control: Control | None,
    tokens: Tokens,
    readiness: "_Readiness",
    slot: Slot,
) -> server.Service:
    from monitor.serving.grpc.server import GrpcServer
    from monitor.serving.grpc.service import Service

    grpc = GrpcServer(Service(registry, inference, control, tokens, meters, clock, readiness.is_ready), section.max_body_bytes)
    if slot.grpc_port is not None:
        return _GrpcService(grpc, section.host, slot.grpc_port, is_shared=True, is_optional=False)
    return _GrpcService(
        grpc, section.host, section.grpc_port or 0, is_shared=False, is_optional="grpc_port" not in section.model_fields_set
    )


@dataclass(frozen=True, slots=True)
class _GrpcService:
    """gRPC on its port, which it shares with other workers where it is one of several."""

    server: "GrpcServer"
    host: str
    port: int
    is_shared: bool
    is_optional: bool
    """Whether the port is only the usual one: two servers on one machine need not configure what neither uses."""

    async def start(self) -> None:
        try:
            port = await self.server.start(self.host, self.port, shared=self.is_shared)
        except AddressInUse as error:
            if not self.is_optional:
                raise
            _logger.warning("no gRPC: nobody configured its port, and the usual one is taken", reason=str(error))
            return
        _logger.info("serving gRPC", host=self.host, port=port)

    async def stop(self, grace_seconds: float) -> None:
        await self.server.stop(grace_seconds)


class _Everywhere:
    """Loads and unloads in all workers."""

    def __init__(self, siblings: Siblings) -> None:
        self._siblings = siblings

    async def load(self, model: str) -> None:
        await self._siblings.everywhere("load", model)

    async def unload(self, model: str) -> None:
        await self._siblings.everywhere("unload", model)


@dataclass(slots=True)
class _Readiness:
    """Whether the application answers, for what it is made of and so cannot be handed it."""

    app: App | None = None

    def is_ready(self) -> bool:
        return self.app is not None and self.app.ready


def _metrics(siblings: Siblings) -> Handler:
    async def answer(_scope: Scope, _receive: Receive) -> Response:
        text, content_type = render(await siblings.tally())
        return Response(200, text, ((b"content-type", content_type),))

    return answer


def _document(settings: Settings, registry: Registry, schemas: tuple[Schema, ...], tokens: Tokens) -> Handler:
    """The OpenAPI document, of the models of that moment."""
    section = settings.serving

    async def answer(_scope: Scope, _receive: Receive) -> Response:
        served = [registry.find(name, version).codec for name in registry.names() for version in registry.versions(name)]
        models = [ServedTensors(codec.model, codec.version, codec.inputs, codec.outputs) for codec in served]
        offer = Offer(
            __version__,
            None if section.repository is None else models,
            schemas,
            label_names_model=len(schemas) > 1 and not settings.labels_without_model,
            model_control=section.model_control == "explicit",
            cloudevents=section.cloudevents is not None,
            tokens=bool(tokens),
            rates=section.doors.events_per_second is not None,
            upstream=section.upstream is not None,
        )
        return Response(200, openapi(offer))

    return answer
