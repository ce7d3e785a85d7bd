"""The spool's folder, shared by all server processes of a machine: what they keep there stays below one limit, taken together."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from monitor.errors import LogFull

SEGMENT_BYTES: Final = 8 * 1024 * 1024
"""What a segment grows to. The space of those that were sent comes back by whole segments."""
_SEGMENTS: Final = 64
"""A limit below 512 MB still has room for so many, so that some for each process and stream fit."""
_SMALLEST: Final = 4_096
SUFFIX: Final = ".seg"


class Disk:
    """Admits segments. A segment that may still grow counts with its full size, so that the limit holds whoever writes meanwhile."""

    def __init__(self, root: Path, bytes_limit: int) -> None:
        self.root = root
        self.bytes_limit = bytes_limit
        self.segment_bytes = max(_SMALLEST, min(SEGMENT_BYTES, bytes_limit // _SEGMENTS))

    def create(self, path: Path, bytes_wanted: int) -> int:
        """The descriptor of a new segment, to which so much may be appended, or a segment's size. Raises `LogFull`, `OSError`."""
        with self._locked():
            used = self._used()
            wanted = max(bytes_wanted, self.segment_bytes)
            if used + wanted > self.bytes_limit:
                raise LogFull(
                    f"{self.root} has {used} bytes of at most {self.bytes_limit}: nothing more is kept there until the log takes some of "
                    "it. Raise serving.spool.max_bytes for a longer outage"
                )
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)
            sync_folder(path.parent)
            return descriptor

    def _used(self) -> int:
        used = 0
        for folder in self.root.glob("*/*/"):
            sizes = [_size(path) for path in sorted(folder.glob(f"*{SUFFIX}"))]
            if sizes:
                used += sum(sizes[:-1]) + max(sizes[-1], self.segment_bytes)
        return used

    @contextmanager
    def _locked(self) -> Iterator[None]:
        descriptor = os.open(self.root / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Durably, with those above it, for this user alone. Raises `OSError`."""
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    for place in reversed(missing):
        place.mkdir(mode=0o700, exist_ok=True)
        sync_folder(place.parent)


def sync_folder(folder: Path) -> None:
    """Makes the names in it durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # its process has sent it
        return 0
