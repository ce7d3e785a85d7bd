"""JSON Schemas of the inference requests that served models take: their tensors by name, datatype and shape."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Final

import numpy as np

from monitor.serving.tensors import ANY, DTYPES, TensorSpec

Json = dict[str, Any]

EXAMPLE_ELEMENTS_LIMIT: Final = 64
"""Of a tensor that is shown whole; an image would make the document megabytes long."""


@dataclass(frozen=True, slots=True)
class ServedTensors:
    """A model version that can be asked, and what it declares."""

    model: str
    version: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


def request_schemas(models: Sequence[ServedTensors]) -> Json:
    """Components by name: `InferRequest` is any of those of the models. Versions with the same tensors share one."""
    groups: dict[tuple[str, tuple[TensorSpec, ...], tuple[TensorSpec, ...]], list[ServedTensors]] = {}
    for served in models:
        groups.setdefault((served.model, served.inputs, served.outputs), []).append(served)
    each = {f"InferRequest.{alike[0].model}.{alike[0].version}": _request(alike) for alike in groups.values()}
    if not each:
        return {"InferRequest": {"type": "object", "description": "No model can be asked now."}}
    return {"InferRequest": {"anyOf": [{"$ref": f"#/components/schemas/{name}"} for name in each]}, **each}


def described_models(models: Sequence[ServedTensors]) -> str:
    """A line of Markdown for each model version."""
    return "".join(
        f"\n- `{served.model}` version `{served.version}`: {_listed(served.inputs)} → {_listed(served.outputs)}" for served in models
    )


def _request(alike: Sequence[ServedTensors]) -> Json:
    served = alike[0]
    tensors = [_tensor(spec) for spec in served.inputs]
    document: Json = {
        "title": f"A request to {served.model} ({', '.join(each.version for each in alike)})",
        "type": "object",
        "properties": {
            "id": {"type": ["string", "null"], "maxLength": 500, "description": "Of the request; what labels answer where it has one row."},
            "inputs": {
                "type": "array",
                "description": "Each input once, in any order.",
                "minItems": len(tensors),
                "maxItems": len(tensors),
                "items": tensors[0] if len(tensors) == 1 else {"anyOf": tensors},
            },
            "outputs": {
                "type": ["array", "null"],
                "description": "Those wanted; left out: all of them.",
                "items": {
                    "allOf": [
                        {"$ref": "#/components/schemas/OutputWanted"},
                        {"properties": {"name": {"enum": [spec.name for spec in served.outputs]}}},
                    ]
                },
            },
            "parameters": {"anyOf": [{"$ref": "#/components/schemas/RequestParameters"}, {"type": "null"}]},
        },
        "required": ["inputs"],
    }
    shapes = [[1 if size == ANY else size for size in spec.shape] for spec in served.inputs]
    if all(prod(shape) <= EXAMPLE_ELEMENTS_LIMIT for shape in shapes):
        document["examples"] = [{"inputs": [_example(spec, shape) for spec, shape in zip(served.inputs, shapes, strict=True)]}]
    return document


def _tensor(spec: TensorSpec) -> Json:
    element = _element(spec.datatype)
    return {
        "type": "object",
        "description": f"{spec.datatype} {list(spec.shape)}; {ANY}: any size from 1.",
        "properties": {
            "name": {"const": spec.name},
            "datatype": {"const": spec.datatype},
            "shape": {
                "type": "array",
                "prefixItems": [{"type": "integer", "minimum": 1} if size == ANY else {"const": size} for size in spec.shape],
                "minItems": len(spec.shape),
                "maxItems": len(spec.shape),
            },
            "data": {
                "type": "array",
                "description": "Row-major, flat or nested as the shape says.",
                "items": element if len(spec.shape) < 2 else {"anyOf": [element, {"type": "array"}]},
            },
        },
        "required": ["name", "datatype", "shape", "data"],
    }


def _element(datatype: str) -> Json:
    dtype = DTYPES[datatype]
    if datatype == "BF16":
        # The range of FP32, to a few digits.
        return {"type": ["number", "null"], "minimum": -3.3e38, "maximum": 3.3e38}
    if dtype.kind == "f":
        limits = np.finfo(dtype)
        return {"type": ["number", "null"], "minimum": float(limits.min), "maximum": float(limits.max)}
    if dtype.kind in "iu":
        return {"type": "integer", "minimum": int(np.iinfo(dtype).min), "maximum": int(np.iinfo(dtype).max)}
    return {"type": "boolean" if dtype.kind == "b" else "string"}


def _example(spec: TensorSpec, shape: list[int]) -> Json:
    value: object = {"BOOL": False, "BYTES": "text"}.get(spec.datatype, 0)
    return {"name": spec.name, "datatype": spec.datatype, "shape": shape, "data": [value] * prod(shape)}


def _listed(specs: Sequence[TensorSpec]) -> str:
    return ", ".join(_shown(specs))


def _shown(specs: Sequence[TensorSpec]) -> Iterator[str]:
    for spec in specs:
        yield f"`{spec.name}` {spec.datatype} {list(spec.shape)}"
