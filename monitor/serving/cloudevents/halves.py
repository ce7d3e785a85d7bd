"""What KServe's and Seldon's loggers mean by an event: which model, which half of which exchange.

KServe (pkg/logger, 2026): binary mode; the types below; `id` is the same in both halves; `inferenceservicename`, `namespace`, `component`
and `endpoint` say whose they are; only answers with 200 are logged; the content type is the request's in both halves, and no other header
is kept, save those that its `metadataHeaders` name, as JSON in `metadata`. Seldon adds `modelid`, and `requestid` where `id` differs.
"""

from collections.abc import Container, Mapping
from typing import Any, Final, NamedTuple

import orjson

from monitor.clock import Milliseconds
from monitor.serving.binary import HEADER
from monitor.serving.cloudevents.events import CloudEvent
from monitor.serving.exchanges.bodies import Body
from monitor.serving.row_parameters import parse_time

SIDES: Final = ("org.kubeflow.serving.inference", "io.seldon.serving.inference")
REQUEST: Final = "request"
RESPONSE: Final = "response"
EXPLAINER: Final = "explainer"
"""A component whose answers are no predictions."""
GZIP: Final = b"\x1f\x8b"
TRACE: Final = "traceparent"
_JSON_BYTES: Final = HEADER.lower()

HalfKey = tuple[str, str, str, str]
"""Model, endpoint, component and id."""


class Half(NamedTuple):
    """A request or the answer to it; both, where one event holds them."""

    key: HalfKey
    request: Body | None
    response: Body | None
    time: Milliseconds | None
    trace: str | None

    @property
    def model(self) -> str:
        return self.key[0]

    @property
    def cost(self) -> int:
        """The bytes that it holds."""
        return sum(len(body.data) for body in (self.request, self.response) if body is not None)


class NoHalf(Exception):
    """An event that is none; `str()` is the outcome that it is counted as."""


IGNORED: Final = "ignored"
"""Its type, or its component, is of no concern here."""
NO_ID: Final = "no_id"
UNKNOWN_MODEL: Final = "unknown_model"


def half_of(event: CloudEvent, models: Container[str]) -> Half:
    """Raises `NoHalf`. The model is the inference service, else the `modelid`, whichever the configuration names."""
    attributes = event.attributes
    side = _side(attributes.get("type", ""))
    if side is None or attributes.get("component") == EXPLAINER:
        raise NoHalf(IGNORED)
    identity = attributes.get("requestid") or attributes.get("id")
    if not identity:
        raise NoHalf(NO_ID)
    model = next((name for name in (attributes.get("inferenceservicename"), attributes.get("modelid")) if name and name in models), None)
    if model is None:
        raise NoHalf(UNKNOWN_MODEL)
    key = (model, attributes.get("endpoint", ""), attributes.get("component", ""), identity)
    time, trace = parse_time(attributes.get("time")), attributes.get(TRACE)
    if (both := _both(event.data)) is not None:
        return Half(key, both[REQUEST], both[RESPONSE], time, trace)
    body = Body(event.data, b"gzip" if event.data.startswith(GZIP) else b"")
    if side == RESPONSE:
        return Half(key, None, body, time, trace)
    return Half(key, body._replace(json_bytes=_json_bytes(attributes.get("metadata"))), None, time, trace)


def _side(kind: str) -> str | None:
    """Which half an event of that type is; a type without a side is for events that hold both."""
    prefix, _, side = kind.rpartition(".")
    if prefix in SIDES and side in {REQUEST, RESPONSE}:
        return side
    return REQUEST if kind in SIDES else None


def _both(data: bytes) -> Mapping[str, Body] | None:
    """Request and response, where the data are an object of the two."""
    if b'"request"' not in data or b'"response"' not in data:
        return None
    try:
        document: Any = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    if type(document) is not dict or not {REQUEST, RESPONSE} <= document.keys():
        return None
    return {side: Body(orjson.dumps(document[side])) for side in (REQUEST, RESPONSE)}


def _json_bytes(metadata: str | None) -> int | None:
    """Where the JSON of a request with binary tensors ends, if the logger was told to keep that header."""
    if not metadata:
        return None
    try:
        kept: Any = orjson.loads(metadata)
    except orjson.JSONDecodeError:
        return None
    for name, values in kept.items() if type(kept) is dict else ():
        if name.lower() == _JSON_BYTES and type(values) is list and values and type(values[0]) is str:
            return int(values[0]) if values[0].isdecimal() and len(values[0]) < 19 else None
    return None
