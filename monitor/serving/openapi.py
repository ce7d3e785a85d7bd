"""The OpenAPI document of a running server: `openapi.yaml` with the models that it serves and the doors that it has. Pure.

The paths stand in that file and nowhere else; a test holds them against those that the server routes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import orjson
import yaml

from monitor.events import Schema
from monitor.serving.event_schemas import event_schemas
from monitor.serving.tensor_schemas import ServedTensors, described_models, request_schemas

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Offer:
    """What a server has, as far as its document says it."""

    server_version: str
    models: Sequence[ServedTensors] | None = None
    """Those that can be asked now; None where it serves none at all."""
    schemas: Sequence[Schema] = ()
    """Of the models whose events the doors take."""
    label_names_model: bool = True
    """Whether a label has to say which of several models it answers."""
    model_control: bool = False
    cloudevents: bool = False
    tokens: bool = False
    rates: bool = False
    upstream: bool = False
    """Whether the protocol's paths are another server's, which this one stands in front of."""


def openapi(offer: Offer) -> bytes:
    """The document as JSON."""
    document = _template()
    return orjson.dumps(
        document
        | {
            "info": document["info"] | {"version": offer.server_version},
            "paths": _paths(document["paths"], offer),
            "components": _components(document["components"], offer),
        }
    )


@cache
def _template() -> Json:
    """Never changed: what differs is built anew around it."""
    text = (files(__package__) / "openapi.yaml").read_text(encoding="utf-8")
    # In C it takes 4 ms instead of 27, which requests to models would wait for.
    document: Json = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506  both are the safe one
    return document


def _paths(paths: Mapping[str, Json], offer: Offer) -> Json:
    offered = {
        "v2": not offer.upstream,
        "models": not offer.upstream and offer.models is not None,
        "model_control": not offer.upstream and offer.model_control,
        "cloudevents": offer.cloudevents,
    }
    return {
        path: {key: _operation(value, offer) if "responses" in value else value for key, value in item.items() if key != "x-offered-with"}
        for path, item in paths.items()
        if offered.get(item.get("x-offered-with", ""), True)
    }


def _operation(operation: Json, offer: Offer) -> Json:
    responses = dict(operation["responses"])
    described = {key: value for key, value in operation.items() if key not in ("x-token", "x-rated")}
    if offer.tokens and operation.get("x-token"):
        described["security"] = [{"bearer": []}]
        responses |= {"401": _response("Unauthorized"), "403": _response("Forbidden")}
    if offer.rates and operation.get("x-rated"):
        responses["429"] = _response("TooBusy")
    return described | {"responses": dict(sorted(responses.items()))}


def _components(components: Json, offer: Offer) -> Json:
    models = offer.models or ()
    parameters = components["parameters"]
    schemas = components["schemas"] | event_schemas(offer.schemas, label_names_model=offer.label_names_model) | request_schemas(models)
    return components | {
        "schemas": schemas,
        "parameters": parameters
        | {
            "Model": _one_of(parameters["Model"], [served.model for served in models], described_models(models)),
            "Version": _one_of(parameters["Version"], [served.version for served in models], ""),
        },
    }


def _one_of(parameter: Json, values: Sequence[str], more: str) -> Json:
    if not values:
        return parameter
    return parameter | {
        "description": f"{parameter['description']}{more}",
        "schema": {"type": "string", "enum": list(dict.fromkeys(values))},
    }


def _response(name: str) -> Json:
    return {"$ref": f"#/components/responses/{name}"}
