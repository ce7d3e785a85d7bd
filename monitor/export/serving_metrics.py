"""The inference server's own metrics page, from the plain numbers that serving counts.

Beside the daemon's catalogue: another process and another scrape, and all of these names begin with `model_monitor_serving_`. Written
straight from the numbers, since prometheus_client needs 9 µs a sample where this needs 1 (tests/bench/scrape has the same of the daemon's):
100 models are 6,000 samples, and a scrape must not keep requests waiting for 50 ms.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Protocol

from monitor.export.series_text import TEXT_TYPE, series_text

Labels = tuple[str, ...]


class Type(Protocol):
    """A metric's type, as the format spells it."""

    @property
    def value(self) -> str: ...


class Metric(Protocol):
    """What is said of a metric before its samples."""

    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> Type: ...
    @property
    def labels(self) -> Labels: ...
    @property
    def help(self) -> str: ...
    @property
    def triton(self) -> str: ...
    @property
    def bounds(self) -> Sequence[float]: ...


class Numbers(Protocol):
    """Metrics with their series: of each the label values, and one number; of a histogram its buckets, not cumulated, then their sum."""

    def items(self) -> Iterable[tuple[Metric, Mapping[Labels, Sequence[float]]]]: ...


def render(numbers: Numbers) -> tuple[bytes, bytes]:
    """The page and its content type."""
    lines: list[str] = []
    for metric, series in numbers.items():
        lines += (f"# HELP {metric.name} {metric.help}", f"# TYPE {metric.name} {metric.kind.value}")
        if metric.bounds:
            for labels, counted in series.items():
                _add_histogram(lines, metric, labels, counted)
        else:
            lines += [f"{_named(metric.name, metric.labels, labels)} {float(value)!r}" for labels, (value,) in series.items()]
    lines.append("")
    return "\n".join(lines).encode(), TEXT_TYPE.encode()


def as_markdown(metrics: Iterable[Metric]) -> str:
    """The metrics as a table, for the documentation, each beside Triton's nearest."""
    lines = ["| metric | type | labels | Triton's | help |", "|---|---|---|---|---|"]
    for metric in metrics:
        labels = ", ".join(f"`{label}`" for label in metric.labels) or "–"
        triton = ", ".join(f"`{name}`" for name in metric.triton.split(", ") if name) or "–"
        lines.append(f"| `{metric.name}` | {metric.kind.value} | {labels} | {triton} | {metric.help} |")
    return "\n".join(lines) + "\n"


def _add_histogram(lines: list[str], metric: Metric, labels: Labels, counted: Sequence[float]) -> None:
    total = 0.0
    for bucket, count in zip(_buckets(metric.name, metric.labels, labels, tuple(metric.bounds)), counted, strict=False):
        total += count
        lines.append(f"{bucket} {total!r}")
    lines.append(f"{_named(metric.name + '_count', metric.labels, labels)} {total!r}")
    lines.append(f"{_named(metric.name + '_sum', metric.labels, labels)} {float(counted[-1])!r}")


@lru_cache(maxsize=4096)
def _buckets(name: str, labels: Labels, values: Labels, bounds: tuple[float, ...]) -> tuple[str, ...]:
    """Each bucket's series as text; there are as many of them as there are models."""
    bounds_text = [*(repr(float(bound)) for bound in bounds), "+Inf"]
    return tuple(_named(f"{name}_bucket", (*labels, "le"), (*values, bound)) for bound in bounds_text)


@lru_cache(maxsize=16_384)
def _named(name: str, labels: Labels, values: Labels) -> str:
    """A series as text."""
    return series_text(name, sorted(zip(labels, values, strict=True)))
