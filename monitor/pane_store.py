"""The committed panes of all partitions, added up over partitions and time for whoever reads them.

It knows what was committed and nothing of how it came about; readings are kept by `revision`, which moves with every change of a series.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from monitor.events import Int64s
from monitor.panes import Series, Start, parse_key
from monitor.stats.vector import accumulate


@dataclass(slots=True)
class PaneStore:
    """Every partition's share of every committed pane.

    Laws: a put replaces the same partition's former share; sums depend on the shares alone, never on the order in which they came.
    """

    _panes: dict[Series, dict[Start, dict[int, bytes]]] = field(default_factory=dict)
    """By series, start and partition."""
    _revisions: dict[Series, int] = field(default_factory=dict)
    _changes: int = 0

    def put(self, partition: int, key: bytes, value: bytes) -> None:
        """Replaces one partition's share of a pane; `EMPTY` removes it. Raises `DecodeError` for a key that is none."""
        series, start = parse_key(key)
        self._changes += 1
        self._revisions[series] = self._changes
        if value:
            self._panes.setdefault(series, {}).setdefault(start, {})[partition] = value
            return
        starts = self._panes.get(series, {})
        starts.get(start, {}).pop(partition, None)
        if not starts.get(start):
            starts.pop(start, None)
        if not starts:
            self._panes.pop(series, None)
            self._revisions.pop(series)

    def series(self) -> Iterator[Series]:
        """Every series that has a pane."""
        return iter(self._panes)

    def revision(self, series: Series) -> int:
        """Another one whenever panes of the series have changed; 0 where it has none."""
        return self._revisions.get(series, 0)

    def starts(self, series: Series) -> list[Start]:
        """The starts of a series' panes, in no order."""
        return list(self._panes.get(series, ()))

    def between(self, series: Series, since: int, until: int) -> list[bytes]:
        """The vectors of the whole panes in `[since, until)`, of all partitions."""
        panes = self._panes.get(series)
        if not panes:
            return []
        steps = range(-(-since // series.step) * series.step, until, series.step)
        if len(steps) <= len(panes):
            found = (panes[start] for start in steps if start in panes)
        else:
            found = (shares for start, shares in panes.items() if since <= start and start + series.step <= until)
        return [value for shares in found for value in shares.values()]

    def total(self, series: Series, since: int, until: int, size: int) -> Int64s:
        """The sum of the whole panes in `[since, until)`, int64 (size,)."""
        return accumulate(self.between(series, since, until), size)
