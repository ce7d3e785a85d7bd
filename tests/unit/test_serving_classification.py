"""The classification extension: best classes by score, as tritonclient asks for them and reads them."""

import json
from typing import Any

import numpy as np
import pytest
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput

from monitor.serving.classification import classified
from monitor.serving.protocol import Codec, InputTensor
from monitor.serving.refusals import BadRequest
from monitor.serving.requests import Answer
from monitor.serving.tensors import Tensor, TensorSpec

FRUIT = Codec(
    "fruit",
    "1",
    (TensorSpec("x", "FP32", (-1, 1)),),
    (TensorSpec("scores", "FP32", (-1, 3)), TensorSpec("halves", "BF16", (-1, 2)), TensorSpec("name", "BYTES", (-1,))),
    labels={"scores": ("apple", "pear")},
)
OUTPUTS: list[Tensor] = [
    np.array([[0.1, 0.7, 0.2], [0.4, 0.4, 0.2]], dtype=np.float32),
    np.array([[0x3F80, 0x4000], [0x0000, 0xBF80]], dtype=np.uint16),
    np.array(["pear", "apple"], dtype=object),
]


@pytest.mark.parametrize("binary", [True, False])
def test_tritonclient_reads_the_best_classes_of_each_row_with_their_labels(binary: bool) -> None:
    x = InferInput("x", [2, 1], "FP32").set_data_from_numpy(np.zeros((2, 1), dtype=np.float32))
    asked = [InferRequestedOutput("scores", binary_data=binary, class_count=2), InferRequestedOutput("halves", binary, class_count=9)]
    request = FRUIT.decode(*InferenceServerClient.generate_request_body([x], outputs=asked))
    encoded = FRUIT.encode(Answer(OUTPUTS, ["a", "b"], "a"), request)
    result = InferenceServerClient.parse_response_body(encoded.body, header_length=encoded.header_length)
    texts = {name: result.as_numpy(name).astype(str).tolist() for name in ("scores", "halves")}
    assert texts["scores"] == [["0.7:1:pear", "0.2:2"], ["0.4:0:apple", "0.4:1:pear"]]
    assert texts["halves"] == [["2.0:1", "1.0:0"], ["0.0:0", "-1.0:1"]]
    assert result.get_output("scores")["datatype"] == "BYTES"


def test_a_protocol_that_writes_tensors_itself_gets_the_same() -> None:
    asked: list[tuple[str, dict[str, object]]] = [("scores", {"classification": 1}), ("name", {})]
    request = FRUIT.assemble([InputTensor("x", "FP32", [2, 1], [0.0, 0.0])], asked, "", {})
    written = [
        (name, datatype, tensor.tolist(), binary) for name, datatype, tensor, binary in FRUIT.tensors(Answer(OUTPUTS, [], ""), request)
    ]
    assert written == [
        ("scores", "BYTES", [["0.7:1:pear"], ["0.4:0:apple"]], False),
        ("name", "BYTES", ["pear", "apple"], False),
    ]


@pytest.mark.parametrize(
    ("row", "best"),
    [
        (np.array([[1, 5, 10, 4]]), ["10:2", "5:1", "4:3", "1:0"]),
        (np.array([[0, 2**64 - 1, 1]], dtype=np.uint64), ["18446744073709551615:1", "1:2", "0:0"]),
        (np.array([[-128, 127, 0]], dtype=np.int8), ["127:1", "0:2", "-128:0"]),
        (np.array([[np.nan, -1.5, np.inf]]), ["inf:2", "-1.5:1", "nan:0"]),
        (np.array([[0.1]], dtype=np.float16), ["0.1:0"]),
        (np.array([[[1, 2], [4, 3]]]), ["4:2", "3:3", "2:1", "1:0"]),
        (np.array([7]), ["7:0"]),
        (np.array(7), ["7:0"]),
    ],
)
def test_scores_are_compared_and_written_in_their_own_type(row: Any, best: list[str]) -> None:  # noqa: ANN401  arrays of every kind
    assert classified(row, 9, ()).tolist() == [best]


def test_equal_scores_stand_by_index_however_many_they_are() -> None:
    scores = np.arange(300)[None, :] % 3
    assert classified(scores, 300, ()).tolist() == [[f"{score}:{index}" for score in (2, 1, 0) for index in range(score, 300, 3)]]


def test_one_value_a_row_is_one_class_a_row() -> None:
    assert classified(np.array([0.5, 0.25]), 3, ("late",)).tolist() == [["0.5:0:late"], ["0.25:0:late"]]


@pytest.mark.parametrize(
    ("output", "told"),
    [
        (
            {"name": "scores", "parameters": {"classification": 0}},
            '"classification" must be the number of classes to name, at least 1, not 0',
        ),
        ({"name": "scores", "parameters": {"classification": -1}}, "at least 1, not -1"),
        ({"name": "scores", "parameters": {"classification": 1.0}}, "at least 1, not a number"),
        ({"name": "scores", "parameters": {"classification": True}}, "at least 1, not a boolean"),
        ({"name": "scores", "parameters": {"classification": "2"}}, "at least 1, not a string"),
        (
            {"name": "name", "parameters": {"classification": 2}},
            'output "name": "classification" needs numbers to compare, and this output is BYTES',
        ),
    ],
)
def test_a_wrong_number_of_classes_is_told_exactly(output: dict[str, Any], told: str) -> None:
    inputs = [{"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [0]}]
    with pytest.raises(BadRequest) as refused:
        FRUIT.decode(json.dumps({"inputs": inputs, "outputs": [output]}).encode())
    assert told in str(refused.value)
