"""The OpenAPI document: valid, complete, and what it says of requests and events is what the server takes."""

import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator, validate

from monitor.codec.events_json import parse_labels_json, parse_predictions_json
from monitor.events import FeatureKind, Schema, Task
from monitor.serving.openapi import Offer, openapi
from monitor.serving.tensor_schemas import ServedTensors
from monitor.serving.tensors import DTYPES, TensorSpec
from tests.unit.serving_models import NOON, bench, logistic, schema, tensor

Json = dict[str, Any]

FLIGHTS = ServedTensors("flights", "1", (TensorSpec("X", "FP32", (-1, 3)),), (TensorSpec("label", "BYTES", (-1,)),))
NAMED = ServedTensors(
    "named",
    "2024-05",
    (TensorSpec("distance", "FP64", (-1, 1)), TensorSpec("carrier", "BYTES", (-1, 1))),
    (TensorSpec("score", "FP64", (-1, 1)),),
)
KINDS = Schema("kinds", Task.MULTICLASS, ("a", "7", "true"), -1, 0.5, {"n": FeatureKind.NUMERIC, "c": FeatureKind.CATEGORICAL})
GATEWAY = Offer("1.2.3", schemas=(schema(), KINDS))
WHOLE = Offer(
    "1.2.3", (FLIGHTS, replace(FLIGHTS, version="2"), NAMED), (schema(),), model_control=True, cloudevents=True, tokens=True, rates=True
)
MODEL_PATHS = {
    "/v2/models/{model}",
    "/v2/models/{model}/ready",
    "/v2/models/{model}/infer",
    "/v2/models/{model}/versions/{version}",
    "/v2/models/{model}/versions/{version}/ready",
    "/v2/models/{model}/versions/{version}/infer",
}
ALWAYS = {"/v1/labels", "/v1/predictions", "/metrics", "/openapi.json"}
SERVER_PATHS = {"/v2", "/v2/health/live", "/v2/health/ready", "/v2/repository/index"}


def document(offer: Offer) -> Json:
    parsed: Json = orjson.loads(openapi(offer))
    return parsed


def validator(offer: Offer, component: str) -> Draft202012Validator:
    """Of one component, its references within the whole document."""
    whole = {"$ref": f"#/components/schemas/{component}"} | document(offer)
    return Draft202012Validator(whole, format_checker=Draft202012Validator.FORMAT_CHECKER)


def statuses(offer: Offer, path: str) -> set[str]:
    operations = document(offer)["paths"][path]
    return set((operations.get("post") or operations["get"])["responses"])


@pytest.mark.parametrize("offer", [GATEWAY, WHOLE, Offer("1"), Offer("1", models=()), Offer("1", (FLIGHTS,))])
def test_the_document_is_openapi_3_1(offer: Offer) -> None:
    parsed = document(offer)
    validate(parsed, cls=OpenAPIV31SpecValidator)
    assert parsed["info"]["version"] == offer.server_version
    assert b'"x-' not in openapi(offer)
    names = [
        operation["operationId"] for item in parsed["paths"].values() for operation in (item.get("get"), item.get("post")) if operation
    ]
    assert len(set(names)) == len(names)


def test_only_what_is_on_is_in_it() -> None:
    control = {"/v2/repository/models/{model}/load", "/v2/repository/models/{model}/unload"}
    assert set(document(GATEWAY)["paths"]) == ALWAYS | SERVER_PATHS
    assert set(document(Offer("1", (FLIGHTS,)))["paths"]) == ALWAYS | SERVER_PATHS | MODEL_PATHS
    assert set(document(WHOLE)["paths"]) == ALWAYS | SERVER_PATHS | MODEL_PATHS | control | {"/v1/cloudevents"}
    assert set(document(replace(WHOLE, upstream=True))["paths"]) == ALWAYS | {"/v1/cloudevents"}


def test_models_and_versions_are_told_with_their_tensors() -> None:
    parameters = document(WHOLE)["components"]["parameters"]
    assert parameters["Model"]["schema"]["enum"] == ["flights", "named"]
    assert parameters["Version"]["schema"]["enum"] == ["1", "2", "2024-05"]
    assert "\n- `flights` version `2`: `X` FP32 [-1, 3] → `label` BYTES [-1]\n" in parameters["Model"]["description"]
    assert "enum" not in document(Offer("1", models=()))["components"]["parameters"]["Model"]["schema"]


def test_tokens_and_rates_bring_their_answers_and_where_they_are_asked_for() -> None:
    for path in ("/v1/labels", "/v1/predictions", "/v2/repository/models/{model}/load"):
        assert statuses(WHOLE, path) >= {"401", "403"}
        assert document(WHOLE)["paths"][path]["post"]["security"] == [{"bearer": []}]
    assert "429" in statuses(WHOLE, "/v1/labels")
    assert statuses(GATEWAY, "/v1/labels") == {"202", "400", "408", "413", "503"}
    for path in ("/v2/models/{model}/infer", "/v1/cloudevents"):
        assert not statuses(WHOLE, path) & {"401", "403"}
    assert "security" not in document(GATEWAY)["paths"]["/v1/labels"]["post"]


def test_every_path_that_is_routed_is_in_the_document(tmp_path: Path) -> None:
    """And a model's by all the methods that are documented. The server's own paths are held against the document where it runs."""
    for version in ("1", "2"):
        logistic(tmp_path / "flights" / version / "model.onnx")
    app = bench(tmp_path).app
    paths = document(Offer("1", (FLIGHTS, replace(FLIGHTS, version="2"))))["paths"]
    routed = {re.sub("/versions/[12]", "/versions/{version}", path.replace("flights", "{model}")) for path in app.routes}
    assert routed == {path for path in paths if path.startswith("/v2")}
    for path, route in app.routes.items():
        template = re.sub("/versions/[12]", "/versions/{version}", path.replace("flights", "{model}"))
        assert {method.lower() for method in route.methods if method != "HEAD"} == paths[template].keys() - {"parameters"}


def test_versions_with_the_same_tensors_share_a_schema() -> None:
    schemas = document(WHOLE)["components"]["schemas"]
    assert [each["$ref"].rpartition("/")[2] for each in schemas["InferRequest"]["anyOf"]] == [
        "InferRequest.flights.1",
        "InferRequest.named.2024-05",
    ]
    assert schemas["InferRequest.flights.1"]["title"] == "A request to flights (1, 2)"


def test_the_example_of_a_model_is_a_request_to_it() -> None:
    schemas = document(WHOLE)["components"]["schemas"]
    assert schemas["InferRequest.flights.1"]["examples"] == [{"inputs": [tensor("X", "FP32", [1, 3], [0, 0, 0])]}]
    named = schemas["InferRequest.named.2024-05"]["examples"][0]
    assert named == {"inputs": [tensor("distance", "FP64", [1, 1], [0]), tensor("carrier", "BYTES", [1, 1], ["text"])]}
    assert validator(WHOLE, "InferRequest").is_valid(named)
    image = ServedTensors("image", "1", (TensorSpec("pixels", "FP32", (-1, 3, 224, 224)),), ())
    assert "examples" not in document(Offer("1", (image,)))["components"]["schemas"]["InferRequest.image.1"]


X = tensor("X", "FP32", [2, 3], [1, 2.5, None, -3, 0, 1e30])


@pytest.mark.parametrize(
    ("request_document", "is_taken"),
    [
        ({"inputs": [X]}, True),
        ({"inputs": [X | {"data": [[1, 2, 3], [4, 5, 6]]}], "id": "a", "parameters": {"ids": ["a", "b"]}}, True),
        ({"inputs": [X], "outputs": [{"name": "label", "parameters": {"binary_data": False}}]}, True),
        ({"inputs": [X], "outputs": [{"name": "score"}]}, False),
        ({"inputs": [X, X]}, False),
        ({"inputs": []}, False),
        ({}, False),
        ({"inputs": [X | {"name": "Y"}]}, False),
        ({"inputs": [X | {"datatype": "FP64"}]}, False),
        ({"inputs": [X | {"shape": [2, 4]}]}, False),
        ({"inputs": [X | {"shape": [0, 3]}]}, False),
        ({"inputs": [X | {"shape": [6]}]}, False),
        ({"inputs": [X | {"data": ["1", 2, 3, 4, 5, 6]}]}, False),
        ({"inputs": [X | {"data": [1e39, 2, 3, 4, 5, 6]}]}, False),
        ({"inputs": [X], "id": 7}, False),
    ],
)
def test_requests_are_described_as_the_server_takes_them(request_document: Json, is_taken: bool) -> None:
    assert validator(Offer("1", (FLIGHTS,)), "InferRequest").is_valid(request_document) is is_taken


@pytest.mark.parametrize("datatype", DTYPES)
def test_elements_of_every_datatype_have_a_schema(datatype: str) -> None:
    served = ServedTensors("m", "1", (TensorSpec("x", datatype, (-1,)),), ())
    example = document(Offer("1", (served,)))["components"]["schemas"]["InferRequest.m.1"]["examples"][0]
    requests = validator(Offer("1", (served,)), "InferRequest")
    assert requests.is_valid(example)
    example["inputs"][0]["data"] = [{}]
    assert not requests.is_valid(example)


LABEL: Json = {"id": "a", "label": "late", "model": "flights"}
PREDICTION: Json = {"id": "a", "time": NOON, "model": "flights", "version": "1", "features": {}, "score": 0.5}
KIND: Json = PREDICTION | {"model": "kinds", "scores": {"7": 0.25}}
TIMES: list[object] = [NOON, "2013-03-01T12:00:00Z", "2013-03-01T12:00:00.5+01:00"]
NO_TIMES: list[object] = [-1, 2**63 - 1, 1.5, "yesterday", "2013-03-01T12:00:00", True, []]
IDS: list[object] = ["x", "é" * 256, "x" * 512]
NO_IDS: list[object] = ["", "x" * 513, 7, None]

CLASSES: list[object] = ["late", "on_time", 0, 1, 1.0, True, False]
NO_CLASSES: list[object] = ["lost", "", 2, -1, 0.5, None, [], {}]
KINDS_CLASSES: list[object] = ["a", "7", "true", 7, 0, 2, True]
NO_KINDS_CLASSES: list[object] = ["late", 3, 8]


@pytest.mark.parametrize(
    ("label", "is_taken"),
    [
        *((LABEL | {"label": value}, True) for value in CLASSES),
        *((LABEL | {"label": value}, False) for value in NO_CLASSES),
        *((LABEL | {"model": "kinds", "label": value}, True) for value in KINDS_CLASSES),
        *((LABEL | {"model": "kinds", "label": value}, False) for value in NO_KINDS_CLASSES),
        *((LABEL | {"time": value, "arrival": value}, True) for value in (*TIMES, None)),
        *((LABEL | {"time": value}, False) for value in NO_TIMES),
        *((LABEL | {"id": value}, True) for value in IDS),
        *((LABEL | {"id": value}, False) for value in NO_IDS),
        (LABEL | {"something": "else"}, True),
        ({"id": "a", "label": "late"}, False),
        (LABEL | {"model": "trains"}, False),
        ({"label": "late", "model": "flights"}, False),
        ([LABEL, LABEL], True),
        ([LABEL, {}], False),
        ([], False),
        ("late", False),
    ],
)
def test_labels_are_described_as_the_door_takes_them(label: object, is_taken: bool) -> None:
    parsed = parse_labels_json([orjson.dumps(label)], tuple(GATEWAY.schemas), True)
    assert (not parsed.errors) is is_taken, parsed.errors
    assert validator(GATEWAY, "Labels").is_valid(label) is is_taken


@pytest.mark.parametrize(
    ("prediction", "is_taken"),
    [
        (PREDICTION, True),
        (KIND, True),
        (PREDICTION | {"prediction": "late", "score": None}, True),
        (PREDICTION | {"score": None}, False),
        (PREDICTION | {"score": None, "scores": {"late": 0.5}}, True),
        (PREDICTION | {"score": None, "scores": {"lost": 0.5}}, False),
        (PREDICTION | {"prediction": "lost"}, False),
        (PREDICTION | {"version": ""}, False),
        (PREDICTION | {"version": "x" * 129}, False),
        (PREDICTION | {"features": None}, False),
        (PREDICTION | {"features": {"a": 1.5, "b": None, "other": "x"}, "segments": {"carrier": "UA"}}, True),
        (PREDICTION | {"segments": "x"}, False),
        (KIND | {"scores": {"7": None}, "prediction": 7}, True),
        (KIND | {"scores": {"7": None}}, False),
        (KIND | {"model": "trains"}, False),
        *((PREDICTION | {"time": value}, True) for value in TIMES),
        *((PREDICTION | {"time": value}, False) for value in (*NO_TIMES, None)),
        *(({key: value for key, value in PREDICTION.items() if key != missing}, False) for missing in PREDICTION),
    ],
)
def test_predictions_are_described_as_the_door_takes_them(prediction: object, is_taken: bool) -> None:
    parsed = parse_predictions_json([orjson.dumps(prediction)], tuple(GATEWAY.schemas))
    assert (not parsed.errors) is is_taken, parsed.errors
    assert validator(GATEWAY, "Predictions").is_valid(prediction) is is_taken


def test_a_label_of_the_only_model_need_not_name_it() -> None:
    unnamed = {"id": "a", "label": "late"}
    parse = partial(parse_labels_json, [orjson.dumps(unnamed)], model_required=True)
    only, several, allowed = Offer("1", schemas=(schema(),)), GATEWAY, replace(GATEWAY, label_names_model=False)
    assert [not parse(schemas=tuple(offer.schemas)).errors for offer in (only, several)] == [True, False]
    assert [validator(offer, "Labels").is_valid(unnamed) for offer in (only, several, allowed)] == [True, False, True]
