"""Records in the embedded log's tables: appended to, read from, searched by time and removed from a slot.

A *slot* is one partition of one stream. Everything here works inside the caller's transaction.
"""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from monitor.clock import Milliseconds
from monitor.events import Stream
from monitor.log import TIME_MARK, Message, Record
from monitor.log.admission import check_partition

OFFSET_BITS = 40
_STREAMS = (Stream.PREDICTIONS, Stream.LABELS, Stream.DEAD_LETTERS)
_NO_HEADERS: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the partitions of each stream stand among the slots. The order is part of the file's format."""

    partitions: int

    def slot(self, stream: Stream, partition: int) -> int:
        """Raises `LogError` for a partition that the log does not have."""
        check_partition(partition, self.partitions)
        return _STREAMS.index(stream) * self.partitions + partition

    def slots(self) -> list[tuple[Stream, int]]:
        """Stream and slot of every partition."""
        return [(stream, self.slot(stream, partition)) for stream in _STREAMS for partition in range(self.partitions)]


@dataclass(slots=True)
class Slot:
    """A slot's row: its next offset, the committed one, the greatest timestamp with and without time marks, and the bytes it holds."""

    number: int
    next_offset: int = 0
    committed: int = 0
    running_max: Milliseconds | None = None
    newest: Milliseconds | None = None
    stored_bytes: int = 0

    @classmethod
    def load(cls, sql: sqlite3.Connection, number: int) -> "Slot":
        row = sql.execute(
            "SELECT next_offset, committed, running_max, newest, stored_bytes FROM slots WHERE slot = ?", (number,)
        ).fetchone()
        return cls(number, *row) if row else cls(number)

    def save(self, sql: sqlite3.Connection) -> None:
        sql.execute(
            "REPLACE INTO slots VALUES (?, ?, ?, ?, ?, ?)",
            (self.number, self.next_offset, self.committed, self.running_max, self.newest, self.stored_bytes),
        )


def position(slot: int, offset: int) -> int:
    """The row's key: offsets beyond either end of the slot's range mean its ends."""
    return slot << OFFSET_BITS | min(max(offset, 0), (1 << OFFSET_BITS) - 1)


def offset_of(row_position: int) -> int:
    return row_position & ((1 << OFFSET_BITS) - 1)


def stored_size(messages: Sequence[Message]) -> int:
    """About what the messages will take in the file."""
    return sum(len(message.value) for message in messages) + 64 * len(messages)


def insert(sql: sqlite3.Connection, layout: Layout, stream: Stream, messages: Sequence[Message]) -> list[int]:
    """Appends the messages; their offsets."""
    slots: dict[int, Slot] = {}
    rows = []
    offsets = []
    for message in messages:
        slot = slots.get(message.partition)
        if slot is None:
            slot = slots[message.partition] = Slot.load(sql, layout.slot(stream, message.partition))
        timestamp = message.timestamp
        headers = json.dumps(dict(message.headers)) if message.headers else None
        if slot.running_max is None or timestamp > slot.running_max:
            slot.running_max = timestamp
        if message.content_type != TIME_MARK and (slot.newest is None or timestamp > slot.newest):
            slot.newest = timestamp
        rows.append((position(slot.number, slot.next_offset), timestamp, slot.running_max, message.content_type, headers, message.value))
        offsets.append(slot.next_offset)
        slot.next_offset += 1
        slot.stored_bytes += len(message.value)
    sql.executemany("INSERT INTO records VALUES (?, ?, ?, ?, ?, ?)", rows)
    for slot in slots.values():
        slot.save(sql)
    return offsets


def read(sql: sqlite3.Connection, slot: int, offset: int, bytes_limit: int) -> list[Record]:
    """Records from `offset` on: one if there is one, then as many as fit the limit."""
    records: list[Record] = []
    size = 0
    cursor = sql.execute(
        "SELECT position, timestamp, value, content_type, headers FROM records WHERE position BETWEEN ? AND ? ORDER BY position",
        (position(slot, offset), position(slot + 1, 0) - 1),
    )
    for row_position, timestamp, value, content_type, headers in cursor:
        size += len(value)
        if size > bytes_limit and records:
            break
        records.append(Record(offset_of(row_position), timestamp, value, content_type, json.loads(headers) if headers else _NO_HEADERS))
    cursor.close()  # ends the read transaction, which would keep the WAL from being reused
    return records


def begin_offset(sql: sqlite3.Connection, slot: int) -> int | None:
    """The offset of the oldest record; None where there is none."""
    (first,) = sql.execute(
        "SELECT min(position) FROM records WHERE position BETWEEN ? AND ?", (position(slot, 0), position(slot + 1, 0) - 1)
    ).fetchone()
    return None if first is None else offset_of(first)


def offset_for_time(sql: sqlite3.Connection, slot: Slot, timestamp: Milliseconds) -> int:
    """The first offset whose timestamp is at or after `timestamp`, else the next offset."""
    begin = begin_offset(sql, slot.number)
    low, high = (slot.next_offset if begin is None else begin), slot.next_offset
    while low < high:  # a running maximum never falls, so the first at or above the time is found by bisection
        middle = (low + high) // 2
        (running_max,) = sql.execute("SELECT running_max FROM records WHERE position = ?", (position(slot.number, middle),)).fetchone()
        if running_max >= timestamp:
            high = middle
        else:
            low = middle + 1
    # The maximum may be that of a record that retention removed: then the search ends at the oldest one, and a scan goes on from there.
    found = sql.execute(
        "SELECT position FROM records WHERE position >= ? AND position < ? AND timestamp >= ? LIMIT 1",
        (position(slot.number, low), position(slot.number, slot.next_offset), timestamp),
    ).fetchone()
    return offset_of(found[0]) if found else slot.next_offset


def remove_oldest(sql: sqlite3.Connection, slot: Slot, end: int, records_limit: int, bytes_wanted: int) -> int:
    """Removes the oldest records below offset `end`, until the limit or the bytes wanted are reached; how many went."""
    sizes = sql.execute(
        "SELECT position, length(value) FROM records WHERE position >= ? AND position < ? ORDER BY position LIMIT ?",
        (position(slot.number, 0), position(slot.number, end), records_limit),
    ).fetchall()
    count = freed = 0
    for _, size in sizes:
        if freed >= bytes_wanted:
            break
        count += 1
        freed += size
    if count:
        sql.execute("DELETE FROM records WHERE position BETWEEN ? AND ?", (sizes[0][0], sizes[count - 1][0]))
        slot.stored_bytes -= freed
        slot.save(sql)
    return count
