"""The bytes of one snapshot: a line of JSON (format, version, partition, offsets, watermarks, sizes, rules), the table's bytes, and the
CRC-32 of both.
"""

import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Final, Self

from monitor.errors import SnapshotError
from monitor.events import SOURCES, Stream
from monitor.join import JoinTable

FORMAT: Final = "model-monitor join snapshot"
VERSION: Final = 1

HEADER_LIMIT: Final = 1 << 16
CHECKSUM_BYTES: Final = 4
"""CRC-32 runs at 3 GB/s here and BLAKE2b at 1.3; it has to find accidents, not forgery."""


def file_of(partition: int, offsets: Mapping[Stream, int], rules: str, table: JoinTable) -> Iterator[bytes]:
    """The file in pieces of a few megabytes; nothing may be added to the table meanwhile."""
    header = {
        "format": FORMAT,
        "version": VERSION,
        "partition": partition,
        "offsets": {stream: offsets[stream] for stream in SOURCES},
        "watermarks": {stream: table.watermark(stream) for stream in SOURCES},
        "predictions": table.predictions_held,
        "labels": table.labels_held,
        "rules": rules,
    }
    checksum = 0
    for piece in chain((json.dumps(header).encode() + b"\n",), table.to_chunks()):
        checksum = zlib.crc32(piece, checksum)
        yield piece
    yield checksum.to_bytes(CHECKSUM_BYTES, "little")


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of itself before anything else of it is read."""

    partition: int
    offsets: Mapping[Stream, int]
    rules: str
    size: int
    """Bytes up to where the table begins."""

    @classmethod
    def of(cls, beginning: memoryview) -> Self:
        """Reads it off the first `HEADER_LIMIT` bytes. Raises `SnapshotError` where they are not those of a snapshot."""
        line, newline, _ = bytes(beginning).partition(b"\n")
        try:
            said = json.loads(line)
            if said["format"] != FORMAT or said["version"] != VERSION:
                raise SnapshotError(f"is a {said['format']} of version {said['version']}, this program reads version {VERSION}")
            offsets = {stream: int(said["offsets"][stream]) for stream in SOURCES}
            return cls(int(said["partition"]), offsets, str(said["rules"]), len(line) + len(newline))
        except (ValueError, TypeError, KeyError) as error:
            raise SnapshotError(f"does not begin with the header of a join snapshot ({type(error).__name__}: {error})") from error

    def check(self, partition: int, at_most: Mapping[Stream, int], rules: str) -> None:
        """Raises `SnapshotError` where the table cannot be used here, whole or not."""
        if self.partition != partition:
            raise SnapshotError(f"holds partition {self.partition}, not {partition}: it was renamed or copied")
        if self.rules != rules:
            raise SnapshotError("was written under other models, classes or join rules, or of another log; the logs are read again instead")
        ahead = [f"{stream} {self.offsets[stream]} > {at_most[stream]}" for stream in SOURCES if self.offsets[stream] > at_most[stream]]
        if ahead:
            raise SnapshotError(f"is ahead of what was committed ({', '.join(ahead)})")

    def table_in(self, content: memoryview) -> memoryview:
        """The table's bytes in the whole file. Raises `SnapshotError` where any byte of the file is not as it was written."""
        if zlib.crc32(content[:-CHECKSUM_BYTES]) != int.from_bytes(content[-CHECKSUM_BYTES:], "little"):
            raise SnapshotError("is corrupt: its checksum is not that of its bytes, so it was cut short or altered")
        return content[self.size : -CHECKSUM_BYTES]
