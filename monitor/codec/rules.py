"""The rules that predictions and labels share: ids, times, models. Each settles bad rows in the frame's `Refusals`."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from monitor.codec.cells import ABSENT, UNUSABLE, Cells, Scalar, coded
from monitor.codec.frames import Frame
from monitor.codec.identity import ID_BYTES_LIMIT, digest, partition_hash
from monitor.codec.refusals import Refusals
from monitor.codec.times import EXPECTED, Times, times_of
from monitor.events import Bools, Int32s, Int64s, Outcome, Schema, UInt64s
from monitor.log.admission import FUTURE_LIMIT_MS

NAME_BYTES_LIMIT = 128
"""Of a model's name and of a version."""

UNKNOWN = -3
"""A model of a good name that nobody configured; `ABSENT` and `UNUSABLE` are the other two without an index."""


@dataclass(frozen=True, slots=True)
class Ids:
    """The ids of a frame: `texts` (n,), or with `codes` (n,) into distinct ones."""

    texts: pa.Array
    codes: Int32s | None

    def digests(self, rows: slice | Int64s) -> tuple[UInt64s, Int64s]:
        """(digest, partition hash) of some rows, all of them good ones."""
        if self.codes is None:
            ids = self.texts if isinstance(rows, slice) else self.texts.take(pa.array(rows))
            return digest(ids), partition_hash(ids)
        used, places = np.unique(self.codes[rows], return_inverse=True)
        ids = self.texts.take(pa.array(used))
        return digest(ids)[places], partition_hash(ids)[places]


def ids_of(frame: Frame, refusals: Refusals) -> Ids:
    """Ids are non-empty text of at most `ID_BYTES_LIMIT` bytes."""
    cells = frame.field("id")
    if cells.texts is None:
        refusals.add(np.ones(len(frame), dtype=np.bool_), lambda row: _bad_id(cells, row))
        return Ids(pa.array([None] * len(frame), pa.string()), None)
    if pa.types.is_dictionary(cells.texts.type):
        codes, texts = coded(cells.texts)
        bad = np.append(bad_lengths(texts, ID_BYTES_LIMIT), True)[codes]
    else:
        codes, texts = None, cells.texts
        bad = bad_lengths(texts, ID_BYTES_LIMIT)
    refusals.add(bad, lambda row: _bad_id(cells, row))
    return Ids(texts, codes)


def bad_lengths(texts: pa.Array, limit: int) -> Bools:
    """Texts that are null, empty or longer than `limit` bytes."""
    lengths = pc.binary_length(texts).fill_null(0).to_numpy(zero_copy_only=False)
    bad: Bools = (lengths == 0) | (lengths > limit)
    return bad


def _bad_id(cells: Cells, row: int) -> str:
    return f"id is {cells.shown(row)}; expected a text of 1 to {ID_BYTES_LIMIT} bytes"


def times_in(frame: Frame, name: str, refusals: Refusals, *, required: bool) -> Times:
    """A field's times; those that are malformed are settled here, and where one is `required` those that are absent."""
    cells = frame.field(name)
    times = times_of(cells)
    if required:
        refusals.add(times.absent, f"{name} is missing; expected {EXPECTED}")
    refusals.add(times.malformed, lambda row: f"{name} is {cells.shown(row)}; expected {EXPECTED}")
    return times


def arrival_in(frame: Frame, refusals: Refusals) -> Int64s:
    """The event's own arrival where it has one, else its record's timestamp.

    The log bounds how far a record may lie in the future, and the record what its rows say: one arrival of the year 2100 would move the
    watermark there, and everything after it would be out of order.
    """
    times = times_in(frame, "arrival", refusals, required=False)
    stamped = frame.origin.timestamp
    ahead = ~times.absent & (times.milliseconds > stamped + FUTURE_LIMIT_MS)  # the log's own bound for records
    refusals.add(ahead, "its arrival is more than an hour after its record's timestamp", Outcome.BAD_TIME)
    return np.where(times.absent, stamped, times.milliseconds)


def models_in(frame: Frame, schemas: tuple[Schema, ...], refusals: Refusals) -> Int32s:
    """Indices into the schemas; negative where there is none. An unknown model is settled here, an absent one is left to the caller."""
    cells = frame.field("model")
    indices = {schema.name: index for index, schema in enumerate(schemas)}

    def resolve(value: Scalar) -> int:
        if not isinstance(value, str) or not 0 < len(value.encode()) <= NAME_BYTES_LIMIT:
            return UNUSABLE
        return indices.get(value, UNKNOWN)

    models = cells.map(resolve)
    refusals.add(models == UNKNOWN, lambda row: f"no model named {cells.shown(row)} is configured", Outcome.UNKNOWN_MODEL)
    bad = (models != UNKNOWN) & (models != ABSENT) & (models < 0)
    refusals.add(bad, lambda row: f"model is {cells.shown(row)}; expected a text of 1 to {NAME_BYTES_LIMIT} bytes")
    return models
