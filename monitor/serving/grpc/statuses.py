"""What gRPC calls a refusal: its status code, and what goes with it."""

from collections.abc import Mapping
from typing import Final

from grpc import StatusCode

from monitor.serving.refusals import DeadlineExceeded, Refusal

_BY_HTTP_STATUS: Final[Mapping[int, StatusCode]] = {
    400: StatusCode.INVALID_ARGUMENT,
    401: StatusCode.UNAUTHENTICATED,
    403: StatusCode.PERMISSION_DENIED,
    404: StatusCode.NOT_FOUND,
    405: StatusCode.UNIMPLEMENTED,
    413: StatusCode.RESOURCE_EXHAUSTED,
    429: StatusCode.RESOURCE_EXHAUSTED,
    500: StatusCode.INTERNAL,
    503: StatusCode.UNAVAILABLE,
}


def code_of(refusal: Refusal) -> StatusCode:
    if isinstance(refusal, DeadlineExceeded):
        return StatusCode.DEADLINE_EXCEEDED
    return _BY_HTTP_STATUS.get(refusal.status, StatusCode.UNKNOWN)


def metadata_of(refusal: Refusal) -> tuple[tuple[str, str], ...]:
    """When to come back, in seconds, as HTTP has it; the other headers mean nothing here."""
    return tuple((name.decode(), value.decode()) for name, value in refusal.headers if name == b"retry-after")
