"""What the server counts about itself, as plain numbers; whoever shows them gives them their names."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from monitor.serving.tap import TapCounts

LATENCY_BOUNDS_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
"""A tiny model answers within 100 µs; a label waits for the disk."""


@dataclass(slots=True)
class Meter:
    """Requests to one endpoint of one model version, counted as they are answered. For the event loop's thread."""

    endpoint: str
    model: str = ""
    version: str = ""
    codes: Counter[int] = field(default_factory=Counter)
    rows: int = 0
    seconds_sum: float = 0.0
    buckets: list[int] = field(default_factory=lambda: [0] * (len(LATENCY_BOUNDS_SECONDS) + 1))

    def observe(self, code: int, seconds: float) -> None:
        """Counts one answer by its HTTP status and how long it took."""
        self.codes[code] += 1
        self.seconds_sum += seconds
        self.buckets[bisect_left(LATENCY_BOUNDS_SECONDS, seconds)] += 1


@dataclass(frozen=True, slots=True)
class EndpointStats:
    """A `Meter` at one moment. `buckets` are not cumulated; the last one is beyond every bound. `rows` are those answered or accepted."""

    endpoint: str
    model: str
    version: str
    codes: Mapping[int, int]
    rows: int
    seconds_sum: float
    buckets: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ServingStats:
    """Everything the server counts, at one moment. `tap` is None where nothing is tapped."""

    ready: bool
    bounds_seconds: tuple[float, ...]
    endpoints: tuple[EndpointStats, ...]
    tap: TapCounts | None


def stats_of(meter: Meter) -> EndpointStats:
    return EndpointStats(meter.endpoint, meter.model, meter.version, dict(meter.codes), meter.rows, meter.seconds_sum, tuple(meter.buckets))
