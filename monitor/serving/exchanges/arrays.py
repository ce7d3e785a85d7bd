"""Named tensors of a message to arrays, and what they look like, by which it is told once for many messages what is what."""

import struct
from itertools import chain
from math import prod
from typing import Any, Final

import numpy as np

from monitor.serving import bfloat16
from monitor.serving.exchanges.named import Named
from monitor.serving.refusals import BadRequest
from monitor.serving.tensors import ANY, DTYPES, Tensor, TensorSpec

BF16: Final = "BF16"
"""NumPy has no such type: here they are FP32."""


def spec_of(named: Named) -> TensorSpec:
    """As a model would declare it: the first dimension counts rows."""
    return TensorSpec(named.name, "FP32" if named.datatype == BF16 else named.datatype, (ANY, *named.shape[1:]) if named.shape else ())


def array_of(named: Named) -> Tensor:
    """Raises `BadRequest` where data, datatype and shape disagree. Text comes out as `str`."""
    name, datatype, shape, data = named
    count = prod(shape)
    if datatype not in DTYPES:
        raise BadRequest(f'tensor "{name[:80]}": unknown datatype "{datatype[:20]}"')
    if count < 0 or (isinstance(data, list) and count > len(data) and not (data and type(data[0]) is list)):
        raise BadRequest(f'tensor "{name[:80]}": the shape {list(shape)} does not fit its data')
    try:
        return (_of_bytes(datatype, data) if isinstance(data, bytes) else _of_list(datatype, data)).reshape(shape)
    except (ValueError, TypeError, OverflowError, struct.error) as error:
        raise BadRequest(f'tensor "{name[:80]}": its data are no {datatype} of the shape {list(shape)}: {error}') from None


def scores_of(classified: Tensor, classes: int) -> Tensor | None:
    """(n, classes) scores of `score:index[:label]` texts (the classification extension); None where not every class is among them."""
    rows, given = classified.reshape(len(classified), -1), classified.size // max(len(classified), 1)
    if given != classes:
        return None
    scores = np.full((len(rows), classes), np.nan)
    for row, texts in enumerate(rows.tolist()):
        for text in texts:
            try:
                score, index = text.split(":", 2)[:2]
                scores[row, int(index)] = float(score)
            except (ValueError, IndexError):
                return None
    return scores


def _of_list(datatype: str, data: list[Any]) -> Tensor:
    if datatype == BF16:
        return np.array(data, dtype=np.float32)
    dtype = DTYPES[datatype]
    if dtype.kind != "O":
        # An overflow to infinity is the log's to count, like any other value that is not finite.
        with np.errstate(over="ignore"):
            return np.array(data, dtype=dtype)
    while data and type(data[0]) is list:
        data = list(chain.from_iterable(data))
    return _texts([value if isinstance(value, str) else str(value) for value in data])


def _of_bytes(datatype: str, data: bytes) -> Tensor:
    if datatype == BF16:
        return bfloat16.floats(np.frombuffer(data, dtype="<u2"))
    dtype = DTYPES[datatype]
    if dtype.kind != "O":
        return np.frombuffer(data, dtype=dtype.newbyteorder("<"))
    texts, at = [], 0
    while at < len(data):
        (size,) = struct.unpack_from("<I", data, at)
        at += 4
        if size > len(data) - at:
            raise ValueError("a text is longer than what is left")
        texts.append(data[at : at + size].decode(errors="replace"))
        at += size
    return _texts(texts)


def _texts(texts: list[str]) -> Tensor:
    array = np.empty(len(texts), dtype=object)
    array[:] = texts
    return array
