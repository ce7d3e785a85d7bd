"""The part of the ONNX file format that serving looks at: how nodes are connected, names of classes, and where external data lie.

Written down here instead of imported from the package `onnx`: with protobuf, which the runtime and gRPC bring, it costs 0.02 s and 3 MB at
start where that package costs 0.11 s and 13 MB (and 55 MB on disk with what it needs). What is not written down stays in a message as it
came and is written out again, so that a node can be changed without knowing all of it. Numbers are those of onnx.proto (release 1.23):
https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_PACKAGE: Final = "monitor.serving.onnx"

_TEXT, _BYTES, _INT32, _INT64 = (
    descriptor_pb2.FieldDescriptorProto.TYPE_STRING,
    descriptor_pb2.FieldDescriptorProto.TYPE_BYTES,
    descriptor_pb2.FieldDescriptorProto.TYPE_INT32,
    descriptor_pb2.FieldDescriptorProto.TYPE_INT64,
)
_MANY: Final = "many"
_PACKED: Final = "packed"

# By message: its fields' numbers, types (another message's name, or a scalar) and, where it may be there several times, how it is written.
_FIELDS: Final[dict[str, dict[str, tuple[Any, ...]]]] = {
    "Opset": {"domain": (1, _TEXT), "version": (2, _INT64)},
    "Graph": {
        "node": (1, "Node", _MANY),
        "initializer": (5, "Tensor", _MANY),
        "input": (11, "Value", _MANY),
        "output": (12, "Value", _MANY),
    },
    "Node": {
        "input": (1, _TEXT, _MANY),
        "output": (2, _TEXT, _MANY),
        "op_type": (4, _TEXT),
        "attribute": (5, "Attribute", _MANY),
        "domain": (7, _TEXT),
    },
    "Attribute": {
        "name": (1, _TEXT),
        "i": (3, _INT64),
        "s": (4, _BYTES),
        "t": (5, "Tensor"),
        "g": (6, "Graph"),
        "ints": (8, _INT64, _MANY),
        "strings": (9, _BYTES, _MANY),
        "tensors": (10, "Tensor", _MANY),
        "graphs": (11, "Graph", _MANY),
    },
    "Tensor": {
        "dims": (1, _INT64, _MANY),
        "data_type": (2, _INT32),
        "int32_data": (5, _INT32, _PACKED),
        "string_data": (6, _BYTES, _MANY),
        "int64_data": (7, _INT64, _PACKED),
        "name": (8, _TEXT),
        "raw_data": (9, _BYTES),
        "external_data": (13, "Entry", _MANY),
        "data_location": (14, _INT32),
    },
    "Entry": {"key": (1, _TEXT), "value": (2, _TEXT)},
    "Value": {"name": (1, _TEXT), "type": (2, "Type")},
    "Type": {"tensor_type": (1, "TensorType")},
    "TensorType": {"elem_type": (1, _INT32), "shape": (2, "Shape")},
    "Shape": {"dim": (1, "Dimension", _MANY)},
    "Dimension": {"dim_value": (1, _INT64), "dim_param": (2, _TEXT)},
}

IR_VERSION: Final = 1
GRAPH: Final = 7
OPSET: Final = 8
"""Fields of the model itself."""
NODE: Final = 1
INITIALIZER: Final = 5
INPUT: Final = 11
OUTPUT: Final = 12
"""Fields of its graph."""
ATTRIBUTE: Final = 5
"""Of a node."""
ATTRIBUTE_NAME: Final = 1
ATTRIBUTE_GRAPHS: Final = (6, 11)
TENSOR_BUT_DATA: Final = (1, 2, 8, 13, 14)

FLOAT: Final = 1
INT32: Final = 6
INT64: Final = 7
STRING: Final = 8
EXTERNAL: Final = 1
"""`Tensor.data_location` of one whose data lie in another file."""


def _classes() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name=f"{_PACKAGE}.proto", package=_PACKAGE, syntax="proto2")
    for name, fields in _FIELDS.items():
        message = file.message_type.add(name=name)
        for field_name, (number, kind, *form) in fields.items():
            field = message.field.add(name=field_name, number=number)
            field.label = field.LABEL_REPEATED if form else field.LABEL_OPTIONAL
            if isinstance(kind, str):
                field.type, field.type_name = field.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
            else:
                field.type = kind
            if form == [_PACKED]:
                field.options.packed = True
    # A pool of its own: where `onnx` is imported too, its messages are others.
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")) for name in _FIELDS}


_made: Final = _classes()
Node: Final = _made["Node"]
Opset: Final = _made["Opset"]
Tensor: Final = _made["Tensor"]
Value: Final = _made["Value"]
"""`FromString(content)` of each raises `google.protobuf.message.DecodeError` for what is no such message."""
