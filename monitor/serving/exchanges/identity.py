"""The id in a body, found without reading all of it: a client is told its id in the head of its answer, which waits for this.

Work is bounded: what stands first or last in the object is found in bodies of any size, at another place in small ones only. A request's id
that is missed is in the answer again, which the protocol asks for, and answers are small.
"""

import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

import orjson

from monitor.serving.exchanges.bodies import Body, opened
from monitor.serving.refusals import BadRequest
from monitor.serving.row_parameters import REQUEST_ID_BYTES_LIMIT

READ_BYTES: Final = 64 * 1024
"""About 0.2 ms to parse."""

_SCALAR: Final = rb'(?:"[^"\\]*"|-?[0-9][0-9.eE+-]*|true|false|null)'
_FIRST: Final = re.compile(rb'\s*\{\s*(?:"(?!id")[^"\\]*"\s*:\s*' + _SCALAR + rb'\s*,\s*){0,16}"id"\s*:\s*"([^"\\]*)"\s*[,}]')
"""The id behind members that are no arrays or objects: as tritonclient, KServe, MLServer, Triton and our own server write it."""
_LAST: Final = re.compile(rb'(?<!\\)"id"\s*:\s*"([^"\\]*)"\s*\}\s*\Z')
_LAST_BYTES: Final = REQUEST_ID_BYTES_LIMIT + 64


def id_in(body: Body) -> str | None:
    """The id that stands in a request or an answer; None where none is found, or none that can be one."""
    text, is_all = _beginning(body)
    if b'"id"' not in text and is_all:
        return None
    if (match := _FIRST.match(text)) is not None or (is_all and (match := _LAST.search(text[-_LAST_BYTES:])) is not None):
        return _checked(match[1].decode(errors="replace"))
    if not is_all or len(text) > READ_BYTES:
        return None
    try:
        document: Any = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return _checked(document.get("id")) if isinstance(document, Mapping) else None


def header_value(identity: str) -> bytes:
    """An id as a header may have it: what is not visible ASCII, and `%`, percent-encoded."""
    return identity.encode() if identity.isascii() and identity.isprintable() and "%" not in identity else quote(identity).encode()


def _beginning(body: Body) -> tuple[bytes, bool]:
    """The JSON in a body, and whether that is all of it."""
    if not body.encoding:
        return (body.data if body.json_bytes is None else body.data[: body.json_bytes]), True
    try:
        text = opened(body, READ_BYTES)
    except BadRequest:
        return b"", True
    is_all = len(text) < READ_BYTES
    if body.json_bytes is not None and body.json_bytes <= len(text):
        return text[: body.json_bytes], True
    return text, is_all


def _checked(value: object) -> str | None:
    return value if type(value) is str and 0 < len(value.encode(errors="replace")) <= REQUEST_ID_BYTES_LIMIT else None
