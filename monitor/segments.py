"""Segments and versions as small integers: dictionaries that only grow, so that a code once given never changes its meaning.

They are part of a partition's state: filled in log order, committed with the panes, and bounded; what comes after the bound is `other`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from monitor.events import Int32s, Int64s, TextColumn

VALUES_LIMIT = 50
"""Values kept a dimension, those of the reference first, then first come."""
MISSING = "missing"
OTHER = "other"
"""What the `segment` label says of an event without the dimension, and of a value beyond the bound."""

VERSIONS_LIMIT = 1_000
"""Versions a model may have in one partition's life; predictions of a further one are `over_limit`."""
NO_ROOM = -1
"""Instead of a version's code, once there are that many."""

_RADIX = VALUES_LIMIT + 2
"""Codes of a dimension. The configuration allows five dimensions at most, so that a row's segment fits an int32."""
_OTHER_CODE = VALUES_LIMIT
_MISSING_CODE = VALUES_LIMIT + 1

Expression = tuple[str, ...]
"""The dimensions of one kind of segment: `("carrier",)`, or `("carrier", "origin")` for each pair."""
EVERYTHING: Expression = ()


def escape(text: str) -> str:
    """Segment text with `=`, `,` and the backslash itself escaped by a backslash."""
    return text.replace("\\", "\\\\").replace("=", "\\=").replace(",", "\\,")


def segment_text(dimensions: Sequence[str], values: Sequence[str]) -> str:
    """`dimension=value` joined by commas: the `segment` label."""
    return ",".join(f"{escape(dimension)}={escape(value)}" for dimension, value in zip(dimensions, values, strict=True))


@dataclass(slots=True)
class SegmentDictionary:
    """Codes for the segment values of one model. A row's segment is one int32: its value codes in base `_RADIX`, first dimension lowest.

    `values` holds, by dimension, the kept values in the order of their codes; the lists given are the dictionary's own from then on.
    """

    dimensions: tuple[str, ...]
    values: dict[str, list[str]] = field(default_factory=dict)
    _codes: dict[str, dict[str, int]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._codes = {}
        for dimension in self.dimensions:
            kept = self.values.setdefault(dimension, [])
            del kept[VALUES_LIMIT:]
            self._codes[dimension] = {value: code for code, value in enumerate(kept)}

    def encode(self, columns: Mapping[str, TextColumn], rows: int) -> Int32s:
        """The segment of each of `rows` rows, int32 (rows,), in log order; new values are taken in while there is room."""
        segment = np.zeros(rows, dtype=np.int64)
        for place, dimension in enumerate(self.dimensions):
            segment += self._encode_dimension(dimension, columns[dimension]) * _RADIX**place
        return segment.astype(np.int32)

    def _encode_dimension(self, dimension: str, column: TextColumn) -> Int64s:
        codes, kept = self._codes[dimension], self.values[dimension]
        table = np.full(len(column.categories) + 2, _MISSING_CODE, dtype=np.int64)  # the last two: codes -2 and -1
        present, first_row = np.unique(column.codes, return_index=True)
        for local in present[np.argsort(first_row)]:
            if local < 0:
                continue
            value = column.categories[local]
            code = codes.get(value)
            if code is None and len(kept) < VALUES_LIMIT:
                code = codes[value] = len(kept)
                kept.append(value)
            table[local] = _OTHER_CODE if code is None else code
        encoded: Int64s = table[column.codes]
        return encoded

    def project(self, segment: Int32s, expression: Expression) -> Int64s:
        """The part of each row's segment that an expression's dimensions make, int64 (n,); 0 for `EVERYTHING`."""
        part = np.zeros(len(segment), dtype=np.int64)
        for dimension in expression:
            place = self.dimensions.index(dimension)
            part += (segment.astype(np.int64) // _RADIX**place % _RADIX) * _RADIX**place
        return part

    def text(self, part: int, expression: Expression) -> str:
        """The `segment` label of a projected code."""
        values = []
        for dimension in expression:
            code = part // _RADIX ** self.dimensions.index(dimension) % _RADIX
            values.append(OTHER if code == _OTHER_CODE else MISSING if code == _MISSING_CODE else self.values[dimension][code])
        return segment_text(expression, values)


@dataclass(slots=True)
class VersionDictionary:
    """Codes for (model name, version): the `identity` of the join. `entries` are those pairs in the order of their codes."""

    entries: list[tuple[str, str]] = field(default_factory=list)
    _codes: dict[tuple[str, str], int] = field(init=False, repr=False)
    _sizes: dict[str, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._codes = {entry: code for code, entry in enumerate(self.entries)}
        self._sizes = {}
        for model, _ in self.entries:
            self._sizes[model] = self._sizes.get(model, 0) + 1

    def encode(self, model: str, version: str) -> int:
        """The code of a version, `NO_ROOM` for a new one beyond the limit."""
        code = self._codes.get((model, version))
        if code is None:
            if self._sizes.get(model, 0) >= VERSIONS_LIMIT:
                return NO_ROOM
            code = self._codes[model, version] = len(self.entries)
            self.entries.append((model, version))
            self._sizes[model] = self._sizes.get(model, 0) + 1
        return code
