"""How an upstream fails, and what its client is told."""

from typing import Final

from monitor.serving.refusals import Refusal

BROKE_OFF: Final = "it broke off before its answer was whole"


class BadGateway(Refusal):
    """The upstream cannot be reached, or what it answers is no HTTP."""

    status = 502


class GatewayTimeout(Refusal):
    """The upstream took longer than `serving.upstream.timeout`."""

    status = 504


class ConnectionFailed(Exception):
    """A connection to the upstream cannot be made or used any more; `str()` says why.

    `is_untouched` tells that there was no connection: nothing of a request can have reached the upstream.
    """

    def __init__(self, why: str, *, is_untouched: bool = False) -> None:
        self.is_untouched = is_untouched
        super().__init__(why)


class TimedOut(ConnectionFailed):
    """Nothing came for too long."""


class ClientGone(ConnectionFailed):
    """Whoever asked does not wait any more."""
