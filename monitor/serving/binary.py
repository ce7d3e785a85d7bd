"""Tensors as bytes: row-major, little-endian, nothing between the elements; what REST's binary extension and gRPC's raw contents share.

https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md. Our platforms are little-endian, so
bytes are read where they lie.
"""

from collections.abc import Sequence
from math import prod
from struct import Struct
from typing import Final

import numpy as np

from monitor.serving.nonfinite import refuse_infinities
from monitor.serving.refusals import BadRequest
from monitor.serving.tensors import DTYPES, Tensor, TensorSpec, json_type

HEADER: Final = "Inference-Header-Content-Length"
HEADER_BYTES: Final = HEADER.lower().encode()
"""As servers give the name of a header, and take it."""

_DIGITS_LIMIT: Final = 18
"""Of more bytes no body is; and Python takes longer than linear time for long numbers."""

_LENGTH: Final = Struct("<I")
"""What stands before each element of a BYTES tensor."""


def header_length(value: bytes | None) -> int | None:
    """What the header says, None where there is none. Raises `BadRequest` for what is no number of bytes."""
    if value is None:
        return None
    if not value.isdigit() or len(value) > _DIGITS_LIMIT:
        raise BadRequest(f"{HEADER} must be the number of bytes that the JSON has, not {value[:40]!r}")
    return int(value)


class BinaryPart:
    """What follows the JSON of a request: the inputs' data in the order in which the JSON names them, taken one after another."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._taken = 0

    def take(self, name: str, size: object) -> memoryview:
        """The next `size` bytes. Raises `BadRequest` where that is no size, or more than there is."""
        if type(size) is not int or size < 0:
            wrong = str(size) if type(size) is int else json_type(size)
            raise BadRequest(f'input "{name}": "binary_data_size" must be a number of bytes, not {wrong}')
        left = len(self._data) - self._taken
        if size > left:
            raise BadRequest(
                f'input "{name}": "binary_data_size" is {size}, but {left} of the {len(self._data)} bytes after the JSON are left for it'
            )
        start = self._taken
        self._taken += size
        return self._data[start : self._taken]

    def check_empty(self) -> None:
        """Raises `BadRequest` where bytes are left that no input has claimed."""
        if left := len(self._data) - self._taken:
            raise BadRequest(f'{left} of the {len(self._data)} bytes after the JSON belong to no input by its "binary_data_size"')


def decode(spec: TensorSpec, shape: Sequence[int], raw: bytes | memoryview) -> Tensor:
    """The array of that (checked) shape that the bytes hold, without a copy where they are aligned. Raises `BadRequest`."""
    if spec.datatype == "BYTES":
        return _strings(spec, shape, raw)
    dtype = DTYPES[spec.datatype]
    size = prod(shape) * dtype.itemsize
    if len(raw) != size:
        raise BadRequest(f'input "{spec.name}": shape {list(shape)} of {spec.datatype} takes {size} bytes, its binary data have {len(raw)}')
    tensor = np.frombuffer(raw, dtype).reshape(shape)
    if not tensor.flags.aligned:
        # ONNX Runtime hands a CPU tensor's address to its kernels as it is (seen with 1.31), and what compilers make of their loops may
        # count on elements that are aligned.
        tensor = tensor.copy()
    if spec.datatype == "BOOL":
        _check_booleans(spec, tensor)
    refuse_infinities(spec, tensor)
    return tensor


def text(spec: TensorSpec, element: int, raw: bytes | memoryview) -> str:
    """An element of a BYTES tensor: ONNX strings are UTF-8. Raises `BadRequest` with the position of what is not."""
    try:
        return str(raw, "utf-8")
    except UnicodeDecodeError as error:
        raise BadRequest(
            f'input "{spec.name}": element {element} is not UTF-8: {error.reason} at its byte {error.start}; the model takes text'
        ) from None


def raw_of(tensor: Tensor, datatype: str) -> bytes:
    """The tensor's elements as bytes; BYTES elements are strings or bytes."""
    if datatype != "BYTES":
        return tensor.tobytes()
    parts: list[bytes] = []
    for element in tensor.ravel().tolist():
        encoded = element if isinstance(element, bytes) else element.encode()
        parts += (_LENGTH.pack(len(encoded)), encoded)
    return b"".join(parts)


def _check_booleans(spec: TensorSpec, tensor: Tensor) -> None:
    octets = tensor.view(np.uint8)
    if octets.max() > 1:
        index = int((octets > 1).argmax())
        raise BadRequest(f'input "{spec.name}": element {index} is the byte {octets.flat[index]}: BOOL data must be 0 or 1')


def _strings(spec: TensorSpec, shape: Sequence[int], raw: bytes | memoryview) -> Tensor:
    count, end = prod(shape), len(raw)
    # Looked at first, so that no shape makes us build more than the request has bytes for.
    if count * _LENGTH.size > end:
        raise BadRequest(
            f'input "{spec.name}": shape {list(shape)} needs {count} elements of at least {_LENGTH.size} bytes, its binary data have {end}'
        )
    texts = []
    at = 0
    for element in range(count):
        if at + _LENGTH.size > end:
            raise BadRequest(f'input "{spec.name}": shape {list(shape)} needs {count} elements, its binary data end after {element}')
        (length,) = _LENGTH.unpack_from(raw, at)
        at += _LENGTH.size
        if length > end - at:
            raise BadRequest(
                f'input "{spec.name}": the length before element {element} says {length} bytes, but its binary data have {end - at} left'
            )
        texts.append(text(spec, element, raw[at : at + length]))
        at += length
    if at < end:
        raise BadRequest(
            f'input "{spec.name}": its binary data go on for {end - at} bytes after the {count} elements of shape {list(shape)}'
        )
    return np.array(texts, dtype=object).reshape(shape)
