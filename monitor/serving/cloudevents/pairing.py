"""Requests and answers that came one by one, brought together by what they are called. The first waits: not for ever, and not all."""

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from monitor.clock import Milliseconds
from monitor.serving.cloudevents.halves import Half, HalfKey

UNANSWERED: Final = "unanswered"
"""A request whose answer never came: the server refused it, most likely, since loggers log answers with 200 only."""
UNASKED: Final = "unasked"
"""An answer whose request never came."""
CROWDED_OUT: Final = "crowded_out"
"""What waited the longest when too many did."""
REPEATED: Final = "repeated"
"""The same half again while the first waits."""
HALF_BYTES: Final = 1_024
"""What a half takes in memory beside its body."""

Place = tuple[int, int]
"""A partition and an offset, of events that were read from a topic."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a half waits for the other one, how many may, and how much memory they may take."""

    within: Milliseconds
    waiting_limit: int
    bytes_limit: int


class _Waiting(NamedTuple):
    half: Half
    since: Milliseconds
    place: Place | None


class Pairing:
    """`outcomes` counts halves that were let go without the other one, by reason. For one thread."""

    def __init__(self, patience: Patience) -> None:
        self.outcomes: Counter[str] = Counter()
        self._patience = patience
        self._waiting: OrderedDict[HalfKey, _Waiting] = OrderedDict()
        self._held_bytes = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, half: Half, now: Milliseconds, place: Place | None = None) -> Half | None:
        """The whole exchange, if this half completes one; else it waits."""
        self.expire(now)
        if half.request is not None and half.response is not None:
            return half
        other = self._waiting.get(half.key)
        if other is None:
            self._waiting[half.key] = _Waiting(half, now, place)
            self._held_bytes += HALF_BYTES + half.cost
            self._make_room()
            return None
        if (other.half.request is None) == (half.request is None):
            self.outcomes[REPEATED] += 1
            return None
        self._let_go(half.key)
        asked, answered = (half, other.half) if half.request is not None else (other.half, half)
        return Half(half.key, asked.request, answered.response, asked.time or answered.time, asked.trace or answered.trace)

    def expire(self, now: Milliseconds) -> None:
        """Lets go of what has waited for too long."""
        while self._waiting:
            key, waiting = next(iter(self._waiting.items()))
            if now - waiting.since <= self._patience.within:
                break
            self._let_go(key)
            self.outcomes[UNASKED if waiting.half.request is None else UNANSWERED] += 1

    def oldest(self, partition: int) -> int | None:
        """The first offset of a partition that has a half which waits."""
        return min((place[1] for place in self._places() if place[0] == partition), default=None)

    def forget(self, is_gone: Callable[[int], bool]) -> None:
        """Lets go of what came from partitions that are somebody else's now, who reads it again."""
        for key, waiting in list(self._waiting.items()):
            if waiting.place is not None and is_gone(waiting.place[0]):
                self._let_go(key)

    def _places(self) -> Iterator[Place]:
        return (waiting.place for waiting in self._waiting.values() if waiting.place is not None)

    def _make_room(self) -> None:
        while len(self._waiting) > self._patience.waiting_limit or self._held_bytes > self._patience.bytes_limit:
            self._let_go(next(iter(self._waiting)))
            self.outcomes[CROWDED_OUT] += 1

    def _let_go(self, key: HalfKey) -> None:
        self._held_bytes -= HALF_BYTES + self._waiting.pop(key).half.cost
