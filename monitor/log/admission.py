"""What every log checks before it takes messages: the stream, the partition, the size and the future."""

from collections.abc import Sequence

from monitor.clock import Milliseconds
from monitor.errors import FutureTimestamp, LogError
from monitor.events import Stream
from monitor.log import Message

FUTURE_LIMIT_MS = 3_600_000
"""How far ahead of the clock a timestamp may lie: Kafka's default for `message.timestamp.after.max.ms`."""

VALUE_BYTES_LIMIT = 512 * 1024 * 1024
"""Half of what SQLite can hold in a row; nothing that the codecs make comes near."""

_TIMESTAMP_MIN = -(2**63)


def check_partition(partition: int, partitions: int) -> None:
    """Raises `LogError` for a partition that the log does not have."""
    if not 0 <= partition < partitions:
        raise LogError(f"partition {partition} does not exist: this log has the partitions 0 to {partitions - 1}")


def check_messages(stream: Stream, messages: Sequence[Message], partitions: int, now: Milliseconds) -> None:
    """Raises `LogError` or `FutureTimestamp` for the first message that must not be appended; `now` is the log's clock."""
    if stream is Stream.DEAD_LETTERS:
        raise LogError(f"{stream} cannot be appended to: a worker's commit writes them")
    latest = now + FUTURE_LIMIT_MS
    for position, message in enumerate(messages):
        if not 0 <= message.partition < partitions:
            check_partition(message.partition, partitions)
        if message.timestamp > latest:
            raise FutureTimestamp(
                f"{stream}-{message.partition}: message {position} of {len(messages)} has the timestamp {message.timestamp}, "
                f"{(message.timestamp - now) / 1000:.0f} s ahead of the clock ({now}); at most {FUTURE_LIMIT_MS // 1000} s is accepted. "
                "Correct the sender's clock or the event's arrival"
            )
        if message.timestamp < _TIMESTAMP_MIN or len(message.value) > VALUE_BYTES_LIMIT:
            raise LogError(
                f"{stream}-{message.partition}: message {position} of {len(messages)} has the timestamp {message.timestamp} and "
                f"{len(message.value)} bytes; expected a 64-bit timestamp and at most {VALUE_BYTES_LIMIT} bytes"
            )
