"""The messages are the protocol's, whoever else has them in this process."""

import ast
import sys
from pathlib import Path

import pytest
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from tritonclient.grpc import model_config_pb2, service_pb2

from monitor.serving.grpc import messages
from tests.grpc_messages import FOLDER, REWRITE, generated

THEIRS: dict[str, Descriptor] = {
    **model_config_pb2.DESCRIPTOR.message_types_by_name,
    **service_pb2.DESCRIPTOR.message_types_by_name,
}
OURS: dict[str, Descriptor] = dict(messages.DESCRIPTOR.message_types_by_name)


def wire(field: FieldDescriptor) -> tuple[object, ...]:
    """What a field is on the wire, and whether it excludes others."""
    kind = field.message_type or field.enum_type
    return field.number, field.type, field.is_repeated, field.is_packed, kind and kind.full_name, field.containing_oneof is not None


def nested(message: Descriptor) -> dict[str, Descriptor]:
    found = {message.full_name: message}
    for inner in message.nested_types:
        found |= nested(inner)
    return found


@pytest.mark.parametrize("name", OURS)
def test_every_field_is_where_tritons_clients_have_it(name: str) -> None:
    theirs = nested(THEIRS[name])
    for full_name, message in nested(OURS[name]).items():
        fields = theirs[full_name].fields_by_name
        assert {field.name: wire(field) for field in message.fields} == {field.name: wire(fields[field.name]) for field in message.fields}


def test_the_messages_of_an_inference_are_whole() -> None:
    for name, message in OURS.items():
        if name.startswith(("InferP", "InferT", "ModelInfer", "ModelStreamInfer", "ModelMetadata", "Repository", "Server")):
            assert [field.name for field in message.fields] == [field.name for field in THEIRS[name].fields]


def test_the_methods_are_those_that_tritons_clients_call() -> None:
    service = messages.DESCRIPTOR.services_by_name["GRPCInferenceService"]
    theirs = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods_by_name
    for method in service.methods:
        same = theirs[method.name]
        assert (method.input_type.full_name, method.output_type.full_name) == (same.input_type.full_name, same.output_type.full_name)
        assert (method.client_streaming, method.server_streaming) == (same.client_streaming, same.server_streaming)


def test_the_datatypes_have_tritons_numbers() -> None:
    def values(enum: EnumDescriptor) -> dict[str, int]:
        return {value.name: value.number for value in enum.values}

    theirs = values(model_config_pb2.DESCRIPTOR.enum_types_by_name["DataType"])
    assert values(messages.DESCRIPTOR.enum_types_by_name["DataType"]) == theirs


def test_they_live_beside_those_of_tritonclient() -> None:
    theirs = service_pb2.ModelInferRequest(model_name="flights", id="UA-1545")
    theirs.parameters["timeout"].int64_param = 5
    ours = messages.ModelInferRequest.FromString(theirs.SerializeToString())
    assert ours.id == "UA-1545"
    assert ours.parameters["timeout"].int64_param == 5
    assert ours.DESCRIPTOR.full_name == theirs.DESCRIPTOR.full_name
    assert ours.DESCRIPTOR.file.pool is not theirs.DESCRIPTOR.file.pool


@pytest.mark.parametrize("name", ["inference.binpb", "messages.pyi"])
def test_what_is_committed_is_what_protoc_makes_of_the_source(name: str) -> None:
    assert (FOLDER / name).read_bytes() == generated()[name], f"run `{REWRITE}`"


def test_the_types_name_what_is_there() -> None:
    stub = ast.parse(Path(messages.__file__).with_suffix(".pyi").read_text())
    classes = [node.name for node in stub.body if isinstance(node, ast.ClassDef)]
    assert sorted(classes) == sorted([*OURS, "DataType"])
    assert all(hasattr(messages, name) for name in classes)
    assert messages.__name__ in sys.modules
