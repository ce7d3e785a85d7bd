"""An answer's tensors as the request wants them, and the JSON, with or without bytes behind it, that carries them over HTTP.

What is the same in every answer of a model version is rendered once, so that the usual one, a row of one or two outputs, is joined from
constants and three or four numbers.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import orjson

from monitor.serving import bfloat16, json_data
from monitor.serving.binary import raw_of
from monitor.serving.classification import classified
from monitor.serving.requests import Answer, OutputWanted
from monitor.serving.tensors import ANY, Tensor, TensorSpec


class Encoded(NamedTuple):
    """A response body. `header_length` is how much of it is JSON where bytes follow: what the header of that name has to say."""

    body: bytes
    header_length: int | None


class OutputTensor(NamedTuple):
    """One output as it goes out: BYTES where classes were asked for, the model's own datatype otherwise."""

    name: str
    datatype: str
    tensor: Tensor
    binary: bool


class _Form(NamedTuple):
    """How one output is written: what stands before its shape, and how its elements become JSON. A row's shape is known beforehand."""

    head: bytes
    elements: Callable[[Tensor], bytes]
    row_shape: tuple[int, ...]
    row_head: bytes


class Answers:
    """Writes the answers of one model version. `labels` are names of classes, by output."""

    def __init__(self, model: str, version: str, outputs: Sequence[TensorSpec], labels: Mapping[str, Sequence[str]]) -> None:
        self._specs = outputs
        self._labels = [labels.get(spec.name, ()) for spec in outputs]
        self._begin = b'{"model_name":%b,"model_version":%b,"id":' % (orjson.dumps(model), orjson.dumps(version))
        self._forms = [_form(spec.name, spec.datatype, spec.shape) for spec in outputs]
        self._class_forms = [_form(spec.name, "BYTES", ()) for spec in outputs]
        self._all = tuple(OutputWanted(index) for index in range(len(outputs)))

    def encode(self, answer: Answer, wanted: Sequence[OutputWanted] | None) -> Encoded:
        """The body of a REST response."""
        parts: list[bytes] = []
        raws: list[bytes] = []
        if wanted is None:
            for form, tensor in zip(self._forms, answer.outputs):  # noqa: B905  the runtime gives all of them, and strictness costs 0.1 µs
                parts.append(_in_json(form, tensor))
        else:
            for want, output in zip(wanted, self.tensors(answer, wanted), strict=True):
                form = (self._class_forms if want.classes else self._forms)[want.output]
                if output.binary:
                    raws.append(raw_of(output.tensor, output.datatype))
                    parts.append(_with_size(form, output.tensor, len(raws[-1])))
                else:
                    parts.append(_in_json(form, output.tensor))
        document = b'%b%b,"parameters":{"ids":%b},"outputs":[%b}]}' % (
            self._begin,
            orjson.dumps(answer.id),
            orjson.dumps(answer.ids),
            b"},".join(parts),
        )
        return Encoded(b"".join((document, *raws)), len(document)) if raws else Encoded(document, None)

    def tensors(self, answer: Answer, wanted: Sequence[OutputWanted] | None) -> Iterator[OutputTensor]:
        """What a response holds, for those who write tensors in their own way."""
        for index, binary, classes in wanted or self._all:
            spec, tensor = self._specs[index], answer.outputs[index]
            if classes:
                scores = bfloat16.floats(tensor) if spec.datatype == "BF16" else tensor
                yield OutputTensor(spec.name, "BYTES", classified(scores, classes, self._labels[index]), binary)
            else:
                yield OutputTensor(spec.name, spec.datatype, tensor, binary)


def _form(name: str, datatype: str, shape: tuple[int, ...]) -> _Form:
    head = b'{"name":%b,"datatype":"%b","shape":' % (orjson.dumps(name), datatype.encode())
    one_row = tuple(1 if size == ANY else size for size in shape)
    return _Form(head, json_data.encoder(datatype), one_row, b'%b%b,"data":' % (head, orjson.dumps(one_row)))


def _in_json(form: _Form, tensor: Tensor) -> bytes:
    """One output's JSON but for its closing brace."""
    head, elements, row_shape, row_head = form
    shape = tensor.shape
    return (row_head if shape == row_shape else b'%b%b,"data":' % (head, orjson.dumps(shape))) + elements(tensor)


def _with_size(form: _Form, tensor: Tensor, size: int) -> bytes:
    """The same for an output whose elements follow as so many bytes."""
    return b'%b%b,"parameters":{"binary_data_size":%d}' % (form.head, orjson.dumps(tensor.shape), size)
