"""What a round's daemons are configured with, and the same rules as plain values for the generator and the oracle.

The bounds are minutes, so that late, early and out-of-order events are all reachable within the hours of event time that a round sends.
"""

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SECOND = 1_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

OUT_OF_ORDER = 5 * MINUTE
EARLY = 4 * MINUTE
TOLERANCE = HOUR
"""How far a time may lie after its arrival, and an arrival after its record's timestamp."""


@dataclass(frozen=True, slots=True)
class Rules:
    """One model. `positive` is the positive class of a binary model, None otherwise; each segment is the dimensions of one kind."""

    name: str
    classes: tuple[str, ...]
    positive: str | None
    horizon: int
    corrections: str
    numeric: tuple[str, ...]
    categorical: tuple[str, ...]
    segments: tuple[tuple[str, ...], ...]
    windows: Mapping[str, int]
    threshold: float = 0.5

    @property
    def dimensions(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(dimension for segment in self.segments for dimension in segment))

    @property
    def features(self) -> tuple[str, ...]:
        return (*self.numeric, *self.categorical)


def models_of(draw: random.Random) -> tuple[Rules, ...]:
    """A binary and a multi-class model; which label wins differs from seed to seed."""
    return (
        Rules(
            name="churn",
            classes=("no", "yes"),
            positive="yes",
            horizon=10 * MINUTE,
            corrections=draw.choice(("last_wins", "last_wins", "first_wins", "conflict")),
            numeric=("age",),
            categorical=("plan",),
            segments=(("plan",),),
            windows={"2h": 2 * HOUR, "1d": DAY},
        ),
        Rules(
            name="tier",
            classes=("low", "mid", "high"),
            positive=None,
            horizon=25 * MINUTE,
            corrections=draw.choice(("last_wins", "first_wins", "conflict")),
            numeric=("size",),
            categorical=("kind",),
            segments=(("kind", "region"),),
            windows={"1d": DAY},
        ),
    )


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast the daemons are asked to be; a broker that forgets a member soon makes rounds short."""

    tick: str = "400ms"
    exporter_tick: str = "800ms"
    poll_bytes: str = "32kB"
    snapshot_every: str = "2s"


def configuration(models: tuple[Rules, ...], log: Mapping[str, Any], pace: Pace, *, shares_state: bool) -> str:
    """The YAML file (as JSON, which is YAML). `log` says where the events are; the rest comes from each member's environment."""
    document = {
        "log": {**log, "out_of_order": _minutes(OUT_OF_ORDER)},
        "state": {"shared": shares_state, "snapshot_every": pace.snapshot_every},
        "clock": "watermark",
        "labels_without_model": True,
        "join": {"early": _minutes(EARLY)},
        "worker": {"tick": pace.tick, "poll_bytes": pace.poll_bytes},
        "exporter": {"port": 0, "tick": pace.exporter_tick, "max_series_per_model": 100_000},
        "models": [_model(rules) for rules in models],
    }
    return json.dumps(document, indent=1)


def _model(rules: Rules) -> dict[str, Any]:
    return {
        "name": rules.name,
        "task": "multiclass" if rules.positive is None else "binary",
        "classes": list(rules.classes),
        **({} if rules.positive is None else {"positive_class": rules.positive}),
        "threshold": rules.threshold,
        "features": dict.fromkeys(rules.numeric, "numeric") | dict.fromkeys(rules.categorical, "categorical"),
        "segments": [list(segment) for segment in rules.segments],
        "windows": list(rules.windows),
        "labels": {"horizon": _minutes(rules.horizon), "corrections": rules.corrections},
    }


def _minutes(milliseconds: int) -> str:
    return f"{milliseconds // MINUTE}m"
