"""Open Inference Protocol v2: a request, in JSON, with bytes behind the JSON, or parsed by gRPC, to checked tensors; and back.

Knows the model's declared inputs and outputs, and neither HTTP nor the runtime that will be asked.
https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import prod
from typing import Any, Final, NamedTuple

import orjson

from monitor.serving import binary, json_data
from monitor.serving.answers import Answers, Encoded, OutputTensor
from monitor.serving.binary import HEADER, BinaryPart
from monitor.serving.refusals import BadRequest
from monitor.serving.requests import Answer, InferRequest
from monitor.serving.row_parameters import NO_PARAMETERS, request_id, row_parameters
from monitor.serving.tensors import ANY, DTYPES, Tensor, TensorSpec, checked_shape, json_type
from monitor.serving.triton_parameters import flag, refuse_sequences, refuse_shared_memory, timeout_seconds
from monitor.serving.wanted import Asked, Outputs, asked_in_json, described, quoted

EXTENSIONS: Final = ("binary_tensor_data", "classification", "parameters")
"""What a server's metadata says that this codec can do, by Triton's names."""


PLATFORM: Final = "onnxruntime_onnx"
"""What runs the models, by Triton's name for it."""


class InputTensor(NamedTuple):
    """An input as gRPC brings it: its elements, or (bytes) the raw little-endian form, BYTES elements after 4-byte lengths each."""

    name: str
    datatype: str
    shape: Sequence[int]
    data: list[Any] | memoryview | bytes


class Codec:
    """Reads requests for one model version and writes its answers. `labels` are the names of classes, by output."""

    def __init__(
        self,
        model: str,
        version: str,
        inputs: tuple[TensorSpec, ...],
        outputs: tuple[TensorSpec, ...],
        labels: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self.model = model
        self.version = version
        self.inputs = inputs
        self.outputs = outputs
        self._by_name = {spec.name: spec for spec in inputs}
        self._with_rows = [spec.name for spec in inputs if spec.has_row_axis]
        # A model exported with a fixed batch has its rows in the first dimension all the same.
        self._fixed_rows = next((spec.shape[0] for spec in inputs if len(spec.shape) > 1 and not spec.has_row_axis), 1)
        self._outputs = Outputs(model, outputs)
        self._answers = Answers(model, version, outputs, labels or {})

    def decode(self, body: bytes | memoryview, header_length: int | None = None) -> InferRequest:
        """A REST request, whose JSON is the whole body or, where a header says so, its first `header_length` bytes.

        Raises `BadRequest`, which says what is wrong, where, and what the model expects.
        """
        if header_length is None:
            document, part = parse_object(body), None
        elif header_length == 0:
            return self._only_bytes(memoryview(body))
        else:
            document, part = _parts(memoryview(body), header_length)
        tensors = document.get("inputs")
        if type(tensors) is not list:
            raise BadRequest(
                '"inputs" is missing' if tensors is None else f'"inputs" must be an array of tensors, not {json_type(tensors)}'
            )
        feeds: dict[str, Tensor] = {}
        for tensor in tensors:
            if type(tensor) is not dict:
                raise BadRequest(f'each of "inputs" must be an object, not {json_type(tensor)}')
            spec = self._expected(tensor.get("name"), tensor.get("datatype"), feeds)
            feeds[spec.name] = _data(spec, checked_shape(spec, tensor.get("shape")), tensor, part)
        if part is not None:
            part.check_empty()
        outputs = document.get("outputs")
        if outputs is not None and type(outputs) is not list:
            raise BadRequest(f'"outputs" must be an array, not {json_type(outputs)}')
        return self._request(feeds, asked_in_json(outputs) if outputs else None, document.get("id"), document.get("parameters"))

    def assemble(
        self,
        inputs: Iterable[InputTensor],
        outputs: Iterable[tuple[str, Mapping[str, object]]] | None,
        request_id: str,
        parameters: Mapping[str, object],
    ) -> InferRequest:
        """A request that something else has parsed, with the same checks. Raises `BadRequest`."""
        feeds: dict[str, Tensor] = {}
        for name, datatype, shape, data in inputs:
            spec = self._expected(name, datatype, feeds)
            sizes = checked_shape(spec, list(shape))
            feeds[spec.name] = _typed(spec, sizes, data) if isinstance(data, list) else binary.decode(spec, sizes, data)
        return self._request(feeds, outputs, request_id, dict(parameters) or None)

    def encode(self, answer: Answer, request: InferRequest) -> Encoded:
        """The body of the REST response."""
        return self._answers.encode(answer, request.outputs)

    def tensors(self, answer: Answer, request: InferRequest) -> Iterator[OutputTensor]:
        """What a response holds, for a protocol that writes tensors in its own way."""
        return self._answers.tensors(answer, request.outputs)

    def metadata(self, versions: Sequence[str]) -> bytes:
        """The model's metadata as the protocol has it."""
        return orjson.dumps(
            {
                "name": self.model,
                "versions": list(versions),
                "platform": PLATFORM,
                "inputs": [{"name": spec.name, "datatype": spec.datatype, "shape": spec.shape} for spec in self.inputs],
                "outputs": [{"name": spec.name, "datatype": spec.datatype, "shape": spec.shape} for spec in self.outputs],
            }
        )

    def _expected(self, name: object, datatype: object, feeds: Mapping[str, Tensor]) -> TensorSpec:
        """The input that a tensor of that name and type is for."""
        spec = self._by_name.get(name) if type(name) is str else None
        if spec is None:
            raise BadRequest(f'unknown input {quoted(name)}: model "{self.model}" takes {described(self.inputs)}')
        if spec.name in feeds:
            raise BadRequest(f'input "{spec.name}" is given twice')
        if datatype != spec.datatype:
            raise BadRequest(f'input "{spec.name}": datatype must be {spec.datatype}, not {quoted(datatype)}')
        return spec

    def _request(self, feeds: dict[str, Tensor], asked: Asked | None, given_id: object, parameters: object) -> InferRequest:
        rows = self._rows(feeds)
        in_binary, timeout, of_rows = False, 0.0, NO_PARAMETERS
        if parameters is not None:
            if type(parameters) is not dict:
                raise BadRequest(f'"parameters" must be an object, not {json_type(parameters)}')
            refuse_sequences(parameters)
            in_binary = flag(parameters, "binary_data_output", '"parameters"', default=False)
            timeout = timeout_seconds(parameters)
            of_rows = row_parameters(parameters, rows)
        wanted = None if asked is None and not in_binary else self._outputs.wanted(asked or (), binary=in_binary)
        return InferRequest(feeds, rows, wanted, "" if given_id is None else request_id(given_id), of_rows, timeout)

    def _rows(self, feeds: Mapping[str, Tensor]) -> int:
        if len(feeds) != len(self.inputs):
            missing = [f'"{spec.name}"' for spec in self.inputs if spec.name not in feeds]
            raise BadRequest(f'input {", ".join(missing)} is missing: model "{self.model}" takes {described(self.inputs)}')
        if not self._with_rows:
            return self._fixed_rows
        first = self._with_rows[0]
        rows: int = feeds[first].shape[0]
        for name in self._with_rows[1:]:
            if feeds[name].shape[0] != rows:
                raise BadRequest(f'input "{name}" has {feeds[name].shape[0]} rows, input "{first}" has {rows}: all must have the same')
        return rows

    def _only_bytes(self, raw: memoryview) -> InferRequest:
        """A request that is nothing but the bytes of a model's only input, whose shape follows from their number; answered in bytes."""
        takes = f'model "{self.model}" takes {described(self.inputs)}'
        spec = self.inputs[0] if len(self.inputs) == 1 else None
        if spec is None or spec.datatype == "BYTES" or spec.shape.count(ANY) > 1:
            raise BadRequest(f"{HEADER} is 0, which is for models with one input, of numbers, and at most one open dimension: {takes}")
        size = prod(size for size in spec.shape if size != ANY) * DTYPES[spec.datatype].itemsize
        if not size or not raw or len(raw) % size:
            raise BadRequest(f"{HEADER} is 0, and the body has {len(raw)} bytes, which is no multiple of {size}: {takes}")
        shape = [len(raw) // size if want == ANY else want for want in spec.shape]
        return self._request({spec.name: binary.decode(spec, shape, raw)}, None, None, {"binary_data_output": True})


def parse_object(text: bytes | memoryview) -> dict[str, Any]:
    """The JSON object in `text`. Raises `BadRequest` for anything else, NaN and Infinity literals included."""
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"the body is not JSON: {error}") from None
    if type(document) is not dict:
        raise BadRequest(f"the body must be a JSON object, not {json_type(document)}")
    return document


def _parts(body: memoryview, header_length: int) -> tuple[dict[str, Any], BinaryPart]:
    """The JSON of a request and what follows it."""
    if not 0 < header_length <= len(body):
        raise BadRequest(f"{HEADER} is {header_length}, and the body has {len(body)} bytes: it must say how many of them are JSON")
    return parse_object(body[:header_length]), BinaryPart(body[header_length:])


def _data(spec: TensorSpec, shape: list[int], tensor: Mapping[str, Any], part: BinaryPart | None) -> Tensor:
    """An input's elements, from its JSON or from the bytes after it."""
    parameters = tensor.get("parameters")
    if parameters is not None:
        where = f'input "{spec.name}"'
        if type(parameters) is not dict:
            raise BadRequest(f'{where}: "parameters" must be an object, not {json_type(parameters)}')
        refuse_shared_memory(parameters, where)
        size = parameters.get("binary_data_size")
        if size is not None:
            if "data" in tensor:
                raise BadRequest(f'{where}: "data" and "binary_data_size" exclude each other')
            if part is None:
                raise BadRequest(f'{where}: "binary_data_size" needs the header {HEADER}, which says where the JSON ends')
            return binary.decode(spec, shape, part.take(spec.name, size))
    if "data" not in tensor:
        raise BadRequest(f'input "{spec.name}": "data" is missing, and "parameters" have no "binary_data_size"')
    return json_data.decode(spec, shape, tensor["data"])


def _typed(spec: TensorSpec, shape: list[int], data: list[Any]) -> Tensor:
    """Elements from a message's typed fields, which have bytes for text."""
    if spec.datatype == "BYTES":
        data = [binary.text(spec, index, value) if isinstance(value, bytes) else value for index, value in enumerate(data)]
    return json_data.decode(spec, shape, data)
