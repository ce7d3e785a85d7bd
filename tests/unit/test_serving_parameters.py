"""What a request says beside its tensors, in JSON and in gRPC's simpler parameters; and requests that gRPC has parsed."""

import json
from typing import Any

import numpy as np
import pytest
from tritonclient.http import InferenceServerClient, InferInput

from monitor.serving.protocol import Codec, InputTensor
from monitor.serving.refusals import BadRequest
from monitor.serving.requests import InferRequest, OutputWanted
from monitor.serving.row_parameters import NO_PARAMETERS, RowParameters
from monitor.serving.tensors import TensorSpec

CODEC = Codec(
    "flights",
    "1",
    (TensorSpec("X", "FP32", (-1, 2)), TensorSpec("carrier", "BYTES", (-1,))),
    (TensorSpec("label", "INT64", (-1,)), TensorSpec("score", "FP32", (-1,))),
)
X = InputTensor("X", "FP32", (2, 2), [1.0, 2.0, 3.0, 4.0])
CARRIER = InputTensor("carrier", "BYTES", (2,), [b"UA", b"B6"])


def assembled(*inputs: InputTensor, outputs: Any = None, request_id: str = "", **parameters: object) -> InferRequest:  # noqa: ANN401  as gRPC has them
    return CODEC.assemble(inputs or (X, CARRIER), outputs, request_id, parameters)


def refusal(*inputs: InputTensor, **rest: Any) -> str:  # noqa: ANN401  see assembled
    with pytest.raises(BadRequest) as refused:
        assembled(*inputs, **rest)
    return str(refused.value)


def test_a_timeout_is_in_microseconds() -> None:
    assert assembled(timeout=1_500_000).timeout_seconds == 1.5
    assert (assembled(timeout=0).timeout_seconds, assembled().timeout_seconds) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({"timeout": -1}, '"parameters.timeout" must be an integer of microseconds, 0 for none, not -1'),
        ({"timeout": 1.5}, '"parameters.timeout" must be an integer of microseconds, 0 for none, not a number'),
        ({"timeout": "5"}, '"parameters.timeout" must be an integer of microseconds, 0 for none, not a string'),
        ({"timeout": True}, '"parameters.timeout" must be an integer of microseconds, 0 for none, not a boolean'),
        ({"sequence_id": 7}, '"parameters.sequence_id": no model here is stateful; leave it out, or send 0'),
        ({"sequence_id": "a"}, '"parameters.sequence_id": no model here is stateful'),
        ({"sequence_id": [1]}, '"parameters.sequence_id": no model here is stateful'),
        ({"binary_data_output": "yes"}, '"parameters": "binary_data_output" must be true or false, not a string'),
        ({"ids": "a,b"}, '"parameters.ids" is a string that holds no JSON: '),
        ({"ids": '["a"]'}, '"parameters.ids" must be an array with one id for each of the 2 rows'),
        ({"ids": '"a"'}, '"parameters.ids" must be an array with one id for each of the 2 rows'),
        ({"features": "[" * 100_000}, '"parameters.features" is a string that holds no JSON: '),
        ({"features": "[1]"}, '"parameters.features" must be an object of arrays, not an array'),
        ({"times": 3}, '"parameters.times" must be an array with one time for each of the 2 rows'),
        ({"times": '["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"]'}, '"parameters.times"[0] must be epoch milliseconds'),
    ],
)
def test_a_wrong_parameter_is_told_exactly(parameters: dict[str, Any], told: str) -> None:
    assert refusal(**parameters).startswith(told)


def test_sequences_that_are_none_and_parameters_of_others_are_ignored() -> None:
    for sequence_id in (0, "", None):
        request = assembled(sequence_id=sequence_id, sequence_start=True, priority=3, triton_x="y", whose=1)
        assert request.parameters is NO_PARAMETERS


def test_what_belongs_to_rows_may_be_json_in_a_string() -> None:
    given: dict[str, Any] = {
        "ids": ["a", "b"],
        "times": [1, "2013-03-01T00:15:00.001-05:00"],
        "segments": {"origin": ["JFK", None]},
        "features": {"distance": [1.5, 2]},
    }
    times = [1, 1_362_114_900_001]
    expected = RowParameters(["a", "b"], times, given["segments"], given["features"])
    assert assembled(**given).parameters == expected
    assert assembled(**{key: json.dumps(value) for key, value in given.items()}).parameters == expected


def test_tritonclient_sends_timeouts_and_rows_parameters() -> None:
    x = InferInput("X", [1, 2], "FP32").set_data_from_numpy(np.zeros((1, 2), dtype=np.float32))
    carrier = InferInput("carrier", [1], "BYTES").set_data_from_numpy(np.array(["UA"], dtype=object))
    body, json_bytes = InferenceServerClient.generate_request_body(
        [x, carrier], request_id="r", timeout=2_000_000, priority=1, parameters={"ids": '["a"]', "other": 1.5}
    )
    request = CODEC.decode(body, json_bytes)
    assert (request.id, request.timeout_seconds, request.parameters.ids) == ("r", 2.0, ["a"])
    body, json_bytes = InferenceServerClient.generate_request_body([x, carrier], sequence_id=5, sequence_start=True)
    with pytest.raises(BadRequest, match="no model here is stateful"):
        CODEC.decode(body, json_bytes)


def test_typed_contents_and_raw_contents_say_the_same() -> None:
    typed = assembled()
    raw = assembled(
        InputTensor("X", "FP32", [2, 2], np.array([1, 2, 3, 4], dtype=np.float32).tobytes()),
        InputTensor("carrier", "BYTES", [2], memoryview(b"\2\0\0\0UA\2\0\0\0B6")),
    )
    for request in (typed, raw):
        assert request.feeds["X"].dtype == np.float32
        assert request.feeds["X"].tolist() == [[1, 2], [3, 4]]
        assert request.feeds["carrier"].tolist() == ["UA", "B6"]
        assert (request.rows, request.outputs, request.id) == (2, None, "")


def test_outputs_are_asked_for_with_their_parameters() -> None:
    assert assembled(outputs=[("score", {"classification": 2}), ("label", {"binary_data": True})]).outputs == (
        OutputWanted(1, classes=2),
        OutputWanted(0, binary=True),
    )
    assert assembled(outputs=[], binary_data_output=True).outputs == (OutputWanted(0, binary=True), OutputWanted(1, binary=True))


@pytest.mark.parametrize(
    ("inputs", "told"),
    [
        ([X, X._replace(name="Y")], 'unknown input "Y"'),
        ([X], 'input "carrier" is missing'),
        ([X, X], 'input "X" is given twice'),
        ([X._replace(datatype="FP64"), CARRIER], 'input "X": datatype must be FP32, not "FP64"'),
        ([X._replace(shape=(2, 3)), CARRIER], 'input "X": shape [2, 3] does not match [-1, 2]'),
        ([X._replace(data=[1.0]), CARRIER], 'input "X": shape [2, 2] needs 4 elements, "data" has 1'),
        ([X._replace(data=[1.0, float("inf"), 3.0, 4.0]), CARRIER], 'input "X": element 1 (inf) does not fit FP32'),
        ([X._replace(data=[True, 1.0, 3.0, 4.0]), CARRIER], 'input "X": FP32 data must be numbers'),
        ([X._replace(data=bytes(15)), CARRIER], 'input "X": shape [2, 2] of FP32 takes 16 bytes, its binary data have 15'),
        ([X, CARRIER._replace(data=[b"UA", b"B\xff"])], 'input "carrier": element 1 is not UTF-8: invalid start byte at its byte 1'),
        ([X, CARRIER._replace(data=[b"UA", 5])], 'input "carrier": BYTES data must be strings; element 1 is a number (5)'),
    ],
)
def test_a_parsed_request_meets_the_same_checks(inputs: list[InputTensor], told: str) -> None:
    assert refusal(*inputs).startswith(told)


def test_nan_among_typed_contents_is_a_missing_value() -> None:
    data = assembled(X._replace(data=[float("nan"), 1.0, 2.0, 3.0]), CARRIER).feeds["X"]
    assert np.isnan(data).tolist() == [[True, False], [False, False]]
