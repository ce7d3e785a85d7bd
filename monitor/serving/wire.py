"""Protocol-buffer messages taken apart into their fields without being parsed: a model file is mostly weights, which nobody here reads.

Parsing all of a file would hold the interpreter, and so every request, for 0.5 ms a MB (4 ms where it is trees). This costs a microsecond a
field. https://protobuf.dev/programming-guides/encoding/
"""

from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class Field(NamedTuple):
    """A field as it stands in the message. `whole` is all of it, `value` without its number and length."""

    number: int
    is_bytes: bool
    whole: memoryview
    value: memoryview


def fields(message: memoryview) -> Iterator[Field]:
    """In the order of the message. Raises ValueError where it ends within a field, or is no message."""
    start, size = 0, len(message)
    while start < size:
        tag, begin = _varint(message, start)
        kind = tag & 7
        if kind == _BYTES:
            length, begin = _varint(message, begin)
            end = begin + length
        elif kind == _VARINT:
            end = _varint(message, begin)[1]
        elif kind in (_FIXED64, _FIXED32):
            end = begin + (8 if kind == _FIXED64 else 4)
        else:
            raise ValueError(f"no field can be of the kind {kind}")
        if end > size or tag >> 3 == 0:
            raise ValueError(f"the field at byte {start} ends beyond the message")
        yield Field(tag >> 3, kind == _BYTES, message[start:end], message[begin:end])
        start = end


def only(message: memoryview, numbers: Collection[int]) -> bytes:
    """The same message without its other fields."""
    return b"".join(field.whole for field in fields(message) if field.number in numbers)


def nested(number: int, parts: Iterable[bytes | memoryview]) -> bytes:
    """A field that holds a message, of which `parts` are the fields."""
    content = b"".join(parts)
    return _encoded(number << 3 | _BYTES) + _encoded(len(content)) + content


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    """An integer and where it ends."""
    value = shift = 0
    for shift in range(0, 70, 7):
        if position >= len(message):
            break
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ValueError(f"no whole number ends at byte {position}")


def _encoded(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
