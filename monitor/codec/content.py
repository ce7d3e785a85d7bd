"""A 64-bit digest of what a prediction says, to tell a repeat from a differing repeat.

It depends on values alone, never on the batch a row came in: text counts by its own hash, -0.0 as 0.0, every NaN as one.
Two mistyped values of a feature are alike, since neither is kept.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from monitor.codec.columns import Texts
from monitor.codec.identity import digest
from monitor.events import Floats, Int32s, Int64s, NumericColumn, UInt64s

_SEED = np.uint64(0x9E3779B97F4A7C15)
_ODD = np.uint64(0xD6E8FEB86659FD93)  # multiplier of Pelle Evensen's rrmxmx, picked for its avalanche
_MISSING = np.uint64(0x7FF8_0000_0000_0001)  # bit patterns that no finite number and no canonical NaN has
_MISTYPED = np.uint64(0x7FF8_0000_0000_0002)
_NEGATIVE_ZERO = np.uint64(0x8000_0000_0000_0000)
_NAN = np.uint64(0x7FF8_0000_0000_0000)


def content_of(
    version: Texts, time: Int64s, predicted: Int32s, scores: Floats, features: Iterable[NumericColumn | Texts], segments: Sequence[Texts]
) -> UInt64s:
    """uint64 (m,): equal for equal content under one schema. The columns come in the schema's order."""
    content = np.full(len(time), _SEED, dtype=np.uint64)
    _mix(content, _text_words(version))
    _mix(content, time.view(np.uint64))
    _mix(content, predicted.astype(np.uint64))
    for place in range(scores.shape[1]):
        _mix(content, _number_words(scores[:, place]))
    for column in (*features, *segments):
        _mix(content, _text_words(column) if isinstance(column, Texts) else _numeric_words(column))
    content ^= content >> np.uint64(32)
    content *= _ODD
    content ^= content >> np.uint64(32)
    return content


def _mix(content: UInt64s, words: UInt64s) -> None:
    content ^= words
    content *= _ODD
    content ^= content >> np.uint64(32)


def _number_words(values: Floats) -> UInt64s:
    words: UInt64s = np.array(values).view(np.uint64)
    words[words == _NEGATIVE_ZERO] = 0
    words[np.isnan(values)] = _NAN
    return words


def _numeric_words(column: NumericColumn) -> UInt64s:
    words = _number_words(column.values)
    words[column.missing] = _MISSING
    words[column.mistyped] = _MISTYPED
    return words


def _text_words(column: Texts) -> UInt64s:
    table = np.concatenate((digest(column.values)[:, 0], np.array([_MISTYPED, _MISSING], dtype=np.uint64)))  # codes -2 and -1
    words: UInt64s = table[column.codes]
    return words
