"""Commits as transactions of a producer in a thread of its own: its calls may wait for a broker without end, the worker never does.

A transaction that was not seen to end is in doubt: its producer is given up, and the next one, of the same id, ends what it left behind.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotInTime
from queue import SimpleQueue
from threading import Thread
from typing import Any, Final

from kafka import KafkaProducer, OffsetAndMetadata, TopicPartition
from kafka.errors import (
    CommitFailedError,
    FencedInstanceIdError,
    IllegalGenerationError,
    InvalidProducerEpochError,
    KafkaError,
    ProducerFencedError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)
from kafka.structs import ConsumerGroupMetadata

from monitor.clock import Milliseconds
from monitor.errors import LogAway, LogError, Reassigned
from monitor.events import Stream
from monitor.log import Commit
from monitor.log.dead_letters import to_message
from monitor.log.kafka.connection import Connection, close_at_once, explained
from monitor.log.kafka.names import Names
from monitor.log.kafka.pane_view import STATE_KEY, Mark, commit_header
from monitor.log.kafka.records import headers_of, timestamp_of

IN_FLIGHT_BYTES: Final = 16 * 2**20
"""Sent and not yet acknowledged: the client itself has no bound."""
REQUEST_BYTES: Final = 20 * 2**20
BATCH_BYTES: Final = 2**20
GROUP_BYTES: Final = (2**20, 64 * 2**20)
"""The least and the most that goes into one transaction; a partition's commit is never split."""
START_SECONDS: Final = 15.0
"""A cluster that has just lost a broker needs some to find out who coordinates the transactions now."""
_STALE: Final = (CommitFailedError, FencedInstanceIdError, IllegalGenerationError, RebalanceInProgressError, UnknownMemberIdError)


class InDoubt(LogError):
    """A transaction whose end was not seen: it may be durable, or never will be."""


class Overtaken(InDoubt):
    """Another producer of the same id has begun: one of ours that was given up and was late, or that of another replica of this name."""


class Replaced(Reassigned):
    """The group has another member under this instance id: this one itself, come back as a new one, or another replica of this name."""


class Transactions:
    """Makes commits durable under one transactional id. One thread drives it.

    Several commits share a transaction as far as it is likely to end within half of `timeout_ms`, going by the ones before.
    """

    def __init__(self, connection: Connection, names: Names, transactional_id: str, timeout_ms: Milliseconds, log_identity: str) -> None:
        self._connection = connection
        self._names = names
        self._transactional_id = transactional_id
        self._timeout_seconds = timeout_ms / 1_000
        self._log_identity = log_identity
        self._producer: KafkaProducer | None = None
        self._thread: _ProducerThread | None = None
        self._group_bytes = GROUP_BYTES[1] // 8

    def open(self) -> None:
        """Makes a producer where there is none, which ends whatever transaction the former one left. Raises `LogError`."""
        if self._producer is not None:
            return
        thread = self._thread = _ProducerThread()
        doing = f"starting transactions of {self._transactional_id}"
        try:
            with explained(doing):
                self._producer = thread.run(lambda: self._started(thread)).result(START_SECONDS)
        except NotInTime as error:
            raise LogAway(f"{doing} did not end within {START_SECONDS:.0f} s: see whether the brokers are up; it is tried again") from error
        finally:
            if self._producer is None:
                self._give_up()

    def _started(self, thread: "_ProducerThread") -> KafkaProducer:
        producer = self._connection.producer(
            transactional_id=self._transactional_id,
            transaction_timeout_ms=int(self._timeout_seconds * 1_000),
            max_request_size=REQUEST_BYTES,
            batch_size=BATCH_BYTES,
            compression_type="zstd",  # to a quarter, for .4 % of a core (tests/bench/kafka_commit)
            linger_ms=5,
            max_block_ms=int(START_SECONDS * 1_000),
        )
        is_wanted = False
        try:
            producer.init_transactions()
            is_wanted = not thread.is_ended
        finally:
            if not is_wanted:  # it failed, or nobody waits for it any more
                close_at_once(producer)
        return producer

    def groups(self, commits: Sequence[Commit]) -> Iterator[list[Commit]]:
        """The commits cut into what one transaction is to take."""
        group: list[Commit] = []
        size = 0
        for commit in commits:
            own = _size(commit)
            if group and size + own > self._group_bytes:
                yield group
                group, size = [], 0
            group.append(commit)
            size += own
        if group:
            yield group

    def commit(self, commits: Sequence[Commit], marks: Sequence[Mark], metadata: ConsumerGroupMetadata) -> None:
        """One transaction over all of them. Raises `Reassigned`, where it was refused, or `InDoubt`."""
        self.open()
        began = time.monotonic()
        producer, thread = self._producer, self._thread
        assert producer is not None
        assert thread is not None
        doing = f"the commit of {self._transactional_id}"
        try:
            with explained(doing):
                thread.run(lambda: self._transact(producer, commits, marks, metadata)).result(self._timeout_seconds)
        except NotInTime as error:
            self._give_up()
            raise InDoubt(f"{doing} did not end within {self._timeout_seconds:.0f} s; it is looked into") from error
        except LogError as error:
            raise self._judged(error, producer) from error.__cause__
        except Exception:
            self._abort()  # not the broker: what was to be sent could not be told
            raise
        elapsed = time.monotonic() - began
        # As much as took a quarter of the time limit by this rate: half is what it may take, and the next may be slower.
        rate = sum(map(_size, commits)) / max(elapsed, 0.001)
        self._group_bytes = min(max(int(rate * self._timeout_seconds / 4), GROUP_BYTES[0]), GROUP_BYTES[1])

    def _transact(self, producer: KafkaProducer, commits: Sequence[Commit], marks: Sequence[Mark], metadata: ConsumerGroupMetadata) -> None:
        producer.begin_transaction()
        offsets: dict[TopicPartition, OffsetAndMetadata] = {}
        in_flight = _InFlight()
        for commit, mark in zip(commits, marks, strict=True):
            partition = commit.partition
            for key, value in commit.panes.items():
                in_flight.add(producer.send(self._names.panes, value or None, key, partition=partition), len(key) + len(value))
            for letter in commit.dead_letters:
                message = to_message(partition, letter)
                topic, when = self._names.topic(Stream.DEAD_LETTERS), timestamp_of(message)
                in_flight.add(producer.send(topic, message.value, None, headers_of(message), partition, when), len(message.value))
            headers = [commit_header(commit, mark, self._log_identity, self._names.group_id)]
            sent = producer.send(self._names.panes, commit.state, STATE_KEY, headers, partition)
            in_flight.add(sent, len(commit.state))
            offsets |= {self._names.of(stream, partition): OffsetAndMetadata(offset, "", -1) for stream, offset in commit.offsets.items()}
        in_flight.settle()
        producer.send_offsets_to_transaction(offsets, metadata)
        producer.commit_transaction()

    def _judged(self, error: LogError, producer: KafkaProducer) -> LogError:
        """What a failure means for the transaction, which is aborted, or left for the next producer to end."""
        cause = error.__cause__
        if type(cause) is KafkaError:  # it only says that something failed before
            cause = producer._transaction_manager.last_error or cause
        if isinstance(cause, _STALE):
            self._abort()
            found = Replaced if isinstance(cause, FencedInstanceIdError) else Reassigned
            return found(f"the partitions are being given out anew ({type(cause).__name__})")
        self._give_up()
        return Overtaken(str(error)) if isinstance(cause, ProducerFencedError | InvalidProducerEpochError) else InDoubt(str(error))

    def _abort(self) -> None:
        """Ends the transaction; where that does not work, the next producer does it."""
        assert self._thread is not None
        assert self._producer is not None
        try:
            self._thread.run(self._producer.abort_transaction).result(self._timeout_seconds)
        except (KafkaError, NotInTime):
            self._give_up()

    def _give_up(self) -> None:
        """Lets the producer go without waiting for it."""
        producer, thread = self._producer, self._thread
        self._producer = self._thread = None
        if thread is not None:
            thread.end()
        if producer is not None:
            close_at_once(producer)

    def close(self) -> None:
        self._give_up()


class _ProducerThread:
    """Runs one step after another. One that never ends keeps neither its caller nor the process, unlike those of `concurrent.futures`."""

    def __init__(self) -> None:
        self.is_ended = False
        self._steps: SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = SimpleQueue()
        Thread(target=self._loop, name="commits", daemon=True).start()

    def run(self, step: Callable[[], Any]) -> Future[Any]:
        future: Future[Any] = Future()
        self._steps.put((step, future))
        return future

    def end(self) -> None:
        """After the step that is under way."""
        self.is_ended = True
        self._steps.put(None)

    def _loop(self) -> None:
        while (item := self._steps.get()) is not None:
            step, future = item
            try:
                future.set_result(step())
            except BaseException as error:  # noqa: BLE001  # it is the caller's, whatever it is
                future.set_exception(error)


class _InFlight:
    """What is sent and not acknowledged, bounded: `add` waits where there is too much."""

    def __init__(self) -> None:
        self._futures: list[Any] = []
        self._bytes = 0

    def add(self, future: Any, size: int) -> None:  # noqa: ANN401  # the client's
        self._futures.append(future)
        self._bytes += size
        if self._bytes > IN_FLIGHT_BYTES:
            self.settle()

    def settle(self) -> None:
        """Waits for all of them. Raises the first error."""
        for future in self._futures:
            future.get()
        self._futures, self._bytes = [], 0


def _size(commit: Commit) -> int:
    return commit.panes_bytes + sum(len(letter.value) for letter in commit.dead_letters)
