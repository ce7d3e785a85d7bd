"""A body of one event a line, cut into pieces of whole lines as it arrives, so that it may be of any size. Knows bytes, not events."""

from collections.abc import AsyncIterable, AsyncIterator
from typing import Final

from monitor.serving.refusals import BadRequest

CONTENT_TYPES: Final = frozenset({b"application/x-ndjson", b"application/ndjson", b"application/jsonl"})
"""None of them is registered; these are the ones in use."""

PIECE_BYTES: Final = 256 * 1024
"""Some 4,000 labels: enough that a commit's fsync weighs little, few enough that inference does not wait for their parsing."""
LINE_BYTES_LIMIT: Final = 1024 * 1024
"""What is held in memory for the end of a line that does not come; no event may be larger either."""


async def pieces(chunks: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """The body in pieces of whole lines, each of `PIECE_BYTES` or a chunk and a line more. Raises `BadRequest` for an endless line."""
    parts: list[bytes] = []
    size = 0
    async for chunk in chunks:
        parts.append(chunk)
        size += len(chunk)
        if size < PIECE_BYTES:
            continue
        end = chunk.rfind(b"\n") + 1
        if end:
            parts[-1] = chunk[:end]
            yield b"".join(parts)
            parts = [chunk[end:]]
            size = len(parts[0])
        elif size > PIECE_BYTES + LINE_BYTES_LIMIT:
            raise BadRequest(f"a line is longer than {LINE_BYTES_LIMIT:,} bytes: expected one event a line")
    if size:
        yield b"".join(parts)


def lines_of(body: bytes) -> list[bytes]:
    """Its lines but for the blank ones, which stand for nothing."""
    return [line for line in body.split(b"\n") if line.strip()]
