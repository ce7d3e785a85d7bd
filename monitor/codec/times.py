"""Cells to milliseconds since the epoch: RFC 3339 with an offset, whole epoch milliseconds, or an Arrow timestamp that knows its zone.

Nothing here judges whether a time is plausible; only that it can be one (years 1970 to 9999).
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from monitor.codec.cells import Cells, coded, valid
from monitor.events import Bools, Int64s

LAST_MILLISECOND = 253_402_300_799_999
EXPECTED = "RFC 3339 with an offset, or whole milliseconds since the epoch, in the years 1970 to 9999"

RFC_3339 = (
    r"^[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])[Tt ](?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]+)?"
    r"(?:[Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])$"
)
"""The form of a time's text, in words that every dialect of regular expressions has: the published schema holds it too."""

_PER_MILLISECOND = {"ms": 1, "us": 1_000, "ns": 1_000_000}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_NOT_A_TIME = -1


@dataclass(frozen=True, slots=True)
class Times:
    """n times. `milliseconds` holds something meaningful only where a row is neither `absent` nor `malformed`."""

    milliseconds: Int64s
    absent: Bools
    malformed: Bools


def times_of(cells: Cells) -> Times:
    """Parts of a millisecond are cut off. Booleans, numbers with a fraction, and times without an offset are malformed."""
    milliseconds = np.full(cells.length, _NOT_A_TIME, dtype=np.int64)
    for member, parse in (
        (cells.integers, _of_integers),
        (cells.floats, _of_floats),
        (cells.instants, _of_instants),
        (cells.texts, _of_texts),
    ):
        if member is not None:
            np.copyto(milliseconds, parse(member), where=valid(member))
    absent = cells.absent()
    return Times(milliseconds, absent, malformed=~absent & ((milliseconds < 0) | (milliseconds > LAST_MILLISECOND)))


def _of_integers(member: pa.Array) -> Int64s:
    numbers: Int64s = member.fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64, copy=False)
    return numbers  # what only uint64 can hold has become negative, which is no time either


def _of_floats(member: pa.Array) -> Int64s:
    numbers = member.fill_null(0).to_numpy(zero_copy_only=False).astype(np.float64)
    usable = (numbers >= 0) & (numbers <= LAST_MILLISECOND) & (numbers == np.floor(numbers))
    return np.where(usable, np.where(usable, numbers, 0).astype(np.int64), _NOT_A_TIME)


def _of_instants(member: pa.Array) -> Int64s:
    if member.type.tz is None:
        return np.full(len(member), _NOT_A_TIME, dtype=np.int64)
    ticks: Int64s = member.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    if member.type.unit == "s":
        return np.clip(ticks, _NOT_A_TIME, LAST_MILLISECOND) * 1_000
    return ticks // _PER_MILLISECOND[member.type.unit]


def _of_texts(member: pa.Array) -> Int64s:
    if pa.types.is_dictionary(member.type):
        codes, distinct = coded(member)
        return np.append(_of_texts(distinct), _NOT_A_TIME)[codes]
    well_formed = pc.if_else(pc.match_substring_regex(member, RFC_3339), member, pa.scalar(None, member.type))
    try:
        microseconds = well_formed.cast(pa.timestamp("us", "UTC")).cast(pa.int64())
    except pa.ArrowInvalid:  # one of them is no date, or finer than microseconds, or in lower case: each by itself
        return np.array([_of_text(text) for text in well_formed.to_pylist()], dtype=np.int64)
    parsed: Int64s = microseconds.fill_null(_NOT_A_TIME).to_numpy(zero_copy_only=False)
    return parsed // 1_000


def _of_text(text: str | None) -> int:
    """The same for one text that has the right form; `_NOT_A_TIME` for a 30 February."""
    if text is None:
        return _NOT_A_TIME
    try:
        return (datetime.fromisoformat(text.upper()) - _EPOCH) // _MILLISECOND
    except ValueError:
        return _NOT_A_TIME
