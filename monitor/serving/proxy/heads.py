"""What of a message's head belongs to one connection, and stays behind: the rest passes as it is.

RFC 9110, section 7.6.1. `expect` too: the server that the client speaks to has asked it for the body already.
"""

from collections.abc import Iterable
from typing import Final

from monitor.serving.http import Header, Scope, header

HOP_BY_HOP: Final = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
_NEVER_DROPPED: Final = frozenset({b"content-length", b"host"})
NO_BODY: Final = frozenset({204, 304})
"""Statuses whose answers have none, whatever length their heads name: that of a body that is not sent."""


def request_head(scope: Scope, *, is_chunked: bool) -> bytes:
    """The head to send on: method, target and headers as they came; `is_chunked` where the body's length is not known."""
    query = scope["query_string"]
    target = scope["raw_path"] + b"?" + query if query else scope["raw_path"]
    lines = [b"%b %b HTTP/1.1" % (scope["method"].encode(), target)]
    lines += [b"%b: %b" % pair for pair in passed_on(scope["headers"]) if pair[0] != b"expect"]
    if is_chunked:
        lines.append(b"transfer-encoding: chunked")
    return b"\r\n".join([*lines, b"", b""])


def answer_headers(status: int, headers: Iterable[Header]) -> list[Header]:
    """Those of the upstream's that its answer has for the client too."""
    passed = passed_on(headers)
    return [pair for pair in passed if pair[0] != b"content-length"] if status in NO_BODY else passed


def passed_on(headers: Iterable[Header]) -> list[Header]:
    """All but what is one connection's own; `connection` itself may name more of that."""
    headers = list(headers)
    named = header(headers, b"connection")
    dropped = HOP_BY_HOP
    if named is not None and named.lower() not in {b"keep-alive", b"close"}:
        values = [value for name, value in headers if name == b"connection"]
        # Without its length a body would be read as another request.
        dropped = HOP_BY_HOP.union(token.strip().lower() for token in b",".join(values).split(b",")) - _NEVER_DROPPED
    return [pair for pair in headers if pair[0] not in dropped]
