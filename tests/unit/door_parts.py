"""Doors around a log in memory, and requests to them without a socket, for the tests of what comes in through them."""

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from monitor.clock import Clock, ManualClock
from monitor.codec.events_json import parse_labels_json, parse_predictions_json
from monitor.events import Stream
from monitor.log import JSON
from monitor.serving.doors import Door
from monitor.serving.durable import Durable, InLog
from monitor.serving.http import Event
from monitor.serving.rates import Rates
from monitor.serving.reception import Reception
from monitor.serving.taking import Taking
from monitor.serving.tokens import TokenFile, Tokens
from tests.unit.serving_models import NOON, ListLog, schema

SCHEMAS = (schema(),)
TWO_SCHEMAS = (schema(), schema("trains"))
BODY_LIMIT = 100_000
ADDRESS = "192.0.2.7"


def label_door(
    durable: Durable | ListLog,
    *,
    trusts: bool = False,
    rates: Rates | None = None,
    two_models: bool = False,
    threads: Executor | None = None,
    clock: Clock | None = None,
) -> Door:
    """A door for labels of the model `flights`, and of `trains` too where there are two: a label has to name one of them then."""
    parse = partial(parse_labels_json, schemas=TWO_SCHEMAS if two_models else SCHEMAS, model_required=True)
    durable = InLog(durable) if isinstance(durable, ListLog) else durable
    clock = clock or ManualClock(NOON)
    return Door(Stream.LABELS, parse, durable, threads or ThreadPoolExecutor(2), clock, trusts_client_times=trusts, rates=rates)


def label_taking(log: ListLog, *, trusts: bool = False, rates: Rates | None = None, clock: Clock | None = None) -> Taking:
    """What such a door does in its threads."""
    parse = partial(parse_labels_json, schemas=SCHEMAS, model_required=True)
    return Taking(Stream.LABELS, parse, InLog(log), clock or ManualClock(NOON), rates, trusts_client_times=trusts)


def prediction_door(log: ListLog) -> Door:
    parse = partial(parse_predictions_json, schemas=SCHEMAS)
    return Door(Stream.PREDICTIONS, parse, InLog(log), ThreadPoolExecutor(2), ManualClock(NOON), trusts_client_times=False)


def events(log: ListLog) -> list[dict[str, Any]]:
    """What the log holds, in its order."""
    assert {message.content_type for _, message in log.messages} <= {JSON}
    return [event for _, message in log.messages for event in orjson.loads(message.value)]


def token_file(path: Path, token: str) -> Path:
    path.write_text(token + "\n")
    path.chmod(0o600)
    return path


def tokens(folder: Path, **models: tuple[str, ...]) -> Tokens:
    """A token for each name, `secret-token-of-NAME`, good for those models (none: all)."""
    return Tokens([TokenFile(token_file(folder / name, secret(name)), allowed) for name, allowed in models.items()])


def secret(name: str) -> str:
    return f"secret-token-of-{name}"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[bytes, bytes]
    body: dict[str, Any]


@dataclass
class Post:
    """Requests to one reception. `counted` are the numbers of events that it told of."""

    door: Door
    tokens: Tokens = field(default_factory=lambda: Tokens([]))
    counted: list[int] = field(default_factory=list)

    def __call__(
        self, body: bytes | Sequence[bytes], *, bearer: str | None = None, headers: Mapping[str, str] | None = None, address: str = ADDRESS
    ) -> Answer:
        """The answer to a body that comes in one chunk, or in several."""
        chunks = [body] if isinstance(body, bytes) else list(body)
        arriving = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
        arriving[-1]["more_body"] = False
        return self.receive(arriving, bearer=bearer, headers=headers, address=address)

    def lines(self, body: bytes | Sequence[bytes], *, bearer: str | None = None) -> Answer:
        """The answer to one event a line."""
        return self(body, bearer=bearer, headers={"Content-Type": "application/x-ndjson; charset=utf-8"})

    def receive(
        self, arriving: Iterable[Event], *, bearer: str | None = None, headers: Mapping[str, str] | None = None, address: str = ADDRESS
    ) -> Answer:
        """The answer to a request of which these events come in."""
        sent = dict(headers or {}) | ({} if bearer is None else {"Authorization": f"Bearer {bearer}"})
        scope = {"headers": [(name.lower().encode(), value.encode()) for name, value in sent.items()], "client": (address, 40_000)}
        remaining = iter(arriving)

        async def receive() -> Event:
            return next(remaining)

        response = asyncio.run(Reception(self.door, self.tokens, BODY_LIMIT, self.counted.append)(scope, receive))
        return Answer(response.status, dict(response.headers), json.loads(response.body))
