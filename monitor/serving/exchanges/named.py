"""The tensors of a message by name, as they stand in it: of the v2 protocol, as JSON or as binary tensors, or of the v1 one."""

from collections.abc import Sequence
from itertools import chain
from typing import Any, Final, NamedTuple

from monitor.serving.exchanges.bodies import Document
from monitor.serving.refusals import BadRequest
from monitor.serving.tensors import json_type

UNNAMED: Final = "values"
"""What the only tensor of a v1 message is called here."""


class Named(NamedTuple):
    """A tensor. `data` is JSON's, flat or nested, or the raw little-endian bytes."""

    name: str
    datatype: str
    shape: Sequence[int]
    data: list[Any] | bytes


def asked(document: Document) -> dict[str, Named]:
    """The inputs of a request. Raises `BadRequest`."""
    return _tensors(document, "inputs", "instances")


def answered(document: Document) -> dict[str, Named]:
    """The outputs of an answer. Raises `BadRequest`."""
    return _tensors(document, "outputs", "predictions")


def _tensors(document: Document, v2: str, v1: str) -> dict[str, Named]:
    listed = document.members.get(v2)
    if listed is None and type(rows := document.members.get(v1)) is list:
        return _of_rows(rows)
    if type(listed) is not list:
        raise BadRequest(f'neither "{v2}" nor "{v1}" is there, as an array')
    tensors: dict[str, Named] = {}
    begin = 0
    for tensor in listed:
        named = _tensor(tensor, document.tail, begin)
        begin += len(named.data) if isinstance(named.data, bytes) else 0
        tensors[named.name] = named
    return tensors


def _tensor(tensor: Any, tail: bytes, begin: int) -> Named:  # noqa: ANN401  # whatever stands in the document
    if type(tensor) is not dict:
        raise BadRequest(f"a tensor must be an object, not {json_type(tensor)}")
    name, datatype, shape = tensor.get("name"), tensor.get("datatype"), tensor.get("shape")
    if type(name) is not str or type(datatype) is not str or type(shape) is not list or set(map(type, shape)) - {int}:
        raise BadRequest("a tensor lacks its name, datatype or shape")
    parameters = tensor.get("parameters")
    size = parameters.get("binary_data_size") if type(parameters) is dict else None
    if size is None:
        data = tensor.get("data")
        if type(data) is not list:
            raise BadRequest(f'tensor "{name[:80]}": "data" must be an array, not {json_type(data)}')
        return Named(name, datatype, shape, data)
    if type(size) is not int or not 0 <= size <= len(tail) - begin:
        raise BadRequest(f'tensor "{name[:80]}": its binary data are not there')
    return Named(name, datatype, shape, tail[begin : begin + size])


def _of_rows(rows: Sequence[Any]) -> dict[str, Named]:
    """Rows that are objects are a tensor for each key, others one tensor."""
    if not rows:
        raise BadRequest("there is no row")
    if type(rows[0]) is not dict:
        return {UNNAMED: _column(UNNAMED, list(rows))}
    keys = rows[0].keys()
    if not all(type(row) is dict and row.keys() == keys for row in rows):
        raise BadRequest("the rows are objects of different keys")
    return {key: _column(key, [row[key] for row in rows]) for key in keys}


def _column(name: str, rows: list[Any]) -> Named:
    """Nested lists have the shape that their first items have."""
    shape, level = [len(rows)], rows
    while level and type(level[0]) is list:
        shape.append(len(level[0]))
        if any(type(item) is not list or len(item) != shape[-1] for item in level):
            raise BadRequest(f'"{name[:80]}": the rows have different lengths')
        level = list(chain.from_iterable(level))
    return Named(name, _datatype(set(map(type, level))), shape, level)


def _datatype(kinds: set[type]) -> str:
    if kinds <= {bool}:
        return "BOOL"
    if kinds <= {int}:
        return "INT64"
    return "FP64" if kinds <= {int, float, type(None)} else "BYTES"
