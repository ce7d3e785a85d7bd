"""Requests of every datatype through real models and back, in JSON and in binary."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

from monitor.serving.binary import raw_of
from monitor.serving.model import load
from monitor.serving.protocol import Codec
from monitor.serving.refusals import BadRequest
from monitor.serving.requests import Answer
from monitor.serving.tensors import DTYPES
from tests.unit.serving_models import echo, logistic, tensor

VALUES: dict[str, tuple[int, list[Any], list[Any]]] = {
    "BOOL": (TensorProto.BOOL, [True, False], [1]),
    "INT8": (TensorProto.INT8, [-128, 127], [128]),
    "INT16": (TensorProto.INT16, [-(2**15), 2**15 - 1], [2**15]),
    "INT32": (TensorProto.INT32, [-(2**31), 2**31 - 1], [2**31]),
    "INT64": (TensorProto.INT64, [-(2**63), 2**63 - 1], [2**63]),
    "UINT8": (TensorProto.UINT8, [0, 255], [-1]),
    "UINT16": (TensorProto.UINT16, [0, 2**16 - 1], [2**16]),
    "UINT32": (TensorProto.UINT32, [0, 2**32 - 1], [2**32]),
    "UINT64": (TensorProto.UINT64, [0, 2**64 - 1], [-1]),
    "FP16": (TensorProto.FLOAT16, [0.5, 65504.0], [70000.0]),
    "BF16": (TensorProto.BFLOAT16, [0.5, -3.25], [1e39]),
    "FP32": (TensorProto.FLOAT, [0.1, -3.25], [1e39]),
    "FP64": (TensorProto.DOUBLE, [0.1, 1e308], ["1"]),
    "BYTES": (TensorProto.STRING, ["", "naïve \U0001f6eb"], [1]),
}


class Server:
    """A model behind its codec: request bytes to response bytes."""

    def __init__(self, path: Path) -> None:
        self._model = load("m", "1", path)
        self._codec = Codec("m", "1", self._model.inputs, self._model.outputs)

    def infer(self, document: object, raw: bytes = b"") -> tuple[dict[str, Any], bytes]:
        """The answer's JSON and what follows it."""
        text = json.dumps(document).encode()
        request = self._codec.decode(text + raw, len(text) if raw else None)
        ids = [str(row) for row in range(request.rows)]
        body, json_bytes = self._codec.encode(Answer(self._model.run(request.feeds), ids, "r"), request)
        return json.loads(body[:json_bytes]), b"" if json_bytes is None else body[json_bytes:]

    def refusal(self, document: object) -> str:
        with pytest.raises(BadRequest) as refused:
            self.infer(document)
        return str(refused.value)


@pytest.mark.parametrize("datatype", VALUES)
def test_every_datatype_goes_through_a_real_model(datatype: str, tmp_path: Path) -> None:
    kind, values, wrong = VALUES[datatype]
    assert set(VALUES) == set(DTYPES)
    server = Server(echo(tmp_path / "model.onnx", kind, [None]))
    answer, _ = server.infer({"inputs": [tensor("x", datatype, [2], values)]})
    assert answer["outputs"] == [tensor("y", datatype, [2], values)]
    told = server.refusal({"inputs": [tensor("x", datatype, [1], wrong)]})
    assert f'input "x": {datatype if datatype in ("BOOL", "FP64", "BYTES") else "element 0"}' in told


@pytest.mark.parametrize("datatype", VALUES)
@pytest.mark.parametrize("padding", range(4))
def test_every_datatype_goes_through_a_real_model_in_binary_wherever_its_bytes_begin(datatype: str, padding: int, tmp_path: Path) -> None:
    kind, values, _ = VALUES[datatype]
    server = Server(echo(tmp_path / "model.onnx", kind, [None]))
    from_json, _ = server.infer({"inputs": [tensor("x", datatype, [2], values)]})
    raw = server.infer({"inputs": [tensor("x", datatype, [2], values)], "parameters": {"binary_data_output": True}})[1]
    binary = {"name": "x", "datatype": datatype, "shape": [2], "parameters": {"binary_data_size": len(raw), "padding": " " * padding}}
    assert server.infer({"inputs": [binary]}, raw)[0] == from_json
    assert server.infer({"inputs": [binary], "outputs": [{"name": "y", "parameters": {"binary_data": True}}]}, raw)[1] == raw


def test_text_with_a_zero_in_it_goes_through_whole(tmp_path: Path) -> None:
    server = Server(echo(tmp_path / "model.onnx", TensorProto.STRING, [None]))
    raw = raw_of(np.array(["a\0b", "", "naïve"], dtype=object), "BYTES")
    binary = {"name": "x", "datatype": "BYTES", "shape": [3], "parameters": {"binary_data_size": len(raw)}}
    assert server.infer({"inputs": [binary]}, raw)[0]["outputs"][0]["data"] == ["a\0b", "", "naïve"]


def test_an_integer_tensor_takes_no_fraction(tmp_path: Path) -> None:
    server = Server(echo(tmp_path / "model.onnx", TensorProto.INT64, [None]))
    told = server.refusal({"inputs": [tensor("x", "INT64", [2], [1, 1.5])]})
    assert told == 'input "x": INT64 data must be integers; element 1 is a number (1.5)'


def test_a_model_with_a_fixed_batch_takes_exactly_that(tmp_path: Path) -> None:
    server = Server(logistic(tmp_path / "model.onnx", rows=2))
    answer, _ = server.infer({"inputs": [tensor("X", "FP32", [2, 3], [0] * 6)]})
    assert len(answer["parameters"]["ids"]) == 2
    assert "shape [1, 3] does not match [2, 3]" in server.refusal({"inputs": [tensor("X", "FP32", [1, 3], [0] * 3)]})


def test_only_requested_outputs_come_back_in_the_order_asked(tmp_path: Path) -> None:
    server = Server(logistic(tmp_path / "model.onnx"))
    asked: dict[str, Any] = {"inputs": [tensor("X", "FP32", [1, 3], [0, 0, 0])], "outputs": [{"name": "probabilities"}, {"name": "label"}]}
    assert [output["name"] for output in server.infer(asked)[0]["outputs"]] == ["probabilities", "label"]
    asked["outputs"] = [{"name": "probabilities"}]
    assert [output["name"] for output in server.infer(asked)[0]["outputs"]] == ["probabilities"]
