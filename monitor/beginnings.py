"""Since when a model's outcome panes count, where a changed configuration began some of them anew.

What began anew counts the pairs whose label arrived after the labels' watermark of that moment. Whether a pair counts is told by the pair
alone, never by when a worker met it, so whatever a correction takes out had been put in: no pane ever holds less than nothing.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from monitor.clock import Milliseconds
from monitor.segments import Expression, escape

EVER: Milliseconds = -(2**63)
"""Before any label's arrival."""

_DIMENSION = re.compile(r"(?:^|,)((?:\\.|[^\\=,])*)=(?:\\.|[^\\=,])*", re.DOTALL)
"""One `dimension=value` of a segment's text."""


@dataclass(frozen=True, slots=True)
class Beginnings:
    """By part of a model's configuration, the arrival after which labels count in the outcome panes that depend on it.

    The parts are what the cells mean and which label wins (`layout`), the steps, and the kinds of segments. `carried` are those that were
    there before: their panes go on.
    """

    layout: str
    since: Mapping[str, Milliseconds]
    carried: frozenset[str]

    @classmethod
    def of(
        cls,
        meaning: object,
        steps: Iterable[Milliseconds],
        segments: Iterable[Expression],
        known: Mapping[str, Milliseconds],
        watermark: Milliseconds | None,
    ) -> "Beginnings":
        """Those of a configuration, where the last commit held `known` (its `since`) and had read labels up to `watermark`.

        `meaning` says in JSON what the cells mean and which label wins.
        """
        anew = EVER if watermark is None else watermark
        layout = f"layout {hashlib.sha256(json.dumps(meaning, sort_keys=True).encode()).hexdigest()[:16]}"
        parts = (layout, *map(_step, steps), *map(_segment, segments))
        since = {part: known.get(part, anew) for part in parts}
        return cls(layout, since, frozenset(since.keys() & known.keys()))

    def of_step(self, step: Milliseconds) -> Milliseconds:
        """The arrival after which labels count in panes of this step; those of a kind of segment may count from later on."""
        return max(self.since[self.layout], self.since[_step(step)])

    def of_panes(self, segment: Expression, step: Milliseconds) -> Milliseconds:
        """The arrival after which labels count in panes of this step and kind of segment."""
        return max(self.of_step(step), self.since[_segment(segment)])

    def go_on(self, segment: str, step: Milliseconds) -> bool:
        """Whether committed panes of this segment (its text) and step count on, if their layout is the present one."""
        kind = "segment " + ",".join(_DIMENSION.findall(segment))
        return {self.layout, _step(step), kind} <= self.carried


def _step(step: Milliseconds) -> str:
    return f"step {step}"


def _segment(expression: Expression) -> str:
    return "segment " + ",".join(map(escape, expression))
