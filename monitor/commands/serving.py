"""Wires the inference server in a straight line, and closes it in reverse: log, models, spool, tap, doors, protocols, workers' channel."""

import os
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import structlog

from monitor import __version__
from monitor.clock import Clock, WallClock
from monitor.codec.events_json import parse_labels_json, parse_predictions_json
from monitor.commands.opening import connection_of, kafka_only, open_log
from monitor.config import Settings
from monitor.config.serving import LatestVersions
from monitor.errors import AddressInUse
from monitor.events import Schema, Stream
from monitor.export.serving_metrics import render
from monitor.log import Log
from monitor.serving import server
from monitor.serving.app import App
from monitor.serving.batches import encode
from monitor.serving.binding import address_of, bind
from monitor.serving.cloudevents.door import CloudEventsDoor
from monitor.serving.cloudevents.intake import Intake
from monitor.serving.cloudevents.pairing import Patience
from monitor.serving.cloudevents.topic import TopicReader
from monitor.serving.doors import Door
from monitor.serving.durable import Durable, InLog, InSpool, Redacting
from monitor.serving.gpus import Gpus
from monitor.serving.http import Receive, Response, Scope
from monitor.serving.inference import Inference
from monitor.serving.measured import Meters
from monitor.serving.openapi import Offer, openapi
from monitor.serving.outbox import Outbox
from monitor.serving.polling import Polling
from monitor.serving.privacy import Privacy, salt_of
from monitor.serving.proxy.proxy import Proxy, Upstream
from monitor.serving.rates import Rates
from monitor.serving.reception import Reception
from monitor.serving.registry import Registry
from monitor.serving.routing import Handler, Route, get
from monitor.serving.sources import ModelNumbers, of_cloudevents, of_labels, of_models, of_proxy, of_tap
from monitor.serving.spool.slots import Spool
from monitor.serving.standing import State
from monitor.serving.tally import Tally
from monitor.serving.tap import Tap
from monitor.serving.tensor_schemas import ServedTensors
from monitor.serving.tokens import TokenFile, Tokens
from monitor.serving.v2 import V2, Control
from monitor.serving.waiting import WaitingThreads
from monitor.serving.workers.siblings import Siblings
from monitor.serving.workers.slots import Slot
from monitor.serving.workers.supervisor import Team, same_command, supervise

if TYPE_CHECKING:
    import socket

    from monitor.config import Model
    from monitor.config.serving import ServingSettings
    from monitor.serving.grpc.server import GrpcServer

RUN_THREADS: Final = max(2, os.cpu_count() or 1)
"""For models whose runs are too long for the event loop; the runtime releases the GIL."""
LOAD_THREADS: Final = 1
"""Models load one after the other, so that what else the cores do suffers little."""
DOOR_THREADS: Final = 16
"""Requests that wait for the disk at a time: appends of concurrent threads share one commit, so more of them cost no more."""
TAP_FLUSH_SECONDS: Final = 3.0
"""What the tap gets to hand its queue on at the end, and then what the log gets to take it; the spool has the rest. With the drain of
requests this stays within the promised 20 s."""
LOG_FLUSH_SECONDS: Final = 4.0
READER_SECONDS: Final = 1.0
"""For the reader of CloudEvents to end its turn; what it had under way is read again."""
EXCHANGE_MEMORY: Final = 4
"""Halves of CloudEvents may take this many times the greatest body while they wait."""

_logger = structlog.get_logger(__name__)


def serve(settings: Settings, environment: Mapping[str, str]) -> None:
    """Serves until SIGTERM or SIGINT, alone, as the supervisor of several workers, or as one of them.

    Raises `MonitorError`, before anything is loaded where the port is taken.
    """
    section = settings.serving
    slot = Slot.inherited(environment)
    with ExitStack() as closing:
        if slot is not None:
            slot.live_with_supervisor()
            _work(settings, slot, slot.socket())
            return
        bound = closing.enter_context(bind(section.host, section.port))
        if section.workers == 1:
            _work(settings, Slot(), bound)
            return
        grpc_port = _shared_grpc_port(section, closing)
        _logger.info("starting", url=f"http://{address_of(bound)}", workers=section.workers, grpc_port=grpc_port)
        supervise(Team(section.workers, same_command(), grpc_port), bound, environment)


def _shared_grpc_port(section: "ServingSettings", closing: ExitStack) -> int | None:
    """The port that the workers' gRPC servers share, kept for them; None where there is no gRPC."""
    if not _has_grpc(section):
        return None
    from monitor.serving.binding import reserve

    reserved = closing.enter_context(reserve(section.host, section.grpc_port or 0))
    port: int = reserved.getsockname()[1]
    return port


def _has_grpc(section: "ServingSettings") -> bool:
    return section.repository is not None and section.grpc_port is not None


def _work(settings: Settings, slot: Slot, bound: "socket.socket") -> None:
    section = settings.serving
    clock = WallClock()
    meters = Meters()
    with ExitStack() as closing:
        schemas = {model.name: _schema(model) for model in settings.models}
        privacy = {model.name: _privacy(model, schemas[model.name]) for model in settings.models}
        tokens = Tokens([TokenFile(token.file, token.models) for token in section.doors.tokens])
        log = open_log(settings, clock)
        closing.callback(log.close)
        registry = _registry(section, schemas, meters, closing)
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
        doors = _Doors(settings, schemas, privacy, log, outbox, tokens, meters, clock, closing)
        routes = {f"/v1/{stream}": doors.route(stream) for stream in (Stream.LABELS, Stream.PREDICTIONS)}
        if section.cloudevents is not None:
            routes["/v1/cloudevents"] = _cloudevents(settings, schemas, privacy, log, tap, meters, clock, closing)
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
        if _has_grpc(section):
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
    for source in (of_tap(tap.counts, clock), of_labels(labels), of_models(partial(_standing, registry)), gpus):
        meters.also(source)


def _registry(section: "ServingSettings", schemas: Mapping[str, Schema], meters: Meters, closing: ExitStack) -> Registry:
    """What is served, loaded; nothing where there is no repository."""
    if section.repository is None:
        return Registry()
    from monitor.serving.batching import Batching
    from monitor.serving.loading import Loader
    from monitor.serving.model import installed_twice, missing_device
    from monitor.serving.registry import Source
    from monitor.serving.run_options import Device, RunOptions
    from monitor.serving.versions import Latest

    batching, session = section.batching, section.session
    device = Device(section.device.kind, section.device.id, section.device.memory_limit, section.device.require_gpu)
    for warning in (installed_twice(), missing_device(device)):
        if warning:
            _logger.warning(warning)
    loader = Loader(
        lambda name, _version: schemas.get(name),
        closing.enter_context(WaitingThreads(RUN_THREADS, "run")),
        meters,
        RunOptions(
            session.intra_op_threads,
            session.inter_op_threads,
            session.spinning,
            session.graph,
            device,
        ),
        Batching(
            batching.max_rows,
            batching.preferred_rows,
            (batching.delay or 0) / 1_000,
            batching.queue_rows,
            batching.concurrency,
        ),
    )
    versions = section.versions
    registry = Registry(
        Source(
            section.repository,
            loader,
            closing.enter_context(WaitingThreads(LOAD_THREADS, "load")),
            Latest(versions.latest) if isinstance(versions, LatestVersions) else versions,
        )
    )
    registry.start(all_must_load=section.model_control == "none")
    return registry


def _outbox(section: "ServingSettings", log: Log, slot: Slot, clock: Clock) -> Outbox:
    spool = section.spool
    if not spool.enabled:
        return Outbox(log)
    return Outbox(log, Spool(spool.path, slot=slot.number, workers=slot.workers, bytes_limit=spool.max_bytes, clock=clock))


class _Doors:
    """Makes the doors for events, which share their threads and rates."""

    def __init__(
        self,
        settings: Settings,
        schemas: Mapping[str, Schema],
        privacy: Mapping[str, Privacy],
        log: Log,
        outbox: Outbox,
        tokens: Tokens,
        meters: Meters,
        clock: Clock,
        closing: ExitStack,
    ) -> None:
        section = settings.serving
        known = tuple(schemas.values())
        self._section = section
        self._parsers = {
            Stream.LABELS: partial(parse_labels_json, schemas=known, model_required=not settings.labels_without_model),
            Stream.PREDICTIONS: partial(parse_predictions_json, schemas=known),
        }
        labels: Durable = InSpool(outbox) if section.labels_durable == "spool" else InLog(log)
        self._durable = {Stream.LABELS: labels, Stream.PREDICTIONS: Redacting(InLog(log), privacy)}
        self._threads = closing.enter_context(WaitingThreads(DOOR_THREADS, "door"))
        self._rates = None if section.doors.events_per_second is None else Rates(section.doors.events_per_second)
        self._tokens = tokens
        self._meters = meters
        self._clock = clock

    def route(self, stream: Stream) -> Route:
        meter = self._meters.endpoint(str(stream))
        door = Door(
            stream,
            self._parsers[stream],
            self._durable[stream],
            self._threads,
            self._clock,
            trusts_client_times=self._section.trust_client_times,
            rates=self._rates,
        )

        def count(events: int) -> None:
            meter.rows += events

        return Route({"POST": Reception(door, self._tokens, self._section.max_body_bytes, count)}, meter)


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


def _cloudevents(
    settings: Settings,
    schemas: Mapping[str, Schema],
    privacy: Mapping[str, Privacy],
    log: Log,
    tap: Tap,
    meters: Meters,
    clock: Clock,
    closing: ExitStack,
) -> Route:
    """The door for them; where a topic is named, that is read too, beside it and by the same rules."""
    section = settings.serving
    source = section.cloudevents
    assert source is not None

    def intake() -> Intake:
        return Intake(
            schemas,
            lambda name, _version: schemas.get(name),
            Patience(source.pair_within, source.waiting, EXCHANGE_MEMORY * section.max_body_bytes),
            clock,
            body_limit=section.max_body_bytes,
            trusts_client_times=section.trust_client_times,
        )

    if source.topic is not None:
        from monitor.log.kafka.source import TopicSource

        kafka = kafka_only(settings, "serving.cloudevents.topic")
        read = intake()
        meters.also(of_cloudevents(read.counts))
        reader = TopicReader(
            TopicSource(connection_of(kafka), source.topic, source.group),
            read,
            partial(encode, privacy=privacy),
            log,
            trusts_client_times=section.trust_client_times,
        )
        reader.start()
        closing.callback(reader.stop, READER_SECONDS)
    sent = intake()
    meters.also(partial(_of_events_sent, sent))
    door = CloudEventsDoor(sent, tap.put_exchange, section.max_body_bytes)
    return Route({"POST": door.handle}, meters.endpoint("cloudevents"))


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


def _of_events_sent(intake: Intake, tally: Tally) -> None:
    """In the thread that the door is asked in, which may let go of what has waited for too long."""
    intake.expire()
    of_cloudevents(intake.counts)(tally)


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


def _standing(registry: Registry) -> list[ModelNumbers]:
    return [ModelNumbers(each.name, each.version, each.state is State.READY) for each in registry.index() if each.version]


def _privacy(model: "Model", schema: Schema) -> Privacy:
    tap = model.tap
    rules = Privacy(
        tap.sample,
        None if tap.allow is None else frozenset(tap.allow),
        frozenset(tap.drop),
        frozenset(tap.hash),
        b"" if tap.salt_file is None else salt_of(tap.salt_file),
    )
    rules.check(schema)
    return rules


def _schema(model: "Model") -> Schema:
    """The model's schema, whose features are the reference's where the configuration leaves them to it."""
    from monitor.commands.schemas import schema_of

    if model.features or model.reference is None:
        return schema_of(model, None)
    from monitor.commands.models import KnownModel

    return KnownModel(model).schema
