"""What happens in a round: predictions and their labels, on time, early, late, corrected, repeated, orphaned, out of order, at the bounds.

Everything here is well-formed; `damage` makes what is not, and `packing` the records.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.faults.campaign.murmur2 import partition_of
from tests.faults.campaign.setting import EARLY, HOUR, MINUTE, OUT_OF_ORDER, SECOND, TOLERANCE, Rules

VERSIONS = ("1", "2")
SPAN = 150 * MINUTE
"""Event time that a round covers; a jump of the clock adds an hour."""
SHARE_OF_JUMPS = 0.4
PLANS, REGIONS, KINDS = ("basic", "pro"), ("north", "süd"), ("a", "b")


@dataclass(slots=True)
class Event:
    """One event. `at` is its place in the order of sending; `said` has its time in milliseconds and no arrival.

    `is_plain` events may become rows of an Arrow message, where a column has one type.
    """

    at: int
    stream: str
    said: dict[str, Any]
    arrival: int
    partition: int
    is_plain: bool = True


class Story:
    """Tells the events of one round, in the order of sending."""

    def __init__(self, draw: random.Random, models: tuple[Rules, ...], began: int, partitions: int, requests: int) -> None:
        self._draw = draw
        self._models = models
        self._partitions = partitions
        self._requests = requests
        self._began = began
        self._jump_at = began + int(draw.uniform(0.2, 0.8) * SPAN) if draw.random() < SHARE_OF_JUMPS else None

    def events(self) -> list[Event]:
        events = sorted(self._all(), key=lambda event: event.at)
        for event in events:
            if self._jump_at is not None and event.at > self._jump_at:
                _shift(event, HOUR)
        return events

    def _all(self) -> Iterator[Event]:
        for number in range(self._requests):
            identifier = f"ręquest-{number}" if number % 17 == 0 else f"request-{number}"
            made = self._began + int(self._draw.random() * SPAN)
            answering = [rules for rules in self._models if self._draw.random() < 0.55] or [self._draw.choice(self._models)]
            for rules in answering:
                yield from self._predictions_of(rules, identifier, made)
            for rules in answering:
                yield from self._labels_of(rules, identifier, made)
            if self._draw.random() < 0.03:
                rules = self._draw.choice(self._models)
                yield self._label(rules, f"nobody-{number}", self._draw.choice(rules.classes), made)

    def _predictions_of(self, rules: Rules, identifier: str, made: int) -> Iterator[Event]:
        draw = self._draw
        old_only = made < self._began + SPAN // 5
        versions = VERSIONS[:1] if old_only else draw.choice((VERSIONS[:1], VERSIONS[1:], VERSIONS))
        for version in versions:
            said = self._prediction(rules, identifier, version, made)
            arrival = made + draw.randrange(20 * SECOND)
            yield self._event("predictions", said, arrival)
            kind = draw.random()
            if kind < 0.05:  # the same again, soon
                yield self._event("predictions", said, arrival + draw.randrange(3 * MINUTE))
            elif kind < 0.09:  # another one of the same identity
                other = self._prediction(rules, identifier, version, made + draw.choice((0, 0, 30 * SECOND)))
                yield self._event("predictions", other, arrival + draw.randrange(4 * MINUTE))
            elif kind < 0.13:  # around the moment from which on it is a prediction of its own
                again = made + rules.horizon + OUT_OF_ORDER + draw.choice((-MINUTE, -1, 0, 1, MINUTE, 9 * MINUTE))
                yield self._event("predictions", self._prediction(rules, identifier, version, again), again)
            elif kind < 0.16:  # its time is at, or beyond, a bound
                age = draw.choice((OUT_OF_ORDER, OUT_OF_ORDER + 1, -TOLERANCE, -TOLERANCE - 1, 2 * HOUR, -2 * HOUR))
                odd = self._prediction(rules, f"{identifier}-odd", version, made - age)
                yield self._event("predictions", odd, made)
            elif kind < 0.19:  # it comes late, within the bound or not
                behind = draw.choice((OUT_OF_ORDER // 2, OUT_OF_ORDER - 1, OUT_OF_ORDER, OUT_OF_ORDER + 1, 2 * OUT_OF_ORDER))
                slow = self._prediction(rules, f"{identifier}-slow", version, made - behind)
                yield self._event("predictions", slow, made - behind, at=made)

    def _prediction(self, rules: Rules, identifier: str, version: str, time: int) -> dict[str, Any]:
        draw = self._draw
        said: dict[str, Any] = {"id": identifier, "time": time, "model": rules.name, "version": version}
        if rules.positive is not None:
            score = draw.choice((0.5, round(draw.random(), 3), round(draw.random(), 3)))
            features: dict[str, Any] = {"age": round(draw.gauss(40, 12), 1), "plan": draw.choice((*PLANS, None))}
            how = draw.random()
            if how < 0.6:
                said["score"] = score
            elif how < 0.9:
                said["scores"] = {"yes": score} if draw.random() < 0.5 else {"no": round(1 - score, 3)}
            if how >= 0.85 or draw.random() < 0.3:
                said["prediction"] = draw.choice(rules.classes)
            if draw.random() < 0.05:  # else it is the feature of that name
                said["segments"] = {"plan": draw.choice(PLANS)}
        else:
            weights = [draw.randrange(1, 10) for _ in rules.classes]
            features = {"size": draw.choice((None, round(draw.random() * 5, 2))), "kind": draw.choice((*KINDS, *KINDS, None))}
            if draw.random() < 0.8:
                said["scores"] = {name: weight / sum(weights) for name, weight in zip(rules.classes, weights, strict=True)}
            if "scores" not in said or draw.random() < 0.3:
                said["prediction"] = draw.choice(rules.classes)
            if draw.random() < 0.7:
                said["segments"] = {"region": draw.choice(REGIONS)}
        return said | {"features": features}

    def _labels_of(self, rules: Rules, identifier: str, made: int) -> Iterator[Event]:
        draw = self._draw
        if draw.random() < 0.12:
            return
        value = draw.choice(rules.classes)
        first = made + self._delay(rules)
        yield self._label(rules, identifier, value, first)
        kind = draw.random()
        if kind < 0.12:  # a correction, which may itself be out of order, or equal in time
            time = first + draw.choice((-MINUTE, 0, SECOND, 2 * MINUTE))
            yield self._label(rules, identifier, draw.choice(rules.classes), first + draw.randrange(-2 * MINUTE, 5 * MINUTE), time=time)
        elif kind < 0.18:
            yield self._label(rules, identifier, value, first + draw.randrange(5 * MINUTE))
        elif kind < 0.21:
            time = first + draw.choice((TOLERANCE, TOLERANCE + 1, 3 * HOUR))
            yield self._label(rules, identifier, draw.choice(rules.classes), first, time=time)
        elif kind < 0.25:
            behind = draw.choice((OUT_OF_ORDER - 1, OUT_OF_ORDER, OUT_OF_ORDER + 1, 2 * OUT_OF_ORDER))
            yield self._label(rules, identifier, draw.choice(rules.classes), first, at=first + behind)

    def _delay(self, rules: Rules) -> int:
        """How long after its prediction a label arrives."""
        draw = self._draw
        kind = draw.random()
        if kind < 0.80:
            return draw.randrange(20 * SECOND, rules.horizon)
        if kind < 0.85:
            return -draw.randrange(EARLY)
        if kind < 0.92:
            return rules.horizon + draw.randrange(2 * OUT_OF_ORDER)
        return draw.choice((rules.horizon, rules.horizon + 1, -EARLY, -EARLY - 1, rules.horizon + OUT_OF_ORDER, 2 * HOUR))

    def _label(self, rules: Rules, identifier: str, value: str, arrival: int, *, time: int | None = None, at: int | None = None) -> Event:
        said: dict[str, Any] = {"id": identifier, "label": value}
        if time is not None or self._draw.random() < 0.5:
            said["time"] = arrival if time is None else time
        if self._draw.random() < 0.8:
            said["model"] = rules.name
        return self._event("labels", said, arrival, at=at)

    def _event(self, stream: str, said: dict[str, Any], arrival: int, *, at: int | None = None) -> Event:
        return Event(arrival if at is None else at, stream, dict(said), arrival, partition_of(said["id"], self._partitions))


def _shift(event: Event, milliseconds: int) -> None:
    """The clocks of whoever made it went forward."""
    event.at += milliseconds
    event.arrival += milliseconds
    if "time" in event.said:
        event.said["time"] += milliseconds
