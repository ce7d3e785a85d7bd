"""Events as their bytes gave them, before any rule: rows with fields and with entries of named groups.

Two kinds exist, made of Arrow columns and of JSON objects; the rules in `predictions` and `labels` see no difference.
"""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, Self

from monitor.codec.cells import Cells
from monitor.events import Bools, Int32s, Int64s


class Group(StrEnum):
    """What an event holds by name: an object in JSON, columns with this prefix and a dot in Arrow."""

    FEATURE = "feature"
    SEGMENT = "segment"
    SCORE = "score"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where each of n rows comes from: its record's offset, its position there, and the record's timestamp in milliseconds."""

    offset: Int64s
    row: Int32s
    timestamp: Int64s

    def take(self, rows: Int64s) -> "Origin":
        return Origin(self.offset[rows], self.row[rows], self.timestamp[rows])


class Frame(Protocol):
    """n events of any models, n ≥ 1."""

    @property
    def origin(self) -> Origin: ...

    def __len__(self) -> int: ...

    def field(self, name: str) -> Cells: ...

    def entry(self, group: Group, name: str) -> Cells: ...

    def lacks(self, group: Group) -> Bools:
        """Rows that say nothing at all about a group, not even that it is empty."""
        ...

    def malformed(self, group: Group) -> Bools:
        """Rows where a group is something else than named entries."""
        ...

    def unknown_fields(self, known: AbstractSet[str]) -> int:
        """How many values stand in fields outside `known`."""
        ...

    def unknown_entries(self, group: Group, known: AbstractSet[str]) -> int: ...

    def take(self, rows: Int64s) -> Self: ...
