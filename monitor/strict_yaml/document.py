"""Text to plain values: YAML without its traps.

Safe types only, every key once, no aliases (a few lines of them can stand for gigabytes), and the scalars of YAML 1.2: `no`, `on` and `010`
are the texts they look like, not false, true and 8.
"""

import re
from collections.abc import Hashable, Mapping
from typing import Any, Final

import yaml

LARGEST_FILE_BYTES: Final = 1_000_000
DEEPEST: Final = 50
"""Nesting that no configuration needs, and that stays clear of the interpreter's recursion limit."""

_SCALARS: Final = (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)", "-+0123456789"),
    (
        "float",
        r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+0123456789.",
    ),
    ("null", r"~|null|Null|NULL|", ("~", "n", "N", "")),
)
"""YAML 1.2's core schema (section 10.3.2), less octal and hexadecimal: tag, form, and the characters it can begin with."""


def _resolvers() -> dict[str, list[tuple[str, re.Pattern[str]]]]:
    by_first: dict[str, list[tuple[str, re.Pattern[str]]]] = {}
    for tag, form, firsts in _SCALARS:
        for first in firsts:
            by_first.setdefault(first, []).append((f"tag:yaml.org,2002:{tag}", re.compile(f"(?:{form})$")))
    return by_first


class _StrictLoader(yaml.SafeLoader):
    """Refuses with a `MarkedYAMLError` that says where."""

    yaml_implicit_resolvers = _resolvers()
    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        start: yaml.Mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]  # the stubs leave it out
        if self.check_event(yaml.AliasEvent):
            raise _refused("aliases (*name) are not allowed; write the value out", start)
        if self.depth > DEEPEST:
            raise _refused(f"nested more than {DEEPEST} levels deep", start)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        mapping: dict[Hashable, Any] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _refused("expected a text as the key", key.start_mark)
            if key.value in mapping:
                raise _refused(f'the key "{key.value}" is there twice; leave one out', key.start_mark)
            mapping[key.value] = self.construct_object(value, deep=True)
        return mapping


def _refused(problem: str, mark: yaml.Mark) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=mark)


def parse(text: bytes, example: str) -> Mapping[str, object]:
    """The mapping that the text spells; empty for an empty one. Raises ValueError, which says where in the text and why not.

    `example` is what one looks like that was expected instead of something else.
    """
    if len(text) > LARGEST_FILE_BYTES:
        raise ValueError(f"{len(text):,} bytes, more than the {LARGEST_FILE_BYTES:,} a configuration may have; is it the right file?")
    try:
        document = yaml.load(text.decode(), Loader=_StrictLoader)  # noqa: S506  a SafeLoader, made stricter
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 at byte {error.start}; save the file as UTF-8") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise ValueError(f"{where}{error.problem or error.context}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise ValueError(f"not YAML: {error}".splitlines()[0]) from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ValueError(f"expected keys and values such as `{example}`")
    return document
