"""From the configuration to the doors for events that others make: labels and predictions, and CloudEvents by HTTP or from a topic."""

from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from typing import Final

from monitor.clock import Clock
from monitor.codec.events_json import parse_labels_json, parse_predictions_json
from monitor.commands.opening import connection_of, kafka_only
from monitor.config import Model, Settings
from monitor.events import Schema, Stream
from monitor.log import Log
from monitor.serving.batches import encode
from monitor.serving.cloudevents.door import CloudEventsDoor
from monitor.serving.cloudevents.intake import Intake
from monitor.serving.cloudevents.pairing import Patience
from monitor.serving.cloudevents.topic import TopicReader
from monitor.serving.doors import Door
from monitor.serving.durable import Durable, InLog, InSpool, Redacting
from monitor.serving.measured import Meters
from monitor.serving.outbox import Outbox
from monitor.serving.privacy import Privacy, salt_of
from monitor.serving.rates import Rates
from monitor.serving.reception import Reception
from monitor.serving.routing import Route
from monitor.serving.sources import of_cloudevents
from monitor.serving.tally import Tally
from monitor.serving.tap import Tap
from monitor.serving.tokens import Tokens
from monitor.serving.waiting import WaitingThreads

DOOR_THREADS: Final = 16
"""Requests that wait for the disk at a time: appends of concurrent threads share one commit, so more of them cost no more."""
READER_SECONDS: Final = 1.0
"""For the reader of CloudEvents to end its turn; what it had under way is read again."""
EXCHANGE_MEMORY: Final = 4
"""Halves of CloudEvents may take this many times the greatest body while they wait."""


class EventDoors:
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


def cloudevents_route(
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


def _of_events_sent(intake: Intake, tally: Tally) -> None:
    """In the thread that the door is asked in, which may let go of what has waited for too long."""
    intake.expire()
    of_cloudevents(intake.counts)(tally)


def privacy_of(model: Model, schema: Schema) -> Privacy:
    """What may be logged of the model's predictions. Raises `ConfigError`."""
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
