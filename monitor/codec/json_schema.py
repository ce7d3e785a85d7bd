"""The published JSON Schema (draft 2020-12) of the events, version 1: for producers in any language, generators and editors.

An event validates exactly where the codec takes it and uses everything that stands under a known key; a score that is a text would be left
out in silence, so it does not validate. What JSON Schema cannot say is not in it: lengths in bytes, the calendar, and what is configured
(names of models and classes). Limits and forms are the codec's own constants.
"""

import json
from typing import Final

from monitor.codec.identity import ID_BYTES_LIMIT
from monitor.codec.json_frames import EVENTS_LIMIT
from monitor.codec.rules import NAME_BYTES_LIMIT
from monitor.codec.times import LAST_MILLISECOND, RFC_3339
from monitor.events import Stream

Json = dict[str, object]

VERSION: Final = 1
DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

ID: Final[Json] = {
    "description": f"Names the prediction; its labels carry the same id. At most {ID_BYTES_LIMIT} bytes of UTF-8. "
    "It is the record's key too.",
    "type": "string",
    "minLength": 1,
    "maxLength": ID_BYTES_LIMIT,
}
TIME: Final[Json] = {
    "description": "RFC 3339 with an offset (finer than milliseconds is cut off), or whole milliseconds since the epoch; 1970 to 9999.",
    "anyOf": [
        {"type": "string", "format": "date-time", "pattern": RFC_3339},
        {"type": "integer", "minimum": 0, "maximum": LAST_MILLISECOND},
    ],
}
ARRIVAL: Final[Json] = {
    "description": "When the event came in, where that is not the record's timestamp: for importers, replays and batches. "
    "It wins over the timestamp, and lies at most an hour after it.",
    "anyOf": [{"$ref": "#/$defs/time"}, {"type": "null"}],
}
MODEL: Final[Json] = {
    "description": f"The model's name in the configuration of the monitor. At most {NAME_BYTES_LIMIT} bytes of UTF-8.",
    "type": "string",
    "minLength": 1,
    "maxLength": NAME_BYTES_LIMIT,
}
CLASS: Final[Json] = {
    "description": "A class by its name. A whole number is the class of that name, else the one at that place in `classes`, from 0; "
    "a boolean is the class `true` or `false`, else the one at place 1 or 0.",
    "type": ["string", "integer", "boolean"],
    "minLength": 1,
}
VALUE: Final[Json] = {
    "description": "A number, text or boolean; null, or no entry at all, is a missing value.",
    "type": ["number", "string", "boolean", "null"],
}
PROBABILITY: Final[Json] = {"description": "A probability, 0 to 1.", "type": ["number", "null"]}

PREDICTION: Final[Json] = {
    "title": "Prediction",
    "description": "What a model said about one row. It has a class, or a score that the monitor derives it from. "
    "Other keys are left out, and counted.",
    "type": "object",
    "properties": {
        "id": {"$ref": "#/$defs/id"},
        "time": {
            "$ref": "#/$defs/time",
            "description": "When the prediction was made: the windows go by it. At most an hour after its arrival, and at most "
            "`log.out_of_order` (24 h unless configured) before it.",
        },
        "arrival": {"$ref": "#/$defs/arrival"},
        "model": {"$ref": "#/$defs/model"},
        "version": {
            "description": f"The model's version; an integer stands for its digits. At most {NAME_BYTES_LIMIT} bytes.",
            "anyOf": [
                {"type": "string", "minLength": 1, "maxLength": NAME_BYTES_LIMIT},
                {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1},
            ],
        },
        "features": {
            "description": "What the model saw, by the names of the features; {} where there is nothing to tell. "
            "Numbers where the configuration says numeric, texts where it says categorical; a feature that is left out is missing.",
            "type": "object",
            "additionalProperties": {"$ref": "#/$defs/value"},
        },
        "prediction": {
            "description": "The class that was decided on. Left out, it is derived: of a binary model from the score and the threshold, "
            "otherwise the class of the greatest score.",
            "anyOf": [{"$ref": "#/$defs/class"}, {"type": "null"}],
        },
        "score": {"$ref": "#/$defs/probability", "description": "Of a binary model: the probability of the positive class, 0 to 1."},
        "scores": {
            "description": "Probabilities by the name of the class; of a binary model one of the two is enough.",
            "type": ["object", "null"],
            "additionalProperties": {"$ref": "#/$defs/probability"},
        },
        "segments": {
            "description": "Values of the dimensions that readings are cut by. One that is not here is taken from the feature of its name.",
            "type": ["object", "null"],
            "additionalProperties": {"$ref": "#/$defs/value"},
        },
        "traceparent": {
            "description": "The caller's place in a distributed trace (W3C Trace Context). Kept, and not looked at.",
            "type": ["string", "null"],
        },
    },
    "required": ["id", "time", "model", "version", "features"],
    "anyOf": [
        {"required": ["prediction"], "properties": {"prediction": {"not": {"type": "null"}}}},
        {"required": ["score"], "properties": {"score": {"type": "number"}}},
        {"required": ["scores"], "properties": {"scores": {"type": "object", "not": {"additionalProperties": {"type": "null"}}}}},
    ],
}
LABEL: Final[Json] = {
    "title": "Label",
    "description": "What turned out to be true of a prediction. It may come before its prediction, until the model's horizon after it, "
    "and again as a correction. Other keys are left out, and counted.",
    "type": "object",
    "properties": {
        "id": {"$ref": "#/$defs/id", "description": "The prediction's id. The label answers every prediction that has it."},
        "label": {"$ref": "#/$defs/class"},
        "time": {
            "description": "When it was found out: of several labels the latest counts (unless configured otherwise). "
            "Left out, it is the arrival. At most an hour after the arrival.",
            "anyOf": [{"$ref": "#/$defs/time"}, {"type": "null"}],
        },
        "arrival": {"$ref": "#/$defs/arrival"},
        "model": {
            "description": "The model whose predictions it answers. Required where several are configured, "
            "unless `labels_without_model` is true.",
            "anyOf": [{"$ref": "#/$defs/model"}, {"type": "null"}],
        },
    },
    "required": ["id", "label"],
}

_RECORD: Final = (
    "the value of a record whose `content-type` header is application/json, or that has none: {event}, or an array of them whose ids "
    "all belong to the record's partition. The record's key is the id, its partition is murmur2 of the id (librdkafka: "
    "partitioner=murmur2_random), and its timestamp is the arrival in milliseconds (CreateTime). The same text goes to POST /v1/{stream} "
    "instead, also one event a line; nothing else has to be right there."
)
_PREDICTION_EXAMPLES: Final[list[object]] = [
    {
        "id": "0190b5c2-7a10-7000-8000-00000000002a",
        "time": "2026-01-31T12:00:00Z",
        "model": "fraud",
        "version": "3",
        "features": {"amount": 12.5, "country": "NL", "new_customer": True, "age": None},
        "score": 0.93,
    },
    [
        {
            "id": "order-17/0",
            "time": 1_769_860_800_000,
            "model": "species",
            "version": 12,
            "features": {"petal_length": 4.7},
            "prediction": "virginica",
            "scores": {"setosa": 0.05, "versicolor": 0.15, "virginica": 0.8},
            "segments": {"site": "north"},
        }
    ],
]
_LABEL_EXAMPLES: Final[list[object]] = [
    {"id": "0190b5c2-7a10-7000-8000-00000000002a", "label": "fraud", "time": "2026-02-14T08:00:00+01:00", "model": "fraud"},
    [{"id": "order-17/0", "label": "versicolor"}],
]


def json_schema(stream: Stream) -> Json:
    """The schema of what a JSON record of predictions or labels holds."""
    shared: Json = {"id": ID, "time": TIME, "arrival": ARRIVAL, "model": MODEL, "class": CLASS}
    if stream is Stream.PREDICTIONS:
        name, examples = "prediction", _PREDICTION_EXAMPLES
        definitions: Json = {"prediction": PREDICTION, **shared, "value": VALUE, "probability": PROBABILITY}
    else:
        name, examples = "label", _LABEL_EXAMPLES
        definitions = {"label": LABEL, **shared}
    event: Json = {"$ref": f"#/$defs/{name}"}
    return {
        "$schema": DIALECT,
        "$id": f"urn:model-monitor:events:{stream}:{VERSION}",
        "title": f"{stream.capitalize()}, version {VERSION}",
        "description": f"In the topic `{stream}`: {_RECORD.format(event=f'one {name}', stream=stream)}",
        "anyOf": [event, {"type": "array", "items": event, "minItems": 1, "maxItems": EVENTS_LIMIT}],
        "examples": examples,
        "$defs": definitions,
    }


def as_text(stream: Stream) -> str:
    """The schema as the file that is published."""
    return json.dumps(json_schema(stream), indent=2) + "\n"
