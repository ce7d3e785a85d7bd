"""Lines in the daemon's log where events are refused, so that nobody has to look for them to know.

There is one line an outcome in ten seconds at most: the latest refusal, and how many there were since the line before. A reason quotes ids,
times, classes and names, never a feature; the bytes are with the dead letters, and with them alone.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

import structlog

from monitor.clock import Clock, Milliseconds
from monitor.events import Stream
from monitor.log import Commit

BETWEEN_LINES_MS: Final = 10_000

_logger = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Untold:
    """The refusals of one outcome since its last line: how many events, and the latest one's place and reason."""

    events: int
    stream: Stream
    partition: int
    offset: int
    row: int
    reason: str


@dataclass(slots=True)
class RefusedEvents:
    """Tells of the dead letters of commits. What one commit has beyond the bound on them is not counted here, only in `events_total`."""

    clock: Clock
    _untold: dict[str, _Untold] = field(default_factory=dict)
    _told_at: dict[str, Milliseconds] = field(default_factory=dict)
    """Both by outcome."""

    def committed(self, commits: Iterable[Commit]) -> None:
        """These have become durable; with none, only what is untold so far is told when it is due."""
        for commit in commits:
            for letter in commit.dead_letters:
                former = self._untold.get(letter.outcome)
                events = len(letter.rows) + (former.events if former else 0)
                self._untold[letter.outcome] = _Untold(
                    events, letter.stream, commit.partition, letter.offset, letter.rows[0], letter.reason
                )
        if self._untold:
            self._tell(self.clock.now())

    def _tell(self, now: Milliseconds) -> None:
        for outcome in [outcome for outcome in self._untold if self._is_due(outcome, now)]:
            untold = self._untold.pop(outcome)
            self._told_at[outcome] = now
            _logger.warning(
                "events refused",
                outcome=outcome,
                events=untold.events,
                reason=untold.reason,
                stream=untold.stream.value,
                partition=untold.partition,
                offset=untold.offset,
                row=untold.row,
                see="model-monitor log tail dead-letters",
            )

    def _is_due(self, outcome: str, now: Milliseconds) -> bool:
        """A clock that was set back must not silence anything for as long."""
        told_at = self._told_at.get(outcome)
        return told_at is None or not 0 <= now - told_at < BETWEEN_LINES_MS
