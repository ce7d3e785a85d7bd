"""Records as they stand in a segment: a head with its own checksum, then the body that it says the length and checksum of.

Both are checked: a sound head over a damaged body tells where the next record begins and how many rows are lost; where a head is damaged
the next one is searched for.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import Final, NamedTuple

from monitor.clock import Milliseconds
from monitor.serving.parcels import Parcel

_MAGIC: Final = b"MmSp"
_HEAD: Final = struct.Struct("<4sIIqqI")
"""The mark, the body's bytes, rows, the latest arrival, when it was written, the body's CRC-32."""
_CHECK: Final = struct.Struct("<I")
"""The head's own CRC-32."""
HEAD_BYTES: Final = _HEAD.size + _CHECK.size


class Frame(NamedTuple):
    """A stretch of a segment up to `end`: a record, or damage (`parcel` is None). `rows` is 0 where even the head is damaged."""

    end: int
    rows: int
    written: Milliseconds
    parcel: Parcel | None


def framed(parcel: Parcel, now: Milliseconds) -> bytes:
    body = b"%s\n%s" % (parcel.content_type.encode(), parcel.payload)
    head = _HEAD.pack(_MAGIC, len(body), parcel.rows, parcel.arrival, now, zlib.crc32(body))
    return b"".join((head, _CHECK.pack(zlib.crc32(head)), body))


def frames(data: bytes, begin: int, *, whole: bool) -> Iterator[Frame]:
    """What stands in the bytes that a segment has from `begin` on.

    Unless they are the `whole` rest of it, this ends before the first record that is not there with all its bytes.
    """
    at = 0
    while at < len(data):
        frame = _frame_at(data, at)
        if frame is None:
            if not whole:
                return
            frame = Frame(_next_head(data, at + 1), 0, 0, None)
        at = frame.end
        yield frame._replace(end=begin + frame.end)


def frame_bytes(head: bytes) -> int:
    """How long the record is that begins with these bytes; 0 where that cannot be told."""
    return HEAD_BYTES + int(_HEAD.unpack_from(head)[1]) if _is_sound(head, 0) else 0


def _frame_at(data: bytes, at: int) -> Frame | None:
    if not _is_sound(data, at):
        return None
    _, length, rows, arrival, written, check = _HEAD.unpack_from(data, at)
    body = data[at + HEAD_BYTES : at + HEAD_BYTES + length]
    if len(body) < length:
        return None
    end = at + HEAD_BYTES + length
    if zlib.crc32(body) != check:
        return Frame(end, rows, written, None)
    content_type, _, payload = body.partition(b"\n")
    return Frame(end, rows, written, Parcel(content_type.decode(), payload, rows, arrival))


def _is_sound(data: bytes, at: int) -> bool:
    if len(data) - at < HEAD_BYTES or not data.startswith(_MAGIC, at):
        return False
    (check,) = _CHECK.unpack_from(data, at + _HEAD.size)
    return bool(zlib.crc32(data[at : at + _HEAD.size]) == check)


def _next_head(data: bytes, at: int) -> int:
    """Where the next sound head begins, or the end."""
    while (at := data.find(_MAGIC, at)) >= 0:
        if _is_sound(data, at):
            return at
        at += 1
    return len(data)
