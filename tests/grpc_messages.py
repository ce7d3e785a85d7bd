"""Writes what the gRPC messages are made from: `python -m tests.grpc_messages`, after a change to `inference.proto`."""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

import monitor.serving.grpc

FOLDER: Final = Path(monitor.serving.grpc.__file__).parent
REWRITE: Final = "python -m tests.grpc_messages"
HEADER: Final = f"""# Written by protoc (`{REWRITE}`) from `inference.proto`.
# fmt: off
# ruff: noqa: A002, E501, I001, RUF023, UP007, UP045
# mypy: disable-error-code="type-arg"

"""


def generated() -> dict[str, bytes]:
    """The files beside `inference.proto` that follow from it, by name."""
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder)
        command = [sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={FOLDER}", f"--pyi_out={files}"]
        subprocess.run([*command, f"--descriptor_set_out={files / 'inference.binpb'}", "inference.proto"], check=True)
        stub = HEADER + (files / "inference_pb2.pyi").read_text()
        return {"inference.binpb": (files / "inference.binpb").read_bytes(), "messages.pyi": stub.encode()}


if __name__ == "__main__":
    for name, content in generated().items():
        (FOLDER / name).write_bytes(content)
        print(FOLDER / name)
