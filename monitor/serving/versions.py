"""Which versions of a model there are to serve, and which of them is meant by a URL that names none."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Latest:
    """The newest `count` versions."""

    count: int


VersionPolicy = Literal["all"] | Latest | tuple[str, ...]
"""A tuple is a list of versions by name."""


def version_order(version: str) -> tuple[bool, int, str]:
    """Sorts versions: numbers by size, above every other name; others by code point."""
    return (True, int(version), version) if version.isascii() and version.isdigit() else (False, 0, version)


def newest(versions: Iterable[str]) -> str:
    """What a URL without a version means."""
    return max(versions, key=version_order)


def in_order(versions: Iterable[str]) -> tuple[str, ...]:
    """Oldest first."""
    return tuple(sorted(versions, key=version_order))


def chosen(policy: VersionPolicy, versions: Iterable[str], shadows: Collection[str]) -> frozenset[str]:
    """Those of `versions` that are served. Shadows are served beside whatever the policy says, and never count for `Latest`."""
    there = in_order(versions)
    candidates = [version for version in there if version not in shadows]
    match policy:
        case "all":
            picked = candidates
        case Latest(count):
            picked = candidates[-count:]
        case _:
            picked = [version for version in candidates if version in policy]
    return frozenset(picked) | {version for version in there if version in shadows}
