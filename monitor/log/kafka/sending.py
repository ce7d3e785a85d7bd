"""Sending messages through one idempotent producer, many callers at once, with a bound on what is under way.

The client groups what callers send while a request is under way, but bounds neither memory nor the wait: both are bounded here.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final, Protocol

from kafka import KafkaProducer
from kafka.errors import (
    InvalidRecordError,
    InvalidTimestampError,
    KafkaError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    TopicAuthorizationFailedError,
)

from monitor.errors import FutureTimestamp, LogError, MessageRefused
from monitor.log import Message
from monitor.log.kafka.connection import REQUEST_TIMEOUT_MS, Connection, close_at_once, explained
from monitor.log.kafka.records import headers_of, timestamp_of
from monitor.log.kafka.shared import Shared
from monitor.log.kafka.turns import Turns

IN_FLIGHT_BYTES: Final = 32 * 1024 * 1024
REQUEST_BYTES: Final = 16 * 1024 * 1024
"""The largest message with its headers: what our topics accept (`max.message.bytes`)."""
BATCH_BYTES: Final = 512 * 1024
"""What messages of one partition are grouped up to: less than any broker takes by default."""
MESSAGE_BYTES: Final = 200
"""What a message takes beside its value and headers: on the wire and, about, in memory."""
TURN_S: Final = 10.0
METADATA_MS: Final = 5_000
ACKNOWLEDGED_S: Final = REQUEST_TIMEOUT_MS / 1000 + 5.0
"""The client itself gives up on a message after `REQUEST_TIMEOUT_MS`."""
CLOSE_S: Final = 1.0
"""What is under way when the log is closed gets this long: its senders have stopped waiting for it."""

REFUSALS: Final = (
    InvalidRecordError,
    InvalidTimestampError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    TopicAuthorizationFailedError,
)
"""Errors that the broker has with a message: it is not in the log."""


class _Metadata(Protocol):
    offset: int


class _Sent(Protocol):
    """What is used of the client's `FutureRecordMetadata`."""

    def get(self, timeout: float) -> _Metadata: ...


class Sender:
    """Raises `LogError`. Of a call that failed after it began, some messages may be in the log all the same."""

    def __init__(self, connection: Connection, check_partitions: Callable[[str, int], None]) -> None:
        self._connection = connection
        self._check_partitions = check_partitions
        self._producers = Shared(self._make, _close)
        self._turns = Turns(IN_FLIGHT_BYTES, TURN_S)

    def send(self, topic: str, messages: Sequence[Message]) -> list[int]:
        """The offsets, once all of them are durable."""
        sizes = [_size(message) for message in messages]
        for message, size in zip(messages, sizes, strict=True):
            if size > REQUEST_BYTES:
                raise LogError(f"{topic}-{message.partition}: a message of {size} bytes was refused; at most {REQUEST_BYTES} can be sent")
        offsets: list[int] = []
        for portion in _portions(sizes):
            with self._turns.taken(sum(sizes[portion])), self._producers.lent() as producer:
                offsets += self._sent(producer, topic, messages[portion])
        return offsets

    def close(self) -> None:
        # Left to users who wait for brokers that are away, it would be closed, loudly, as the process ends.
        self._producers.close(in_use=True)

    def _make(self) -> KafkaProducer:
        return self._connection.producer(
            batch_size=BATCH_BYTES,
            max_request_size=REQUEST_BYTES,
            max_block_ms=METADATA_MS,
            delivery_timeout_ms=REQUEST_TIMEOUT_MS,
        )

    def _sent(self, producer: KafkaProducer, topic: str, messages: Sequence[Message]) -> list[int]:
        try:
            with explained(f"sending to {topic}"):
                self._check_partitions(topic, len(producer.partitions_for(topic)))
                sent: list[_Sent] = [
                    producer.send(topic, message.value, None, headers_of(message), message.partition, timestamp_of(message))
                    for message in messages
                ]
        except LogError:
            self._producers.give_up(producer)  # it may have failed for good by what another caller sent
            raise
        offsets: list[int] = []
        failures: list[tuple[Message, KafkaError]] = []
        for message, one in zip(messages, sent, strict=True):
            try:
                offsets.append(one.get(timeout=ACKNOWLEDGED_S).offset)
            except KafkaError as error:
                failures.append((message, error))
        if failures:
            # To the client nearly every error is fatal for all that the producer sends from then on, a message too large for its topic too.
            self._producers.give_up(producer)
            message, reason = next((failure for failure in failures if isinstance(failure[1], REFUSALS)), failures[0])
            raise _explained(f"{topic}-{message.partition}", reason, len(failures), len(messages)) from reason
        return offsets


def _close(producer: KafkaProducer) -> None:
    close_at_once(producer, CLOSE_S)


def _size(message: Message) -> int:
    return MESSAGE_BYTES + len(message.value) + sum(len(name) + len(value) for name, value in message.headers.items()) * 4  # UTF-8 at most


def _portions(sizes: Sequence[int]) -> Iterator[slice]:
    """Runs of messages that fit the bound together."""
    start = taken = 0
    for position, size in enumerate(sizes):
        if position > start and taken + size > IN_FLIGHT_BYTES:
            yield slice(start, position)
            start, taken = position, 0
        taken += size
    if sizes:
        yield slice(start, len(sizes))


def _explained(place: str, error: KafkaError, failed: int, messages: int) -> LogError:
    which = f"{failed} of {messages} messages"
    if isinstance(error, InvalidTimestampError):
        return FutureTimestamp(f"{place}: the broker refused {which}: {error}. Set this machine's clock right, or the broker's")
    if isinstance(error, MessageSizeTooLargeError | RecordListTooLargeError):
        return MessageRefused(
            f"{place}: the broker refused {which} as too large. Raise the topic's max.message.bytes, or send less in each"
        )
    if isinstance(error, TopicAuthorizationFailedError):
        return LogError(f"{place}: this user must not write there. `model-monitor topics create --dry-run` prints the ACLs that are needed")
    if isinstance(error, REFUSALS):
        return LogError(f"{place}: the broker refused {which}: {error}")
    return LogError(f"{place}: {which} were not acknowledged ({error}); some may be in the log all the same")
