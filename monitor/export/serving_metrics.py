"""The inference server's own metrics page, from the plain numbers that serving counts.

Beside the daemon's catalogue: another process and another scrape, and all of these names begin with `model_monitor_serving_`.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector


class Endpoint(Protocol):
    """Requests to one endpoint of one model version (both "" where there is none). `buckets` are not cumulated."""

    @property
    def endpoint(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def codes(self) -> Mapping[int, int]: ...
    @property
    def rows(self) -> int: ...
    @property
    def seconds_sum(self) -> float: ...
    @property
    def buckets(self) -> Sequence[int]: ...


class Tapped(Protocol):
    """What the tap did with predictions."""

    @property
    def accepted(self) -> int: ...
    @property
    def written(self) -> int: ...
    @property
    def lost(self) -> Mapping[str, int]: ...
    @property
    def queued_bytes(self) -> int: ...
    @property
    def queued_bytes_limit(self) -> int: ...


class Stats(Protocol):
    """What serving hands over."""

    @property
    def ready(self) -> bool: ...
    @property
    def bounds_seconds(self) -> Sequence[float]: ...
    @property
    def endpoints(self) -> Sequence[Endpoint]: ...
    @property
    def tap(self) -> Tapped | None: ...


def render(stats: Stats) -> tuple[bytes, bytes]:
    """The page and its content type."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Snapshot(stats))
    return generate_latest(registry), CONTENT_TYPE_PLAIN_0_0_4.encode()


class _Snapshot(Collector):
    def __init__(self, stats: Stats) -> None:
        self._stats = stats

    def collect(self) -> Iterator[Metric]:
        stats = self._stats
        yield GaugeMetricFamily(
            "model_monitor_serving_ready", "1 while the server answers, 0 while it starts or stops.", value=float(stats.ready)
        )
        yield from _endpoints(stats)
        if stats.tap is not None:
            yield from _tap(stats.tap)


def _endpoints(stats: Stats) -> Iterator[Metric]:
    labels = ("endpoint", "model", "version")
    requests = CounterMetricFamily("model_monitor_serving_requests", "Requests answered, by status code.", labels=(*labels, "code"))
    rows = CounterMetricFamily("model_monitor_serving_rows", "Rows inferred, and events accepted at the doors.", labels=labels)
    seconds = HistogramMetricFamily("model_monitor_serving_request_seconds", "Time from a request's head to its answer.", labels=labels)
    for endpoint in stats.endpoints:
        values = (endpoint.endpoint, endpoint.model, endpoint.version)
        for code, count in sorted(endpoint.codes.items()):
            requests.add_metric((*values, str(code)), count)
        if endpoint.endpoint in ("infer", "labels", "predictions"):
            rows.add_metric(values, endpoint.rows)
            seconds.add_metric(values, _cumulated(stats.bounds_seconds, endpoint.buckets), endpoint.seconds_sum)
    yield from (requests, rows, seconds)


def _cumulated(bounds: Sequence[float], buckets: Sequence[int]) -> list[tuple[str, float]]:
    total = 0
    cumulated = []
    for bound, count in zip([*map(str, bounds), "+Inf"], buckets, strict=True):
        total += count
        cumulated.append((bound, float(total)))
    return cumulated


def _tap(tap: Tapped) -> Iterator[Metric]:
    yield CounterMetricFamily("model_monitor_serving_tap_accepted_rows", "Predictions handed to the tap.", value=tap.accepted)
    yield CounterMetricFamily("model_monitor_serving_tap_written_rows", "Predictions that are durable in the log.", value=tap.written)
    lost = CounterMetricFamily(
        "model_monitor_serving_tap_lost_rows", "Predictions that never reached the log, by reason.", labels=("reason",)
    )
    for reason, count in tap.lost.items():
        lost.add_metric((reason,), count)
    yield lost
    yield GaugeMetricFamily("model_monitor_serving_tap_queued_bytes", "What the tap's queue holds, estimated.", value=tap.queued_bytes)
    yield GaugeMetricFamily(
        "model_monitor_serving_tap_queued_bytes_limit", "What it may hold before it counts loss.", value=tap.queued_bytes_limit
    )
