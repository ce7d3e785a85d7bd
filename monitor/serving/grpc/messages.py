"""The messages of `inference.proto` as classes, in a descriptor pool of their own.

Others register the same names in protobuf's default pool (tritonclient does, in our own tests), and modules that `protoc` writes refuse a
protobuf that is not of their own version. So the committed `inference.binpb` holds what `protoc` read, the classes are made from it here,
and `messages.pyi` gives their types. `python -m tests.grpc_messages` writes both anew from `inference.proto`.
"""

from pathlib import Path
from typing import Final

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper
from google.protobuf.message_factory import GetMessageClass

[_file] = FileDescriptorSet.FromString(Path(__file__).with_name("inference.binpb").read_bytes()).file
# The classes keep the pool alive.
DESCRIPTOR: Final = DescriptorPool().AddSerializedFile(_file.SerializeToString())

for _name, _message in DESCRIPTOR.message_types_by_name.items():
    globals()[_name] = GetMessageClass(_message)
for _name, _enum in DESCRIPTOR.enum_types_by_name.items():
    globals()[_name] = EnumTypeWrapper(_enum)
    globals().update({value.name: value.number for value in _enum.values})
