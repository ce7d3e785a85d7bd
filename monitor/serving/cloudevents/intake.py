"""CloudEvents in, whole exchanges out, and a count of what became of each event: their sum, and those that wait, is what came."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from monitor.clock import Clock
from monitor.serving.cloudevents.events import CloudEvent, events_in
from monitor.serving.cloudevents.halves import IGNORED, NO_ID, UNKNOWN_MODEL, Half, NoHalf, half_of
from monitor.serving.cloudevents.pairing import CROWDED_OUT, REPEATED, UNANSWERED, UNASKED, Pairing, Patience, Place
from monitor.serving.exchanges.identity import id_in
from monitor.serving.exchanges.reading import EXCHANGE_BYTES, Exchange, Reader, Unread
from monitor.serving.monitored import SchemaOf
from monitor.serving.refusals import BadRequest

PAIRED: Final = "paired"
UNDECODABLE: Final = "undecodable"
OUTCOMES: Final = (PAIRED, UNDECODABLE, IGNORED, NO_ID, UNKNOWN_MODEL, UNANSWERED, UNASKED, CROWDED_OUT, REPEATED)


@dataclass(frozen=True, slots=True)
class IntakeCounts:
    """Events since the start, by what became of them; `waiting` for their other half; exchanges that could not be mapped, by model."""

    outcomes: Mapping[str, int]
    waiting: int
    unmapped: Mapping[str, int]


class Intake:
    """For one thread. A prediction's time is its event's; it arrives now. Its id is the request's, else the answer's, else the event's."""

    def __init__(
        self, models: Iterable[str], schema_of: SchemaOf, patience: Patience, clock: Clock, *, body_limit: int, trusts_client_times: bool
    ) -> None:
        self._readers = {name: Reader(name, schema_of, body_limit, trusts_client_times=trusts_client_times) for name in models}
        self._pairing = Pairing(patience)
        self._clock = clock
        self._outcomes: Counter[str] = Counter()

    @property
    def pairing(self) -> Pairing:
        return self._pairing

    def read(self, headers: Iterable[tuple[str, str]], body: bytes, prefix: str) -> list[CloudEvent]:
        """The events of a message. Raises `BadRequest`; that is counted as one event then."""
        try:
            return events_in(headers, body, prefix)
        except BadRequest:
            self._outcomes[UNDECODABLE] += 1
            raise

    def take(self, events: Sequence[CloudEvent], place: Place | None = None) -> list[Unread]:
        """The exchanges that these events complete."""
        found = []
        for event in events:
            try:
                half = half_of(event, self._readers)
            except NoHalf as outcome:
                self._outcomes[str(outcome)] += 1
                continue
            holds_both = half.request is not None and half.response is not None
            whole = self._pairing.add(half, self._clock.now(), place)
            if whole is not None:
                self._outcomes[PAIRED] += 1 if holds_both else 2
                found.append(self._unread(whole))
        return found

    def expire(self) -> None:
        """Lets go of what has waited for too long, where nothing new comes that would do so."""
        self._pairing.expire(self._clock.now())

    def counts(self) -> IntakeCounts:
        """Any thread may ask."""
        return IntakeCounts(
            {outcome: self._outcomes[outcome] + self._pairing.outcomes[outcome] for outcome in OUTCOMES},
            len(self._pairing),
            {name: reader.unmapped for name, reader in self._readers.items()},
        )

    def _unread(self, whole: Half) -> Unread:
        assert whole.request is not None
        assert whole.response is not None
        identity = id_in(whole.request) or id_in(whole.response) or whole.key[-1]
        exchange = Exchange(whole.request, whole.response, "", identity, self._clock.now(), whole.trace, whole.time)
        return Unread(self._readers[whole.model], exchange, EXCHANGE_BYTES + whole.cost)
