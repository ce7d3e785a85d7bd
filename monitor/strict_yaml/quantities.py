"""The kinds of value that the file holds: lengths of time (`30s`, `14d`), sizes (`64MB`), names, shares.

A bare number of time or bytes is refused, because nobody can tell from `horizon: 14` what was meant.
"""

import re
from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator, Field, Strict, WithJsonSchema

MILLISECONDS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
BYTES: Final = {
    "B": 1,
    **{prefix + "B": 1_000**power for power, prefix in enumerate(("k", "M", "G", "T"), start=1)},
    **{prefix + "iB": 1_024**power for power, prefix in enumerate(("K", "M", "G", "T"), start=1)},
}
LONGEST_MS: Final = 3_660 * MILLISECONDS["d"]
"""Ten years. Sums of a handful of these stay far inside int64, and a longer one is a slip of the unit."""
LARGEST_BYTES: Final = 2**60
SHOWN_CHARACTERS: Final = 60

DURATION_PATTERN: Final = r"^\d+(ms|s|m|h|d|w)$"
BYTES_PATTERN: Final = r"^\d+(\.\d+)?(B|[kMGT]B|[KMGT]iB)$"


def duration_ms(text: object) -> int:
    """Milliseconds, above 0, of a length of time such as `45s`, `30m`, `24h` or `14d`. Raises ValueError, which says how it is written."""
    if isinstance(text, int | float) and not isinstance(text, bool):
        raise ValueError(f"a length of time needs a unit: write {text}s, {text}m, {text}h or {text}d")
    matched = re.fullmatch(DURATION_PATTERN, text, re.ASCII) if isinstance(text, str) else None
    if matched is None or not isinstance(text, str):
        raise ValueError(f"expected a length of time such as 45s, 30m, 24h or 14d, not {shown(text)}")
    milliseconds = int(text.removesuffix(matched[1])[:16]) * MILLISECONDS[matched[1]]
    if not 0 < milliseconds <= LONGEST_MS:
        raise ValueError(f"{shown(text)} is out of range: expected more than 0 and at most ten years")
    return milliseconds


def duration_text(milliseconds: int) -> str:
    """The shortest way to write a length of time: 86,400,000 is `1d`, 90,000 is `90s`."""
    for unit in ("d", "h", "m", "s"):
        if milliseconds and milliseconds % MILLISECONDS[unit] == 0:
            return f"{milliseconds // MILLISECONDS[unit]}{unit}"
    return f"{milliseconds}ms"


def age_limit_text(milliseconds: int | None) -> str:
    """`30d`, or `forever` for None."""
    return "forever" if milliseconds is None else duration_text(milliseconds)


def size_bytes(text: object) -> int:
    """Bytes, above 0, of a size such as `512kB`, `16MB` or `1.5GiB`. Raises ValueError, which says how it is written."""
    if isinstance(text, int | float) and not isinstance(text, bool):
        raise ValueError(f"a size needs a unit: write {text}B, {text}kB, {text}MB or {text}GB")
    matched = re.fullmatch(BYTES_PATTERN, text, re.ASCII) if isinstance(text, str) else None
    if matched is None or not isinstance(text, str):
        raise ValueError(f"expected a size such as 512kB, 16MB or 10GiB, not {shown(text)}")
    size = float(text.removesuffix(matched[2])) * BYTES[matched[2]]
    if not 1 <= size <= LARGEST_BYTES:
        raise ValueError(f"{shown(text)} is out of range: expected at least 1B and at most 1 EiB")
    return int(size)


def size_text(size: int) -> str:
    """The shortest exact way to write a size: 10,000,000,000 is `10GB`."""
    for unit in ("TB", "GB", "MB", "kB"):
        if size and size % BYTES[unit] == 0:
            return f"{size // BYTES[unit]}{unit}"
    return f"{size}B"


def shown(value: object) -> str:
    """A value as the file would spell it, short enough for one line of an error message."""
    match value:
        case None:
            text = "nothing"
        case bool():
            text = str(value).lower()
        case str():
            text = f'"{value}"'
        case dict():
            text = "a mapping"
        case list() | tuple():
            text = f"a list of {len(value)}" if value else "an empty list"
        case _:
            text = str(value)
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "..."


def as_tuple(value: object) -> object:
    """One text where a list is allowed stands for the list of it."""
    return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value


def lower_case(value: object) -> object:
    """For words that others spell in capitals, such as `SCRAM-SHA-512`."""
    return value.lower() if isinstance(value, str) else value


def _age_limit(value: object) -> object:
    return None if value == "forever" else duration_ms(value)


def _readable(text: str) -> str:
    if not text.strip() or not text.isprintable():
        raise ValueError("expected a text with something to read in it, on one line")
    return text


def _folder_name(text: str) -> str:
    if text in {".", ".."} or "/" in text or "\\" in text:
        raise ValueError(f"{shown(text)} cannot name a folder of the model repository; leave out / and \\")
    return text


def _class_name(value: object) -> object:
    """`[0, 1]` is what most people write for classes; the file's reader leaves `01` and `no` the texts they are."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Lenient = Strict(strict=False)
"""On a path, an enumeration or a tuple: the file spells these as text or a list, which strictness would refuse."""

Duration = Annotated[
    int,
    BeforeValidator(duration_ms),
    WithJsonSchema({"type": "string", "pattern": DURATION_PATTERN, "examples": ["45s", "24h", "14d"]}),
]
"""A length of time above 0, in milliseconds."""

AgeLimit = Annotated[
    int | None,
    BeforeValidator(_age_limit),
    WithJsonSchema({"anyOf": [{"const": "forever"}, {"type": "string", "pattern": DURATION_PATTERN, "examples": ["30d"]}]}),
]
"""A length of time in milliseconds, or `forever`: None."""

Bytes = Annotated[
    int,
    BeforeValidator(size_bytes),
    WithJsonSchema({"type": "string", "pattern": BYTES_PATTERN, "examples": ["512kB", "16MB", "10GB"]}),
]
"""A size above 0, in bytes."""

Text = Annotated[str, AfterValidator(_readable), Field(max_length=200)]
FolderName = Annotated[Text, AfterValidator(_folder_name)]
ClassName = Annotated[Text, BeforeValidator(_class_name)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Names = Annotated[tuple[Text, ...], Lenient, BeforeValidator(as_tuple)]
"""Texts; one by itself stands for the list of it."""

Segment = Annotated[
    tuple[Text, ...],
    Lenient,
    BeforeValidator(as_tuple),
    Field(min_length=1),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}),
]
"""The dimensions of one segmentation: `carrier` is `("carrier",)`, `[carrier, origin]` is a pair."""
