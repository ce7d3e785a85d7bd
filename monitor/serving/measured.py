"""What the server counts about itself on the way of a request, as plain numbers; `series` says what they are called.

A request costs four calls and some 0.8 µs of them in all: each finds one cell of a list by bisection. For the event loop's thread.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from monitor.serving import series
from monitor.serving.tally import Tally

_INFER: Final = (200, 400, 413, 429, 499, 500, 503)
_DOOR: Final = (202, 400, 401, 403, 413, 429, 499, 500, 503)
COUNTED_FROM_ZERO: Final[Mapping[str, tuple[int, ...]]] = {
    "infer": _INFER,
    "grpc_infer": _INFER,
    "labels": _DOOR,
    "predictions": _DOOR,
    "cloudevents": _DOOR,
    "connection": (400, 408, 431, 503),
}
"""Answers that are worth an alert are there before the first one: an increase from nothing to 3 reads as none."""
TIMED: Final = COUNTED_FROM_ZERO.keys() - {"connection"}
"""Endpoints whose rows and latencies are worth their series."""
DEFAULT_CODES: Final = (200,)
REFUSED_FROM_ZERO: Final = ("queue_full", "deadline")


@dataclass(slots=True)
class Histogram:
    """How many values lay where. `buckets` are not cumulated; the last one is beyond every bound."""

    bounds: tuple[float, ...]
    buckets: list[int] = field(init=False)
    sum: float = 0.0

    def __post_init__(self) -> None:
        self.buckets = [0] * (len(self.bounds) + 1)

    def observe(self, value: float) -> None:
        self.buckets[bisect_left(self.bounds, value)] += 1
        self.sum += value

    @property
    def numbers(self) -> tuple[float, ...]:
        """As a `Tally` has them."""
        return (*self.buckets, self.sum)


@dataclass(slots=True)
class Meter:
    """Requests to one endpoint of one model version, counted as they are answered. `rows` are those answered or accepted."""

    endpoint: str
    model: str = ""
    version: str = ""
    rows: int = 0
    codes: Counter[int] = field(init=False)
    seconds: Histogram = field(default_factory=lambda: Histogram(series.LATENCY_BOUNDS_SECONDS))

    def __post_init__(self) -> None:
        self.codes = Counter(dict.fromkeys(COUNTED_FROM_ZERO.get(self.endpoint, DEFAULT_CODES), 0))

    def observe(self, code: int, seconds: float) -> None:
        """Counts one answer by its HTTP status and how long it took."""
        self.codes[code] += 1
        total = self.seconds
        total.buckets[bisect_left(total.bounds, seconds)] += 1
        total.sum += seconds


@dataclass(slots=True)
class RunMeter:
    """The runs of one model version, and what waited for them. `queued_rows` and `in_flight` (requests in a run) are what is there now."""

    model: str
    version: str
    refused: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(REFUSED_FROM_ZERO, 0)))
    """Requests that never ran, by reason."""
    queued_rows: int = 0
    in_flight: int = 0
    queue: Histogram = field(default_factory=lambda: Histogram(series.LATENCY_BOUNDS_SECONDS))
    compute: Histogram = field(default_factory=lambda: Histogram(series.LATENCY_BOUNDS_SECONDS))
    run_rows: Histogram = field(default_factory=lambda: Histogram(series.SIZE_BOUNDS))
    run_requests: Histogram = field(default_factory=lambda: Histogram(series.SIZE_BOUNDS))

    def waited(self, seconds: float) -> None:
        """Counts how long one request waited for its run."""
        queue = self.queue
        queue.buckets[bisect_left(queue.bounds, seconds)] += 1
        queue.sum += seconds

    def ran(self, requests: int, rows: int, seconds: float) -> None:
        """Counts one run, of so many requests at once."""
        self.compute.observe(seconds)
        self.run_rows.observe(rows)
        self.run_requests.observe(requests)


class Meters:
    """Every meter of this process. A meter outlives what it measures: a version that is loaded again goes on with its own."""

    def __init__(self) -> None:
        self._endpoints: dict[tuple[str, str, str], Meter] = {}
        self._runs: dict[tuple[str, str], RunMeter] = {}
        self._others: list[Callable[[Tally], None]] = []

    def endpoint(self, endpoint: str, model: str = "", version: str = "") -> Meter:
        """The one meter of these; labels are few, so never a text that a client sent."""
        key = (endpoint, model, version)
        meter = self._endpoints.get(key)
        if meter is None:
            meter = self._endpoints[key] = Meter(endpoint, model, version)
        return meter

    def runs(self, model: str, version: str) -> RunMeter:
        key = (model, version)
        meter = self._runs.get(key)
        if meter is None:
            meter = self._runs[key] = RunMeter(model, version)
        return meter

    def also(self, source: Callable[[Tally], None]) -> None:
        """Has `source` add its own numbers to every tally: the tap's, the registry's, the device's. It must be quick and not fail."""
        self._others.append(source)

    def tally(self) -> Tally:
        """All numbers as they are now."""
        tally = Tally()
        for meter in self._endpoints.values():
            _add_endpoint(tally, meter)
        for runs in self._runs.values():
            _add_runs(tally, runs)
        for source in self._others:
            source(tally)
        return tally


def _add_endpoint(tally: Tally, meter: Meter) -> None:
    labels = (meter.endpoint, meter.model, meter.version)
    for code, count in meter.codes.items():
        tally.add(series.REQUESTS, (*labels, str(code)), count)
    if meter.endpoint in TIMED:
        tally.add(series.ROWS, labels, meter.rows)
        tally.add(series.REQUEST_SECONDS, labels, *meter.seconds.numbers)


def _add_runs(tally: Tally, runs: RunMeter) -> None:
    labels = (runs.model, runs.version)
    for reason, count in runs.refused.items():
        tally.add(series.REFUSED_REQUESTS, (*labels, reason), count)
    tally.add(series.QUEUED_ROWS, labels, runs.queued_rows)
    tally.add(series.IN_FLIGHT_REQUESTS, labels, runs.in_flight)
    tally.add(series.QUEUE_SECONDS, labels, *runs.queue.numbers)
    tally.add(series.RUN_SECONDS, labels, *runs.compute.numbers)
    tally.add(series.RUN_ROWS, labels, *runs.run_rows.numbers)
    tally.add(series.RUN_REQUESTS, labels, *runs.run_requests.numbers)
