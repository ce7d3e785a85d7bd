"""JSON Schemas of the events that the doors take: the published ones, with the models, classes and features that are configured here."""

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from monitor.codec.cells import UNUSABLE, Scalar
from monitor.codec.classes import class_indices, class_of
from monitor.codec.json_frames import EVENTS_LIMIT
from monitor.codec.json_schema import LABEL, PREDICTION, json_schema
from monitor.codec.rules import NAME_BYTES_LIMIT
from monitor.codec.times import LAST_MILLISECOND
from monitor.events import FeatureKind, Schema, Stream, Task

Json = dict[str, Any]

TIME: Final[Json] = {
    "description": "RFC 3339 with an offset, or whole milliseconds since the epoch; 1970 to 9999.",
    "anyOf": [{"type": "string", "format": "date-time"}, {"type": "integer", "minimum": 0, "maximum": LAST_MILLISECOND}],
}
"""Without the published pattern, which lets through what no calendar has: tools make their examples from one of the two, not from both."""

_REFERENCES: Final = "#/$defs/"
_WHOLE_NUMBER: Final = re.compile(r"0|-?[1-9][0-9]{0,17}")


def event_schemas(schemas: Sequence[Schema], *, label_names_model: bool) -> Json:
    """Components by name. `Labels` and `Predictions` are what the bodies at the two doors hold."""
    components: Json = {}
    for stream in (Stream.LABELS, Stream.PREDICTIONS):
        published: Json = json_schema(stream)
        for name, definition in published["$defs"].items():
            components[_component(name)] = _renamed(definition)
    components[_component("time")] = TIME
    labels = [_label(schema, is_only_model=len(schemas) == 1) for schema in schemas]
    if len(schemas) > 1 and not label_names_model:
        labels.append(LABEL)
    predictions = [_prediction(schema) for schema in schemas]
    for stream, kinds, name in ((Stream.LABELS, labels, "label"), (Stream.PREDICTIONS, predictions, "prediction")):
        if kinds:
            components[_component(name)] = _renamed({"anyOf": kinds})
        event = {"$ref": f"#/components/schemas/{_component(name)}"}
        examples = _renamed(json_schema(stream)["examples"]) if not schemas else []
        components[stream.capitalize()] = {
            "anyOf": [event, {"type": "array", "items": event, "minItems": 1, "maxItems": EVENTS_LIMIT}],
            **({"examples": examples} if examples else {}),
        }
    return components


def _label(schema: Schema, *, is_only_model: bool) -> Json:
    """A label of one model; where there are others, it has to name it."""
    label: Json = dict(LABEL)
    own = {"label": {"description": "A class, by its name or place.", "enum": _classes(schema)}, "model": {"enum": [schema.name]}}
    if is_only_model:
        own["model"] = {"enum": [schema.name, None]}
    else:
        label["required"] = [*label["required"], "model"]
    return label | {"title": f"A label of {schema.name}", "properties": label["properties"] | own}


def _prediction(schema: Schema) -> Json:
    prediction: Json = dict(PREDICTION)
    features = prediction["properties"]["features"]
    kinds = {
        name: {"type": ["number", "null"]} if kind is FeatureKind.NUMERIC else {"$ref": f"{_REFERENCES}value"}
        for name, kind in schema.features.items()
    }
    own = {
        "model": {"enum": [schema.name]},
        # An integer is taken too; a schema would take 3.0 for one.
        "version": {"type": "string", "minLength": 1, "maxLength": NAME_BYTES_LIMIT},
        "features": features | {"properties": kinds},
        "prediction": {"description": "The class that was decided on.", "enum": [*_classes(schema), None]},
    }
    return prediction | {
        "title": f"A prediction of {schema.name}",
        "properties": prediction["properties"] | own,
        "anyOf": list(_decisive(schema)),
    }


def _decisive(schema: Schema) -> Iterator[Json]:
    """What of a prediction is enough to tell its class."""
    yield {"required": ["prediction"], "properties": {"prediction": {"not": {"type": "null"}}}}
    if schema.task is Task.BINARY:
        yield {"required": ["score"], "properties": {"score": {"type": "number"}}}
    for name in schema.classes:
        score = {"type": "object", "required": [name], "properties": {name: {"type": "number"}}}
        yield {"required": ["scores"], "properties": {"scores": score}}


def _classes(schema: Schema) -> list[Scalar]:
    """Everything that names a class: texts, whole numbers and booleans."""
    indices = class_indices(schema)
    numbers = {int(name) for name in schema.classes if _WHOLE_NUMBER.fullmatch(name)} | set(indices.values())
    candidates: list[Scalar] = [*schema.classes, *sorted(numbers), True, False]
    return [value for value in candidates if class_of(value, indices) != UNUSABLE]


def _component(definition: str) -> str:
    return f"Event{definition.capitalize()}"


def _renamed(schema: Any) -> Any:  # noqa: ANN401  any part of a JSON document
    """With references to definitions turned into those to components."""
    if isinstance(schema, dict):
        return {
            key: f"#/components/schemas/{_component(value.removeprefix(_REFERENCES))}"
            if key == "$ref" and isinstance(value, str) and value.startswith(_REFERENCES)
            else _renamed(value)
            for key, value in schema.items()
        }
    return [_renamed(each) for each in schema] if isinstance(schema, list) else schema
