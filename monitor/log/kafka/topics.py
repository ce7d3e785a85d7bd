"""What each topic has to be, and why. It knows no cluster.

Settings have reasons: the sources are what a restart replays, so they keep records for as long as one may still be joined, by age alone;
`panes` keeps the newest value of each key for ever, and is compacted often, since every replica reads all of it when it starts.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from monitor.clock import Milliseconds
from monitor.errors import LogError
from monitor.events import SOURCES, Stream
from monitor.log.admission import FUTURE_LIMIT_MS
from monitor.log.kafka.names import Names

MIB: Final = 2**20
HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS
FOREVER: Final = -1
ANY_AGE_MS: Final = 2**63 - 1

MESSAGE_BYTES: Final = 16 * MIB
"""A record of ours at most: the largest body that the doors take, or the largest pane of a model with 100 classes."""
DEAD_LETTER_BYTES: Final = 17 * MIB
"""One of those, and the reason why it could not be used."""
LEAST_MESSAGE_BYTES: Final = 2 * MIB
"""Twice what commits group small records up to."""

PANE_CELL_BYTES: Final = 4 + 8
PANE_HEADER_BYTES: Final = 8
"""A packed vector (`monitor.stats.vector`) at its widest."""
PANE_ENVELOPE_BYTES: Final = 4 * 1024
"""Its key, and what Kafka puts around a record."""


def largest_pane(cells: int) -> int:
    """Bytes of a pane whose vector has that many cells, when each was hit and holds the largest number.

    The cohort block decides, by actual × predicted × (score grid + delay bins): 0.2 MB for 10 classes, 0.7 MB for 20, 17 MB for 100.
    Far less is seen in practice, where most combinations never happen and counts take 1 or 2 bytes.
    """
    return PANE_HEADER_BYTES + cells * PANE_CELL_BYTES


class Bound(StrEnum):
    """How a setting is held against the one that we would choose."""

    EXACTLY = "exactly"
    AT_LEAST = "at least"
    AT_MOST = "at most"


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting of a topic: what it is made with, what it may be instead, and what happens otherwise.

    `limit`: the bound where it is looser than `value`. One that is not `needed` is only worth knowing.
    """

    key: str
    value: str
    bound: Bound
    otherwise: str
    limit: int | None = None
    needed: bool = True

    def accepts(self, found: str) -> bool:
        if self.bound is Bound.EXACTLY:
            return sorted(found.split(",")) == sorted(self.value.split(","))
        number, limit = self._number(found), self._number(self._limit)
        return number >= limit if self.bound is Bound.AT_LEAST else number <= limit

    @property
    def expectation(self) -> str:
        """`at least 2592000000 (30d)`"""
        return self.spelled(self.value) if self.bound is Bound.EXACTLY else f"{self.bound} {self.spelled(self._limit)}"

    def spelled(self, value: str) -> str:
        """The value with its meaning, where it is a length of time."""
        if not self.key.endswith(".ms") or not value.isdecimal() or int(value) == ANY_AGE_MS:
            return value
        unit, name = (DAY_MS, "d") if int(value) % DAY_MS == 0 else (HOUR_MS, "h") if int(value) % HOUR_MS == 0 else (1_000, "s")
        return f"{value} ({int(value) / unit:g}{name})"

    @property
    def _limit(self) -> str:
        return self.value if self.limit is None else str(self.limit)

    def _number(self, text: str) -> float:
        """Kafka writes -1 where there is no limit."""
        number = float(text)
        return float("inf") if number == FOREVER else number


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic as it has to be. `replication_factor` None: what the brokers give one by default."""

    name: str
    partitions: int
    replication_factor: int | None
    settings: tuple[Setting, ...]

    @property
    def config(self) -> Mapping[str, str]:
        """What it is made with."""
        return MappingProxyType({setting.key: setting.value for setting in self.settings})


@dataclass(frozen=True, slots=True)
class Retention:
    """How long the sources keep a record: what the configuration says (None: forever), what joining needs, and how that adds up."""

    configured: Milliseconds | None
    needed: Milliseconds
    arithmetic: str


def required(
    names: Names, partitions: int, replication_factor: int | None, retention: Retention, largest_pane_bytes: int = 0
) -> tuple[TopicSpec, ...]:
    """The topics of one deployment, whose models' panes have at most so many bytes (see `largest_pane`)."""

    def spec(name: str, *settings: Setting) -> TopicSpec:
        return TopicSpec(name, partitions, replication_factor, settings)

    return (
        *(spec(names.topic(stream), *_source(retention)) for stream in SOURCES),
        spec(names.panes, *_panes(max(MESSAGE_BYTES, largest_pane_bytes + PANE_ENVELOPE_BYTES))),
        spec(names.topic(Stream.DEAD_LETTERS), *_dead_letters(retention)),
    )


def _source(retention: Retention) -> Iterator[Setting]:
    kept = FOREVER if retention.configured is None else retention.configured
    yield Setting("cleanup.policy", "delete", Bound.EXACTLY, "events have no keys that could be compacted")
    yield Setting(
        "retention.ms",
        str(kept),
        Bound.AT_LEAST,
        f"a restart without a snapshot has to find every row that may still join: {retention.arithmetic}",
        limit=retention.needed,
    )
    yield Setting("retention.ms", str(kept), Bound.AT_LEAST, "log.retention promises more than the topic keeps", needed=False)
    yield Setting("retention.bytes", str(FOREVER), Bound.EXACTLY, "a limit in bytes removes records at any age, read or not")
    yield Setting(
        "message.timestamp.type", "CreateTime", Bound.EXACTLY, "a record's timestamp is the event's arrival, which its sender gives"
    )
    yield Setting(
        "message.timestamp.after.max.ms", str(FUTURE_LIMIT_MS), Bound.AT_LEAST, "senders whose clocks run ahead a little would be refused"
    )
    yield Setting(
        "message.timestamp.before.max.ms",
        str(ANY_AGE_MS),
        Bound.AT_LEAST,
        "events that waited in a spool, and imports, would be refused",
        limit=retention.needed,
    )
    yield Setting("max.message.bytes", str(MESSAGE_BYTES), Bound.AT_LEAST, "larger batches of events would be refused", needed=False)


def _panes(message_bytes: int) -> Iterator[Setting]:
    yield Setting("cleanup.policy", "compact", Bound.EXACTLY, "with any other, panes would vanish that are never written again")
    # An active segment is not compacted, so what came since it was rolled is read in full by every replica that starts: at a steady
    # 5 MB a minute, ten minutes are read in about a second.
    yield Setting("segment.ms", "600000", Bound.AT_MOST, "a replica that starts reads all that came since", limit=HOUR_MS, needed=False)
    yield Setting("max.compaction.lag.ms", str(HOUR_MS), Bound.AT_MOST, "the same", limit=6 * HOUR_MS, needed=False)
    yield Setting("min.cleanable.dirty.ratio", "0.2", Bound.AT_MOST, "the same", limit=1, needed=False)
    yield Setting(
        "delete.retention.ms", str(DAY_MS), Bound.AT_LEAST, "a replica that pauses would not hear that a pane was removed", limit=HOUR_MS
    )
    refused = "a commit with a larger pane would be refused"
    yield Setting("max.message.bytes", str(message_bytes), Bound.AT_LEAST, refused, limit=LEAST_MESSAGE_BYTES)
    yield Setting("max.message.bytes", str(message_bytes), Bound.AT_LEAST, refused, needed=False)


def _dead_letters(retention: Retention) -> Iterator[Setting]:
    kept = FOREVER if retention.configured is None else retention.configured
    yield Setting("cleanup.policy", "delete", Bound.EXACTLY, "dead letters have no keys that could be compacted")
    yield Setting("retention.ms", str(kept), Bound.AT_LEAST, "they would be gone before anybody looks", limit=HOUR_MS)
    yield Setting("message.timestamp.type", "CreateTime", Bound.EXACTLY, "a dead letter keeps the timestamp of its event")
    yield Setting(
        "max.message.bytes",
        str(DEAD_LETTER_BYTES),
        Bound.AT_LEAST,
        "a commit with a larger dead letter would be refused",
        limit=LEAST_MESSAGE_BYTES,
    )


def check_retention_reaches(topic: str, retention_ms: Milliseconds, oldest: Milliseconds, now: Milliseconds) -> None:
    """Raises `LogError` where records as old as `oldest` would be removed as soon as they are written.

    Kafka counts a record's age from its timestamp, which is the event's own arrival. `retention_ms` is the topic's; -1 is forever.
    """
    if retention_ms == FOREVER or now - oldest <= retention_ms:
        return
    raise LogError(
        f"{topic} keeps records for {retention_ms / DAY_MS:g} days, and these reach back {(now - oldest) / DAY_MS:,.0f} days: Kafka would "
        f"remove them as soon as they are written. Let it keep them (log.retention: forever, and kafka-configs.sh --alter --topic {topic} "
        "--add-config retention.ms=-1), or import with --arrival now"
    )
