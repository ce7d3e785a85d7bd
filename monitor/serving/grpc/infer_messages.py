"""A `ModelInferRequest` to a checked request, and its answer to a `ModelInferResponse`. Whatever both protocols check, the codec checks.

An answer takes the form of its request: Triton's clients send raw contents and read nothing else, and a client that sends typed contents
reads those.
"""

from collections.abc import Mapping
from typing import Any, Final

import orjson

from monitor.serving.binary import raw_of
from monitor.serving.grpc.messages import InferParameter, InferTensorContents, ModelInferRequest, ModelInferResponse
from monitor.serving.protocol import Codec, InputTensor
from monitor.serving.refusals import BadRequest
from monitor.serving.requests import Answer, InferRequest
from monitor.serving.tensors import DTYPES, Tensor
from monitor.serving.triton_parameters import refuse_shared_memory
from monitor.serving.wanted import quoted

TYPED_CONTENTS: Final[Mapping[str, str]] = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
"""Where a tensor's elements stand, by its datatype; FP16 and BF16 are only ever raw."""


def read(message: ModelInferRequest, codec: Codec) -> InferRequest:
    """Raises `BadRequest`, which says what is wrong, where, and what the model expects."""
    raw = message.raw_input_contents
    if raw and len(raw) != len(message.inputs):
        raise BadRequest(
            f'"raw_input_contents" has {len(raw)} entries for {len(message.inputs)} inputs: it must hold each, in their order, or none'
        )
    inputs = []
    for index, tensor in enumerate(message.inputs):
        if tensor.parameters:
            refuse_shared_memory(_values(tensor.parameters), _named(tensor))
        if raw and tensor.HasField("contents"):
            raise BadRequest(f'{_named(tensor)}: "contents" and "raw_input_contents" exclude each other')
        inputs.append(InputTensor(tensor.name, tensor.datatype, tensor.shape, raw[index] if raw else _elements(tensor)))
    outputs = [(output.name, _values(output.parameters)) for output in message.outputs]
    return codec.assemble(inputs, outputs, message.id, _values(message.parameters))


def written(answer: Answer, request: InferRequest, codec: Codec, *, raw: bool) -> ModelInferResponse:
    """The response; `raw` where the request was. Outputs are all raw where one of them has to be."""
    tensors = list(codec.tensors(answer, request))
    raw = raw or not all(output.datatype in TYPED_CONTENTS for output in tensors)
    response = ModelInferResponse(model_name=codec.model, model_version=codec.version, id=answer.id)
    response.parameters["ids"].string_param = orjson.dumps(answer.ids).decode()
    for name, datatype, tensor, _ in tensors:
        output = response.outputs.add(name=name, datatype=datatype, shape=tensor.shape)
        if raw:
            response.raw_output_contents.append(raw_of(tensor, datatype))
        else:
            _fill(output.contents, datatype, tensor)
    return response


def _values(parameters: Mapping[str, InferParameter]) -> dict[str, object]:
    values: dict[str, object] = {}
    for name, parameter in parameters.items():
        chosen = parameter.WhichOneof("parameter_choice")
        values[name] = None if chosen is None else getattr(parameter, chosen)
    return values


def _elements(tensor: ModelInferRequest.InferInputTensor) -> list[Any]:
    """The typed contents of an input. Raises `BadRequest` where they do not stand where its datatype has them."""
    field = TYPED_CONTENTS.get(tensor.datatype)
    if field is None and tensor.datatype not in DTYPES:
        return []  # the codec says which datatype the input has
    filled = [descriptor.name for descriptor, _ in tensor.contents.ListFields()]
    if field is None or filled not in ([field], []):
        found = " and ".join(filled) or "none of the contents"
        raise BadRequest(f"{_named(tensor)}: {tensor.datatype} data must be in {field or 'raw_input_contents'}, and are in {found}")
    return list(getattr(tensor.contents, field))


def _named(tensor: ModelInferRequest.InferInputTensor) -> str:
    return f"input {quoted(tensor.name)}"


def _fill(contents: InferTensorContents, datatype: str, tensor: Tensor) -> None:
    elements = tensor.ravel().tolist()
    if datatype == "BYTES":
        elements = [element.encode() if isinstance(element, str) else element for element in elements]
    getattr(contents, TYPED_CONTENTS[datatype]).extend(elements)
