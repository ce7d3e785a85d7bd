"""The protocol's datatypes and what a model declares of a tensor: the words that every form of a tensor (JSON, binary, gRPC) shares."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from monitor.serving.refusals import BadRequest

Tensor = npt.NDArray[Any]

DTYPES: Final[dict[str, np.dtype[Any]]] = {
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
    "BF16": np.dtype(np.uint16),  # NumPy has no such type: tensors hold the bits, `bfloat16` turns them into numbers
    "FP32": np.dtype(np.float32),
    "FP64": np.dtype(np.float64),
    "BYTES": np.dtype(object),
}

ANY: Final = -1
"""A dimension that each request chooses."""


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


def checked_shape(spec: TensorSpec, shape: object) -> list[int]:
    """A request's shape for that input, if the model takes it. Raises `BadRequest`."""
    if type(shape) is list and len(shape) == len(spec.shape):
        for want, size in zip(spec.shape, shape):  # noqa: B905  their lengths have just been compared, and this is the hot path
            if type(size) is not int or size < 1 or want not in (size, ANY):
                break
        else:
            return shape
    raise BadRequest(f'input "{spec.name}": {_what_is_wrong(spec, shape)}')


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


def _what_is_wrong(spec: TensorSpec, shape: object) -> str:
    takes = f"the model takes {list(spec.shape)} (-1: any size)"
    if type(shape) is not list or set(map(type, shape)) - {int}:
        return f'"shape" must be an array of integers, {takes}'
    if len(shape) != len(spec.shape):
        return f"the shape has {len(shape)} dimensions, {takes}"
    if any(size < 1 for size in shape):
        return f"shape {shape} has a dimension below 1; a request carries at least one row"
    return f"shape {shape} does not match {list(spec.shape)} (-1: any size)"
