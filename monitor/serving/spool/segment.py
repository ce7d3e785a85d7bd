"""One file of records: appended to while it is a queue's newest, then only read, then removed."""

import errno
import os
from contextlib import suppress
from pathlib import Path

from monitor.clock import Milliseconds
from monitor.serving.spool.frames import Frame, frame_bytes, frames

HEAD_GLANCE = 64
"""Enough of a record to learn its length."""


class Segment:
    """`end` is where its last whole record ends, `rows` counts those not sent yet. The queue it belongs to keeps threads apart."""

    def __init__(self, number: int, path: Path, descriptor: int | None) -> None:
        self.number = number
        self.path = path
        self.end = 0
        self.rows = 0
        self.first_written: Milliseconds = 0
        self.synced = 0
        self._descriptor = descriptor
        self._is_spoilt = False

    @classmethod
    def found(cls, number: int, path: Path, begin: int, *, is_newest: bool) -> tuple["Segment", int]:
        """One that another process wrote, of which what lies before `begin` was sent; and the bytes of its torn end.

        That is cut off the newest one: what follows the last whole record was not acknowledged. Raises `OSError`.
        """
        segment = cls(number, path, None)
        data = path.read_bytes()[begin:]
        segment.end = begin + len(data)
        sound_end, torn_rows = begin, 0
        for frame in frames(data, begin, whole=True):
            segment.rows += frame.rows
            segment.first_written = segment.first_written or frame.written
            sound_end, torn_rows = (frame.end, 0) if frame.parcel is not None else (sound_end, torn_rows + frame.rows)
        torn = segment.end - sound_end if is_newest else 0
        if torn:
            segment.end = sound_end
            segment.rows -= torn_rows
            with suppress(OSError):  # where the file must not be written it is not appended to either
                os.truncate(path, sound_end)
        segment.synced = segment.end
        return segment, torn

    def takes(self, size: int, bytes_limit: int) -> bool:
        """Whether a record of that size may follow."""
        return self._descriptor is not None and not self._is_spoilt and (not self.end or self.end + size <= bytes_limit)

    def append(self, frame: bytes, rows: int, now: Milliseconds) -> None:
        """Raises `OSError`; what was written of the record is cut off again then."""
        assert self._descriptor is not None
        written = 0
        try:
            while written < len(frame):
                written += os.write(self._descriptor, memoryview(frame)[written:])
        except OSError:
            try:
                os.ftruncate(self._descriptor, self.end)
            except OSError:
                self._is_spoilt = True
            raise
        self.end += len(frame)
        self.rows += rows
        self.first_written = self.first_written or now

    def sync(self) -> None:
        """Raises `OSError`. Then nobody knows what is on the disk, and a second try would not tell: nothing is appended to it again."""
        if self._descriptor is None or self.synced == self.end:
            return
        covers = self.end
        try:
            os.fsync(self._descriptor)
        except OSError:
            self.close()
            raise
        self.synced = covers

    def check_synced(self, end: int) -> None:
        """Raises `OSError` where what lies before `end` is not on the disk."""
        if self.synced < end:
            raise OSError(errno.EIO, "could not be synced", str(self.path))

    def read(self, begin: int, bytes_limit: int) -> list[Frame]:
        """Records from `begin` on, at least one if there is one, then as many as fit the limit. Raises `OSError`."""
        with self.path.open("rb") as file:
            file.seek(begin)
            rest = self.end - begin
            data = file.read(min(rest, max(bytes_limit, HEAD_GLANCE)))
            found = list(frames(data, begin, whole=len(data) == rest))
            if not found and data:
                data += file.read(min(rest, frame_bytes(data) or rest) - len(data))
                found = list(frames(data, begin, whole=len(data) == rest))
            if not found and data:  # a head that says a wrong length, or none
                data += file.read(rest - len(data))
                found = list(frames(data, begin, whole=True))
        return found

    def close(self) -> None:
        """No more is appended."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
