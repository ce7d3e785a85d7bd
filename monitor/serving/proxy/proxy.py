"""What a request meets that is not for one of our own paths: everything passes, and what `models` names is logged on the way.

Tapped are `POST /v2/models/M/infer` and `…/versions/V/infer` that the upstream answers with 200. The answer then carries
`x-model-monitor-id`: the request's own id, else the answer's, else one that is minted here, since the bytes stay as they are.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from monitor.clock import Clock
from monitor.serving.exchanges.reading import Reader, Unread
from monitor.serving.http import Receive, Scope, Send
from monitor.serving.monitored import SchemaOf
from monitor.serving.proxy.copying import Allowance
from monitor.serving.proxy.forwarding import Forwarder
from monitor.serving.proxy.pool import Pool
from monitor.serving.proxy.tapping import UNTAPPED, Tapping, Taps

BODIES_UNDER_WAY: Final = 4
"""How many bodies of the greatest size are kept at a time until they are whole; beyond that requests pass without being logged."""

_INFER: Final = re.compile(r"/v2/models/([^/]+)(?:/versions/([^/]+))?/infer")


@dataclass(frozen=True, slots=True)
class Upstream:
    """The server behind: `http://host:port`, and how long it may be silent while it is waited for."""

    url: str
    timeout_seconds: float


@dataclass(frozen=True, slots=True)
class ProxyCounts:
    """Requests since the start. `untapped` were answered with 200 and not logged, by reason; `unmapped` are by model."""

    untapped: Mapping[str, int]
    unmapped: Mapping[str, int]


class Proxy:
    """For the event loop's thread. `put` is the tap's `put_exchange`; `models` are those that the configuration names."""

    def __init__(
        self,
        upstream: Upstream,
        models: Iterable[str],
        schema_of: SchemaOf,
        put: Callable[[Unread], None],
        clock: Clock,
        *,
        body_limit: int,
        trusts_client_times: bool,
    ) -> None:
        parts = urlsplit(upstream.url)
        self._pool = Pool(parts.hostname or "", parts.port or 80)
        self._forwarder = Forwarder(self._pool, upstream.url, upstream.timeout_seconds)
        self._readers = {name: Reader(name, schema_of, body_limit, trusts_client_times=trusts_client_times) for name in models}
        self._taps = Taps(put, clock, Allowance(body_limit, BODIES_UNDER_WAY * body_limit))

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> int:
        """Passes a request on and its answer back; the answer's status.

        Raises, before anything was answered, a `Refusal` (502, 504) or `Disconnected`.
        """
        tapping = self._tapping(scope)
        try:
            return await self._forwarder.forward(scope, receive, send, tapping)
        finally:
            if tapping is not None:
                tapping.drop()

    def counts(self) -> ProxyCounts:
        return ProxyCounts(
            {reason: self._taps.untapped[reason] for reason in UNTAPPED}, {name: reader.unmapped for name, reader in self._readers.items()}
        )

    async def start(self) -> None:
        """Connections are made when they are needed."""

    async def stop(self, grace_seconds: float) -> None:
        """Closes the connections that are idle; the others end with their requests."""
        self._pool.close()

    def _tapping(self, scope: Scope) -> Tapping | None:
        if scope["method"] != "POST" or (match := _INFER.fullmatch(scope["path"])) is None:
            return None
        reader = self._readers.get(match[1])
        return None if reader is None else Tapping(self._taps, reader, match[2] or "", scope)
