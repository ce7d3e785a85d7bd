"""The binary-tensor extension, with requests that the real tritonclient wrote and answers that it reads."""

import json
from collections.abc import Sequence
from struct import pack, unpack
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput, InferResult

from monitor.serving.binary import header_length, raw_of
from monitor.serving.protocol import Codec, InputTensor
from monitor.serving.refusals import BadRequest
from monitor.serving.requests import Answer, InferRequest
from monitor.serving.tensors import DTYPES, Tensor, TensorSpec

ARRAYS: dict[str, Tensor] = {
    "BOOL": np.array([[True], [False]]),
    "INT8": np.array([[-128], [127]], dtype=np.int8),
    "INT16": np.array([[-(2**15)], [2**15 - 1]], dtype=np.int16),
    "INT32": np.array([[-(2**31)], [2**31 - 1]], dtype=np.int32),
    "INT64": np.array([[-(2**63)], [2**63 - 1]], dtype=np.int64),
    "UINT8": np.array([[0], [255]], dtype=np.uint8),
    "UINT16": np.array([[0], [2**16 - 1]], dtype=np.uint16),
    "UINT32": np.array([[0], [2**32 - 1]], dtype=np.uint32),
    "UINT64": np.array([[0], [2**64 - 1]], dtype=np.uint64),
    "FP16": np.array([[0.1], [65504.0]], dtype=np.float16),
    "BF16": np.array([[0.1], [3.3895e38]], dtype=ml_dtypes.bfloat16),
    "FP32": np.array([[0.1], [-3.25]], dtype=np.float32),
    "FP64": np.array([[0.1], [1e308]], dtype=np.float64),
    "BYTES": np.array([["a\0b"], ["naïve \U0001f6eb"]], dtype=object),
}


def echo(datatype: str) -> Codec:
    """Of a model that gives x back as y, if the answer is made of the request's own tensors."""
    return Codec("echo", "1", (TensorSpec("x", datatype, (-1, 1)),), (TensorSpec("y", datatype, (-1, 1)),))


def given(request: InferRequest) -> Tensor:
    """What the model would see, as an author of the client's array would compare it."""
    x = request.feeds["x"]
    return x.view(ml_dtypes.bfloat16) if x.dtype == np.uint16 and request.id == "BF16" else x


def of_client(
    datatype: str, array: Tensor, *, binary: bool, outputs: Sequence[InferRequestedOutput] | None = None
) -> tuple[bytes, int | None]:
    """A request as tritonclient writes it: the body, and how much of it is JSON."""
    tensor = InferInput("x", list(array.shape), datatype).set_data_from_numpy(array, binary_data=binary)
    body, json_bytes = InferenceServerClient.generate_request_body([tensor], outputs=outputs, request_id=datatype)
    return body, json_bytes


def answered(codec: Codec, request: InferRequest, outputs: Sequence[Tensor] | None = None) -> Any:  # noqa: ANN401  tritonclient has no types
    encoded = codec.encode(Answer(outputs or [request.feeds["x"]], ["a", "b"], request.id), request)
    return InferenceServerClient.parse_response_body(encoded.body, header_length=encoded.header_length)


def same(result: InferResult, array: Tensor) -> None:
    got = result.as_numpy("y")
    assert got.dtype == array.dtype
    texts = [element.decode() if isinstance(element, bytes) else element for element in got.ravel().tolist()]
    assert texts == array.ravel().tolist()
    assert got.shape == array.shape


@pytest.mark.parametrize("datatype", ARRAYS)
def test_what_tritonclient_sends_in_binary_comes_back_in_binary(datatype: str) -> None:
    assert set(ARRAYS) == set(DTYPES)
    codec = echo(datatype)
    request = codec.decode(*of_client(datatype, ARRAYS[datatype], binary=True))
    np.testing.assert_array_equal(given(request), ARRAYS[datatype])
    same(answered(codec, request), ARRAYS[datatype])


@pytest.mark.parametrize("datatype", [datatype for datatype in ARRAYS if datatype != "BF16"])
def test_what_tritonclient_sends_in_json_comes_back_in_json(datatype: str) -> None:
    codec = echo(datatype)
    asked = [InferRequestedOutput("y", binary_data=False)]
    body, json_bytes = of_client(datatype, ARRAYS[datatype], binary=False, outputs=asked)
    assert json_bytes is None
    result = answered(codec, codec.decode(body))
    assert "data" in result.get_output("y")
    same(result, ARRAYS[datatype])


def test_bfloat16_in_json_is_numbers_both_ways() -> None:
    codec = echo("BF16")
    request = codec.decode(b'{"inputs": [{"name": "x", "datatype": "BF16", "shape": [3, 1], "data": [0.1, 1, null]}]}')
    bits = request.feeds["x"]
    assert bits.dtype == np.uint16
    assert bits.ravel().tolist() == [0x3DCD, 0x3F80, 0x7FC0]
    assert json.loads(codec.encode(Answer([bits], ["a"], "a"), request).body)["outputs"][0]["data"] == [0.100097656, 1, None]


@pytest.mark.parametrize(
    ("number", "bits", "why"),
    [
        (1.00390625, 0x3F80, "a tie goes to the even one below"),
        (1.01171875, 0x3F82, "a tie goes to the even one above"),
        (1.00390625 + 2**-40, 0x3F81, "just above a tie, although float32 cannot tell it from the tie"),
        (1.01171875 - 2**-40, 0x3F81, "just below a tie"),
        (-1.00390625 - 2**-40, 0xBF81, "the same below zero"),
        (1e-45, 0x0000, "too small for a subnormal"),
        (-0.0, 0x8000, "the sign of zero stays"),
        (3.3961e38, 0x7F7F, "the greatest, from above"),
    ],
)
def test_bfloat16_is_rounded_once_to_the_nearest(number: float, bits: int, why: str) -> None:
    body = json.dumps({"inputs": [{"name": "x", "datatype": "BF16", "shape": [1, 1], "data": [number]}]}).encode()
    assert echo("BF16").decode(body).feeds["x"].item() == bits, why


def test_a_nan_of_any_bits_stays_one_as_bfloat16() -> None:
    nans = list(unpack("<2d", b"\xff" * 8 + b"\1\0\0\0\0\0\xf0\x7f"))
    bits = echo("BF16").assemble([InputTensor("x", "BF16", [2, 1], nans)], None, "", {}).feeds["x"]
    assert bits.ravel().tolist() == [0x7FC0, 0x7FC0]


@pytest.mark.parametrize("number", [3.3962e38, -3.41e38, 1e300])
def test_what_would_round_to_an_infinite_bfloat16_is_refused(number: float) -> None:
    body = json.dumps({"inputs": [{"name": "x", "datatype": "BF16", "shape": [1, 1], "data": [number]}]}).encode()
    with pytest.raises(BadRequest, match=r"does not fit BF16, whose range is -3\.38953\d*e\+38 to 3\.38953\d*e\+38"):
        echo("BF16").decode(body)


def test_aligned_data_are_read_where_they_lie_and_others_are_copied_once() -> None:
    seen = set()
    for padding in range(8):
        array = np.arange(6.0).reshape(6, 1)
        head = {"inputs": [{"name": "x", "datatype": "FP64", "shape": [6, 1], "parameters": {"binary_data_size": 48}}]}
        text = json.dumps(head).encode() + b" " * padding
        body = text + array.tobytes()
        x = echo("FP64").decode(body, len(text)).feeds["x"]
        np.testing.assert_array_equal(x, array)
        assert x.flags.aligned
        seen.add(np.shares_memory(x, np.frombuffer(body, np.uint8)))
    assert seen == {True, False}


def test_every_nan_is_a_missing_value() -> None:
    patterns = pack("<4I", 0x7FC00000, 0x7F800001, 0xFFFFFFFF, 0x3F800000)
    x = requested("FP32", [4, 1], patterns).feeds["x"]
    assert np.isnan(x).ravel().tolist() == [True, True, True, False]


@pytest.mark.parametrize(
    ("datatype", "raw"),
    [
        ("FP16", pack("<2H", 0x3C00, 0xFC00)),
        ("BF16", pack("<2H", 0x3F80, 0x7F80)),
        ("FP32", pack("<2f", 1, float("inf"))),
        ("FP64", pack("<2d", 1, float("-inf"))),
    ],
)
def test_an_infinity_is_refused_as_it_is_in_json(datatype: str, raw: bytes) -> None:
    assert refusal(datatype, [2, 1], raw) == f'input "x": element 1 is infinite: {datatype} data must be finite, or NaN for a missing value'


def requested(datatype: str, shape: Sequence[int], raw: bytes, size: object = None, extra: dict[str, Any] | None = None) -> InferRequest:
    """One input x whose bytes follow the JSON."""
    parameters = {"binary_data_size": len(raw) if size is None else size}
    tensor: dict[str, Any] = {"name": "x", "datatype": datatype, "shape": shape, "parameters": parameters}
    text = json.dumps({"inputs": [tensor | (extra or {})]}).encode()
    return echo(datatype).decode(text + raw, len(text))


def refusal(datatype: str, shape: Sequence[int], raw: bytes, size: object = None, extra: dict[str, Any] | None = None) -> str:
    with pytest.raises(BadRequest) as refused:
        requested(datatype, shape, raw, size, extra)
    return str(refused.value)


@pytest.mark.parametrize(
    ("shape", "raw", "size", "told"),
    [
        ([2, 1], bytes(8), 12, 'input "x": "binary_data_size" is 12, but 8 of the 8 bytes after the JSON are left for it'),
        ([2, 1], bytes(8), 2**63, f'input "x": "binary_data_size" is {2**63}, but 8 of the 8 bytes'),
        ([2, 1], bytes(12), 8, '4 of the 12 bytes after the JSON belong to no input by its "binary_data_size"'),
        ([2, 1], bytes(8), -8, 'input "x": "binary_data_size" must be a number of bytes, not -8'),
        ([2, 1], bytes(8), 8.0, 'input "x": "binary_data_size" must be a number of bytes, not a number'),
        ([2, 1], bytes(8), True, 'input "x": "binary_data_size" must be a number of bytes, not a boolean'),
        ([2, 1], bytes(8), "8", 'input "x": "binary_data_size" must be a number of bytes, not a string'),
        ([3, 1], bytes(8), 8, 'input "x": shape [3, 1] of FP32 takes 12 bytes, its binary data have 8'),
        ([2**62, 1], bytes(8), 8, f'input "x": shape [{2**62}, 1] of FP32 takes {2**64} bytes, its binary data have 8'),
        ([2**63, 1], b"", 0, f"takes {2**65} bytes, its binary data have 0"),
        ([1, 1], bytes(5), 5, 'input "x": shape [1, 1] of FP32 takes 4 bytes, its binary data have 5'),
    ],
)
def test_a_size_that_lies_is_told_exactly(shape: list[int], raw: bytes, size: object, told: str) -> None:
    assert told in refusal("FP32", shape, raw, size)


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (pack("<I", 2**32 - 1) + b"a\0\0\0", "the length before element 0 says 4294967295 bytes, but its binary data have 4 left"),
        (pack("<I", 5) + b"abcd", "the length before element 0 says 5 bytes, but its binary data have 4 left"),
        (pack("<I", 4) + b"abcd", "shape [2, 1] needs 2 elements, its binary data end after 1"),
        (pack("<I", 2) + b"ab" + b"\0\0\0", "shape [2, 1] needs 2 elements, its binary data end after 1"),
        (pack("<I", 0) + pack("<I", 1) + b"ab", "its binary data go on for 1 bytes after the 2 elements of shape [2, 1]"),
        (pack("<I", 0), "shape [2, 1] needs 2 elements of at least 4 bytes, its binary data have 4"),
        (pack("<I", 0) + pack("<I", 4) + b"ab\xffc", "element 1 is not UTF-8: invalid start byte at its byte 2; the model takes text"),
        (pack("<I", 3) + b"\xed\xa0\x80" + pack("<I", 0), "element 0 is not UTF-8: invalid continuation byte at its byte 0"),
    ],
)
def test_wrong_strings_are_told_exactly(raw: bytes, told: str) -> None:
    assert f'input "x": {told}' in refusal("BYTES", [2, 1], raw)


def test_a_shape_of_more_strings_than_the_body_has_bytes_builds_nothing() -> None:
    told = refusal("BYTES", [2**63, 1], bytes(64))
    assert told == f'input "x": shape [{2**63}, 1] needs {2**63} elements of at least 4 bytes, its binary data have 64'


def test_a_boolean_is_the_byte_0_or_1() -> None:
    assert requested("BOOL", [2, 1], b"\1\0").feeds["x"].ravel().tolist() == [True, False]
    assert refusal("BOOL", [3, 1], b"\1\0\2") == 'input "x": element 2 is the byte 2: BOOL data must be 0 or 1'


@pytest.mark.parametrize(
    ("extra", "told"),
    [
        ({"data": [1, 2]}, 'input "x": "data" and "binary_data_size" exclude each other'),
        ({"parameters": []}, 'input "x": "parameters" must be an object, not an array'),
        ({"parameters": {}}, 'input "x": "data" is missing, and "parameters" have no "binary_data_size"'),
        ({"parameters": {"shared_memory_region": "r", "shared_memory_byte_size": 8}}, 'input "x": shared memory is not supported'),
    ],
)
def test_where_the_data_are_is_said_once(extra: dict[str, Any], told: str) -> None:
    assert told in refusal("FP32", [2, 1], bytes(8), extra=extra)


@pytest.mark.parametrize(
    ("json_bytes", "told"),
    [
        (1000, "Inference-Header-Content-Length is 1000, and the body has 111 bytes: it must say how many of them are JSON"),
        (-1, "Inference-Header-Content-Length is -1, and the body has 111 bytes"),
        (40, "the body is not JSON"),
        (111, "the body is not JSON"),
        (None, "the body is not JSON"),
    ],
)
def test_a_header_that_lies_is_told(json_bytes: int | None, told: str) -> None:
    tensor = {"name": "x", "datatype": "FP32", "shape": [2, 1], "parameters": {"binary_data_size": 8}}
    body = json.dumps({"inputs": [tensor]}).encode() + b"\xff" * 8
    assert len(body) == 111
    with pytest.raises(BadRequest) as refused:
        echo("FP32").decode(body, json_bytes)
    assert told in str(refused.value)


def test_a_binary_size_without_the_header_names_the_header() -> None:
    tensor = {"name": "x", "datatype": "FP32", "shape": [2, 1], "parameters": {"binary_data_size": 8}}
    with pytest.raises(BadRequest, match='"binary_data_size" needs the header Inference-Header-Content-Length'):
        echo("FP32").decode(json.dumps({"inputs": [tensor]}).encode())


def test_the_header_is_a_plain_number() -> None:
    assert (header_length(b"12"), header_length(None)) == (12, None)
    for wrong in (b"", b"-1", b"+1", b"1_0", b" 1", b"1.0", b"0x1", "١".encode(), b"9" * 5000):
        with pytest.raises(BadRequest, match="must be the number of bytes that the JSON has"):
            header_length(wrong)


TWO = Codec(
    "two",
    "1",
    (TensorSpec("a", "FP32", (-1, 2)), TensorSpec("b", "BYTES", (-1,)), TensorSpec("c", "INT16", (-1,))),
    (TensorSpec("p", "FP32", (-1, 2)), TensorSpec("q", "BYTES", (-1,))),
)


def test_json_and_binary_inputs_stand_side_by_side_in_the_order_of_the_json() -> None:
    c = InferInput("c", [2], "INT16").set_data_from_numpy(np.array([7, 8], dtype=np.int16))
    b = InferInput("b", [2], "BYTES").set_data_from_numpy(np.array(["x", "yz"], dtype=object))
    a = InferInput("a", [2, 2], "FP32").set_data_from_numpy(np.array([[1, 2], [3, 4]], dtype=np.float32), binary_data=False)
    request = TWO.decode(*InferenceServerClient.generate_request_body([c, a, b]))
    assert {name: tensor.tolist() for name, tensor in request.feeds.items()} == {"c": [7, 8], "a": [[1, 2], [3, 4]], "b": ["x", "yz"]}


@pytest.mark.parametrize(
    ("document", "binary"),
    [
        ({}, []),
        ({"parameters": {"binary_data_output": True}}, ["p", "q"]),
        ({"parameters": {"binary_data_output": True}, "outputs": []}, ["p", "q"]),
        ({"parameters": {"binary_data_output": False}}, []),
        ({"outputs": [{"name": "p"}, {"name": "q", "parameters": {"binary_data": True}}]}, ["q"]),
        (
            {"outputs": [{"name": "p"}, {"name": "q", "parameters": {"binary_data": False}}], "parameters": {"binary_data_output": True}},
            ["p"],
        ),
        ({"outputs": [{"name": "p", "parameters": {"other": 1}}], "parameters": {"binary_data_output": True}}, ["p"]),
        ({"outputs": [{"name": "p", "parameters": None}]}, []),
    ],
)
def test_an_output_is_binary_where_it_or_else_the_request_says_so(document: dict[str, Any], binary: list[str]) -> None:
    inputs = [
        {"name": "a", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]},
        {"name": "b", "datatype": "BYTES", "shape": [1], "data": ["x"]},
        {"name": "c", "datatype": "INT16", "shape": [1], "data": [7]},
    ]
    request = TWO.decode(json.dumps({"inputs": inputs} | document).encode())
    outputs = [np.array([[0.5, 0.25]], dtype=np.float32), np.array(["é"], dtype=object)]
    encoded = TWO.encode(Answer(outputs, ["a"], "a"), request)
    assert (encoded.header_length is None) == (not binary)
    result = InferenceServerClient.parse_response_body(encoded.body, header_length=encoded.header_length)
    response = result.get_response()
    assert [output["name"] for output in response["outputs"] if "binary_data_size" in output.get("parameters", {})] == binary
    asked = [output["name"] for output in document.get("outputs", [])] or ["p", "q"]
    assert [output["name"] for output in response["outputs"]] == asked
    assert result.as_numpy("p").tolist() == [[0.5, 0.25]]
    if "q" in asked:
        assert result.as_numpy("q").tolist() in (["é"], ["é".encode()])


def test_a_body_of_nothing_but_bytes_is_the_only_inputs_data() -> None:
    codec = Codec("m", "1", (TensorSpec("x", "FP32", (-1, 2)),), (TensorSpec("y", "FP32", (-1,)),))
    request = codec.decode(np.arange(6, dtype=np.float32).tobytes(), 0)
    assert request.feeds["x"].tolist() == [[0, 1], [2, 3], [4, 5]]
    assert (request.rows, request.outputs is not None and request.outputs[0].binary) == (3, True)
    for wrong in (b"", bytes(4), bytes(9)):
        with pytest.raises(BadRequest, match=rf"the body has {len(wrong)} bytes, which is no multiple of 8"):
            codec.decode(wrong, 0)
    with pytest.raises(BadRequest, match="for models with one input"):
        TWO.decode(bytes(8), 0)


def test_raw_elements_are_little_endian_and_row_major_whatever_lies_in_memory() -> None:
    across = np.array([[1, 2], [3, 4]], dtype=np.int16).T
    assert raw_of(across, "INT16") == pack("<4h", 1, 3, 2, 4)
    assert raw_of(np.array(["é", b"\0"], dtype=object), "BYTES") == b"\2\0\0\0\xc3\xa9\1\0\0\0\0"
