"""The latest tick as Prometheus text and as OpenMetrics: rendered once a tick, however often it is scraped.

Of several replicas each shows what it says of itself, and one alone what is said of a model or a partition: its owner, as long as it is
known at the very scrape to be that.

Both formats hold the same lines under different headings, so a line is written once. prometheus_client, which renders from objects, takes
twice as long for one format as this for both (tests/bench/scrape); it still tells what the process uses.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from prometheus_client import GC_COLLECTOR, PLATFORM_COLLECTOR, PROCESS_COLLECTOR, CollectorRegistry
from prometheus_client import exposition as text_format
from prometheus_client.openmetrics import exposition as openmetrics_format

from monitor.export.catalogue import METRICS, Kind, MetricDefinition, Source
from monitor.export.families import Sample
from monitor.export.series_text import TEXT_TYPE, series_text

OPENMETRICS_TYPE: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"

_ALTERNATIVES: Final = frozenset({"class", "average"})
"""A series has one of them; every other label is there also when it is empty."""
_END: Final = b"# EOF\n"


@dataclass(frozen=True, slots=True)
class _Rendered:
    """Samples in both formats; the OpenMetrics one still wants its end."""

    text: bytes
    openmetrics: bytes


_NOTHING: Final = _Rendered(b"", b"")


@dataclass(frozen=True, slots=True)
class _Published:
    """One tick. A family is whole in one of the two parts, so that either can go without the other."""

    of_replica: _Rendered
    of_owner: _Rendered
    is_owner: Callable[[], bool]


class Exposition:
    """What scrapes are answered with, from the latest tick. One thread publishes, any number render."""

    def __init__(self) -> None:
        self._published = _Published(_NOTHING, _NOTHING, lambda: False)
        self._process = CollectorRegistry(auto_describe=False)
        for collector in (PROCESS_COLLECTOR, PLATFORM_COLLECTOR, GC_COLLECTOR):
            self._process.register(collector)

    def publish(self, samples: Iterable[Sample], is_owner: Callable[[], bool]) -> None:
        """Replaces what there was. `is_owner` is asked at each scrape whether what only an owner shows is still this replica's."""
        lines: dict[Source, dict[str, list[str]]] = {source: {} for source in Source}
        for sample in samples:
            lines[sample.metric.source].setdefault(sample.metric.name, []).append(_line(sample))
        self._published = _Published(_rendered(lines[Source.REPLICA]), _rendered(lines[Source.OWNER]), is_owner)

    def openmetrics(self) -> bytes:
        """The tick alone, whole, whoever owns it by now."""
        published = self._published
        return published.of_owner.openmetrics + published.of_replica.openmetrics + _END

    def render(self, accept: str) -> tuple[bytes, str]:
        """The tick and what the process uses at this moment: body and content type, OpenMetrics where the Accept header names it."""
        is_openmetrics = "application/openmetrics-text" in accept
        process: bytes = (openmetrics_format if is_openmetrics else text_format).generate_latest(self._process)
        published = self._published
        owned = published.of_owner if published.is_owner() else _NOTHING  # asked last: what takes time comes before
        if is_openmetrics:
            return b"".join((owned.openmetrics, published.of_replica.openmetrics, process)), OPENMETRICS_TYPE
        return b"".join((owned.text, published.of_replica.text, process)), TEXT_TYPE


def _line(sample: Sample) -> str:
    labels = zip(sample.metric.labels, sample.labels, strict=True)
    series = series_text(sample.metric.name, [(name, value) for name, value in labels if value or name not in _ALTERNATIVES])
    return f"{series} {sample.value}\n"


def _text_heading(metric: MetricDefinition) -> str:
    return f"# HELP {metric.name} {metric.help}\n# TYPE {metric.name} {metric.kind}\n"


def _openmetrics_heading(metric: MetricDefinition) -> str:
    family = metric.name.removesuffix("_total") if metric.kind is Kind.COUNTER else metric.name
    unit = f"# UNIT {family} {metric.unit}\n" if metric.unit else ""
    return f"# HELP {family} {metric.help}\n# TYPE {family} {metric.kind}\n{unit}"


def _rendered(lines: Mapping[str, Sequence[str]]) -> _Rendered:
    return _Rendered(_joined(lines, _text_heading), _joined(lines, _openmetrics_heading))


def _joined(lines: Mapping[str, Sequence[str]], heading: Callable[[MetricDefinition], str]) -> bytes:
    parts = (part for metric in METRICS if metric.name in lines for part in (heading(metric), *lines[metric.name]))
    return "".join(parts).encode(errors="backslashreplace")  # a label may hold half of a surrogate pair, and no scrape dies of it
