"""The doors for events that others make: labels, and predictions of other servers. 202 means durable; after 400 nothing was taken.

A body is one event, an array, or one event a line. Taking it, which waits for the disk, is a thread's work; single events that wait at the
same time are taken together. Events may be sent again: the monitor counts once what it knows already, so that a request needs no
key of its own to be idempotent.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import Final

import orjson

from monitor.clock import Clock
from monitor.codec.events_json import ParsedEvents
from monitor.events import Stream
from monitor.serving.durable import Durable
from monitor.serving.gathering import Gathering
from monitor.serving.ndjson import lines_of
from monitor.serving.rates import Rates
from monitor.serving.refusals import Unavailable
from monitor.serving.taking import ANYBODY, Sender, Single, Taking

WAITING_LIMIT: Final = 256
"""Requests that may wait for a thread; beyond them clients are told to come back, instead of memory filling up."""
SINGLE_BYTES_LIMIT: Final = 16 * 1024
"""Of an event that is taken together with others."""
BATCHES_UNDER_WAY: Final = 2
"""Of single events: while one waits for the disk, the next one is parsed."""


class Door:
    """Takes events of one stream. For the event loop's thread."""

    def __init__(
        self,
        stream: Stream,
        parse: Callable[[Sequence[bytes]], ParsedEvents],
        durable: Durable,
        threads: Executor,
        clock: Clock,
        *,
        trusts_client_times: bool,
        rates: Rates | None = None,
    ) -> None:
        self._taking = Taking(stream, parse, durable, clock, rates, trusts_client_times=trusts_client_times)
        self._threads = threads
        self._clock = clock
        self._rates = rates
        self._singles = Gathering(self._taking.each, threads, under_way=BATCHES_UNDER_WAY, together=WAITING_LIMIT)
        self._waiting = 0

    def check_rate(self, sender: Sender) -> None:
        """Raises `TooBusy` where this sender has to wait whatever it sends."""
        if self._rates is not None:
            self._rates.check(sender.name)

    async def accept(self, body: bytes, sender: Sender = ANYBODY) -> int:
        """How many events are durable now. Raises a `Refusal`, which names the bad events if there are; none was taken then."""
        with self._one_more_waiting():
            if _is_single(body):
                return await self._singles.call(Single(body, sender, self._clock.now()))
            return await self._taken(lambda: _documents(body), 0, sender)

    async def accept_lines(self, piece: bytes, first: int, sender: Sender = ANYBODY) -> int:
        """The same for a piece of a longer body of one event a line; `first` events came before it."""
        with self._one_more_waiting():
            return await self._taken(lambda: lines_of(piece), first, sender)

    async def _taken(self, documents: Callable[[], Sequence[bytes]], first: int, sender: Sender) -> int:
        now = self._clock.now()
        return await asyncio.get_running_loop().run_in_executor(
            self._threads, lambda: self._taking.all_or_nothing(documents(), first, sender, now)
        )

    @contextmanager
    def _one_more_waiting(self) -> Iterator[None]:
        if self._waiting >= WAITING_LIMIT:
            raise Unavailable(f"{WAITING_LIMIT} requests wait for the log already: send this again later, or more events at a time")
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1


def _is_single(body: bytes) -> bool:
    """Whether it is one event on one line, if it is anything."""
    return len(body) <= SINGLE_BYTES_LIMIT and body.startswith(b"{") and body.find(b"\n") in (-1, len(body) - 1)


def _documents(body: bytes) -> Sequence[bytes]:
    """The lines of a body of one event a line; any other body whole. Told by its first line, which is an object by itself."""
    first, newline, rest = body.partition(b"\n")
    if not newline or not rest.strip() or not first.lstrip().startswith(b"{"):
        return (body,)
    try:
        orjson.loads(first)
    except orjson.JSONDecodeError:
        return (body,)
    return lines_of(body)
