"""What schemathesis is told beside its configuration: what a schema cannot say of events, and requests as clients make them."""

import json
from datetime import UTC, datetime
from typing import Any

import schemathesis
from hypothesis import strategies as st

WIDTH = 3
"""Columns of the model that is fuzzed."""

schemathesis.openapi.format(
    "date-time",
    st.datetimes(datetime(1971, 1, 1), datetime(9998, 12, 31), timezones=st.just(UTC)).map(datetime.isoformat),  # noqa: DTZ001  UTC is added
)


LENGTH = "Inference-Header-Content-Length"
BYTES_LIMITS = {"id": 512, "version": 128, "model": 128}


@schemathesis.hook
def filter_body(_context: schemathesis.HookContext, body: object) -> bool:
    """A schema counts characters where the server counts bytes: texts that the one lets through and the other does not are left out."""
    events = [event for event in (body if isinstance(body, list) else [body]) if isinstance(event, dict)]
    texts = [(text, limit) for event in events for key, limit in BYTES_LIMITS.items() if isinstance(text := event.get(key), str)]
    return not any(len(text) <= limit < len(text.encode("utf-8", "surrogatepass")) for text, limit in texts)


@schemathesis.deserializer("application/octet-stream")
def json_part(_context: schemathesis.DeserializationContext, response: schemathesis.Response) -> object:
    """What stands before the binary outputs."""
    [length] = response.headers[LENGTH.lower()]
    return json.loads(response.content[: int(length)])


@schemathesis.hook
def before_call(_context: schemathesis.HookContext, case: schemathesis.Case[Any], _kwargs: dict[str, Any]) -> None:
    """Requests to the model as a client would make them; otherwise hardly one would ever be answered by it."""
    if not case.path.endswith("/infer"):
        return
    if case.media_type == "application/json" and str(case.headers.get(LENGTH, "")).isdigit():
        # It would make bytes of the JSON, well-formed or not.
        del case.headers[LENGTH]
    is_positive = case.meta is not None and case.meta.generation.mode.is_positive
    body: Any = case.body if isinstance(case.body, dict) else {}
    for tensor in body.get("inputs", ()) if is_positive and case.media_type == "application/json" else ():
        data = [value for value in tensor.get("data", ()) if not isinstance(value, list)]
        rows = len(data) // WIDTH
        # Half of the shapes are left as they are, which is seldom as the data are.
        if rows and len(data) % 2 == 0:
            tensor |= {"shape": [rows, WIDTH], "data": data[: rows * WIDTH]}
