"""What all owners committed, as the topic `panes` tells it: followed from its start by every replica, so that any can take over at once.

A commit's panes come first and its state record last, all in the partition of the events that they count; what came since the last state
record is not shown before the next one is there. Readers see nothing of a transaction that has not been committed.
"""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from kafka import KafkaConsumer, TopicPartition
from kafka.admin import OffsetSpec
from kafka.errors import LogTruncationError, OffsetOutOfRangeError

from monitor.errors import LogAway, LogDamaged
from monitor.events import SOURCES, Stream
from monitor.log import Commit, Committed, PaneKey
from monitor.log.kafka.asking import Asking
from monitor.log.kafka.connection import Connection, explained
from monitor.log.kafka.names import Names

STATE_KEY: Final = b"\x00state"
"""The key of a partition's state record. Those of panes begin otherwise (`monitor.panes`)."""
FETCH_BYTES: Final = 16 * 2**20
CATCH_UP_SECONDS: Final = 30.0
"""How long an unfinished transaction of a former owner may hold a partition up: longer than its own time limit."""
POSITION_MS: Final = 5_000
"""How long a place is waited for that the client has to look up: at first, and after a leader has changed."""
_POLL_MS: Final = 50


@dataclass(frozen=True, slots=True)
class Mark:
    """Which commit a state is of: who made it, and the how-manieth of that owner it was."""

    owner: str
    number: int


NEVER: Final = Mark("", 0)


@dataclass(slots=True)
class _Partition:
    panes: dict[PaneKey, bytes] = field(default_factory=dict)
    state: bytes = b""
    offsets: Mapping[Stream, int] = field(default_factory=dict)
    mark: Mark = NEVER
    log_identity: str = ""
    group: str = ""
    arriving: dict[PaneKey, bytes] = field(default_factory=dict)
    """Panes whose state record has not come yet."""
    untold: dict[PaneKey, bytes] = field(default_factory=dict)
    """Panes that `take` has not given yet."""
    has_news: bool = False
    heard_at: float = float("-inf")


class PaneView:
    """The panes and states of every partition. One thread drives it."""

    def __init__(self, connection: Connection, names: Names, partitions: int) -> None:
        self._names = names
        self._partitions = [_Partition() for _ in range(partitions)]
        self._places = [names.panes_of(partition) for partition in range(partitions)]
        self._consumer: KafkaConsumer = connection.consumer(
            auto_offset_reset="none",  # what was read cannot be taken back: it would be gone from the topic, and stay here
            max_poll_records=10_000,
            fetch_max_bytes=FETCH_BYTES,
            max_partition_fetch_bytes=FETCH_BYTES,
        )
        self._asking = Asking(connection)
        self._consumer.assign(self._places)
        self._consumer.seek_to_beginning(*self._places)
        self._is_live = False
        """Whether the past has been read: only what comes after it is a sign of life."""

    def catch_up(self, partitions: Sequence[int]) -> None:
        """Reads on until everything that was committed up to now is here. Raises `LogError` where that takes too long."""
        places = {self._places[partition] for partition in partitions}
        if not places:
            return
        asked = dict.fromkeys(places, OffsetSpec.LATEST)
        ends = self._asking.ask(f"looking where {self._names.panes} ends", lambda admin: admin.list_partition_offsets(asked))
        until = time.monotonic() + CATCH_UP_SECONDS
        for place in places:
            while not self._has_reached(place, ends[place].offset):
                if time.monotonic() > until:
                    raise LogAway(
                        f"{place.topic}-{place.partition} could not be read to its end ({ends[place].offset}) in {CATCH_UP_SECONDS:.0f} s: "
                        "a transaction of a former owner is still open there, or the broker does not answer; it is tried again"
                    )
                self.poll(_POLL_MS)
        self._is_live = True

    def _has_reached(self, place: TopicPartition, end: int) -> bool:
        with self._following():
            position: int | None = self._consumer.position(place, timeout_ms=POSITION_MS)
        return position is not None and position >= end

    @contextmanager
    def _following(self) -> Iterator[None]:
        """Raises what the client says as `LogError`."""
        with explained(f"following {self._names.panes}"):
            try:
                yield
            except (OffsetOutOfRangeError, LogTruncationError) as error:
                raise LogDamaged(
                    f"{self._names.panes} ends before what was read of it: commits are gone, by an unclean leader election, or the topic "
                    "was deleted and made anew. Start again, to go on from what is there"
                ) from error

    def poll(self, wait_ms: int = 0) -> None:
        """Takes in what has come. Raises `LogError`."""
        with self._following():
            found = self._consumer.poll(timeout_ms=wait_ms)
        for place, records in found.items():
            partition = self._partitions[place.partition]
            for record in records:
                if record.key == STATE_KEY:
                    self._settle(partition, place, record)
                elif record.key is not None:
                    partition.arriving[record.key] = record.value or b""

    def _settle(self, partition: _Partition, place: TopicPartition, record: Any) -> None:  # noqa: ANN401  # the client ships no types
        """Shows what came with a state record."""
        try:
            about = json.loads(dict(record.headers)["commit"])
            partition.offsets = {Stream(stream): int(offset) for stream, offset in about["offsets"].items()}
            partition.mark = Mark(about["owner"], int(about["number"]))
            partition.log_identity, partition.group = about["log"], about["group"]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise LogDamaged(
                f"{place.topic}-{place.partition}, offset {record.offset}: a state record that cannot be read ({error}); nothing but "
                f"model-monitor may write to {place.topic}"
            ) from error
        partition.state = record.value or b""
        for key, value in partition.arriving.items():
            if value:
                partition.panes[key] = value
            else:
                partition.panes.pop(key, None)
        partition.untold |= partition.arriving
        partition.arriving = {}
        partition.has_news = True
        if self._is_live:
            partition.heard_at = time.monotonic()

    def take(self) -> list[Commit]:
        """What has changed since the last call: one commit a partition."""
        taken = []
        for number, partition in enumerate(self._partitions):
            if partition.has_news:
                taken.append(Commit(number, partition.offsets, partition.untold, partition.state))
                partition.untold, partition.has_news = {}, False
        return taken

    def heard_within(self, seconds: float) -> frozenset[int]:
        """The partitions for which somebody has committed not longer ago than that."""
        since = time.monotonic() - seconds
        return frozenset(number for number, partition in enumerate(self._partitions) if partition.heard_at >= since)

    def mark(self, partition: int) -> Mark:
        """Of the last commit that is here."""
        return self._partitions[partition].mark

    def group(self, partition: int) -> str:
        """The group whose member made it."""
        return self._partitions[partition].group

    def committed(self, partition: int, log_identity: str) -> Committed:
        """Raises `LogDamaged` where what was committed counts the events of a log that is no more."""
        found = self._partitions[partition]
        if found.state and found.log_identity != log_identity:
            raise LogDamaged(
                f"{self._names.panes}-{partition} counts the events of topics that were deleted and made anew: their offsets start over, "
                f"so it cannot go on. Delete the topic {self._names.panes} too and run `model-monitor topics create`, or use another "
                "log.topic_prefix"
            )
        return Committed(partition, dict.fromkeys(SOURCES, 0) | dict(found.offsets), found.state)

    def panes(self, partition: int) -> Iterator[tuple[PaneKey, bytes]]:
        return iter(list(self._partitions[partition].panes.items()))

    def close(self) -> None:
        self._consumer.close(autocommit=False, timeout_ms=5_000)
        self._asking.close()


def commit_header(commit: Commit, mark: Mark, log_identity: str, group: str) -> tuple[str, bytes]:
    """What a state record says of its commit: for whoever takes the partition over, and for people who look into the topic."""
    about = {"offsets": commit.offsets, "owner": mark.owner, "number": mark.number, "log": log_identity, "group": group}
    return "commit", json.dumps(about).encode()
