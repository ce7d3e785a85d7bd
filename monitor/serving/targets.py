"""A request's target: what of it is a path, decoded as text, and what is a query."""

from functools import lru_cache
from urllib.parse import unquote

import httptools


class Refused(Exception):
    """What is being read is no request that is taken; `status` and a sentence for its sender."""

    def __init__(self, status: int, reason: str) -> None:
        self.status = status
        super().__init__(reason)


@lru_cache(maxsize=1024)
def target(url: bytes) -> tuple[str, bytes, bytes]:
    """The path, decoded and as it came, and the query. Clients ask for the same few again and again. Raises `Refused`.

    What is no UTF-8 becomes a path that nothing has; `.` and `..` mean nothing here, since no path is a file's.
    """
    try:
        parsed = httptools.parse_url(url)
    except httptools.HttpParserInvalidURLError:
        raise Refused(400, "the request's target is no path") from None
    raw_path: bytes | None = parsed.path
    if raw_path is None:
        raise Refused(400, "the request's target has no path")
    path = unquote(raw_path.decode("ascii", errors="replace"), errors="replace")
    return path, raw_path, parsed.query or b""
