"""Laws of the protocol's codec: what is written is read back, in every form; whatever else is sent is refused, and nothing worse."""

import json
from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from monitor.serving import bfloat16
from monitor.serving.binary import raw_of
from monitor.serving.protocol import Codec, InputTensor
from monitor.serving.refusals import BadRequest
from monitor.serving.requests import Answer, InferRequest
from monitor.serving.row_parameters import RowParameters
from monitor.serving.tensors import ANY, DTYPES, Tensor, TensorSpec

DATATYPES = st.sampled_from(sorted(DTYPES))
SHAPES = npst.array_shapes(min_dims=0, max_dims=4, max_side=4)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


def is_floating(datatype: str) -> bool:
    return datatype in ("FP16", "BF16", "FP32", "FP64")


@st.composite
def tensors(draw: st.DrawFn, datatype: str, shape: Sequence[int]) -> Tensor:
    """Every value that the datatype has, NaN included, but no infinity."""
    if datatype == "BYTES":
        texts = draw(st.lists(TEXTS, min_size=prod(shape), max_size=prod(shape)))
        return np.array(texts, dtype=object).reshape(shape)
    if datatype == "BF16":
        bits = st.integers(0, 2**16 - 1).filter(lambda bits: bits & 0x7FFF != 0x7F80)
        return draw(npst.arrays(np.uint16, tuple(shape), elements=bits))
    dtype = DTYPES[datatype]
    elements = npst.from_dtype(dtype, allow_infinity=False) if dtype.kind == "f" else npst.from_dtype(dtype)
    return draw(npst.arrays(dtype, tuple(shape), elements=elements))


@st.composite
def echoes(draw: st.DrawFn) -> tuple[Codec, str, Tensor]:
    """A codec whose output y is like its input x, with some dimensions open, the datatype, and a tensor for x."""
    datatype, shape = draw(DATATYPES), draw(SHAPES)
    declared = tuple(draw(st.sampled_from([ANY, size])) for size in shape)
    codec = Codec("echo", "1", (TensorSpec("x", datatype, declared),), (TensorSpec("y", datatype, declared),))
    return codec, datatype, draw(tensors(datatype, shape))


def binary_request(datatype: str, tensor: Tensor, padding: int = 0, **rest: object) -> tuple[bytes, int]:
    raw = raw_of(tensor, datatype)
    described = {"name": "x", "datatype": datatype, "shape": tensor.shape, "parameters": {"binary_data_size": len(raw)}}
    text = json.dumps({"inputs": [described]} | rest).encode() + b" " * padding
    return text + raw, len(text)


def assert_same(datatype: str, got: Tensor, tensor: Tensor) -> None:
    assert got.shape == tensor.shape
    assert got.dtype == tensor.dtype
    if datatype == "BF16":
        got, tensor = bfloat16.floats(got), bfloat16.floats(tensor)
    np.testing.assert_array_equal(got, tensor)


@given(echoes(), st.integers(0, 7))
def test_binary_data_are_read_as_they_were_written_bit_for_bit(echo: tuple[Codec, str, Tensor], padding: int) -> None:
    codec, datatype, tensor = echo
    request = codec.decode(*binary_request(datatype, tensor, padding, parameters={"binary_data_output": True}))
    x = request.feeds["x"]
    assert_same(datatype, x, tensor)
    body, json_bytes = codec.encode(Answer([x], ["a"], "a"), request)
    (output,) = json.loads(body[:json_bytes])["outputs"]
    assert body[json_bytes:] == raw_of(tensor, datatype)
    assert output == {
        "name": "y",
        "datatype": datatype,
        "shape": list(tensor.shape),
        "parameters": {"binary_data_size": len(raw_of(tensor, datatype))},
    }


@given(echoes(), st.booleans())
def test_json_data_are_read_as_they_were_written(echo: tuple[Codec, str, Tensor], nested: bool) -> None:
    codec, datatype, tensor = echo
    request = codec.decode(*binary_request(datatype, tensor))
    body, _ = codec.encode(Answer([tensor], ["a"], "a"), request)
    (output,) = json.loads(body)["outputs"]
    data = np.array(output["data"], dtype=object).reshape(tensor.shape).tolist() if nested and tensor.ndim else output["data"]
    again = codec.decode(json.dumps({"inputs": [output | {"name": "x", "data": data}]}).encode())
    assert_same(datatype, again.feeds["x"], tensor)


@given(echoes())
def test_a_parsed_message_says_what_its_bytes_say(echo: tuple[Codec, str, Tensor]) -> None:
    codec, datatype, tensor = echo
    raw = codec.assemble([InputTensor("x", datatype, tensor.shape, raw_of(tensor, datatype))], None, "", {})
    assert_same(datatype, raw.feeds["x"], tensor)
    elements = bfloat16.floats(tensor) if datatype == "BF16" else tensor
    typed = codec.assemble([InputTensor("x", datatype, tensor.shape, elements.ravel().tolist())], None, "", {})
    assert_same(datatype, typed.feeds["x"], tensor)


@given(st.floats(width=64, allow_nan=False, allow_infinity=False, min_value=-3.38e38, max_value=3.38e38))
def test_no_bfloat16_is_nearer_than_the_one_a_number_is_rounded_to(number: float) -> None:
    (bits,) = bfloat16.bits(np.array([number])).tolist()
    neighbours = bfloat16.floats(np.array([max(bits & 0x7FFF, 1) - 1, bits & 0x7FFF, (bits & 0x7FFF) + 1], dtype=np.uint16)).astype(
        np.float64
    )
    errors = np.abs(neighbours - abs(number))
    assert errors[1] == errors.min()
    if (errors == errors[1]).sum() > 1 and bits & 0x7FFF:
        assert bits % 2 == 0
    assert bits >> 15 == np.signbit(number)


FLIGHTS = Codec(
    "flights",
    "1",
    (TensorSpec("X", "FP32", (ANY, 2)), TensorSpec("carrier", "BYTES", (ANY,)), TensorSpec("late", "BOOL", (ANY,))),
    (TensorSpec("label", "INT64", (ANY,)), TensorSpec("score", "FP32", (ANY, 2))),
)


def decoded_or_refused(body: bytes, json_bytes: int | None = None) -> InferRequest | None:
    """Nothing but a refusal may come of bytes that are no request."""
    try:
        return FLIGHTS.decode(body, json_bytes)
    except BadRequest as refusal:
        # It has to be sent, so this must not fail.
        str(refusal).encode()
        return None


@given(st.binary(max_size=300), st.none() | st.integers(-1, 400))
def test_arbitrary_bytes_are_refused_and_nothing_else(body: bytes, json_bytes: int | None) -> None:
    assert decoded_or_refused(body, json_bytes) is None


KEYS = st.sampled_from(["inputs", "outputs", "id", "parameters", "name", "datatype", "shape", "data"]) | st.sampled_from(
    ["binary_data_size", "binary_data", "binary_data_output", "classification", "timeout", "sequence_id", *RowParameters._fields]
)
WORDS = st.sampled_from(["X", "carrier", "late", "label", "score", "FP32", "BYTES", "BOOL", "[1]", '{"a": [1]}'])
LEAVES = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | TEXTS | WORDS
DOCUMENTS = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS | TEXTS, inner, max_size=6), max_leaves=30
)


@given(DOCUMENTS, st.binary(max_size=20), st.booleans())
def test_arbitrary_json_is_refused_and_nothing_else(document: Any, raw: bytes, split: bool) -> None:  # noqa: ANN401  any JSON
    text = json.dumps(document).encode()
    assert decoded_or_refused(text + raw if split else text, len(text) if split else None) is None


VALID: dict[str, Any] = {
    "id": "r",
    "parameters": {
        "ids": ["a", "b"],
        "times": [1, "2013-03-01T05:15:00Z"],
        "segments": {"origin": ["JFK", None]},
        "features": {"distance": [1, 2.5]},
        "timeout": 5,
        "sequence_id": 0,
        "binary_data_output": True,
    },
    "inputs": [
        {"name": "X", "datatype": "FP32", "shape": [2, 2], "parameters": {"binary_data_size": 16}},
        {"name": "carrier", "datatype": "BYTES", "shape": [2], "parameters": {"binary_data_size": 12}},
        {"name": "late", "datatype": "BOOL", "shape": [2], "data": [True, False]},
    ],
    "outputs": [{"name": "score", "parameters": {"classification": 2, "binary_data": False}}, {"name": "label"}],
}
RAW = np.array([1, 2, 3, np.nan], dtype=np.float32).tobytes() + b"\2\0\0\0UA\2\0\0\0B6"
OUTPUTS: list[Tensor] = [np.array([1, 0]), np.array([[0.25, 0.75], [np.nan, np.inf]], dtype=np.float32)]


def test_the_request_that_is_mutated_below_is_valid() -> None:
    text = json.dumps(VALID).encode()
    assert decoded_or_refused(text + RAW, len(text)) is not None


@st.composite
def edited(draw: st.DrawFn, document: Any) -> Any:  # noqa: ANN401  any JSON
    """The document with one of its places taken out, doubled or filled with something else."""
    if not isinstance(document, dict | list) or not document or draw(st.integers(0, 3)) == 0:
        return draw(LEAVES | DOCUMENTS)
    places = list(document) if isinstance(document, dict) else list(range(len(document)))
    place = draw(st.sampled_from(places))
    copy = document.copy()
    match draw(st.sampled_from(["edit", "edit", "remove", "double"])):
        case "edit":
            copy[place] = draw(edited(document[place]))
        case "remove":
            del copy[place]
        case _ if isinstance(copy, list):
            copy.append(copy[place])
        case _:
            copy[draw(KEYS)] = copy[place]
    return copy


@given(edited(VALID), st.integers(-3, 3))
def test_a_valid_request_with_its_json_changed_is_answered_or_refused(document: Any, off: int) -> None:  # noqa: ANN401  any JSON
    text = json.dumps(document).encode()
    json_bytes = len(text) + (off if abs(off) == 3 else 0)
    request = decoded_or_refused(text + RAW, json_bytes)
    if request is not None:
        ids = request.parameters.ids or ["a", "b"]
        body, length = FLIGHTS.encode(Answer(OUTPUTS, ids, request.id), request)
        json.loads(body[:length])


@given(st.data())
def test_a_valid_request_with_its_bytes_changed_is_decoded_or_refused(data: st.DataObject) -> None:
    text = json.dumps(VALID).encode()
    body = bytearray(text + RAW)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(body) - 1) | st.integers(len(text), len(body) - 1))
        match data.draw(st.sampled_from(["set", "cut", "insert"])):
            case "set":
                body[at] = data.draw(st.integers(0, 255))
            case "cut":
                del body[at : at + data.draw(st.integers(1, 8))]
            case _:
                body[at:at] = data.draw(st.binary(min_size=1, max_size=8))
        if len(body) <= len(text):
            break
    request = decoded_or_refused(bytes(body), len(text))
    if request is not None:
        assert not np.isinf(request.feeds["X"]).any()
        assert request.feeds["late"].view(np.uint8).max() <= 1
