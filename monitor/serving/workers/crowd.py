"""How many connections each worker has, in memory that all of them share, so that the one with the fewest takes the next.

Left to the kernel, one of several idle workers is the first to wake again and again: of 32 connections it had 31.
"""

import mmap
import os
from pathlib import Path
from typing import Self

_NUMBER_BYTES = 4


class Crowd:
    """Worker `number` among the others. What the others have told may be a moment old."""

    def __init__(self, shared: mmap.mmap, number: int) -> None:
        self._counts = memoryview(shared).cast("i")
        self._number = number
        self.tell(0)

    @classmethod
    def shared(cls, path: Path, number: int, workers: int) -> Self:
        """The same for all who name the same file, which the first one makes."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.ftruncate(descriptor, workers * _NUMBER_BYTES)
            return cls(mmap.mmap(descriptor, workers * _NUMBER_BYTES), number)
        finally:
            os.close(descriptor)

    def tell(self, connections: int) -> None:
        """Tells the others how many this one has."""
        self._counts[self._number] = connections

    def another_has_fewer(self, connections: int) -> bool:
        """Than this one's, told now."""
        self.tell(connections)
        return min(self._counts) < connections
