"""How the embedded log stays within its age and size: which records go, and in what order.

The oldest go first, and never one that a worker has not accounted for yet; dead letters are nobody's input, so that their end is the
limit. Everything here works inside the caller's transaction, a bounded number of records at a time.
"""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass

from monitor.clock import Milliseconds
from monitor.events import Stream
from monitor.log.dead_letters import DEAD_LETTER_SHARE
from monitor.log.embedded_records import Layout, Slot, begin_offset, offset_for_time, position, remove_oldest

RECORDS_A_STEP = 1000
BYTES_A_STEP = 32 * 1024 * 1024
"""Removing a large value reads all of its pages: a step is what a commit can bear."""

ROOM_SHARE = 64
"""A full log makes this much more room than the append needs, so that not every append has to."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a log may hold; None is no limit. Age counts in milliseconds from the newest record of each slot."""

    retention_ms: Milliseconds | None = None
    max_bytes: int | None = None


def used_bytes(sql: sqlite3.Connection) -> int:
    """What the file's pages hold; removed records leave free pages, which are written again before the file grows."""
    (pages,) = sql.execute("PRAGMA page_count").fetchone()
    (free,) = sql.execute("PRAGMA freelist_count").fetchone()
    (size,) = sql.execute("PRAGMA page_size").fetchone()
    return int((pages - free) * size)


def remove_expired(sql: sqlite3.Connection, stream: Stream, number: int, limits: Limits) -> int:
    """One step of removing the slot's records past the age limit; how many went."""
    slot = Slot.load(sql, number)
    if limits.retention_ms is None or slot.newest is None:
        return 0
    expired = offset_for_time(sql, slot, slot.newest - limits.retention_ms)
    return remove_oldest(sql, slot, min(expired, _removable_end(stream, slot)), RECORDS_A_STEP, BYTES_A_STEP)


def trim_dead_letters(sql: sqlite3.Connection, number: int, limits: Limits, partitions: int) -> int:
    """One step of holding a partition's dead letters to their part of the share; the newest stays however large. How many went."""
    if limits.max_bytes is None:
        return 0
    slot = Slot.load(sql, number)
    excess = slot.stored_bytes - limits.max_bytes // DEAD_LETTER_SHARE // partitions
    return remove_oldest(sql, slot, slot.next_offset - 1, RECORDS_A_STEP, excess) if excess > 0 else 0


def make_room(sql: sqlite3.Connection, layout: Layout, limits: Limits, needed: int) -> bool:
    """Removes the oldest removable records until `needed` more bytes fit the size limit; whether they do."""
    if limits.max_bytes is None or used_bytes(sql) + needed <= limits.max_bytes:
        return True
    for _ in _oldest_removed(sql, layout):
        if used_bytes(sql) + needed <= limits.max_bytes - limits.max_bytes // ROOM_SHARE:
            return True
    return used_bytes(sql) + needed <= limits.max_bytes


def shrink(sql: sqlite3.Connection, layout: Layout, limits: Limits) -> int:
    """One step of removing what is past the size limit; how many went."""
    if limits.max_bytes is None or used_bytes(sql) <= limits.max_bytes:
        return 0
    return next(_oldest_removed(sql, layout), 0)


def _oldest_removed(sql: sqlite3.Connection, layout: Layout) -> Iterator[int]:
    """Removes a small step of the slot whose oldest record is the oldest of all, as long as it is asked and there is one."""
    while True:
        heads = []
        for stream, number in layout.slots():
            slot = Slot.load(sql, number)
            begin = begin_offset(sql, number)
            if begin is not None and begin < _removable_end(stream, slot):
                (timestamp,) = sql.execute("SELECT timestamp FROM records WHERE position = ?", (position(number, begin),)).fetchone()
                heads.append((timestamp, number, stream, slot))
        if not heads:
            return
        _, _, stream, slot = min(heads, key=lambda head: head[:2])
        yield remove_oldest(sql, slot, _removable_end(stream, slot), RECORDS_A_STEP // 4, BYTES_A_STEP // 32)


def _removable_end(stream: Stream, slot: Slot) -> int:
    return slot.next_offset if stream is Stream.DEAD_LETTERS else min(slot.committed, slot.next_offset)
