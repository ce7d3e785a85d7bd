"""What stands for an id: a 128-bit digest to tell ids apart, and the partition Kafka's producers would choose for it.

Both hashes run over the ids of a whole batch at once, word by word: the ids are ordered by length, so that those which still
have an n-th word are always a leading slice. Knows Arrow's string layout and nothing of events.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from monitor.events import Int32s, Int64s, UInt32s, UInt64s

ID_BYTES_LIMIT = 512
"""The decoder refuses longer ids, which also bounds the passes below."""

_BLOCK_ROWS = 8192  # hashed at a time: the few working columns stay in the processor's second-level cache

_C1 = np.uint64(0x87C37B91114253D5)
_C2 = np.uint64(0x4CF5AD432745937F)
_MIX1 = np.uint64(0xFF51AFD7ED558CCD)
_MIX2 = np.uint64(0xC4CEB9FE1A85EC53)
_LOW_BYTES = np.array([256**count - 1 for count in range(9)], dtype=np.uint64)
_MURMUR2_M = np.uint32(0x5BD1E995)
_MURMUR2_SEED = np.uint32(0x9747B28C)


def digest(ids: pa.Array) -> UInt64s:
    """MurmurHash3 x64_128, seed 0, of the UTF-8 bytes of each id: uint64 (n, 2). `ids` are utf8 or large_utf8 without nulls.

    Source: Austin Appleby's public-domain MurmurHash3.cpp; the same numbers as `mmh3.hash64(id, signed=False)`.
    """
    out = np.empty((len(ids), 2), dtype=np.uint64)
    for block in _blocks(ids):
        out[block.rows] = _murmur3(block)
    return out


def partition_hash(ids: pa.Array) -> Int64s:
    """Kafka's murmur2 of the UTF-8 bytes of each id, its sign bit cleared: int64 (n,) in [0, 2^31).

    Source: `org.apache.kafka.common.utils.Utils.murmur2`.
    """
    out = np.empty(len(ids), dtype=np.int64)
    for block in _blocks(ids):
        out[block.rows] = _murmur2(block) & np.uint32(0x7FFFFFFF)
    return out


def partitions_of(ids: pa.Array, count: int) -> Int32s:
    """The partition of each id among `count`, as Kafka's default partitioner has it: int32 (n,)."""
    return (partition_hash(ids) % count).astype(np.int32)


def partition_of(name: str, count: int) -> int:
    """The partition of a single id, or of anything else that is to have one home among `count`."""
    return int(partitions_of(pa.array([name], pa.string()), count)[0])


@dataclass(frozen=True, slots=True)
class _Block:
    """Some ids, longest first. `words` and `half_words` are the little-endian words that begin at each byte of the batch.

    `stride` is the length of all ids, which then lie one after the other, or 0 where lengths differ.
    """

    rows: slice | Int64s
    starts: Int64s
    lengths: Int64s
    stride: int
    words: UInt64s
    half_words: UInt32s

    def having(self, length: int) -> int:
        """How many of the ids, the first ones, have at least that length."""
        return len(self.lengths) if self.stride else int(np.searchsorted(-self.lengths, -length, side="right"))

    def words_at(self, place: int | Int64s, count: int) -> UInt64s:
        """A copy of the words that begin at `place` within the first `count` ids; `place` is one for all, or one for each."""
        return self.words[self._bytes_at(place, count)].copy()

    def half_words_at(self, place: int | Int64s, count: int) -> UInt32s:
        return self.half_words[self._bytes_at(place, count)].copy()

    def _bytes_at(self, place: int | Int64s, count: int) -> slice | Int64s:
        if self.stride and isinstance(place, int):
            first = int(self.starts[0]) + place
            return slice(first, first + self.stride * (count - 1) + 1, self.stride)
        return self.starts[:count] + place

    def tails(self, width: int) -> tuple[int | Int64s, Int64s]:
        """Where the last, partial group of `width` bytes begins within each id, and how many bytes it has."""
        tails = self.lengths % width
        return (self.stride // width * width if self.stride else self.lengths - tails), tails


def _blocks(ids: pa.Array) -> Iterator[_Block]:
    """The ids by at most `_BLOCK_ROWS`."""
    if len(ids) == 0:
        return
    _, offsets, data = ids.buffers()
    offset_type = np.int64 if pa.types.is_large_string(ids.type) else np.int32
    ends = np.frombuffer(offsets, dtype=offset_type)[ids.offset : ids.offset + len(ids) + 1].astype(np.int64)
    first, size = int(ends[0]), int(ends[-1] - ends[0])
    padded = np.zeros(size + 8, dtype=np.uint8)  # so that the word at any byte can be read whole
    if size:
        padded[:size] = np.frombuffer(data, dtype=np.uint8)[first : first + size]
    words: UInt64s = np.ndarray((size + 1,), dtype="<u8", buffer=padded.data, strides=(1,))
    half_words: UInt32s = np.ndarray((size + 1,), dtype="<u4", buffer=padded.data, strides=(1,))
    starts, lengths = ends[:-1] - first, np.diff(ends)
    stride = int(lengths[0]) if lengths.min() == lengths.max() else 0
    order = None if stride else np.argsort(-lengths, kind="stable")
    for begin in range(0, len(lengths), _BLOCK_ROWS):
        rows = slice(begin, begin + _BLOCK_ROWS) if order is None else order[begin : begin + _BLOCK_ROWS]
        yield _Block(rows, starts[rows], lengths[rows], stride, words, half_words)


def _rotate(x: UInt64s, bits: int) -> UInt64s:
    high = x << np.uint64(bits)
    x >>= np.uint64(64 - bits)
    high |= x
    return high


def _scramble_low(k: UInt64s) -> UInt64s:
    k *= _C1
    k = _rotate(k, 31)
    k *= _C2
    return k


def _scramble_high(k: UInt64s) -> UInt64s:
    k *= _C2
    k = _rotate(k, 33)
    k *= _C1
    return k


def _finish(h: UInt64s) -> UInt64s:
    h ^= h >> np.uint64(33)
    h *= _MIX1
    h ^= h >> np.uint64(33)
    h *= _MIX2
    h ^= h >> np.uint64(33)
    return h


def _murmur3(block: _Block) -> UInt64s:
    h1 = np.zeros(len(block.lengths), dtype=np.uint64)
    h2 = np.zeros(len(block.lengths), dtype=np.uint64)
    for place in range(0, int(block.lengths[0]) // 16 * 16, 16):
        count = block.having(place + 16)
        a, b = h1[:count], h2[:count]
        a ^= _scramble_low(block.words_at(place, count))
        a[:] = _rotate(a, 27)
        a += b
        a *= np.uint64(5)
        a += np.uint64(0x52DCE729)
        b ^= _scramble_high(block.words_at(place + 8, count))
        b[:] = _rotate(b, 31)
        b += a
        b *= np.uint64(5)
        b += np.uint64(0x38495AB5)
    place_of_tail, tails = block.tails(16)
    if (tails > 0).any():
        h1 ^= _scramble_low(_low_bytes(block.words_at(place_of_tail, len(tails)), tails))
    if (tails > 8).any():
        in_id = np.where(tails > 8, place_of_tail + 8, 0)  # a short id's second word may lie beyond the last byte
        h2 ^= _scramble_high(_low_bytes(block.words_at(in_id, len(tails)), tails - 8))
    h1 ^= block.lengths.view(np.uint64)
    h2 ^= block.lengths.view(np.uint64)
    h1 += h2
    h2 += h1
    h1, h2 = _finish(h1), _finish(h2)
    h1 += h2
    h2 += h1
    return np.stack((h1, h2), axis=1)


def _low_bytes(words: UInt64s, kept: Int64s) -> UInt64s:
    """The `kept` lowest bytes of each word; at most 0 keeps none, at least 8 all."""
    words &= _LOW_BYTES[np.clip(kept, 0, 8)]
    return words


def _murmur2(block: _Block) -> UInt32s:
    h = block.lengths.astype(np.uint32) ^ _MURMUR2_SEED
    for place in range(0, int(block.lengths[0]) // 4 * 4, 4):
        count = block.having(place + 4)
        k = block.half_words_at(place, count)
        k *= _MURMUR2_M
        k ^= k >> np.uint32(24)
        k *= _MURMUR2_M
        h[:count] *= _MURMUR2_M
        h[:count] ^= k
    place_of_tail, tails = block.tails(4)
    if (tails > 0).any():
        k = block.half_words_at(place_of_tail, len(tails)) & _LOW_BYTES[tails].astype(np.uint32)
        h = np.where(tails > 0, (h ^ k) * _MURMUR2_M, h)
    h ^= h >> np.uint32(13)
    h *= _MURMUR2_M
    h ^= h >> np.uint32(15)
    return h
