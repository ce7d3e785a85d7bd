"""Panes: one time step of one model, version, segment and block, as a sparse vector of integers.

`PanePlan` says at which steps a model's panes are kept and for how long; `PaneTable` is what one partition has counted. Panes of a coarser
step are folded from a finer one that divides it (their *root*), so that a row is counted once a root. What all partitions have committed
is added up in `monitor.pane_store`.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from monitor.clock import Milliseconds
from monitor.errors import DecodeError
from monitor.events import Int64s
from monitor.stats.layout import Block, Hits
from monitor.stats.sums import cell_of, distinct, key_of, pane_of, sum_hits
from monitor.stats.vector import EMPTY, Additions, add_up, pack, unpack
from monitor.stats.windows import step_of

Start = Milliseconds
"""The beginning of a pane, milliseconds since the epoch, a multiple of its step."""


@dataclass(frozen=True, slots=True)
class Series:
    """What a pane is of, but for its start. `layout` is the digest of the block's layout, `step` its width in milliseconds."""

    model: str
    version: str
    segment: str
    block: Block
    step: int
    layout: str

    def key(self, start: Start) -> bytes:
        """The pane's key in the log."""
        return json.dumps([self.model, self.version, self.segment, self.block, self.step, self.layout, start]).encode()


def parse_key(key: bytes) -> tuple[Series, Start]:
    """The inverse of `Series.key`. Raises `DecodeError` on anything else."""
    try:
        model, version, segment, block, step, layout, start = json.loads(key)
        return Series(model, version, segment, Block(block), step, layout), start
    except (ValueError, TypeError) as error:
        raise DecodeError(
            f"not a pane key: {key[:200]!r}; expected [model, version, segment, block, step, layout, start] in JSON: it was written by "
            "another version of the monitor, or the log is damaged"
        ) from error


@dataclass(frozen=True, slots=True)
class PanePlan:
    """The steps of one model's panes, and how long panes live: until nothing can change or read them any more.

    `windows` are the lengths of the model's windows, `horizon` and `out_of_order` H and D of `monitor.join`.
    """

    windows: tuple[Milliseconds, ...]
    horizon: Milliseconds
    out_of_order: Milliseconds

    @property
    def steps(self) -> tuple[int, ...]:
        """Distinct steps, ascending."""
        return tuple(sorted({step_of(window) for window in self.windows}))

    def folds(self, since: Callable[[int], Milliseconds] = lambda _: 0) -> dict[int, tuple[int, ...]]:
        """By root step, the coarser steps that are folded from it: those that are whole multiples, each of the first root that fits.

        `since` says when the panes of a step began to count: panes that began at different times do not hold the same rows.
        """
        roots: dict[int, tuple[int, ...]] = {}
        for step in self.steps:
            finer = next((root for root in roots if step % root == 0 and since(root) == since(step)), None)
            if finer is None:
                roots[step] = ()
            else:
                roots[finer] = (*roots[finer], step)
        return roots

    def keep(self, block: Block, step: Milliseconds) -> Milliseconds:
        """How far the watermark must be past a pane's end before it is freed: the longest window that reads it, and what may change it yet.

        Inputs still arrive 2 D behind their log's watermark (out of order by D, of a time D before that); a cohort pane changes until
        the horizon of its predictions is past in both logs; a feedback pane until D is.
        """
        longest = max(window for window in self.windows if step_of(window) == step)
        match block:
            case Block.INPUTS:
                return longest + 2 * self.out_of_order
            case Block.COHORT:
                return longest + self.horizon + self.out_of_order
            case Block.FEEDBACK:
                return longest + self.out_of_order


SUMS_LIMIT = 2**18
"""Sums that wait to be added to panes, 16 bytes each and a multiple of that while they are sorted. Between two commits a backlog of sparse
panes gathers fifty times as many: 1.1 GB instead of 450 MB, no faster (500,000 pairs over a week in steps of 2 min)."""


@dataclass(slots=True)
class PaneTable:
    """What one partition has counted: absolute vectors by series and start, and the additions since the last `flush`.

    Laws: the table after any sequence of additions and flushes holds for each pane the sum of all additions to it; `flush` returns exactly
    the panes whose value changed; `load` of everything that was flushed gives an equal table.
    """

    folds: Mapping[tuple[str, Block], Mapping[int, tuple[int, ...]]]
    """By model and block, root steps and what is folded from them."""
    sums_limit: int = SUMS_LIMIT
    _series: list[Series] = field(default_factory=list)
    _series_codes: dict[Series, int] = field(default_factory=dict)
    _panes: dict[int, dict[Start, bytes]] = field(default_factory=dict)
    """By series code and start, but for what `_keys` and `_amounts` hold."""
    _flushed: dict[bytes, bytes] = field(default_factory=dict)
    """Those that changed since the last flush, by key."""
    _changed: dict[tuple[int, Start], int] = field(default_factory=dict)
    """A number for each pane that waits for what was added to it; these are the numbers in `_keys`."""
    _keys: list[Int64s] = field(default_factory=list)
    """What was added, a piece a call of `add`: names of sums (`stats.sums.key_of`), and beside them what each is."""
    _amounts: list[Int64s] = field(default_factory=list)
    _waiting: int = 0
    """How many sums those are."""

    def code_of(self, series: Series) -> int:
        """A small integer for a series, for `add`."""
        code = self._series_codes.get(series)
        if code is None:
            code = self._series_codes[series] = len(self._series)
            self._series.append(series)
            self._panes[code] = {}
        return code

    def add(self, series: Int64s, step: int, time: Int64s, hits: Hits, size: int) -> None:
        """Adds what m rows hit to the pane of their series and time.

        `series` is int64 (m,), codes of series of one root step and one block layout of `size` cells; `time` int64 (m,), milliseconds.
        """
        if len(time) == 0:
            return
        starts, start_place = distinct(time // step)
        codes, code_place = distinct(series)
        pairs, pane = distinct(code_place * len(starts) + start_place)
        key, amount = sum_hits(pane, len(pairs), hits, size)
        numbers = np.empty(len(pairs), dtype=np.int64)
        changed = self._changed
        series_of = codes[pairs // len(starts)].tolist()
        start_of = (starts[pairs % len(starts)] * step).tolist()
        for place, found in enumerate(zip(series_of, start_of, strict=True)):
            numbers[place] = changed.setdefault(found, len(changed))
        self._keys.append(key_of(numbers[pane_of(key)], cell_of(key)))
        self._amounts.append(amount)
        self._waiting += len(key)
        if self._waiting > self.sums_limit:
            self._settle()

    def add_each(self, series: Int64s, step: int, time: Int64s, additions: Additions, size: int) -> None:
        """Like `add`, for m rows that hit no cell each, but add the listed entries."""
        self.add(series, step, time, Hits(np.empty((0, len(time)), dtype=np.int32), additions), size)

    def flush(self) -> dict[bytes, bytes]:
        """Adds what came since the last flush to the panes: those that changed, by key, with their new value (`EMPTY`: nothing is left)."""
        self._settle()
        flushed, self._flushed = self._flushed, {}
        return flushed

    def _settle(self) -> None:
        """Adds what waits to the panes."""
        if not self._keys:
            return
        key, amount = self._fold(*add_up(np.concatenate(self._keys), np.concatenate(self._amounts)))
        names = list(self._changed)
        touched = distinct(pane_of(key))[0].tolist()
        keys, amounts = [key], [amount]
        for number in touched:
            code, start = names[number]
            old = self._panes[code].get(start)
            if old:
                cell, count = unpack(old)
                keys.append(key_of(np.full(len(cell), number, dtype=np.int64), cell))
                amounts.append(count)
        self._flushed |= self._store(names, touched, *add_up(np.concatenate(keys), np.concatenate(amounts)))
        self._keys, self._amounts, self._changed, self._waiting = [], [], {}, 0

    def _fold(self, key: Int64s, amount: Int64s) -> tuple[Int64s, Int64s]:
        """Adds the entries of root panes to the coarser panes that hold them too."""
        number, cell = pane_of(key), cell_of(key)
        targets: dict[int, Int64s] = {}
        panes = list(self._changed)
        for place, (code, start) in enumerate(panes):
            series = self._series[code]
            for level, step in enumerate(self.folds[series.model, series.block][series.step]):
                coarse = self.code_of(Series(series.model, series.version, series.segment, series.block, step, series.layout))
                if level not in targets:
                    targets[level] = np.full(len(panes), -1, dtype=np.int64)
                targets[level][place] = self._changed.setdefault((coarse, start - start % step), len(self._changed))
        keys, amounts = [key], [amount]
        for target in targets.values():
            folded = target[number]
            there = folded >= 0
            keys.append(key_of(folded[there], cell[there]))
            amounts.append(amount[there])
        if len(keys) == 1:
            return key, amount
        return add_up(np.concatenate(keys), np.concatenate(amounts))

    def _store(self, names: Sequence[tuple[int, Start]], touched: Sequence[int], key: Int64s, amount: Int64s) -> dict[bytes, bytes]:
        """Gives the `touched` panes, by number in ascending order, the sums that are named by `key`: none is left of a pane without any."""
        numbers, cell = pane_of(key), cell_of(key)
        begin = np.searchsorted(numbers, touched, side="left").tolist()
        end = np.searchsorted(numbers, touched, side="right").tolist()
        flushed: dict[bytes, bytes] = {}
        for number, low, high in zip(touched, begin, end, strict=True):
            code, start = names[number]
            value = pack(cell[low:high], amount[low:high])
            if value:
                self._panes[code][start] = value
            else:
                self._panes[code].pop(start, None)
            flushed[self._series[code].key(start)] = value
        return flushed

    def free(self, limits: Mapping[tuple[str, Block, int], int]) -> dict[bytes, bytes]:
        """Drops the panes that end at or before the limit of their (model, block, step): their keys with `EMPTY`, as `flush` gives them."""
        freed: dict[bytes, bytes] = {}
        for code, panes in self._panes.items():
            series = self._series[code]
            limit = limits.get((series.model, series.block, series.step))
            if limit is None:
                continue
            for start in [start for start in panes if start + series.step <= limit]:
                del panes[start]
                freed[series.key(start)] = EMPTY
        return freed

    def load(self, key: bytes, value: bytes) -> None:
        """Takes in a committed pane. Raises `DecodeError` for a key that is none."""
        series, start = parse_key(key)
        self._panes[self.code_of(series)][start] = value

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """All panes by key, as of the last flush."""
        for code, panes in self._panes.items():
            for start, value in panes.items():
                yield self._series[code].key(start), value

    def __len__(self) -> int:
        return sum(map(len, self._panes.values()))
