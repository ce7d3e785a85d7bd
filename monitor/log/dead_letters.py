"""Dead letters as records of a stream of their own, so that every log stores, retains and reads them as it does all others.

What a `DeadLetter` says about its origin travels in the record's headers; the value is the original, untouched.
"""

import heapq
import json
from collections.abc import Callable, Iterable, Iterator

from monitor.events import Stream
from monitor.log import DeadLetter, Message, Record

READ_BYTES = 4 * 1024 * 1024

DEAD_LETTER_SHARE = 10
"""They may hold this part (a tenth) of a log's size limit, whatever else is there."""

Read = Callable[[Stream, int, int, int], list[Record]]
"""`Log.read`."""


def to_message(partition: int, letter: DeadLetter) -> Message:
    """The message that a commit appends to the partition's dead letters."""
    headers = {
        "stream": letter.stream.value,
        "offset": str(letter.offset),
        "outcome": letter.outcome,
        "reason": letter.reason,
        "rows": json.dumps(letter.rows),
    }
    return Message(partition, letter.timestamp, letter.value, letter.content_type, headers)


def from_record(record: Record) -> DeadLetter:
    """The inverse of `to_message`."""
    headers = record.headers
    return DeadLetter(
        stream=Stream(headers["stream"]),
        offset=int(headers["offset"]),
        timestamp=record.timestamp,
        content_type=record.content_type,
        outcome=headers["outcome"],
        reason=headers["reason"],
        rows=tuple(json.loads(headers["rows"])),
        value=record.value,
    )


def oldest_first(read: Read, partitions: Iterable[int]) -> Iterator[tuple[int, DeadLetter]]:
    """The dead letters of several partitions merged by timestamp; within a partition they keep the order of its offsets."""
    per_partition = [_of_partition(read, partition) for partition in partitions]
    return heapq.merge(*per_partition, key=lambda numbered: numbered[1].timestamp)


def _of_partition(read: Read, partition: int) -> Iterator[tuple[int, DeadLetter]]:
    offset = 0
    while records := read(Stream.DEAD_LETTERS, partition, offset, READ_BYTES):
        for record in records:
            yield partition, from_record(record)
        offset = records[-1].offset + 1
