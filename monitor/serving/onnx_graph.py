"""What an ONNX file says about itself: its nodes, its small constants and its outputs. Read before the runtime sees the file.

Knows nothing of what the nodes compute (`output_meaning` does) and refuses what the runtime should not be given.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from math import prod
from pathlib import Path
from typing import Any, Final

import numpy as np
from google.protobuf.message import DecodeError

from monitor.errors import ModelError
from monitor.serving import onnx_message as onnx
from monitor.serving import wire
from monitor.serving.wire import Field

ML_DOMAIN: Final = "ai.onnx.ml"
_DEFAULT_DOMAINS: Final = ("", "ai.onnx", ML_DOMAIN)
_LARGEST_READ_BYTES: Final = 65_536
"""Of a tensor or a list that could be names of classes; larger ones are weights."""
_WHOLE: Final[dict[int, np.dtype[Any]]] = {onnx.INT64: np.dtype("<i8"), onnx.INT32: np.dtype("<i4")}
_OLD_OPSET: Final = 9
_AGAIN: Final = "export it again, or copy it again as a whole"

Constant = tuple[str, ...] | tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Node:
    """One operator of the default or the machine-learning domain; those of other domains are named `domain.op`."""

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, int | str | Constant | None]
    """None: a value of another kind, such as floats."""

    def whole(self, attribute: str, default: int) -> int:
        value = self.attributes.get(attribute, default)
        return value if isinstance(value, int) else default

    def constant(self, attribute: str) -> Constant:
        value = self.attributes.get(attribute)
        return value if isinstance(value, tuple) else ()


class OnnxFile:
    """A model file taken apart. `source` is what the runtime loads: the file, or its content where the graph was changed here."""

    def __init__(self, path: Path) -> None:
        """Raises `ModelError`. `path` has no symbolic link in it, so that what lies beside it is found."""
        self.path = path
        content = memoryview(_content(path))
        try:
            self._rest, self._graph = _parts(content)
            self._nodes = {place: onnx.Node.FromString(_slim_node(part.value)) for place, part in self._those(onnx.NODE)}
            tensors = [onnx.Tensor.FromString(_slim_tensor(part.value)) for _, part in self._those(onnx.INITIALIZER)]
            self._inputs = [onnx.Value.FromString(part.value) for _, part in self._those(onnx.INPUT)]
            self._outputs = {place: onnx.Value.FromString(part.value) for place, part in self._those(onnx.OUTPUT)}
            self._domains = {onnx.Opset.FromString(part.value).domain for part in self._rest if part.number == onnx.OPSET}
        except (ValueError, DecodeError):
            raise ModelError(f"{path}: is no ONNX model, or only part of one ({len(content):,} bytes): {_AGAIN}") from None
        if not self._outputs:
            raise ModelError(f"{path}: is no ONNX model: its graph has no output: {_AGAIN}")
        self._changed: dict[int, bytes] = {}
        self._initializers = {tensor.name: _elements(tensor) for tensor in tensors}
        locations = sorted({*_locations(tensors), *_external(self._nodes.values())})
        self._external = {location: _external_file(path, location) for location in locations}

    @property
    def source(self) -> Path | bytes:
        if not self._changed:
            return self.path
        graph = wire.nested(onnx.GRAPH, (self._changed.get(place, part.whole) for place, part in enumerate(self._graph)))
        return b"".join([*(part.whole for part in self._rest), *self._default_operators(), graph])

    def external_data(self) -> dict[str, bytes]:
        """The content of other files that weights lie in, by the name that the model has for each."""
        return {location: _content(file) for location, file in self._external.items()}

    @property
    def outputs(self) -> tuple[str, ...]:
        return tuple(output.name for output in self._outputs.values())

    @property
    def nodes(self) -> tuple[Node, ...]:
        return tuple(map(_node, self._nodes.values()))

    @property
    def constants(self) -> Mapping[str, Constant | None]:
        """Every tensor that is no request's: its elements where they are few texts or whole numbers, else None."""
        made = {node.outputs[0]: node.constant("value") or None for node in self.nodes if node.op == "Constant" and node.outputs}
        return {**self._initializers, **made}

    def replace_zipmaps(self) -> Mapping[str, Constant]:
        """Makes each output that is a sequence of dictionaries the tensor [N, C] that it was made from; the classes of its columns.

        Converters of scikit-learn and LightGBM end a classifier so. The runtime builds a dictionary a row, which no tensor protocol says.
        """
        outputs = {output.name: place for place, output in self._outputs.items()}
        classes = {}
        for place, message in self._nodes.items():
            node = _node(message)
            if message.op_type != "ZipMap" or message.domain != ML_DOMAIN or not outputs.keys() & node.outputs[:1]:
                continue
            labels = node.constant("classlabels_strings") or node.constant("classlabels_int64s")
            classes[node.outputs[0]] = labels
            message.op_type, message.domain = "Identity", ""
            message.ClearField("attribute")
            self._changed[place] = wire.nested(onnx.NODE, [message.SerializeToString()])
            _declare_table(self._outputs[outputs[node.outputs[0]]], len(labels))
            self._change_output(outputs[node.outputs[0]])
        if classes and not any(map(_first_size, self._inputs)):
            # LightGBM's converter declares one label, however many rows there are.
            for place, output in self._outputs.items():
                dims = output.type.tensor_type.shape.dim
                if output.name not in classes and len(dims) == 1 and dims[0].dim_value == 1:
                    dims[0].Clear()
                    self._change_output(place)
        return classes

    def _change_output(self, place: int) -> None:
        self._changed[place] = wire.nested(onnx.OUTPUT, [self._outputs[place].SerializeToString()])

    def _those(self, number: int) -> Iterator[tuple[int, Field]]:
        return ((place, part) for place, part in enumerate(self._graph) if part.number == number)

    def _default_operators(self) -> Iterator[bytes]:
        """What the file has to import for `Identity`, where it imports only operators of machine learning."""
        if not self._domains & {"", "ai.onnx"}:
            yield wire.nested(onnx.OPSET, [onnx.Opset(domain="", version=_OLD_OPSET).SerializeToString()])


def _content(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except IsADirectoryError:
        raise ModelError(f"{path}: is a folder; expected a model file") from None
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from None
    if not content:
        raise ModelError(f"{path}: is empty: {_AGAIN}")
    return content


def _parts(content: memoryview) -> tuple[list[Field], list[Field]]:
    """The fields of the model but its graph, and those of its graph. Raises ValueError."""
    parts = list(wire.fields(content))
    graphs = [part for part in parts if part.number == onnx.GRAPH]
    if len(graphs) != 1 or not any(part.number == onnx.IR_VERSION for part in parts):
        raise ValueError("expected one graph, and the version of the format")
    return [part for part in parts if part.number != onnx.GRAPH], list(wire.fields(graphs[0].value))


def _slim_node(message: memoryview) -> bytes | memoryview:
    """Without lists of numbers in the thousands, in which a forest keeps its trees."""
    if len(message) <= _LARGEST_READ_BYTES:
        return message
    return b"".join(_slim_attribute(part) if part.number == onnx.ATTRIBUTE else part.whole for part in wire.fields(message))


def _slim_attribute(part: Field) -> bytes | memoryview:
    if len(part.value) <= _LARGEST_READ_BYTES:
        return part.whole
    # Its name comes first, and then what it holds, in no more than a field for each number of a list.
    leading = list(islice(wire.fields(part.value), 2))
    if leading[-1].number in onnx.ATTRIBUTE_GRAPHS:
        return part.whole
    return wire.nested(onnx.ATTRIBUTE, (field.whole for field in leading if field.number == onnx.ATTRIBUTE_NAME))


def _slim_tensor(message: memoryview) -> bytes | memoryview:
    return message if len(message) <= _LARGEST_READ_BYTES else wire.only(message, onnx.TENSOR_BUT_DATA)


def _external(nodes: Iterable[Any]) -> Iterator[str]:
    """Locations of data outside the file that attributes of nodes have, those of nested graphs too."""
    for node in nodes:
        for attribute in node.attribute:
            yield from _locations([attribute.t, *attribute.tensors])
            for graph in (attribute.g, *attribute.graphs):
                yield from _locations(graph.initializer)
                yield from _external(graph.node)


def _locations(tensors: Iterable[Any]) -> Iterator[str]:
    for tensor in tensors:
        if tensor.data_location == onnx.EXTERNAL:
            yield next((entry.value for entry in tensor.external_data if entry.key == "location"), "")


def _external_file(path: Path, location: str) -> Path:
    shown = repr(location[:200])
    if not location or "\0" in location or Path(location).is_absolute():
        raise ModelError(f"{path}: keeps weights at {shown}: only a path relative to its own folder is read; export it again")
    # A link within the folder may point elsewhere, so it is where the data really are that counts.
    file = (path.parent / location).resolve()
    if not file.is_relative_to(path.parent):
        raise ModelError(f"{path}: keeps weights at {shown}, which is {file}, outside its own folder: move them beside the model")
    if not file.is_file():
        raise ModelError(f"{path}: keeps weights at {shown}, and there is no such file in {path.parent}: copy it there too")
    return file


def _node(node: Any) -> Node:  # noqa: ANN401
    op = node.op_type if node.domain in _DEFAULT_DOMAINS else f"{node.domain}.{node.op_type}"
    return Node(op, tuple(node.input), tuple(node.output), {attribute.name: _attribute(attribute) for attribute in node.attribute})


def _attribute(attribute: Any) -> int | str | Constant | None:  # noqa: ANN401
    if attribute.strings:
        return tuple(text.decode(errors="replace") for text in attribute.strings)
    if attribute.ints:
        return tuple(attribute.ints)
    if attribute.HasField("t"):
        return _elements(attribute.t)
    if attribute.HasField("s"):
        text: str = attribute.s.decode(errors="replace")
        return text
    return int(attribute.i) if attribute.HasField("i") else None


def _elements(tensor: Any) -> Constant | None:  # noqa: ANN401
    if tensor.data_type == onnx.STRING:
        found: Constant = tuple(text.decode(errors="replace") for text in tensor.string_data)
    elif tensor.data_type not in _WHOLE:
        return None
    elif tensor.raw_data:
        dtype = _WHOLE[tensor.data_type]
        found = tuple(np.frombuffer(tensor.raw_data[: len(tensor.raw_data) // dtype.itemsize * dtype.itemsize], dtype).tolist())
    else:
        found = tuple(tensor.int64_data if tensor.data_type == onnx.INT64 else tensor.int32_data)
    return found if len(found) == prod(tensor.dims) else None


def _declare_table(output: Any, width: int) -> None:  # noqa: ANN401
    output.ClearField("type")
    tensor = output.type.tensor_type
    tensor.elem_type = onnx.FLOAT
    tensor.shape.dim.add()
    tensor.shape.dim.add(dim_value=width or None)


def _first_size(value: Any) -> int:  # noqa: ANN401
    """Of the first dimension; 0 where each request chooses."""
    dims = value.type.tensor_type.shape.dim
    return int(dims[0].dim_value) if dims else 0
