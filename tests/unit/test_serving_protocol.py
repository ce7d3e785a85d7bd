"""What a request may say, and how a wrong one is told."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

from monitor.serving.protocol import Codec, InferRequest
from monitor.serving.refusals import BadRequest
from monitor.serving.tensors import DTYPES, TensorSpec
from tests.unit.serving_models import bench, echo, logistic, tensor

FLIGHTS = Codec(
    "flights",
    "1",
    (TensorSpec("X", "FP32", (-1, 3)), TensorSpec("carrier", "BYTES", (-1,))),
    (TensorSpec("label", "INT64", (-1,)), TensorSpec("probabilities", "FP32", (-1, 2))),
)
X = tensor("X", "FP32", [2, 3], [1, 2.5, 3, 4, 5, 6])
CARRIER = tensor("carrier", "BYTES", [2], ["UA", "B6"])


def decoded(**document: object) -> InferRequest:
    return FLIGHTS.decode(json.dumps({"inputs": [X, CARRIER]} | document).encode())


def refusal(**document: object) -> str:
    with pytest.raises(BadRequest) as refused:
        decoded(**document)
    return str(refused.value)


def with_x(**changes: object) -> str:
    return refusal(inputs=[X | changes, CARRIER])


def test_flat_and_nested_data_say_the_same() -> None:
    nested = decoded(inputs=[X | {"data": [[1, 2.5, 3], [4, 5, 6]]}, CARRIER])
    assert nested.rows == 2
    np.testing.assert_array_equal(nested.feeds["X"], decoded().feeds["X"])
    assert nested.feeds["X"].dtype == np.float32
    assert nested.feeds["carrier"].tolist() == ["UA", "B6"]


def test_null_is_a_missing_floating_value() -> None:
    data = decoded(inputs=[X | {"data": [1, None, 3, 4, 5, 6]}, CARRIER]).feeds["X"]
    assert np.isnan(data).tolist() == [[False, True, False], [False, False, False]]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"name": "Y"}, 'unknown input "Y": model "flights" takes "X" (FP32 [-1, 3]), "carrier" (BYTES [-1])'),
        ({"name": 7}, "unknown input a number"),
        ({"name": "X" * 10_000_000}, 'unknown input "' + "X" * 80 + '…"'),
        ({"datatype": "FP64"}, 'input "X": datatype must be FP32, not "FP64"'),
        ({"datatype": None}, 'input "X": datatype must be FP32, not null'),
        ({"shape": [2, 4]}, 'input "X": shape [2, 4] does not match [-1, 3] (-1: any size)'),
        ({"shape": [6]}, 'input "X": the shape has 1 dimensions, the model takes [-1, 3]'),
        ({"shape": [-2, 3]}, 'input "X": shape [-2, 3] has a dimension below 1'),
        ({"shape": [0, 3], "data": []}, 'input "X": shape [0, 3] has a dimension below 1'),
        ({"shape": [2.0, 3]}, 'input "X": "shape" must be an array of integers'),
        ({"shape": [True, 3]}, 'input "X": "shape" must be an array of integers'),
        ({"shape": [2**62, 3]}, "needs 13835058055282163712 elements, "),
        ({"shape": "23"}, 'input "X": "shape" must be an array of integers'),
        ({"data": [1, 2, 3]}, 'input "X": shape [2, 3] needs 6 elements, "data" has 3'),
        ({"data": [[1, 2, 3]]}, 'input "X": shape [2, 3] needs 2 rows, nested "data" has 1'),
        ({"data": [[1, 2, 3], [4, 5]]}, 'input "X": nested "data" must have 3 elements along axis 1 throughout, found 2 elements'),
        ({"data": [[1, 2, 3], 4]}, "found a number"),
        ({"data": [[[1], 2, 3], [4, 5, 6]]}, 'input "X": FP32 data must be numbers, or null for a missing one; element 0 is an array'),
        ({"data": "1,2"}, 'input "X": "data" must be an array, not a string'),
        ({"data": [1, 2, 3, 4, 5, "6"]}, "element 5 is a string"),
        ({"data": [1, 2, 3, 4, 5, True]}, "element 5 is a boolean"),
        (
            {"data": [1, 2, 1e300, 4, 5, 6]},
            'input "X": element 2 (1e+300) does not fit FP32, whose range is -3.4028235e+38 to 3.4028235e+38',
        ),
    ],
)
def test_a_wrong_tensor_is_told_exactly(changes: dict[str, Any], told: str) -> None:
    assert told in with_x(**changes)


def test_data_that_is_missing_may_be_binary_and_is_told_so() -> None:
    tensors = [{key: value for key, value in X.items() if key != "data"} | {"parameters": {"binary_data_size": 24}}, CARRIER]
    assert 'input "X": "data" is missing (binary tensors are not supported yet: send JSON)' in refusal(inputs=tensors)


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ({"inputs": None}, '"inputs" is missing'),
        ({"inputs": {}}, '"inputs" must be an array of tensors, not an object'),
        ({"inputs": [X, 3]}, 'each of "inputs" must be an object, not a number'),
        ({"inputs": [X]}, 'input "carrier" is missing: model "flights" takes'),
        ({"inputs": [X, X, CARRIER]}, 'input "X" is given twice'),
        ({"inputs": [X, tensor("carrier", "BYTES", [1], ["UA"])]}, 'input "carrier" has 1 rows, input "X" has 2: all must have the same'),
        ({"inputs": [X, tensor("carrier", "BYTES", [2], ["UA", None])]}, "BYTES data must be strings; element 1 is null"),
        (
            {"outputs": [{"name": "nope"}]},
            'unknown output "nope": model "flights" gives "label" (INT64 [-1]), "probabilities" (FP32 [-1, 2])',
        ),
        ({"outputs": [{"name": "label"}, {"name": "label"}]}, 'output "label" is asked for twice'),
        ({"outputs": "label"}, '"outputs" must be an array, not a string'),
        ({"outputs": [{"name": "label", "parameters": {"classification": 2}}]}, "the classification extension is not supported yet"),
        ({"outputs": [{"name": "label", "parameters": 3}]}, 'output "label": "parameters" must be an object, not a number'),
        ({"id": 5}, '"id" must be a string of at most 500 bytes'),
        ({"id": "é" * 251}, '"id" must be a string of at most 500 bytes'),
        ({"parameters": [1]}, '"parameters" must be an object, not an array'),
        ({"parameters": {"ids": ["a"]}}, '"parameters.ids" must be an array with one id for each of the 2 rows'),
        ({"parameters": {"ids": ["a", ""]}}, '"parameters.ids"[1] must be a string of 1 to 512 bytes'),
        (
            {"parameters": {"times": [1, "2013-03-01T05:15:00"]}},
            '"parameters.times"[1] must be epoch milliseconds, or RFC 3339 with an offset',
        ),
        ({"parameters": {"times": [1, -1]}}, '"parameters.times"[1]'),
        ({"parameters": {"times": [10**30, 1]}}, '"parameters.times"[0]'),
        (
            {"parameters": {"segments": {"carrier": ["UA"]}}},
            '"parameters.segments.carrier" must be an array with one value for each of the 2 rows',
        ),
        ({"parameters": {"segments": [1]}}, '"parameters.segments" must be an object of arrays, not an array'),
        (
            {"parameters": {"segments": {"c": [{}, 1]}}},
            '"parameters.segments.c"[0] must be a string, number, boolean or null, not an object',
        ),
    ],
)
def test_a_wrong_request_is_told_exactly(document: dict[str, Any], told: str) -> None:
    assert told in refusal(**document)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "the body is not JSON"),
        (b"\xff\xfe", "the body is not JSON"),
        (b"[]", "the body must be a JSON object, not an array"),
        (b"null", "the body must be a JSON object, not null"),
        (b'{"inputs": [NaN]}', "the body is not JSON"),
        (b'{"inputs": [1e999]}', "the body is not JSON"),
        (b"[" * 100_000, "the body is not JSON"),
        (b'{"inputs": ' + b"[" * 1_000 + b"]" * 1_000 + b"}", 'each of "inputs" must be an object, not an array'),
        (b"{}", '"inputs" is missing'),
    ],
)
def test_a_body_that_is_no_request_is_the_clients_error(body: bytes, told: str) -> None:
    with pytest.raises(BadRequest) as refused:
        FLIGHTS.decode(body)
    assert told in str(refused.value)


def test_times_are_milliseconds_or_rfc_3339() -> None:
    times = decoded(parameters={"times": [1_362_114_900_000, "2013-03-01T00:15:00.001-05:00"]}).parameters.times
    assert times == [1_362_114_900_000, 1_362_114_900_001]


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
    "FP32": (TensorProto.FLOAT, [0.1, -3.25], [1e39]),
    "FP64": (TensorProto.DOUBLE, [0.1, 1e308], ["1"]),
    "BYTES": (TensorProto.STRING, ["", "naïve \U0001f6eb"], [1]),
}


@pytest.mark.parametrize("datatype", VALUES)
def test_every_datatype_goes_through_a_real_model(datatype: str, tmp_path: Path) -> None:
    kind, values, wrong = VALUES[datatype]
    assert set(VALUES) == set(DTYPES)
    echo(tmp_path / "echo" / "1" / "model.onnx", kind, [None])
    server = bench(tmp_path)
    answer = server.infer("echo", {"inputs": [tensor("x", datatype, [2], values)]})
    assert answer.status == 200, answer.body
    output = answer.json["outputs"][0]
    assert (output["name"], output["datatype"], output["shape"]) == ("y", datatype, [2])
    assert output["data"] == values
    refused = server.infer("echo", {"inputs": [tensor("x", datatype, [1], wrong)]})
    assert refused.status == 400
    assert f'input "x": {"element 0" if datatype[0] in "IUF" and datatype != "FP64" else datatype}' in refused.error


def test_an_integer_tensor_takes_no_fraction(tmp_path: Path) -> None:
    echo(tmp_path / "echo" / "1" / "model.onnx", TensorProto.INT64, [None])
    answer = bench(tmp_path).infer("echo", {"inputs": [tensor("x", "INT64", [2], [1, 1.5])]})
    assert answer.error == 'input "x": INT64 data must be integers; element 1 is a number (1.5)'


def test_a_model_with_a_fixed_batch_takes_exactly_that(tmp_path: Path) -> None:
    logistic(tmp_path / "flights" / "1" / "model.onnx", rows=2)
    server = bench(tmp_path)
    answer = server.infer("flights", {"inputs": [tensor("X", "FP32", [2, 3], [0] * 6)]})
    assert (answer.status, len(answer.json["parameters"]["ids"])) == (200, 2)
    assert server.infer("flights", {"inputs": [tensor("X", "FP32", [1, 3], [0] * 3)]}).status == 400


def test_only_requested_outputs_come_back_in_the_order_asked(tmp_path: Path) -> None:
    logistic(tmp_path / "flights" / "1" / "model.onnx")
    asked = {"inputs": [tensor("X", "FP32", [1, 3], [0, 0, 0])], "outputs": [{"name": "probabilities"}, {"name": "label"}]}
    server = bench(tmp_path)
    assert [output["name"] for output in server.infer("flights", asked).json["outputs"]] == ["probabilities", "label"]
    asked["outputs"] = [{"name": "probabilities"}]
    assert [output["name"] for output in server.infer("flights", asked).json["outputs"]] == ["probabilities"]
