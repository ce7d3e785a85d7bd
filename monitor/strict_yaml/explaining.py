"""Complaints of the validator in words for whoever wrote the file: where, what was expected, what to do."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from types import NoneType, UnionType
from typing import Final, get_args

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from monitor.strict_yaml.quantities import shown
from monitor.strict_yaml.section import Complaint, Disagreement, Key

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
    "model_attributes_type": "keys and values",
    "model_type": "keys and values",
    "path_type": "a path",
    "string_too_long": "at most {max_length} characters",
    "string_too_short": "at least {min_length} character",
    "string_type": "a text; if it is one, write it in quotes",
    "too_short": "a list of at least {min_length}",
    "tuple_type": "a list",
}
"""What was expected, by the validator's name for the complaint, with the fields it gives for it."""


def complaints(error: ValidationError, settings: type[BaseModel], file: str, variables: Mapping[Key, str]) -> Iterator[str]:
    """A line for each thing that is wrong. `variables` are the environment variables that override the file, by the key they set."""
    details = error.errors(include_url=False)
    for detail in details:
        path = detail["loc"]
        if detail["type"] == "too_short" and any(other["loc"][: len(path)] == path for other in details if other is not detail):
            continue  # it has items, and each of those is complained about
        for key, sentence in _parts(detail, _located(settings, path)):
            variable = variables.get(key)
            yield f"{variable}: {sentence}" if variable else f"{file}: {_dotted(key)}: {sentence}"


def nearest(unknown: str, known: list[str]) -> str:
    """The known word that was probably meant, as a question; all of them where none is near."""
    near = get_close_matches(unknown, known, n=1, cutoff=0.5)
    return f'did you mean "{near[0]}"?' if near else f"expected one of {', '.join(known)}"


def _dotted(key: Key) -> str:
    """`models[0].labels.horizon`"""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in key).removeprefix(".")


def _parts(detail: ErrorDetails, place: "_Place") -> Iterator[Complaint]:
    key, kind, context = place.key, detail["type"], detail.get("ctx", {})
    raised = context.get("error")
    if isinstance(raised, Disagreement):
        yield from ((key + below, sentence) for below, sentence in raised.complaints)
    elif kind == "value_error":
        yield key, str(raised)
    elif kind == "extra_forbidden":
        yield key, _unknown(str(key[-1]), place)
    elif kind == "missing":
        yield key, "missing; " + _such_as(str(key[-1]), place.siblings)
    elif kind == "union_tag_invalid":
        kinds = [tag.strip("' ") for tag in context["expected_tags"].split(",")]
        yield (*key, context["discriminator"].strip("'")), f"unknown kind {shown(context['tag'])}; {nearest(context['tag'], kinds)}"
    elif kind in EXPECTED:
        found = "what is there" if place.holds_secrets else shown(detail["input"])
        yield key, f"expected {EXPECTED[kind].format(**context)}, not {found}"
    else:
        yield key, detail["msg"]


def _unknown(name: str, place: "_Place") -> str:
    if name in place.kinds_of_keys:
        return f"is there only with `kind: {place.kinds_of_keys[name]}`; leave it out, or change kind"
    return f"unknown key; {nearest(name, [known for known, field in place.siblings.items() if not _is_secret(field.annotation)])}"


def _such_as(name: str, fields: Mapping[str, FieldInfo]) -> str:
    examples = fields[name].examples if name in fields else None
    return f"write for example `{name}: {examples[0]}`" if examples else "it has no default"


@dataclass(frozen=True, slots=True)
class _Place:
    """A key as the file spells it, and the fields of the section that it stands in.

    `kinds_of_keys`: where that section is one of several kinds, every key of any of them, with a kind that has it.
    """

    key: Key
    siblings: Mapping[str, FieldInfo]
    kinds_of_keys: Mapping[str, str]

    @property
    def holds_secrets(self) -> bool:
        field = self.siblings.get(str(self.key[-1])) if self.key else None
        return field is not None and _holds_secrets(field.annotation)


def _located(settings: type[BaseModel], path: Key) -> _Place:
    """Follows the validator's path down the types of fields, items of lists and values of mappings.

    Where a section is of one of several kinds, that path names the kind besides; the file's keys do not.
    """
    place = _Place((), {}, {})
    below: object = settings
    kinds_of_keys: Mapping[str, str] = {}
    for part in path:
        choice = _kinds(below)
        if part in choice:
            below = choice[str(part)]
            kinds_of_keys = {name: kind for kind, section in choice.items() for name in _fields(section)}
            continue
        place = _Place((*place.key, part), _fields(below), kinds_of_keys)
        kinds_of_keys = {}
        if isinstance(part, str) and part in place.siblings:
            below = _unless_none(place.siblings[part].annotation)
        else:
            below = next((argument for argument in reversed(get_args(below)) if argument is not Ellipsis), None)
    return place


def _fields(kind: object) -> dict[str, FieldInfo]:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return {field.alias or name: field for name, field in kind.model_fields.items()}
    return {}


def _unless_none(annotation: object) -> object:
    """What a key may hold besides nothing."""
    others = [argument for argument in get_args(annotation) if argument is not NoneType]
    return others[0] if isinstance(annotation, UnionType) and len(others) == 1 else annotation


def _is_secret(annotation: object) -> bool:
    return _unless_none(annotation) is SecretStr


def _holds_secrets(annotation: object) -> bool:
    """A secret, or a section that is to have one: what stands in its place may be it."""
    return _is_secret(annotation) or any(_is_secret(field.annotation) for field in _fields(_unless_none(annotation)).values())


def _kinds(annotation: object) -> dict[str, type[BaseModel]]:
    """The sections of several kinds that may stand there, by what their key `kind` says; none where there is no choice."""
    sections = [one for one in get_args(annotation) if isinstance(one, type) and issubclass(one, BaseModel) and "kind" in one.model_fields]
    return {get_args(section.model_fields["kind"].annotation)[0]: section for section in sections}
