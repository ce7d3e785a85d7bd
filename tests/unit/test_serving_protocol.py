"""What a request may say, and how a wrong one is told."""

import json
from typing import Any

import numpy as np
import pytest

from monitor.serving.protocol import Codec
from monitor.serving.refusals import BadRequest
from monitor.serving.requests import Answer, InferRequest
from monitor.serving.tensors import TensorSpec
from tests.unit.serving_models import tensor

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


def test_data_that_is_missing_may_be_meant_as_binary() -> None:
    tensors = [{key: value for key, value in X.items() if key != "data"}, CARRIER]
    assert refusal(inputs=tensors) == 'input "X": "data" is missing, and "parameters" have no "binary_data_size"'


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
        ({"outputs": {}}, '"outputs" must be an array, not an object'),
        ({"outputs": [3]}, 'each of "outputs" must be an object, not a number'),
        ({"outputs": [{"name": ["label"]}]}, "unknown output an array"),
        (
            {"outputs": [{"name": "label", "parameters": {"binary_data": 1}}]},
            'output "label": "binary_data" must be true or false, not a number',
        ),
        ({"outputs": [{"name": "label", "parameters": {"shared_memory_region": "r"}}]}, 'output "label": shared memory is not supported'),
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


SCALAR = Codec("scalar", "1", (TensorSpec("x", "FP64", ()),), (TensorSpec("y", "FP64", ()),))


def test_a_scalar_has_no_dimension_and_one_element() -> None:
    request = SCALAR.decode(b'{"inputs": [{"name": "x", "datatype": "FP64", "shape": [], "data": [1.5]}]}')
    assert (request.feeds["x"].shape, request.feeds["x"].item(), request.rows) == ((), 1.5, 1)
    assert json.loads(SCALAR.encode(Answer([np.array(2.5)], ["a"], "a"), request).body)["outputs"][0] == tensor("y", "FP64", [], [2.5])
    with pytest.raises(BadRequest, match="element 0 is an array"):
        SCALAR.decode(b'{"inputs": [{"name": "x", "datatype": "FP64", "shape": [], "data": [[1.5]]}]}')


def test_an_answer_is_the_protocols_json_and_what_is_no_number_is_null() -> None:
    outputs = [np.array([1, 0]), np.array([[0.1, np.nan], [np.inf, -np.inf]], dtype=np.float32)]
    encoded = FLIGHTS.encode(Answer(outputs, ["a/0", 'b"\u00e9'], "a"), decoded())
    assert encoded.header_length is None
    assert json.loads(encoded.body) == {
        "model_name": "flights",
        "model_version": "1",
        "id": "a",
        "parameters": {"ids": ["a/0", 'b"\u00e9']},
        "outputs": [tensor("label", "INT64", [2], [1, 0]), tensor("probabilities", "FP32", [2, 2], [0.1, None, None, None])],
    }


def test_a_name_that_json_has_to_escape_stays_that_name() -> None:
    odd = Codec('m"\\', "1", (TensorSpec("x", "INT8", (-1,)),), (TensorSpec('y"\n', "INT8", (-1,)),))
    request = odd.decode(b'{"inputs": [{"name": "x", "datatype": "INT8", "shape": [1], "data": [1]}]}')
    answer = json.loads(odd.encode(Answer([np.array([1], dtype=np.int8)], ["a"], "a"), request).body)
    assert (answer["model_name"], answer["outputs"][0]["name"]) == ('m"\\', 'y"\n')


def test_metadata_is_what_the_protocol_has() -> None:
    assert json.loads(FLIGHTS.metadata(["1", "2"])) == {
        "name": "flights",
        "versions": ["1", "2"],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": "X", "datatype": "FP32", "shape": [-1, 3]}, {"name": "carrier", "datatype": "BYTES", "shape": [-1]}],
        "outputs": [{"name": "label", "datatype": "INT64", "shape": [-1]}, {"name": "probabilities", "datatype": "FP32", "shape": [-1, 2]}],
    }


MANY = 20_000
"""Enough for anything quadratic to take minutes."""


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ({"inputs": [{"name": f"x{index}"} for index in range(MANY)]}, 'unknown input "x0": model'),
        ({"inputs": [X] * MANY}, 'input "X" is given twice'),
        ({"outputs": [{"name": f"y{index}"} for index in range(MANY)]}, 'unknown output "y0": model'),
        ({"outputs": [{"name": "label"}] * MANY}, 'output "label" is asked for twice'),
        ({"inputs": [X | {"shape": [1] * MANY}, CARRIER]}, f'input "X": the shape has {MANY} dimensions'),
        ({"parameters": {"ids": ["a"] * MANY}}, '"parameters.ids" must be an array with one id for each of the 2 rows'),
        ({"parameters": {"features": {f"f{index}": [1] for index in range(MANY)}}}, '"parameters.features.f0" must be an array'),
    ],
)
def test_a_flood_is_refused_at_its_first_drop(document: dict[str, Any], told: str) -> None:
    said = refusal(**document)
    assert said.startswith(told)
    assert len(said) < 200


def test_a_refusal_names_twenty_of_many_inputs() -> None:
    wide = Codec("wide", "1", tuple(TensorSpec(f"f{index}", "FP32", (-1,)) for index in range(1000)), ())
    with pytest.raises(BadRequest, match=r'"f19" \(FP32 \[-1\]\) and 980 more$'):
        wide.decode(b'{"inputs": [{"name": "g"}]}')


def test_strings_hold_any_character_but_no_lone_surrogate() -> None:
    assert decoded(inputs=[X, CARRIER | {"data": ["a\0b", "\U0001f6eb"]}]).feeds["carrier"].tolist() == ["a\0b", "\U0001f6eb"]
    assert "the body is not JSON" in refusal(inputs=[X, CARRIER | {"data": ["\ud800", ""]}])


def test_an_id_may_be_left_out_as_null() -> None:
    assert (decoded(id=None).id, decoded(id="").id, decoded(id="a").id) == ("", "", "a")
