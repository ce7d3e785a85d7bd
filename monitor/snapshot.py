"""The join table on disk: whole files, written beside the worker's commits, so that a restart need not replay a horizon of logs.

A snapshot is never the truth; it only shortens the way back to the committed offsets. Whatever is wrong with one, the next older is
used, and without any the logs are read again. So a file is used only if every byte is as it was written, under the same rules.

File: a line of JSON (format, version, partition, offsets, watermarks, sizes, rules), the table's bytes, and the CRC-32 of both.
"""

import json
import mmap
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Final

from monitor.errors import SnapshotError
from monitor.events import Stream
from monitor.join import JoinTable
from monitor.whole_files import write_whole

FORMAT: Final = "model-monitor join snapshot"
VERSION: Final = 1
KEPT: Final = 2
"""The older one is for the day when the newer turns out to be damaged."""

HEADER_LIMIT: Final = 1 << 16
CHECKSUM_BYTES: Final = 4
"""CRC-32 runs at 3 GB/s here and BLAKE2b at 1.3; it has to find accidents, not forgery."""

STREAMS: Final = (Stream.PREDICTIONS, Stream.LABELS)


class SnapshotStore:
    """The snapshots of any number of partitions in one directory, which is made when first needed.

    One process writes a partition's files at a time: its owner. `on_skip` is told of each file that was passed over, and why.
    """

    def __init__(self, directory: Path, on_skip: Callable[[Path, str], None]) -> None:
        self._directory = directory
        self._on_skip = on_skip

    def write(self, partition: int, offsets: Mapping[Stream, int], table: JoinTable, rules_digest: str) -> Path:
        """Saves the table as of `offsets`, then removes all but the `KEPT` newest files of the partition.

        The file appears whole or not at all. `rules_digest` stands for what the caller's codes mean (names of models, classes,
        segments). Raises `SnapshotError` if it cannot be written; nothing is lost by that, and the worker goes on.
        """
        header = {
            "format": FORMAT,
            "version": VERSION,
            "partition": partition,
            "offsets": {stream: offsets[stream] for stream in STREAMS},
            "watermarks": {stream: table.watermark(stream) for stream in STREAMS},
            "predictions": table.predictions_held,
            "labels": table.labels_held,
            "rules": _rules(rules_digest, table),
        }
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            existing = self._files(partition)
            sequence = existing[0][0] + 1 if existing else 1
            path = self._directory / f"partition-{partition}-{sequence:010}.join"
            pieces = chain((json.dumps(header).encode() + b"\n",), table.to_chunks())
            write_whole(path, path.with_suffix(".unfinished"), _with_checksum(pieces))
            for _, old in existing[KEPT - 1 :]:
                old.unlink(missing_ok=True)
        except OSError as error:
            raise SnapshotError(
                f"cannot write a snapshot of partition {partition} to {self._directory}: {error.strerror or error}; make room or correct "
                "the directory (until then a restart goes back to an older snapshot, or reads the logs again)"
            ) from error
        return path

    def newest(
        self, partition: int, at_most: Mapping[Stream, int], rules_digest: str, empty: Callable[[], JoinTable]
    ) -> tuple[Mapping[Stream, int], JoinTable] | None:
        """The newest usable snapshot at or below the offsets `at_most`: its offsets, and what `empty` makes, filled from it.

        A file is checked to its last byte before any of it is loaded.
        """
        try:
            files = self._files(partition)
        except OSError as error:
            self._on_skip(self._directory, error.strerror or str(error))
            return None
        for _, path in files:
            table = empty()
            try:
                offsets, payload = _checked(path, partition, at_most, _rules(rules_digest, table))
                table.load(payload)
            except (SnapshotError, OSError) as error:
                self._on_skip(path, str(error))
            else:
                return offsets, table
        return None

    def _files(self, partition: int) -> list[tuple[int, Path]]:
        """Sequence numbers and paths, newest first. Offsets would not do for an order: a log that was emptied starts over at 0."""
        pattern = re.compile(rf"partition-{partition}-(\d+)\.join")
        with suppress(FileNotFoundError):
            matches = ((pattern.fullmatch(path.name), path) for path in self._directory.iterdir())
            return sorted(((int(match[1]), path) for match, path in matches if match), reverse=True)
        return []


def _rules(rules_digest: str, table: JoinTable) -> str:
    return f"{rules_digest}/{table.rules_digest}"


def _with_checksum(pieces: Iterable[bytes]) -> Iterator[bytes]:
    checksum = 0
    for piece in pieces:
        checksum = zlib.crc32(piece, checksum)
        yield piece
    yield checksum.to_bytes(CHECKSUM_BYTES, "little")


def _checked(path: Path, partition: int, at_most: Mapping[Stream, int], rules: str) -> tuple[Mapping[Stream, int], memoryview]:
    """A file's offsets and the bytes of its table. Raises `SnapshotError` with the reason why it cannot be used here."""
    with path.open("rb") as file:
        line = file.readline(HEADER_LIMIT)
        try:
            header = json.loads(line)
            if header["format"] != FORMAT or header["version"] != VERSION:
                raise SnapshotError(f"{path} is a {header['format']} of version {header['version']}, this program reads version {VERSION}")
            offsets = {stream: int(header["offsets"][stream]) for stream in STREAMS}
            owner, written_under = header["partition"], header["rules"]
        except (ValueError, TypeError, KeyError) as error:
            raise SnapshotError(f"{path} does not begin with the header of a join snapshot ({type(error).__name__}: {error})") from error
        if owner != partition:
            raise SnapshotError(f"{path} holds partition {owner}, not {partition}: it was renamed or copied")
        if written_under != rules:
            raise SnapshotError(f"{path} was written under other models, classes or join rules; the logs are read again instead")
        ahead = [f"{stream} {offsets[stream]} > {at_most[stream]}" for stream in STREAMS if offsets[stream] > at_most[stream]]
        if ahead:
            raise SnapshotError(f"{path} is ahead of what was committed ({', '.join(ahead)})")
        content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    if zlib.crc32(content[:-CHECKSUM_BYTES]) != int.from_bytes(content[-CHECKSUM_BYTES:], "little"):
        raise SnapshotError(f"{path} is corrupt: its checksum is not that of its bytes, so it was cut short or altered")
    return offsets, content[len(line) : -CHECKSUM_BYTES]
