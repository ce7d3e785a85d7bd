"""Complaints of the validator in words for whoever wrote the file: where, what was expected, what to do."""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Final, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from monitor.config.quantities import shown
from monitor.config.section import Complaint, Disagreement, Key

EXPECTED: Final = {
    "bool_type": "true or false",
    "dict_type": "keys and values",
    "enum": "one of {expected}",
    "finite_number": "a finite number",
    "float_type": "a number",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "int_from_float": "a whole number",
    "int_type": "a whole number",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "literal_error": "one of {expected}",
    "mapping_type": "keys and values",
    "model_type": "keys and values",
    "path_type": "a path",
    "string_too_long": "at most {max_length} characters",
    "string_type": "a text; if it is one, write it in quotes",
    "too_short": "a list of at least {min_length}",
    "tuple_type": "a list",
}
"""What was expected, by the validator's name for the complaint, with the fields it gives for it."""


def complaints(error: ValidationError, settings: type[BaseModel], file: str, variables: Mapping[Key, str]) -> Iterator[str]:
    """A line for each thing that is wrong. `variables` are the environment variables that override the file, by the key they set."""
    details = error.errors(include_url=False)
    for detail in details:
        key = detail["loc"]
        if detail["type"] == "too_short" and any(other["loc"][: len(key)] == key for other in details if other is not detail):
            continue  # it has items, and each of those is complained about
        for key, sentence in _parts(detail, settings):
            variable = variables.get(key)
            yield f"{variable}: {sentence}" if variable else f"{file}: {_dotted(key)}: {sentence}"


def nearest(unknown: str, known: list[str]) -> str:
    """The known word that was probably meant, as a question; all of them where none is near."""
    near = get_close_matches(unknown, known, n=1, cutoff=0.5)
    return f'did you mean "{near[0]}"?' if near else f"expected one of {', '.join(known)}"


def _dotted(key: Key) -> str:
    """`models[0].labels.horizon`"""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in key).removeprefix(".")


def _parts(detail: ErrorDetails, settings: type[BaseModel]) -> Iterator[Complaint]:
    key, kind, context = detail["loc"], detail["type"], detail.get("ctx", {})
    raised = context.get("error")
    if isinstance(raised, Disagreement):
        yield from ((key + below, sentence) for below, sentence in raised.complaints)
    elif kind == "value_error":
        yield key, str(raised)
    elif kind == "extra_forbidden":
        yield key, f"unknown key; {nearest(str(key[-1]), list(_fields_at(settings, key[:-1])))}"
    elif kind == "missing":
        yield key, "missing; " + _such_as(str(key[-1]), _fields_at(settings, key[:-1]))
    elif kind in EXPECTED:
        yield key, f"expected {EXPECTED[kind].format(**context)}, not {shown(detail['input'])}"
    else:
        yield key, detail["msg"]


def _such_as(name: str, fields: Mapping[str, FieldInfo]) -> str:
    examples = fields[name].examples if name in fields else None
    return f"write for example `{name}: {examples[0]}`" if examples else "it has no default"


def _fields_at(settings: type[BaseModel], key: Key) -> dict[str, FieldInfo]:
    """The fields of the section at `key`, found by walking down the types of fields, items of lists and values of mappings."""
    kind: object = settings
    for part in key:
        fields = _fields(kind)
        if isinstance(part, str) and part in fields:
            kind = fields[part].annotation
        else:
            kind = next((argument for argument in reversed(get_args(kind)) if argument is not Ellipsis), None)
    return _fields(kind)


def _fields(kind: object) -> dict[str, FieldInfo]:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return {field.alias or name: field for name, field in kind.model_fields.items()}
    return {}
