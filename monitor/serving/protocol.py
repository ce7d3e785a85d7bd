"""Open Inference Protocol v2 in JSON: request bytes to checked tensors, tensors to response bytes.

Knows the model's declared inputs and outputs, and neither HTTP nor the runtime that will be asked.
https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson

from monitor.serving.refusals import BadRequest
from monitor.serving.row_parameters import NO_PARAMETERS, RowParameters, request_id, row_parameters
from monitor.serving.tensors import ANY, Tensor, TensorSpec, decode, json_type


class InferRequest(NamedTuple):
    """A checked request of `rows` rows. `outputs` are the positions of those asked for, None for all.

    A tuple, since one is built for every request: a frozen dataclass costs three times as much.
    """

    feeds: dict[str, Tensor]
    rows: int
    outputs: list[int] | None
    id: str
    parameters: RowParameters


class Codec:
    """Reads requests for one model version and writes its responses."""

    def __init__(self, model: str, version: str, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]) -> None:
        self.model = model
        self.version = version
        self.inputs = inputs
        self.outputs = outputs
        self._by_name = {spec.name: spec for spec in inputs}
        self._with_rows = [spec.name for spec in inputs if spec.has_row_axis]
        # A model exported with a fixed batch has its rows in the first dimension all the same.
        self._fixed_rows = next((spec.shape[0] for spec in inputs if len(spec.shape) > 1 and not spec.has_row_axis), 1)
        self._described = [{"name": spec.name, "datatype": spec.datatype} for spec in outputs]

    def decode(self, body: bytes) -> InferRequest:
        """Raises `BadRequest`, which says what is wrong, where, and what the model expects."""
        document = parse_object(body)
        tensors = document.get("inputs")
        if type(tensors) is not list:
            raise BadRequest(
                '"inputs" is missing' if tensors is None else f'"inputs" must be an array of tensors, not {json_type(tensors)}'
            )
        feeds = self._feeds(tensors)
        rows = self._rows(feeds)
        requested, parameters = document.get("outputs"), document.get("parameters")
        return InferRequest(
            feeds,
            rows,
            self._requested(requested) if requested else None,
            request_id(document.get("id", "")),
            row_parameters(parameters, rows) if parameters else NO_PARAMETERS,
        )

    def encode(self, tensors: Sequence[Tensor], request: InferRequest, ids: list[str], response_id: str) -> bytes:
        """The response body; `tensors` are all outputs in the model's order."""
        chosen = range(len(self.outputs)) if request.outputs is None else request.outputs
        outputs = [{**self._described[index], "shape": tensors[index].shape, "data": _flat(tensors[index])} for index in chosen]
        return orjson.dumps(
            {
                "model_name": self.model,
                "model_version": self.version,
                "id": response_id,
                "parameters": {"ids": ids},
                "outputs": outputs,
            },
            option=orjson.OPT_SERIALIZE_NUMPY,
        )

    def metadata(self, versions: Sequence[str]) -> bytes:
        """The model's metadata as the protocol has it."""
        return orjson.dumps(
            {
                "name": self.model,
                "versions": list(versions),
                "platform": "onnxruntime_onnx",
                "inputs": [{"name": spec.name, "datatype": spec.datatype, "shape": spec.shape} for spec in self.inputs],
                "outputs": [{"name": spec.name, "datatype": spec.datatype, "shape": spec.shape} for spec in self.outputs],
            }
        )

    def _feeds(self, tensors: list[Any]) -> dict[str, Tensor]:
        feeds: dict[str, Tensor] = {}
        for tensor in tensors:
            if type(tensor) is not dict:
                raise BadRequest(f'each of "inputs" must be an object, not {json_type(tensor)}')
            name = tensor.get("name")
            spec = self._by_name.get(name) if type(name) is str else None
            if spec is None:
                raise BadRequest(f'unknown input {_quoted(name)}: model "{self.model}" takes {_names(self.inputs)}')
            if name in feeds:
                raise BadRequest(f'input "{name}" is given twice')
            if tensor.get("datatype") != spec.datatype:
                raise BadRequest(f'input "{name}": datatype must be {spec.datatype}, not {_quoted(tensor.get("datatype"))}')
            if "data" not in tensor:
                raise BadRequest(f'input "{name}": "data" is missing (binary tensors are not supported yet: send JSON)')
            feeds[spec.name] = decode(spec, _shape(spec, tensor.get("shape")), tensor["data"])
        if len(feeds) != len(self.inputs):
            missing = [f'"{spec.name}"' for spec in self.inputs if spec.name not in feeds]
            raise BadRequest(f'input {", ".join(missing)} is missing: model "{self.model}" takes {_names(self.inputs)}')
        return feeds

    def _rows(self, feeds: dict[str, Tensor]) -> int:
        if not self._with_rows:
            return self._fixed_rows
        first = self._with_rows[0]
        rows: int = feeds[first].shape[0]
        for name in self._with_rows:
            if feeds[name].shape[0] != rows:
                raise BadRequest(f'input "{name}" has {feeds[name].shape[0]} rows, input "{first}" has {rows}: all must have the same')
        return rows

    def _requested(self, requested: object) -> list[int]:
        if type(requested) is not list:
            raise BadRequest(f'"outputs" must be an array, not {json_type(requested)}')
        known = {spec.name: index for index, spec in enumerate(self.outputs)}
        chosen: list[int] = []
        for output in requested:
            name = output.get("name") if type(output) is dict else None
            index = known.get(name) if type(name) is str else None
            if index is None:
                raise BadRequest(f'unknown output {_quoted(name)}: model "{self.model}" gives {_names(self.outputs)}')
            parameters = output.get("parameters") or {}
            if type(parameters) is not dict:
                raise BadRequest(f'output "{name}": "parameters" must be an object, not {json_type(parameters)}')
            if "classification" in parameters:
                raise BadRequest(f'output "{name}": the classification extension is not supported yet')
            if index in chosen:
                raise BadRequest(f'output "{name}" is asked for twice')
            chosen.append(index)
        return chosen


def parse_object(body: bytes) -> dict[str, Any]:
    """The JSON object in `body`. Raises `BadRequest` for anything else, NaN and Infinity literals included."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"the body is not JSON: {error}") from None
    if type(document) is not dict:
        raise BadRequest(f"the body must be a JSON object, not {json_type(document)}")
    return document


def _flat(tensor: Tensor) -> Tensor | list[Any]:
    """Row-major data as orjson takes it; a NaN or an infinity comes out as null."""
    return tensor.ravel().tolist() if tensor.dtype.kind == "O" else tensor.ravel()


def _shape(spec: TensorSpec, shape: object) -> list[int]:
    if type(shape) is not list or set(map(type, shape)) - {int}:
        raise BadRequest(f'input "{spec.name}": "shape" must be an array of integers, the model takes {list(spec.shape)}')
    if len(shape) != len(spec.shape):
        raise BadRequest(f'input "{spec.name}": the shape has {len(shape)} dimensions, the model takes {list(spec.shape)} (-1: any size)')
    for want, size in zip(spec.shape, shape, strict=True):
        if want not in (size, ANY):
            raise BadRequest(f'input "{spec.name}": shape {shape} does not match {list(spec.shape)} (-1: any size)')
        if size < 1:
            raise BadRequest(f'input "{spec.name}": shape {shape} has a dimension below 1; a request carries at least one row')
    return shape


def _names(specs: Sequence[TensorSpec]) -> str:
    return ", ".join(f'"{spec.name}" ({spec.datatype} {list(spec.shape)})' for spec in specs)


def _quoted(value: object) -> str:
    """A client's value in an error message: short whatever was sent."""
    if not isinstance(value, str):
        return json_type(value)
    return f'"{value[:80]}…"' if len(value) > 80 else f'"{value}"'
