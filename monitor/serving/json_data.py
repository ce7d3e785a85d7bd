"""Tensors as JSON: flat or nested data to checked arrays, strict about types, counts and ranges; arrays back to flat data."""

from collections.abc import Callable, Sequence
from itertools import chain
from math import hypot, prod
from typing import Any, Final

import numpy as np
import orjson

from monitor.serving import bfloat16
from monitor.serving.refusals import BadRequest
from monitor.serving.tensors import DTYPES, Tensor, TensorSpec, json_type

_LARGEST: Final = {
    "FP16": float(np.finfo(np.float16).max),
    "BF16": bfloat16.LARGEST,
    "FP32": float(np.finfo(np.float32).max),
    "FP64": float(np.finfo(np.float64).max),
}
"""The greatest number of each floating type."""


def _allowed(datatype: str) -> frozenset[type]:
    if datatype in _LARGEST:
        # JSON has no NaN: null is how a client says that a floating value is missing, and NaN is what the model then sees.
        return frozenset({float, int, type(None)})
    return frozenset({{"BOOL": bool, "BYTES": str}.get(datatype, int)})


_ALLOWED: Final = {datatype: _allowed(datatype) for datatype in DTYPES}
"""The Python types that elements may have after parsing."""

_FEW: Final = 256
"""Up to so many numbers are measured one by one; NumPy's own ways win from there on."""


def decode(spec: TensorSpec, shape: Sequence[int], data: object) -> Tensor:
    """The array of that (checked) shape that flat (row-major) or nested `data` holds. Raises `BadRequest`."""
    if type(data) is not list:
        raise BadRequest(f'input "{spec.name}": "data" must be an array, not {json_type(data)}')
    flat = _flatten(spec.name, shape, data) if data and type(data[0]) is list and shape else data
    if len(flat) != prod(shape):
        raise BadRequest(f'input "{spec.name}": shape {list(shape)} needs {prod(shape)} elements, "data" has {len(flat)}')
    kinds = set(map(type, flat))
    if not kinds <= _ALLOWED[spec.datatype]:
        raise BadRequest(_wrong_type(spec, flat))
    return _array(spec, flat, kinds).reshape(shape)


def encoder(datatype: str) -> Callable[[Tensor], bytes]:
    """What writes such a tensor's row-major elements as a flat JSON array; a NaN or an infinity comes out as null."""
    return {"BYTES": _texts, "BF16": _halves}.get(datatype, _numbers)


def _array(spec: TensorSpec, flat: list[Any], kinds: set[type]) -> Tensor:
    """(n,) elements, each in the datatype's range: of a number too large no infinity is made, and a message's own infinity is none."""
    if spec.datatype in _LARGEST:
        return _floating(spec, flat, kinds)
    dtype = DTYPES[spec.datatype]
    try:
        return np.array(flat, dtype=dtype)
    except OverflowError:
        limits = np.iinfo(dtype)
        index = next(index for index, value in enumerate(flat) if not limits.min <= value <= limits.max)
        raise BadRequest(_out_of_range(spec, flat, index)) from None


def _floating(spec: TensorSpec, flat: list[Any], kinds: set[type]) -> Tensor:
    if spec.datatype == "BF16":
        tensor: Tensor = bfloat16.bits(np.array(flat, dtype=np.float64))
        found = bfloat16.infinite(tensor)
    else:
        # The root of the sum of squares is at least the greatest of them: for one row of 24, a seventh of what `isinf` below costs.
        if len(flat) <= _FEW and type(None) not in kinds and hypot(*flat) <= _LARGEST[spec.datatype]:
            return np.array(flat, dtype=DTYPES[spec.datatype])
        with np.errstate(over="ignore"):
            tensor = np.array(flat, dtype=DTYPES[spec.datatype])
        found = np.isinf(tensor)
    if found.any():
        raise BadRequest(_out_of_range(spec, flat, int(found.argmax())))
    return tensor


def _numbers(tensor: Tensor) -> bytes:
    return orjson.dumps(tensor.ravel(), option=orjson.OPT_SERIALIZE_NUMPY)


def _halves(tensor: Tensor) -> bytes:
    return _numbers(bfloat16.floats(tensor))


def _texts(tensor: Tensor) -> bytes:
    return orjson.dumps(tensor.ravel().tolist())


def _flatten(name: str, shape: Sequence[int], data: list[Any]) -> list[Any]:
    level = data
    if len(level) != shape[0]:
        raise BadRequest(f'input "{name}": shape {list(shape)} needs {shape[0]} rows, nested "data" has {len(level)}')
    for axis in range(1, len(shape)):
        for item in level:
            if type(item) is not list or len(item) != shape[axis]:
                found = f"{len(item)} elements" if isinstance(item, list) else json_type(item)
                raise BadRequest(
                    f'input "{name}": nested "data" must have {shape[axis]} elements along axis {axis} throughout, found {found}'
                )
        level = list(chain.from_iterable(level))
    return level


def _wrong_type(spec: TensorSpec, flat: list[Any]) -> str:
    allowed = _ALLOWED[spec.datatype]
    index, value = next((index, value) for index, value in enumerate(flat) if type(value) not in allowed)
    expected = _expected(spec.datatype)
    return f'input "{spec.name}": {spec.datatype} data must be {expected}; element {index} is {json_type(value)}{_shown(value)}'


def _expected(datatype: str) -> str:
    if datatype in _LARGEST:
        return "numbers, or null for a missing one"
    if datatype == "BOOL":
        return "true or false"
    if datatype == "BYTES":
        return "strings"
    return "integers that are not negative" if datatype.startswith("U") else "integers"


def _out_of_range(spec: TensorSpec, flat: list[Any], index: int) -> str:
    dtype = DTYPES[spec.datatype]
    if spec.datatype == "BF16":
        limits = f"{-bfloat16.LARGEST} to {bfloat16.LARGEST}"
    else:
        of_type = np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype)
        limits = f"{of_type.min!s} to {of_type.max!s}"
    return f'input "{spec.name}": element {index}{_shown(flat[index])} does not fit {spec.datatype}, whose range is {limits}'


def _shown(value: object) -> str:
    return f" ({value})" if isinstance(value, int | float) and not isinstance(value, bool) else ""
