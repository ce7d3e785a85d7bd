"""Bytes of a request or an answer to the JSON object in them, and what follows that: compressed or not, strict JSON or Python's."""

import json
import zlib
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import orjson

from monitor.serving.refusals import BadRequest
from monitor.serving.tensors import json_type

ENCODINGS: Final = frozenset({b"gzip", b"x-gzip", b"deflate"})
NO_ENCODING: Final = b""

_ANY_WRAPPER: Final = zlib.MAX_WBITS | 32
"""Told by the first bytes: gzip's or zlib's."""


class Body(NamedTuple):
    """The bytes as they passed, and what the head said of them."""

    data: bytes
    encoding: bytes = NO_ENCODING
    json_bytes: int | None = None
    """How many of them are JSON; binary tensors follow (`inference-header-content-length`). None: all of them, for all that is known."""


class Document(NamedTuple):
    """The JSON object of a message, and the bytes behind it."""

    members: Mapping[str, Any]
    tail: bytes


def opened(body: Body, limit: int) -> bytes:
    """Its bytes without their compression, at most so many. Raises `BadRequest` where they are not what the head says."""
    if not body.encoding:
        return body.data[:limit]
    try:
        return zlib.decompressobj(_ANY_WRAPPER).decompress(body.data, limit)
    except zlib.error:
        pass
    try:
        # Some clients' deflate comes without zlib's wrapper.
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(body.data, limit)
    except zlib.error as error:
        raise BadRequest(f"the body is not {body.encoding.decode()}: {error}") from None


def document_in(body: Body, limit: int) -> Document:
    """Raises `BadRequest` where there is none, or one of more bytes than that."""
    data = opened(body, limit + 1) if body.encoding else body.data
    if len(data) > limit:
        raise BadRequest(f"the body is larger than {limit:,} bytes when it is decompressed")
    text, tail = (data, b"") if body.json_bytes is None else (data[: body.json_bytes], data[body.json_bytes :])
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError:
        document, tail = _lenient(data)
    if type(document) is not dict:
        raise BadRequest(f"the body must be a JSON object, not {json_type(document)}")
    return Document(document, tail)


def _lenient(data: bytes) -> tuple[Any, bytes]:
    """JSON as Python's own reader takes it, which knows NaN and Infinity (Python servers write them), and ends where the object does.

    So the bytes that follow need no length in a head that is not there any more, as in KServe's logger. Latin-1 keeps positions; the
    object is read again as UTF-8.
    """
    try:
        trimmed = data.lstrip()
        _, end = json.JSONDecoder().raw_decode(trimmed.decode("latin-1"))
        end += len(data) - len(trimmed)
        return json.loads(data[:end]), data[end:]
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"the body is not JSON: {error!s:.200}") from None
