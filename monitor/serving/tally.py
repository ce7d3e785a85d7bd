"""Numbers of one process at one moment, or of several together: what is merged, kept in a file and shown.

Laws: merging is associative and commutative with the empty tally as its identity (for sums of seconds up to rounding); `from_bytes`
undoes `to_bytes`; merging the tallies of two processes equals the tally of one that did the work of both.
"""

from collections.abc import Iterable, Mapping
from typing import Final

import orjson

from monitor.serving.series import METRICS, Kind, Merging, Metric

Labels = tuple[str, ...]
Numbers = tuple[float, ...]
"""One number; of a histogram its buckets, not cumulated, and the sum of what was observed."""

_BY_NAME: Final = {metric.name: metric for metric in METRICS}


class Tally:
    """Numbers by metric and label values. Counters and histograms add up; each gauge says how it merges."""

    def __init__(self) -> None:
        self._numbers: dict[Metric, dict[Labels, Numbers]] = {}

    def __getitem__(self, metric: Metric) -> Mapping[Labels, Numbers]:
        """The series of a metric, which may have none."""
        return self._numbers.get(metric, {})

    def items(self) -> Iterable[tuple[Metric, Mapping[Labels, Numbers]]]:
        """Every metric that has series, in the order of the catalogue."""
        return ((metric, self._numbers[metric]) for metric in METRICS if metric in self._numbers)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tally) and self._numbers == other._numbers

    __hash__ = None  # type: ignore[assignment]  # it changes as it is added to

    def add(self, metric: Metric, labels: Labels, *numbers: float) -> None:
        """Merges one series in."""
        of_metric = self._numbers.setdefault(metric, {})
        there = of_metric.get(labels)
        of_metric[labels] = numbers if there is None else _merged(metric.merging, there, numbers)

    def merge(self, other: "Tally") -> None:
        """Merges all of `other` in, which stays as it is."""
        for metric, of_metric in other._numbers.items():
            for labels, numbers in of_metric.items():
                self.add(metric, labels, *numbers)

    def counted(self) -> "Tally":
        """What stays true when the process is gone: everything but gauges."""
        tally = Tally()
        tally._numbers = {metric: dict(series) for metric, series in self._numbers.items() if metric.kind is not Kind.GAUGE}
        return tally

    def to_bytes(self) -> bytes:
        return orjson.dumps({metric.name: list(series.items()) for metric, series in self._numbers.items()})

    @classmethod
    def from_bytes(cls, data: bytes) -> "Tally":
        """Raises `ValueError` for what `to_bytes` did not write. What this program does not count is left out."""
        tally = cls()
        for name, series in orjson.loads(data).items():
            if name in _BY_NAME:
                tally._numbers[_BY_NAME[name]] = {tuple(labels): tuple(numbers) for labels, numbers in series}
        return tally


def merged(tallies: Iterable[Tally]) -> Tally:
    """All of them as one. The same order gives the same sums to the last bit."""
    total = Tally()
    for tally in tallies:
        total.merge(tally)
    return total


def _merged(merging: Merging, one: Numbers, other: Numbers) -> Numbers:
    if merging is Merging.SUM:
        return tuple(map(float.__add__, map(float, one), map(float, other)))
    return tuple(map(max if merging is Merging.MAX else min, one, other))
