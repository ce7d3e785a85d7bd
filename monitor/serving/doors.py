"""The doors for events that others make: labels, and predictions of other servers. 202 means durable; after 400 nothing was taken.

A body is one event, an array, or one event a line. Parsing and the append, which waits for the disk, run in a thread; appends that wait
at the same time share one commit of the log.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor

import numpy as np
import orjson
import pyarrow as pa

from monitor.clock import Clock, Milliseconds
from monitor.codec.cells import Cells
from monitor.codec.events_json import ParsedEvents
from monitor.codec.identity import partitions_of
from monitor.codec.json_frames import Event
from monitor.codec.times import times_of
from monitor.errors import FutureTimestamp, LogError
from monitor.events import Int64s, Stream
from monitor.log import JSON, Message
from monitor.log.admission import FUTURE_LIMIT_MS
from monitor.serving.refusals import BadRequest, Unavailable
from monitor.serving.tap import Appender

WAITING_LIMIT = 256
"""Requests that may wait for a thread; beyond them clients are told to come back, instead of memory filling up."""
PATIENCE_MS = 5_000
"""For a thread to become free. Where all wait for a log that is away, its next refusal may take half a minute: the client is told now."""
TOLD_LIMIT = 10
"""Events whose faults are told; a body of thousands usually has the same one throughout."""

Parse = Callable[[bytes], ParsedEvents]
"""A JSON event or array to events and what is wrong with them, by the rules of one stream."""


class Door:
    """Takes events of one stream. For the event loop's thread."""

    def __init__(self, stream: Stream, parse: Parse, log: Appender, threads: Executor, clock: Clock, *, trusts_client_times: bool) -> None:
        self._stream = stream
        self._parse = parse
        self._log = log
        self._threads = threads
        self._clock = clock
        self._trusts = trusts_client_times
        self._waiting = 0

    async def accept(self, body: bytes) -> int:
        """How many events are durable now. Raises `BadRequest`, which names the bad ones, or `Unavailable`; nothing was taken then."""
        if self._waiting >= WAITING_LIMIT:
            raise Unavailable(f"{WAITING_LIMIT} requests wait for the log already: send this again later, or more events at a time")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, self._take, body, self._clock.now())
        finally:
            self._waiting -= 1

    def _take(self, body: bytes, now: Milliseconds) -> int:
        waited = self._clock.now() - now
        if waited > PATIENCE_MS:
            raise Unavailable(f"nothing was taken: this request waited {waited / 1_000:.0f} s behind others that wait for the log")
        parsed = self._parse(_one_document(body))
        if parsed.errors:
            raise BadRequest(_told(self._stream, parsed))
        arrival = self._arrivals(parsed.events, now)
        messages = _messages(parsed.events, arrival, self._log.partitions)
        try:
            self._log.append(self._stream, messages)
        except FutureTimestamp as error:
            raise BadRequest(str(error)) from None
        except LogError as error:
            raise Unavailable(f"nothing was taken: {error}") from None
        return len(parsed.events)

    def _arrivals(self, events: Sequence[Event], now: Milliseconds) -> Int64s:
        """(n,) the server's clock; where clients' times are trusted, the event's own arrival or time, if it has one."""
        stamped = np.full(len(events), now, dtype=np.int64)
        if not self._trusts:
            return stamped
        own = times_of(Cells.of_values([event.get("time") if event.get("arrival") is None else event["arrival"] for event in events]))
        arrival = np.where(own.absent, stamped, own.milliseconds)
        ahead = np.flatnonzero(arrival > now + FUTURE_LIMIT_MS)
        if len(ahead):
            raise BadRequest(f"event {ahead[0]} arrived more than an hour ahead of the server's clock: correct its time; nothing was taken")
        return arrival


def _one_document(body: bytes) -> bytes:
    """A body of one event a line as one array; any other body as it is. Told by its first line, which is an object by itself."""
    first, newline, rest = body.partition(b"\n")
    if not newline or not rest.strip() or not first.lstrip().startswith(b"{"):
        return body
    lines = [line for line in body.split(b"\n") if line.strip()]
    events = []
    for number, line in enumerate(lines):
        try:
            events.append(orjson.loads(line))
        except orjson.JSONDecodeError as error:
            if number == 0:
                return body
            raise BadRequest(f"event {number} (one a line) is not JSON: {error}; nothing was taken") from None
    return _dumped(events)


def _told(stream: Stream, parsed: ParsedEvents) -> str:
    told = "; ".join(f"event {position}: {reason}" for position, reason in parsed.errors[:TOLD_LIMIT])
    more = f"; and {len(parsed.errors) - TOLD_LIMIT} more" if len(parsed.errors) > TOLD_LIMIT else ""
    return f"nothing was taken, since {len(parsed.errors)} of the {stream} cannot be used: {told}{more}"


def _messages(events: Sequence[Event], arrival: Int64s, partitions: int) -> list[Message]:
    """One message a partition, the events in their order and each with its arrival, which the log's reader goes by."""
    for event, moment in zip(events, arrival.tolist(), strict=True):
        event["arrival"] = moment
    if partitions == 1:
        return [Message(0, int(arrival.max()), _dumped(list(events)), JSON)]
    of_event = partitions_of(pa.array([event["id"] for event in events], pa.string()), partitions)
    messages = []
    for partition in np.unique(of_event).tolist():
        rows = np.flatnonzero(of_event == partition)
        messages.append(Message(partition, int(arrival[rows].max()), _dumped([events[row] for row in rows.tolist()]), JSON))
    return messages


def _dumped(events: list[Event]) -> bytes:
    try:
        return orjson.dumps(events)
    except orjson.JSONEncodeError as error:
        # The parser takes deeper nesting than the writer.
        raise BadRequest(f"an event cannot be written again ({error}): nest it less; nothing was taken") from None
