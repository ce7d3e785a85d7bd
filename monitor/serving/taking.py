"""Events from outside, from bytes to durable: parsed, held against what their sender may do, stamped and appended. Runs in threads."""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import numpy as np

from monitor.clock import Clock, Milliseconds
from monitor.codec.cells import Cells
from monitor.codec.events_json import ParsedEvents
from monitor.codec.json_frames import Event
from monitor.codec.times import times_of
from monitor.errors import FutureTimestamp, LogError
from monitor.events import Int64s, Stream
from monitor.log.admission import FUTURE_LIMIT_MS
from monitor.serving.durable import Durable
from monitor.serving.rates import Rates
from monitor.serving.refusals import BadRequest, Forbidden, Refusal, Unavailable
from monitor.serving.tokens import EVERYBODY, Grant

PATIENCE_MS: Final = 5_000
"""For a thread to become free. Where all wait for a log that is away, its next refusal may take half a minute: the client is told now."""
TOLD_LIMIT: Final = 10
"""Events whose faults are told; a body of thousands usually has the same one throughout."""

Parse = Callable[[Sequence[bytes]], ParsedEvents]
"""A JSON event or array, or several events, to events and what is wrong with them, by the rules of one stream."""


class Sender(NamedTuple):
    """Whose events they are: what its token allows, and the name that its rate is counted under."""

    grant: Grant
    name: str


ANYBODY: Final = Sender(EVERYBODY, "")


class Single(NamedTuple):
    """A body that is one event, if it is anything, and when it came."""

    body: bytes
    sender: Sender
    arrived: Milliseconds


class Taking:
    """The work of one door, for any number of threads."""

    def __init__(
        self, stream: Stream, parse: Parse, durable: Durable, clock: Clock, rates: Rates | None, *, trusts_client_times: bool
    ) -> None:
        self._stream = stream
        self._parse = parse
        self._durable = durable
        self._clock = clock
        self._rates = rates
        self._trusts = trusts_client_times

    def all_or_nothing(self, documents: Sequence[bytes], first: int, sender: Sender, arrived: Milliseconds) -> int:
        """How many events were taken: all of them. Raises a `Refusal` where one cannot be; `first` is the place of the first one."""
        self._check_patience(arrived)
        if not documents:
            return 0
        parsed = self._parse(documents)
        self._admit(parsed.events, first, sender)
        if parsed.errors:
            raise BadRequest(_told(self._stream, parsed, first))
        if len(parsed.events) != len(documents) > 1:
            raise BadRequest("nothing was taken: a line holds an array; expected one event a line, or one array and nothing else")
        self._append(parsed.events, self._arrivals(parsed.events, first, arrived))
        return len(parsed.events)

    def each(self, singles: Sequence[Single]) -> list[int | Exception]:
        """What became of each, apart from the others: 1 or its `Refusal`.

        Parsing takes 0.4 ms for one label and 0.6 ms for a hundred, so that those which are sound go together.
        """
        if len(singles) > 1:
            parsed = self._parse([single.body for single in singles])
            if not parsed.errors and len(parsed.events) == len(singles):
                return self._each_of(parsed.events, singles)
        return [self._outcome_of(single) for single in singles]

    def _outcome_of(self, single: Single) -> int | Exception:
        try:
            return self.all_or_nothing((single.body,), 0, single.sender, single.arrived)
        except Refusal as refusal:
            return refusal

    def _each_of(self, events: Sequence[Event], singles: Sequence[Single]) -> list[int | Exception]:
        outcomes: dict[int, Refusal] = {}
        arrivals = [0] * len(events)
        for place, (event, single) in enumerate(zip(events, singles, strict=True)):
            try:
                self._check_patience(single.arrived)
                self._admit([event], 0, single.sender)
                [arrivals[place]] = self._arrivals([event], 0, single.arrived).tolist()
            except Refusal as refusal:
                outcomes[place] = refusal

        def append(places: Sequence[int]) -> None:
            try:
                self._append([events[place] for place in places], np.array([arrivals[place] for place in places], dtype=np.int64))
            except Refusal as refusal:
                if isinstance(refusal, BadRequest) and len(places) > 1:
                    for place in places:
                        append([place])  # one of them no record can hold; nothing was appended
                else:
                    outcomes.update(dict.fromkeys(places, refusal))

        if admitted := [place for place in range(len(events)) if place not in outcomes]:
            append(admitted)
        return [outcomes.get(place, 1) for place in range(len(events))]

    def _check_patience(self, arrived: Milliseconds) -> None:
        waited = self._clock.now() - arrived
        if waited > PATIENCE_MS:
            raise Unavailable(f"nothing was taken: this request waited {waited / 1_000:.0f} s behind others that wait for the log")

    def _admit(self, events: Sequence[Event], first: int, sender: Sender) -> None:
        if self._rates is not None:
            self._rates.take(sender.name, max(1, len(events)))
        _check_grant(events, first, sender.grant)

    def _arrivals(self, events: Sequence[Event], first: int, now: Milliseconds) -> Int64s:
        """(n,) the server's clock; where clients' times are trusted, the event's own arrival or time, if it has one."""
        stamped = np.full(len(events), now, dtype=np.int64)
        if not self._trusts:
            return stamped
        own = times_of(Cells.of_values([event.get("time") if event.get("arrival") is None else event["arrival"] for event in events]))
        arrival = np.where(own.absent, stamped, own.milliseconds)
        ahead = np.flatnonzero(arrival > now + FUTURE_LIMIT_MS)
        if len(ahead):
            raise BadRequest(
                f"nothing was taken: event {first + ahead[0]} arrived more than an hour ahead of the server's clock; correct its time"
            )
        return arrival

    def _append(self, events: Sequence[Event], arrival: Int64s) -> None:
        for event, moment in zip(events, arrival.tolist(), strict=True):
            event["arrival"] = moment  # the log's reader goes by it, event by event
        try:
            self._durable.append(self._stream, events, arrival)
        except FutureTimestamp as error:
            raise BadRequest(str(error)) from None
        except LogError as error:
            raise Unavailable(f"not taken, send all of it again: {error}") from None


def _check_grant(events: Sequence[Event], first: int, grant: Grant) -> None:
    if grant.models is None:
        return
    for position, event in enumerate(events, first):
        model = event.get("model")
        if not (model is None or isinstance(model, str)) or grant.allows(model):
            continue
        named = "names no model" if model is None else f'is for model "{model[:80]}"'
        raise Forbidden(f"nothing was taken: event {position} {named}, and this token is good for {', '.join(sorted(grant.models))} only")


def _told(stream: Stream, parsed: ParsedEvents, first: int) -> str:
    told = "; ".join(f"event {first + position}: {reason}" for position, reason in parsed.errors[:TOLD_LIMIT])
    more = f"; and {len(parsed.errors) - TOLD_LIMIT} more" if len(parsed.errors) > TOLD_LIMIT else ""
    return f"nothing was taken, since {len(parsed.errors)} of the {stream} cannot be used: {told}{more}"
