"""What a request is refused with: an HTTP status and a sentence that says what was wrong, what was expected and where."""

from collections.abc import Iterable
from typing import ClassVar

from monitor.errors import MonitorError


class Refusal(MonitorError):
    """Ends a request with `status` and `{"error": message}`. Never a bug, never logged: the client is told instead."""

    status: ClassVar[int] = 500

    @property
    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """What the answer carries beside its body."""
        return ()


class BadRequest(Refusal):
    """The request is not what the protocol, or the model's metadata, says."""

    status = 400


class NotFound(Refusal):
    """No such model, version or path."""

    status = 404


class MethodNotAllowed(Refusal):
    """The path exists, the method does not."""

    status = 405

    def __init__(self, method: str, allowed: Iterable[str]) -> None:
        self._allowed = tuple(allowed)
        super().__init__(f"{method} is not possible here; use {' or '.join(self._allowed)}")

    @property
    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        return ((b"allow", ", ".join(self._allowed).encode()),)


class Unauthorized(Refusal):
    """No token, or an unknown one."""

    status = 401

    @property
    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        return ((b"www-authenticate", b"Bearer"),)


class Forbidden(Refusal):
    """The token is known, and not good for this model."""

    status = 403


class TooLarge(Refusal):
    """The body is over `serving.max_body_bytes`."""

    status = 413


class TooBusy(Refusal):
    """A queue is full, or a sender is over its rate; the same request may succeed after so many seconds."""

    status = 429

    def __init__(self, message: str, retry_after_seconds: int = 1) -> None:
        self._retry_after_seconds = retry_after_seconds
        super().__init__(message)

    @property
    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        return ((b"retry-after", b"%d" % self._retry_after_seconds),)


class DeadlineExceeded(Refusal):
    """The request's own `timeout` passed before its run began."""

    status = 503


class InferenceFailed(Refusal):
    """The model loaded and warmed up, and still failed on a request that its metadata allows."""

    status = 500


class NotReady(Refusal):
    """The server is starting or stopping."""

    status = 503


class Unavailable(Refusal):
    """Nothing could be made durable right now; the same request may succeed later."""

    status = 503

    @property
    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        return ((b"retry-after", b"5"),)
