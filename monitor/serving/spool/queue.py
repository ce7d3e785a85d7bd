"""Parcels of one stream in one folder, first in, first out: segments, and a note of what of the oldest one was sent."""

import errno
import os
import struct
import threading
import zlib
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import structlog

from monitor.clock import Clock, Milliseconds
from monitor.errors import LogError
from monitor.serving.parcels import Parcel
from monitor.serving.spool.disk import SUFFIX, Disk, make_folder
from monitor.serving.spool.frames import framed
from monitor.serving.spool.segment import Segment

_logger = structlog.get_logger(__name__)

_SENT: Final = struct.Struct("<QQ")
_CHECK: Final = struct.Struct("<I")
_LOST = (errno.EIO, errno.ENOENT, errno.ENODATA)
"""Errors of reading that another try does not cure."""


class Mark(NamedTuple):
    """Where a record ends, and when it was written."""

    queue: "DiskQueue"
    segment: int
    end: int
    written: Milliseconds


@dataclass(frozen=True, slots=True)
class Portion:
    """Parcels that are next to be sent, up to a mark. `damaged_rows` are those before it that cannot be read."""

    parcels: list[Parcel]
    mark: Mark
    rows: int
    damaged_rows: int


class DiskQueue:
    """Any thread appends and syncs, one reads and removes. Raises `LogError`, `LogFull` where the spool is full."""

    def __init__(self, folder: Path, disk: Disk, clock: Clock) -> None:
        self._folder = folder
        self._disk = disk
        self._clock = clock
        self._lock = threading.Lock()
        # Whoever waits for it finds, as a rule, that the one before has synced for all.
        self._syncing = threading.Lock()
        self._segments: deque[Segment] = deque()
        self._begin = 0
        self._last_removed: Milliseconds = 0
        self._next_number = 1
        self.rows = 0
        with self._explained():
            self._sent = self._find()

    @property
    def is_empty(self) -> bool:
        return not self._segments

    @property
    def bytes(self) -> int:
        with self._lock:
            return sum(segment.end for segment in self._segments) - self._begin

    @property
    def oldest(self) -> Milliseconds | None:
        """When the oldest record was written, or a little before."""
        with self._lock:
            return max(self._segments[0].first_written, self._last_removed) if self._segments else None

    def append(self, parcel: Parcel) -> Mark:
        """It survives this process now, and once it is synced, whatever happens."""
        now = self._clock.now()
        frame = framed(parcel, now)
        with self._explained(), self._lock:
            newest = self._newest_for(len(frame))
            newest.append(frame, parcel.rows, now)
            self.rows += parcel.rows
            return Mark(self, newest.number, newest.end, now)

    def probe(self) -> None:
        """Finds out whether anything could be appended. Raises `LogError`, `LogFull`."""
        path = self._folder / "probe"
        with self._explained(), self._lock:
            path.unlink(missing_ok=True)
            descriptor = self._disk.create(path, 1)
            try:
                os.write(descriptor, b"?")
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
                path.unlink()

    def sync(self, mark: Mark) -> None:
        """Returns when everything up to the mark is on the disk, or was sent already."""
        with self._explained(), self._syncing:
            with self._lock:
                segments = [segment for segment in self._segments if segment.number <= mark.segment]
                newest = self._segments[-1] if segments else None
            if not segments or segments[-1].number < mark.segment or segments[-1].synced >= mark.end:
                return
            for segment in segments:
                segment.sync()
                if segment is not newest:
                    segment.close()
            segments[-1].check_synced(mark.end)

    def read(self, bytes_limit: int) -> Portion | None:
        """What is next, which stays until it is removed; None where nothing is."""
        with self._lock:
            if not self._segments:
                return None
            segment, begin = self._segments[0], self._begin
        with self._explained():
            try:
                found = segment.read(begin, bytes_limit)
            except OSError as error:
                if error.errno not in _LOST:
                    raise
                place = {"file": str(segment.path), "offset": begin, "rows": segment.rows}
                _logger.error("a file of the spool cannot be read", reason=error.strerror, **place)  # noqa: TRY400  the reason is enough
                return Portion([], Mark(self, segment.number, segment.end, 0), 0, segment.rows)
        parcels, rows, damaged, written = [], 0, 0, 0
        for frame in found:
            if frame.parcel is None:
                place = {"file": str(segment.path), "offset": begin, "bytes": frame.end - begin, "rows": frame.rows}
                _logger.error("a record of the spool is damaged", **place)
                damaged += frame.rows
            else:
                parcels.append(frame.parcel)
                rows += frame.rows
            begin, written = frame.end, max(written, frame.written)
        return Portion(parcels, Mark(self, segment.number, begin, written), rows, damaged)

    def remove(self, mark: Mark, rows: int, damaged_rows: int = 0) -> int:
        """Lets go of everything up to the mark, which is in the oldest segment: so many rows were sent, so many were unreadable.

        How many are lost by that: with the last record of a segment also those whose very heads were unreadable show.
        """
        with self._syncing, self._lock:
            segment = self._segments[0]
            assert segment.number == mark.segment
            segment.rows -= rows + damaged_rows
            self._begin, self._last_removed = mark.end, mark.written
            self._note(mark)
            if mark.end >= segment.end:
                damaged_rows += segment.rows
                segment.close()
                self._segments.popleft()
                self._begin = 0
                self._remove_file(segment.path)
            self.rows -= rows + damaged_rows
            return damaged_rows

    def close(self) -> None:
        with self._syncing, self._lock:
            for segment in self._segments:
                segment.close()
            self._segments.clear()
            os.close(self._sent)

    def _find(self) -> int:
        """Takes in what another process left; the descriptor of the note."""
        make_folder(self._folder)
        note = self._folder / "sent"
        sent_number, sent_end = _noted(note.read_bytes() if note.exists() else b"")
        numbers = sorted(int(path.stem) for path in self._folder.glob(f"*{SUFFIX}") if path.stem.isdecimal())
        for number in numbers:
            begin = sent_end if number == sent_number else 0
            segment, torn = Segment.found(number, self._path(number), begin, is_newest=number == numbers[-1])
            if torn:
                _logger.warning("the torn end of the spool was cut off", file=str(segment.path), offset=segment.end, bytes=torn)
            if number < sent_number or segment.end <= begin:
                self._remove_file(segment.path)
                continue
            if not self._segments:
                self._begin = begin
            self._segments.append(segment)
            self.rows += segment.rows
        self._next_number = max([sent_number, *numbers]) + 1
        return os.open(note, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600)

    def _newest_for(self, size: int) -> Segment:
        if not self._segments or not self._segments[-1].takes(size, self._disk.segment_bytes):
            path = self._path(self._next_number)
            segment = Segment(self._next_number, path, self._disk.create(path, size))
            self._next_number += 1
            self._segments.append(segment)
        return self._segments[-1]

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:012d}{SUFFIX}"

    def _note(self, mark: Mark) -> None:
        """In place, since that takes no new space where the disk is full, and is cheap enough to do each time. Not synced: see the package.

        Where it fails, more is sent twice after a crash; nothing is lost.
        """
        noted = _SENT.pack(mark.segment, mark.end)
        try:
            os.pwrite(self._sent, noted + _CHECK.pack(zlib.crc32(noted)), 0)
        except OSError as error:
            _logger.warning("the spool cannot note what was sent", folder=str(self._folder), reason=error.strerror)

    def _remove_file(self, path: Path) -> None:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            _logger.warning("a file of the spool that was sent cannot be removed", file=str(path), reason=error.strerror)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise LogError(
                f"{error.filename or self._folder}: the spool cannot be used ({error.strerror}). It needs space on a disk that works, in a "
                "folder that this user may write: correct it, or choose another serving.spool.path"
            ) from error


def _noted(data: bytes) -> tuple[int, int]:
    """Segment and offset; zeros where the note is new or torn."""
    if len(data) < _SENT.size + _CHECK.size or zlib.crc32(data[: _SENT.size]) != _CHECK.unpack_from(data, _SENT.size)[0]:
        return 0, 0
    number, end = _SENT.unpack_from(data)
    return int(number), int(end)
