"""Following partitions on Kafka: one consumer for all of them, and a bounded buffer for each.

The client fetches in a thread of its own and hands over when it is polled, which `wait` does, and `read` where it has nothing at hand. It
finds its brokers again by itself; whatever else befalls it, it is replaced by another that goes on where it was.
"""

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Final

import structlog
from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError, LogTruncationError, OffsetOutOfRangeError

from monitor.errors import LogDamaged, LogError
from monitor.events import Stream
from monitor.log import Ends, Record
from monitor.log.admission import check_partition
from monitor.log.kafka.answers import FetchAnswers
from monitor.log.kafka.buffer import Buffer
from monitor.log.kafka.connection import Connection, explained
from monitor.log.kafka.names import Names
from monitor.log.kafka.records import records_of
from monitor.log.kafka.refusals import reason_and_remedy

FETCH_WAIT_MS: Final = 200
"""How long a broker holds a fetch that finds nothing. A partition that is placed or resumed meanwhile waits for it."""
FETCH_BYTES: Final = 16 * 1024 * 1024
PARTITION_FETCH_BYTES: Final = 2 * 1024 * 1024
"""Measured with Arrow messages of 60 kB: 1 MiB reads a single partition at two thirds of the speed, 4 MiB is no faster."""
POLL_RECORDS: Final = 50_000
BUFFERED_BYTES: Final = 32 * 1024 * 1024
LOOKUP_MS: Final = 15_000
SILENCE_S: Final = 10.0

_logger = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Source:
    """A partition that is followed."""

    position: int
    fetched_to: int
    """Where the consumer goes on: after what is buffered, and after what cannot be read (aborted, or the end of a transaction)."""
    buffer: Buffer = field(default_factory=Buffer)
    is_paused: bool = False


class KafkaFollower:
    """See `monitor.log.Follower`. `ensure_topics` raises `LogError` where the topics are not those that are configured.

    Fetching a partition pauses where more is held than its share of `buffered_bytes`, which it exceeds by one fetch at most. After
    `silence_seconds` without any answer the log says so, once.
    """

    def __init__(
        self,
        connection: Connection,
        names: Names,
        partitions: int,
        ensure_topics: Callable[[], None],
        *,
        buffered_bytes: int = BUFFERED_BYTES,
        silence_seconds: float = SILENCE_S,
    ) -> None:
        self._connection = connection
        self._names = names
        self._partitions = partitions
        self._ensure_topics = ensure_topics
        self._sources: dict[TopicPartition, _Source] = {}
        self._consumer: KafkaConsumer | None = None
        self._answers = FetchAnswers({})
        self._buffered_bytes = buffered_bytes
        self._silence = _Silence(silence_seconds)

    def place(self, stream: Stream, partition: int, offset: int) -> None:
        check_partition(partition, self._partitions)
        self._ensure_topics()
        consumer = self._connected()
        place = self._names.of(stream, partition)
        begin, end = _bounds(consumer, place)
        if offset > end:
            raise _cut_short(place, offset, end)
        if 0 < offset < begin:
            _warn_of_removed(place, offset, begin)
        source = _Source(max(begin, offset), max(begin, offset))
        self._sources[place] = source
        self._answers.ends[place] = Ends(end, end)
        consumer.assign(list(self._sources))
        consumer.seek(place, source.position)
        consumer.resume(place)

    def leave(self, partition: int) -> None:
        left = [place for place in self._sources if place.partition == partition]
        for place in left:
            del self._sources[place]
            self._answers.ends.pop(place, None)
        if left and self._consumer is not None:
            self._consumer.assign(list(self._sources))

    def position(self, stream: Stream, partition: int) -> int:
        return self._sources[self._names.of(stream, partition)].position

    def ends(self, stream: Stream, partition: int) -> Ends:
        return self._answers.ends[self._names.of(stream, partition)]

    def read(self, stream: Stream, partition: int, bytes_limit: int) -> list[Record]:
        place = self._names.of(stream, partition)
        source = self._sources[place]
        if not source.buffer and self._consumer is not None:
            self._poll(self._consumer, 0)
        records = source.buffer.take(bytes_limit)
        if not records:
            return records
        source.position = records[-1].offset + 1 if source.buffer else source.fetched_to
        if source.is_paused and source.buffer.held_bytes <= self._share // 2 and self._consumer is not None:
            source.is_paused = False
            self._consumer.resume(place)
        return records

    def wait(self, seconds: float, places: Collection[tuple[Stream, int]] = ()) -> None:
        wanted = [self._names.of(*place) for place in places] or self._sources
        has_something = any(self._sources[place].buffer for place in wanted)
        self._poll(self._connected(), 0 if has_something else seconds)

    def close(self) -> None:
        self._sources.clear()
        self._disconnect()

    @property
    def held_bytes(self) -> int:
        """What is buffered takes so much memory, about."""
        return sum(source.buffer.held_bytes for source in self._sources.values())

    @property
    def _share(self) -> int:
        return self._buffered_bytes // max(len(self._sources), 1)

    def _connected(self) -> KafkaConsumer:
        """The consumer; a new one goes on where the last one was."""
        if self._consumer is None:
            consumer = self._connection.consumer(
                auto_offset_reset="none",
                fetch_max_wait_ms=FETCH_WAIT_MS,
                fetch_max_bytes=FETCH_BYTES,
                max_partition_fetch_bytes=PARTITION_FETCH_BYTES,
                max_poll_records=POLL_RECORDS,
            )
            self._answers.listen_to(consumer)
            consumer.assign(list(self._sources))
            for place, source in self._sources.items():
                consumer.seek(place, source.fetched_to)
                if source.is_paused:
                    consumer.pause(place)
            self._consumer = consumer
        return self._consumer

    def _disconnect(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            consumer.close()

    def _poll(self, consumer: KafkaConsumer, seconds: float) -> None:
        """Takes over what was fetched. Raises `LogError`."""
        _let_go_of_what_is_empty(consumer)
        try:
            for place, received in consumer.poll(timeout_ms=int(seconds * 1000)).items():
                source = self._sources[place]
                source.fetched_to = received[-1].offset + 1
                source.buffer.add(records_of(received))
            self._move_on(consumer)
        except OffsetOutOfRangeError as error:
            for place in error.args[0]:
                self._go_on_from_the_oldest(consumer, place)
        except LogTruncationError as error:
            place = next(iter(error.divergent_offsets))
            raise _cut_short(place, self._sources[place].fetched_to, self._answers.ends[place].appended) from error
        except KafkaError as error:
            self._disconnect()
            raise LogError(f"reading from {self._connection} failed: {reason_and_remedy(error)}") from error
        self._silence.observe(self._answers.count, expects=any(not source.is_paused for source in self._sources.values()))

    def _move_on(self, consumer: KafkaConsumer) -> None:
        for place, source in self._sources.items():
            if source.fetched_to < self._answers.ends[place].readable:
                source.fetched_to = max(source.fetched_to, consumer.position(place, timeout_ms=0))
            if not source.buffer:
                source.position = source.fetched_to
            elif not source.is_paused and source.buffer.held_bytes >= self._share:
                source.is_paused = True
                consumer.pause(place)

    def _go_on_from_the_oldest(self, consumer: KafkaConsumer, place: TopicPartition) -> None:
        source = self._sources[place]
        begin, end = _bounds(consumer, place)
        if source.fetched_to > end:
            raise _cut_short(place, source.fetched_to, end)
        if source.fetched_to < begin:
            _warn_of_removed(place, source.fetched_to, begin)
        source.fetched_to = max(source.fetched_to, begin)
        consumer.seek(place, source.fetched_to)


class _Silence:
    """Says once that no broker answers, and once that one does again."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._answers = 0
        self._since: float | None = None
        self._is_told = False

    def observe(self, answers: int, *, expects: bool) -> None:
        now = time.monotonic()
        if answers != self._answers or not expects:
            if self._is_told and self._since is not None:
                _logger.info("Kafka answers again", seconds=round(now - self._since, 1))
            self._answers, self._since, self._is_told = answers, None, False
        elif self._since is None:
            self._since = now
        elif now - self._since > self._seconds and not self._is_told:
            self._is_told = True
            _logger.warning("no answer from Kafka: nothing is read until there is one", seconds=round(now - self._since, 1))


def _let_go_of_what_is_empty(consumer: KafkaConsumer) -> None:
    """Lets the client hand over what it fetched of a partition that was paused meanwhile and is resumed now.

    kafka-python 3.0.12 does so only while it has no records in hand, and takes used-up ones for some: of two partitions that were paused
    with records in hand one is never read again (`Fetcher.fetched_records` asks `is None` of what is only false).
    """
    fetcher = consumer._fetcher
    if not fetcher._next_partition_records:
        fetcher._next_partition_records = None


def _bounds(consumer: KafkaConsumer, place: TopicPartition) -> tuple[int, int]:
    """Where the partition begins, and up to where it can be read."""
    with explained(f"looking up where {place.topic}-{place.partition} begins and ends"):
        begin = consumer.beginning_offsets([place], timeout_ms=LOOKUP_MS)[place]
        end = consumer.end_offsets([place], timeout_ms=LOOKUP_MS)[place]
    return int(begin), int(end)


def _cut_short(place: TopicPartition, offset: int, end: int) -> LogDamaged:
    return LogDamaged(
        f"{place.topic}-{place.partition} ends at the offset {end}, but was read up to {offset} before: records are gone, by an unclean "
        "leader election, or the topic was deleted and made anew. Restore the topic, or start with a new log.topic_prefix"
    )


def _warn_of_removed(place: TopicPartition, offset: int, begin: int) -> None:
    _logger.warning(
        "records were removed before they were read; raise the topic's retention above the longest outage",
        topic=place.topic,
        partition=place.partition,
        records=begin - offset,
        read_up_to=offset,
        oldest=begin,
    )
