"""Records that were fetched and not yet read, with the memory that they take."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from monitor.log import Record

RECORD_BYTES: Final = 300
"""What a small record takes beside its value (measured: an object, two integers, the header of its bytes)."""


def _size(records: Iterable[Record]) -> int:
    return sum([len(record.value) for record in records])


@dataclass(slots=True)
class _Chunk:
    records: list[Record]
    value_bytes: int

    def take(self, bytes_limit: int, at_least: int) -> list[Record]:
        """Removes as many of the first ones as fit."""
        count = size = 0
        for record in self.records:
            size += len(record.value)
            if size > bytes_limit and count >= at_least:
                break
            count += 1
        taken = self.records[:count]
        del self.records[:count]
        self.value_bytes -= _size(taken)
        return taken


class Buffer:
    """Keeps fetched records in the lists they came in, so that those which are read whole cost nothing each."""

    def __init__(self) -> None:
        self._chunks: deque[_Chunk] = deque()
        self._count = 0
        self.value_bytes = 0

    def __bool__(self) -> bool:
        return self._count > 0

    @property
    def held_bytes(self) -> int:
        """Of memory, about."""
        return self.value_bytes + RECORD_BYTES * self._count

    def add(self, records: list[Record]) -> None:
        chunk = _Chunk(records, _size(records))
        self._chunks.append(chunk)
        self._count += len(records)
        self.value_bytes += chunk.value_bytes

    def take(self, bytes_limit: int) -> list[Record]:
        """At least one if there is one, then as many as fit the limit."""
        taken: list[Record] = []
        size = 0
        while self._chunks:
            chunk = self._chunks[0]
            before = chunk.value_bytes
            whole = size + before <= bytes_limit
            part = chunk.records if whole else chunk.take(bytes_limit - size, at_least=0 if taken else 1)
            size += before if whole else before - chunk.value_bytes
            taken = taken + part if taken else part
            if not whole and chunk.records:
                break
            self._chunks.popleft()
        self._count -= len(taken)
        self.value_bytes -= size
        return taken

    def clear(self) -> None:
        self._chunks.clear()
        self._count = self.value_bytes = 0
