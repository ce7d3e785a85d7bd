"""The protocol's datatypes, and JSON data to checked NumPy arrays: strict about types, shapes and counts, exact about what was wrong."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from monitor.serving.refusals import BadRequest

Tensor = npt.NDArray[Any]

DTYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype(np.int16),
    "INT32": np.dtype(np.int32),
    "INT64": np.dtype(np.int64),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype(np.uint16),
    "UINT32": np.dtype(np.uint32),
    "UINT64": np.dtype(np.uint64),
    "FP16": np.dtype(np.float16),
    "FP32": np.dtype(np.float32),
    "FP64": np.dtype(np.float64),
    "BYTES": np.dtype(object),
}

ANY = -1
"""A dimension that each request chooses."""

_ALLOWED: dict[str, frozenset[type]] = {
    "b": frozenset({bool}),
    "i": frozenset({int}),
    "u": frozenset({int}),
    # JSON has no NaN: null is how a client says that a floating value is missing, and NaN is what the model then sees.
    "f": frozenset({float, int, type(None)}),
    "O": frozenset({str}),
}
_EXPECTED = {
    "b": "true or false",
    "i": "integers",
    "u": "integers that are not negative",
    "f": "numbers, or null for a missing one",
    "O": "strings",
}


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """An input or output as the model declares it. `shape` has `ANY` where a request chooses."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    @property
    def has_row_axis(self) -> bool:
        """Whether the first dimension counts rows, as many as a request brings."""
        return bool(self.shape) and self.shape[0] == ANY


def decode(spec: TensorSpec, shape: Sequence[int], data: object) -> Tensor:
    """The array of `spec`'s datatype that flat (row-major) or nested JSON `data` of that shape says. Raises `BadRequest`."""
    if type(data) is not list:
        raise BadRequest(f'input "{spec.name}": "data" must be an array, not {json_type(data)}')
    count = prod(shape)
    flat = data
    if data and type(data[0]) is list:
        flat = _flatten(spec.name, shape, data)
    if len(flat) != count:
        raise BadRequest(f'input "{spec.name}": shape {list(shape)} needs {count} elements, "data" has {len(flat)}')
    dtype = DTYPES[spec.datatype]
    kinds = set(map(type, flat))
    if not kinds <= _ALLOWED[dtype.kind]:
        raise BadRequest(_wrong_type(spec, flat))
    try:
        # An overflow to infinity is refused below, with the value named; NumPy's own warning would go to stderr.
        with np.errstate(over="ignore"):
            array = np.array(flat, dtype=dtype)
    except OverflowError:
        limits = np.iinfo(dtype)
        index = next(index for index, value in enumerate(flat) if not limits.min <= value <= limits.max)
        raise BadRequest(_out_of_range(spec, index, flat[index])) from None
    if dtype.kind == "f" and not np.isfinite(array).all() and (infinite := np.isinf(array)).any():
        index = int(infinite.argmax())
        raise BadRequest(_out_of_range(spec, index, flat[index]))
    return array.reshape(shape)


def json_type(value: object) -> str:
    """What a JSON author calls it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "a string"
    return "an array" if isinstance(value, list) else "an object"


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
    kind = DTYPES[spec.datatype].kind
    index, value = next((index, value) for index, value in enumerate(flat) if type(value) not in _ALLOWED[kind])
    return f'input "{spec.name}": {spec.datatype} data must be {_EXPECTED[kind]}; element {index} is {json_type(value)}{_shown(value)}'


def _out_of_range(spec: TensorSpec, index: int, value: object) -> str:
    dtype = DTYPES[spec.datatype]
    limits = np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype)
    return (
        f'input "{spec.name}": element {index}{_shown(value)} does not fit {spec.datatype}, whose range is {limits.min!s} to {limits.max!s}'
    )


def _shown(value: object) -> str:
    return f" ({value})" if isinstance(value, int | float) and not isinstance(value, bool) else ""
