"""Kafka's partitioner, written down again from `org.apache.kafka.common.utils.Utils.murmur2`: which partition an id belongs to."""

_MASK = 0xFFFFFFFF
_M = 0x5BD1E995


def partition_of(identifier: str, partitions: int) -> int:
    """Where a producer that keys by id puts it."""
    return (murmur2(identifier.encode()) & 0x7FFFFFFF) % partitions


def murmur2(data: bytes) -> int:
    """Unsigned 32 bits."""
    whole = len(data) // 4 * 4
    h = 0x9747B28C ^ len(data)
    for place in range(0, whole, 4):
        k = int.from_bytes(data[place : place + 4], "little") * _M & _MASK
        k = (k ^ k >> 24) * _M & _MASK
        h = (h * _M & _MASK) ^ k
    tail = data[whole:]
    if tail:
        h = (h ^ int.from_bytes(tail, "little")) * _M & _MASK
    h = (h ^ h >> 13) * _M & _MASK
    return h ^ h >> 15
