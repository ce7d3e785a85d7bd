"""What other servers were asked and answered, read to the entries of the log: whatever they let pass, and never more than was there."""

import gzip
import json
import struct
import zlib
from collections.abc import Mapping

import numpy as np
import pytest
from structlog.testing import capture_logs

from monitor.events import FeatureKind, Schema
from monitor.serving.exchanges.bodies import Body, opened
from monitor.serving.exchanges.identity import READ_BYTES, header_value, id_in
from monitor.serving.exchanges.reading import LOOKS_LIMIT, Exchange, Reader
from monitor.serving.refusals import BadRequest
from monitor.serving.tap import Entry
from tests.unit.serving_models import NOON, schema, tensor

SCORES = {"outputs": [tensor("p", "FP32", [1, 2], [0.25, 0.75])]}
TABLE = {"inputs": [tensor("X", "FP32", [1, 3], [1, 2, 3])]}


def reader(known: Schema | None = None, *, trusts_client_times: bool = False) -> Reader:
    found = known or schema()
    return Reader("flights", lambda _model, _version: found, 100_000, trusts_client_times=trusts_client_times)


def body(message: Mapping[str, object] | bytes) -> Body:
    return Body(message if isinstance(message, bytes) else json.dumps(message).encode())


def read(asked: Mapping[str, object] | bytes | Body, answered: Mapping[str, object] | bytes | Body, by: Reader | None = None) -> Entry:
    request, answer = (message if isinstance(message, Body) else body(message) for message in (asked, answered))
    return (by or reader()).read(Exchange(request, answer, "", "base", NOON, None), 1)


def scores(entry: Entry) -> list[list[float]]:
    monitored = entry.tapped.monitored
    assert monitored.score is not None
    found: list[list[float]] = monitored.scores(entry.outputs[monitored.score.output]).tolist()
    return found


def labels(entry: Entry) -> list[str]:
    monitored = entry.tapped.monitored
    assert monitored.label is not None
    return monitored.labels(entry.outputs[monitored.label])


def test_inputs_named_like_features_are_them_and_others_are_not_even_read() -> None:
    named = schema(distance=FeatureKind.NUMERIC, carrier=FeatureKind.CATEGORICAL)
    asked = {
        "inputs": [
            tensor("carrier", "BYTES", [2, 1], ["UA", "é"]),
            {"name": "image", "datatype": "NO SUCH", "shape": [9], "data": ["?"]},
            tensor("distance", "INT64", [2], [7, 8]),
        ]
    }
    answered = {"outputs": [tensor("score", "FP64", [2, 1], [0.25, 0.5]), tensor("label", "BYTES", [2], ["late", "on_time"])]}
    entry = read(asked, answered, reader(named))
    assert {name: values.tolist() for name, values in entry.tapped.monitored.features(entry.inputs).items()} == {
        "distance": [7, 8],
        "carrier": ["UA", "é"],
    }
    assert (scores(entry), labels(entry), entry.ids) == ([[0.25], [0.5]], ["late", "on_time"], ["base/0", "base/1"])


@pytest.mark.parametrize("literal", ["NaN", "Infinity", "-Infinity", "null"])
def test_python_servers_json_is_read(literal: str) -> None:
    answered = b'{"outputs": [{"name": "p", "datatype": "FP64", "shape": [1, 1], "data": [%b]}]}' % literal.encode()
    assert np.array_equal(scores(read(TABLE, answered)), [[float(literal) if literal != "null" else np.nan]], equal_nan=True)


def test_nested_data_and_numbers_too_large_for_their_type_pass() -> None:
    asked = {"inputs": [tensor("X", "FP32", [2, 3], [[1, 2, 3], [4, 1e300, None]])]}
    entry = read(asked, {"outputs": [tensor("label", "INT64", [2], [0, 1])]})
    assert np.array_equal(entry.inputs["X"], np.array([[1, 2, 3], [4, np.inf, np.nan]]), equal_nan=True)
    assert labels(entry) == ["on_time", "late"]


def test_binary_texts_and_bfloat16_are_read() -> None:
    raw = struct.pack("<I", 4) + b"late" + struct.pack("<I", 2) + b"\xff\xfe"
    half = struct.pack("<6H", *([0x3F80, 0x4000, 0x7FC0] * 2))  # 1, 2, NaN
    asked = _binary("inputs", "BF16", [2, 3], half)
    entry = read(asked, _binary("outputs", "BYTES", [2], raw))
    assert np.array_equal(entry.inputs["t"], np.array([[1, 2, np.nan]] * 2), equal_nan=True)
    assert labels(entry) == ["late", "��"]
    # As in KServe's logger, which keeps no header that would tell where the JSON ends.
    assert labels(read(asked._replace(json_bytes=None), _binary("outputs", "BYTES", [2], raw)._replace(json_bytes=None))) == ["late", "��"]


def test_classifications_of_every_class_are_scores() -> None:
    asked = TABLE | {"outputs": [{"name": "p", "parameters": {"classification": 2}}]}
    for texts in (["0.75:1:late", "0.25:0:on_time"], ["0.75:1", "0.25:0"]):
        assert scores(read(asked, {"outputs": [tensor("p", "BYTES", [1, 2], texts)]})) == [[0.75]]
    with pytest.raises(BadRequest, match=r"have \[\] rows"):
        read(asked, {"outputs": [tensor("p", "BYTES", [1, 1], ["0.75:1:late"])]})


def test_v1_messages_are_a_table_or_named_columns() -> None:
    entry = read({"instances": [[1, 2, 3], [4, 5.5, None]]}, {"predictions": [0.25, 0.5]})
    assert np.array_equal(entry.inputs["values"], np.array([[1, 2, 3], [4, 5.5, np.nan]]), equal_nan=True)
    assert scores(entry) == [[0.25], [0.5]]
    named = reader(schema(distance=FeatureKind.NUMERIC, carrier=FeatureKind.CATEGORICAL))
    entry = read({"instances": [{"carrier": "UA", "distance": 1}]}, {"predictions": [1]}, named)
    assert (labels(entry), entry.inputs["carrier"].tolist()) == (["late"], ["UA"])
    assert scores(read({"instances": [[1, 2, 3]]}, {"predictions": [[0.25, 0.75]]})) == [[0.75]]
    assert labels(read({"instances": [[1, 2, 3]]}, {"predictions": ["late"]})) == ["late"]


@pytest.mark.parametrize(
    ("asked", "answered", "told"),
    [
        (b"", SCORES, "not JSON"),
        (b"[]", SCORES, "must be a JSON object"),
        (b'{"a":' * 10_000, SCORES, "not JSON"),
        ({}, SCORES, 'neither "inputs" nor "instances"'),
        (TABLE, {"outputs": []}, "rows"),
        (TABLE, {"outputs": [5]}, "must be an object"),
        (TABLE, {"outputs": [{"name": "p"}]}, "lacks its name"),
        (TABLE, {"outputs": [tensor("p", "FP32", [1, 2], [0.5])]}, "does not fit"),
        (TABLE, {"outputs": [tensor("p", "FP32", [-1, -2], [1, 2])]}, "no FP32 of the shape"),
        (TABLE, {"outputs": [tensor("p", "FP32", [1 << 62, 1 << 62], [1, 2])]}, "does not fit"),
        (TABLE, {"outputs": [tensor("p", "FP32", [1, 2], [{}, []])]}, "no FP32 of the shape"),
        (TABLE, {"outputs": [tensor("p", "INT8", [1, 2], [1, 300])]}, "no INT8 of the shape"),
        (TABLE, {"outputs": [tensor("p", "FP99", [1, 2], [1, 2])]}, 'unknown datatype "FP99"'),
        (TABLE, {"outputs": [tensor("p", "FP32", [2, 2], [1, 0, 1, 0])]}, "and the answer 2 rows"),
        (TABLE, {"outputs": [tensor("p", "FP32", [1, 2], [1, 0]), tensor("q", "FP32", [2], [1, 0])]}, r"have \[1, 2\] rows"),
        (TABLE, {"outputs": [{**tensor("p", "FP32", [1, 2], []), "parameters": {"binary_data_size": 8}}]}, "binary data are not there"),
        ({"instances": []}, {"predictions": [1]}, "there is no row"),
        ({"instances": [[1, 2], [1]]}, {"predictions": [1, 2]}, "different lengths"),
        ({"instances": [{"a": 1}, {"b": 1}]}, {"predictions": [1, 2]}, "different keys"),
        (TABLE | {"parameters": {"ids": ["a", "b"]}}, SCORES, "one id for each of the 1 rows"),
        (TABLE | {"parameters": {"features": {"a": [1]}}}, SCORES, "is not a monitored feature"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_reason(
    asked: Mapping[str, object] | bytes, answered: Mapping[str, object] | bytes, told: str
) -> None:
    with pytest.raises(BadRequest, match=told):
        read(asked, answered)


def test_times_beyond_the_clock_are_refused_where_they_would_be_arrivals() -> None:
    asked = TABLE | {"parameters": {"times": [NOON + 4_000_000]}}
    assert read(asked, SCORES).parameters.times == [NOON + 4_000_000]
    with pytest.raises(BadRequest, match="ahead of the clock"):
        read(asked, SCORES, reader(trusts_client_times=True))


def test_exchanges_that_look_alike_are_settled_once() -> None:
    one = reader()
    first, second = read(TABLE, SCORES, one), read(TABLE, SCORES, one)
    assert first.tapped is second.tapped
    assert read(TABLE, SCORES | {"model_version": "2"}, one).tapped is not first.tapped
    assert read(TABLE, SCORES | {"model_version": 3}, one).tapped.version == "3"


def test_what_cannot_be_mapped_is_told_once_and_ways_to_look_are_bounded() -> None:
    one = reader()
    with capture_logs() as logs:
        for width in range(4, LOOKS_LIMIT + 10):
            with pytest.raises(BadRequest, match="cannot be mapped"):
                read({"inputs": [tensor("X", "FP32", [1, width], [1] * width)]}, SCORES, one)
    (log,) = logs
    assert log["model"] == "flights"
    assert "3 configured features" in log["reason"]
    assert "name `features` in the configuration" in log["remedy"]
    assert (one.unmapped, len(one._known)) == (LOOKS_LIMIT + 6, LOOKS_LIMIT)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b'{"id": "a", "inputs": []}', "a"),
        (b' {\n"model_name":"m","model_version":"1","x":1.5e3,"y":null,"id":"a","outputs":[]}', "a"),
        (b'{"inputs": [{"id": "no"}], "id": "a"}', "a"),
        (b'{"inputs": [{"id": "no"}], "id": "a", "parameters": {"id": "no"}}', "a"),
        (b'{"id": "\\u00e9\\"", "inputs": []}', 'é"'),
        (b'{"inputs": [{"id": "no"}]}', None),
        (b'{"x\\"id": "no"}', None),
        (b'{"x": ", \\"id\\": \\"no\\"}', None),
        (b'{"id": 5}', None),
        (b'{"id": ""}', None),
        (b'{"id": "' + b"x" * 501 + b'"}', None),
        (b'["id"]', None),
        (b'{"id"', None),
        (b"", None),
        (b'{"id": "a", "inputs": [' + b"1," * READ_BYTES + b"1]}", "a"),
        (b'{"inputs": [' + b"1," * READ_BYTES + b'1], "id": "a"}', "a"),
        (b'{"inputs": [' + b"1," * READ_BYTES + b'1], "id": "a", "x": 1}', None),
    ],
)
def test_an_id_is_found_without_reading_more_than_its_bound(text: bytes, found: str | None) -> None:
    assert id_in(Body(text)) == found


@pytest.mark.parametrize(
    "packed", [gzip.compress(b" " * 1_000_000), zlib.compress(b" " * 1_000_000), zlib.compress(b" " * 1_000_000)[2:-4]]
)
def test_nothing_is_unpacked_beyond_the_limit(packed: bytes) -> None:
    assert opened(Body(packed, b"deflate"), 1_000) == b" " * 1_000


def test_an_id_is_found_before_binary_tensors() -> None:
    text = b'{"inputs": [], "id": "a"}'
    assert id_in(Body(text + b'\0{"id": "no"}', json_bytes=len(text))) == "a"


def test_an_id_fits_into_a_header() -> None:
    assert [header_value(each) for each in ("a b/0", "é", "a%", "a\r\nb")] == [b"a b/0", b"%C3%A9", b"a%25", b"a%0D%0Ab"]


def _binary(key: str, datatype: str, shape: list[int], raw: bytes) -> Body:
    listed = {"name": "t", "datatype": datatype, "shape": shape, "parameters": {"binary_data_size": len(raw)}}
    head = json.dumps({key: [listed]}).encode()
    return Body(head + raw, json_bytes=len(head))
