"""Laws of the codec: what a record decodes to depends on itself alone, round trips lose nothing, and no bytes whatever raise."""

from collections.abc import Sequence
from typing import Any

import mmh3
import numpy as np
import orjson
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st
from kafka.partitioner.default import murmur2

from monitor.codec import decode_labels, decode_predictions
from monitor.codec.arrow import encode_labels, encode_predictions
from monitor.codec.arrow_stream import END_OF_STREAM
from monitor.codec.cells import Cells
from monitor.codec.columns import Texts
from monitor.codec.identity import digest, partition_hash
from monitor.codec.times import times_of
from monitor.events import Labels, Predictions, TextColumn
from monitor.log import ARROW, JSON, Record
from tests.unit.codec_events import (
    RECORD_TIME,
    SCHEMAS,
    TIME,
    VALUES,
    arrow_record,
    json_record,
    label,
    plain,
    plain_labels,
    prediction,
    texts,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
MILLISECONDS = st.integers(0, 253_402_300_799_999)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
JSON_SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), NUMBERS, TEXT)
JSON_VALUES = st.recursive(JSON_SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3), max_leaves=6)

FIELDS = ["id", "time", "arrival", "model", "version", "features", "prediction", "score", "scores", "segments", "label", "note"]
LIKELY = st.sampled_from(["late", "on_time", "zero", 0, 1, 2.0, True, "flights", "digits", TIME, "2013-01-01T10:00:00.5Z", 0.5, "UA"])
GROUPS = st.dictionaries(
    st.sampled_from(["distance", "carrier", "ink", "origin", "late", "zero", "other"]), LIKELY | JSON_VALUES, max_size=4
)


@st.composite
def events(draw: st.DrawFn) -> dict[str, Any]:
    """A good prediction or label with some fields replaced by whatever comes, or left out."""
    event = draw(st.sampled_from([prediction(), label(), prediction(model="digits", prediction="two")]))
    event |= draw(st.dictionaries(st.sampled_from(FIELDS), LIKELY | GROUPS | JSON_VALUES, max_size=3))
    for name in draw(st.lists(st.sampled_from(FIELDS), max_size=2)):
        event.pop(name, None)
    return event


# Pieces that, put side by side, close one another's brackets and quotes.
FRAGMENTS = st.lists(
    st.sampled_from(["{", "}", "[", "]", ",", '"a"', ":", "1", '"', "{}", '{"id":"a"}', " ", "]],[[", "],["]), max_size=6
).map("".join)
RECORD_VALUES = st.one_of(
    events().map(orjson.dumps),
    st.lists(events() | JSON_SCALARS, max_size=4).map(orjson.dumps),
    JSON_VALUES.map(orjson.dumps),
    FRAGMENTS.map(str.encode),
    st.binary(max_size=8),
)


def _arrow_values(rows: Sequence[tuple[str, int, bool, float | None, str | None]], version: str) -> bytes:
    return encode_predictions(
        model="flights",
        version=version,
        ids=[name for name, *_ in rows],
        time=np.array([time for _, time, *_ in rows], dtype=np.int64),
        arrival=np.array([time for _, time, *_ in rows], dtype=np.int64),
        prediction=["late" if late else "on_time" for _, _, late, *_ in rows],
        features={
            "distance": pa.array([number for *_, number, _ in rows], pa.float64()),
            "carrier": pa.array([text for *_, text in rows], pa.string()),
        },
    )


ROWS = st.lists(st.tuples(TEXT, MILLISECONDS, st.booleans(), st.none() | NUMBERS, st.none() | TEXT), min_size=1, max_size=5)
ARROW_VALUES = st.builds(_arrow_values, ROWS, st.sampled_from(["1", "2", ""]))


@st.composite
def logs(draw: st.DrawFn) -> list[Record]:
    values = draw(st.lists(st.tuples(RECORD_VALUES, st.just(JSON)) | st.tuples(ARROW_VALUES, st.just(ARROW)), max_size=8))
    return [Record(2 * place, RECORD_TIME + place, value, content_type) for place, (value, content_type) in enumerate(values)]


def _predictions(records: Sequence[Record]) -> Predictions:
    return decode_predictions(records, SCHEMAS)


def _labels(records: Sequence[Record]) -> Labels:
    return decode_labels(records, SCHEMAS, VALUES, False)


def _rows(batch: Predictions) -> list[tuple[object, ...]]:
    """Each row by itself, whatever stands beside it."""
    by_place: dict[int, tuple[object, ...]] = {}
    everything = plain(batch)
    for group in everything["groups"]:
        for position, row in enumerate(group["rows"]):
            columns = [values[position] for part in ("features", "segments") for values in group[part].values()]
            by_place[row] = (group["model"], group["predicted"][position], group["scores"][position], group["content"][position], columns)
    names = ("ids", "id_partition", "time", "arrival", "place", "model", "version")
    return [(*(everything[name][row] for name in names), by_place[row]) for row in range(len(batch))]


def _label_rows(batch: Labels) -> list[tuple[object, ...]]:
    everything: dict[str, Any] = dict(plain_labels(batch))
    names = ("ids", "id_partition", "time", "arrival", "place", "model", "value")
    return [tuple(everything[name][row] for name in names) for row in range(len(batch))]


@given(logs())
def test_predictions_of_a_record_do_not_depend_on_the_records_beside_it(records: list[Record]) -> None:
    together, apart = _predictions(records), [_predictions([record]) for record in records]
    assert _rows(together) == [row for batch in apart for row in _rows(batch)]
    assert together.rejected == tuple(rejection for batch in apart for rejection in batch.rejected)
    assert together.unknown_keys == sum(batch.unknown_keys for batch in apart)


@given(logs())
def test_labels_of_a_record_do_not_depend_on_the_records_beside_it(records: list[Record]) -> None:
    together, apart = _labels(records), [_labels([record]) for record in records]
    assert _label_rows(together) == [row for batch in apart for row in _label_rows(batch)]
    assert together.rejected == tuple(rejection for batch in apart for rejection in batch.rejected)
    assert together.unknown_keys == sum(batch.unknown_keys for batch in apart)


def _events_in(value: bytes) -> int:
    """How many events a JSON record is by definition, told by parsing it alone."""
    try:
        parsed = orjson.loads(value)
    except orjson.JSONDecodeError:
        return 1
    return max(len(parsed), 1) if isinstance(parsed, list) else 1


@given(st.lists(RECORD_VALUES, max_size=8))
def test_every_event_is_a_row_or_a_rejection(values: list[bytes]) -> None:
    records = [Record(place, RECORD_TIME, value, JSON) for place, value in enumerate(values)]
    received = sum(map(_events_in, values))
    for batch in (_predictions(records), _labels(records)):
        assert len(batch) + len(batch.rejected) == received
        places = [*zip(batch.offset.tolist(), batch.row.tolist(), strict=True), *((bad.offset, bad.row) for bad in batch.rejected)]
        assert len(set(places)) == received


@given(ROWS, st.sampled_from(["1", "2", ""]))
def test_a_micro_batch_says_what_the_same_events_say_as_json(
    rows: list[tuple[str, int, bool, float | None, str | None]], version: str
) -> None:
    as_json = [
        prediction(
            id=name,
            time=time,
            arrival=time,
            version=version,
            prediction="late" if late else "on_time",
            score=...,
            features={"distance": number, "carrier": text},
        )
        for name, time, late, number, text in rows
    ]
    assert plain(_predictions([arrow_record(_arrow_values(rows, version))])) == plain(_predictions([json_record(as_json)]))


@given(st.lists(st.tuples(TEXT, MILLISECONDS, MILLISECONDS, LIKELY.filter(lambda value: isinstance(value, str))), min_size=1, max_size=5))
def test_labels_say_the_same_in_both_forms(rows: list[tuple[str, int, int, str]]) -> None:
    value = encode_labels(
        ids=[name for name, *_ in rows],
        label=[text for *_, text in rows],
        time=np.array([time for _, time, *_ in rows]),
        arrival=np.array([arrival for _, _, arrival, _ in rows]),
        model="flights",
    )
    as_json = [label(id=name, time=time, arrival=arrival, label=text) for name, time, arrival, text in rows]
    assert plain_labels(_labels([arrow_record(value)])) == plain_labels(_labels([json_record(as_json)]))


@given(
    ROWS, st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=6), st.none() | st.integers(0, 10_000), st.booleans()
)
def test_a_damaged_micro_batch_never_raises_and_is_never_lost(
    rows: list[tuple[str, int, bool, float | None, str | None]], flips: list[tuple[int, int]], end: int | None, keeps_its_end: bool
) -> None:
    value = bytearray(_arrow_values(rows, "1"))
    for place, byte in flips:
        value[place % len(value)] = byte
    damaged = bytes(value[:end]) + (END_OF_STREAM if keeps_its_end else b"")
    for batch in (_predictions([arrow_record(damaged)]), _labels([arrow_record(damaged)])):
        assert len(batch) + len(batch.rejected) >= 1


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=60)), st.integers(0, 5))
def test_hashes_are_the_published_ones(names: list[str], skipped: int) -> None:
    ids = pa.array(["before"] * skipped + names, pa.string()).slice(skipped)
    assert [tuple(row) for row in digest(ids).tolist()] == [mmh3.hash64(name.encode(), signed=False) for name in names]
    assert partition_hash(ids).tolist() == [murmur2(name.encode()) & 0x7FFFFFFF for name in names]


TIMES = st.one_of(
    st.datetimes(timezones=st.timezones()).map(lambda moment: moment.isoformat()),
    st.from_regex(r"(19|20)\d\d-[01]\d-[0-3]\d[Tt ][0-2]\d:[0-6]\d:[0-6]\d(\.\d{1,9})?([Zz]|[+-][0-2]\d:[0-6]\d)", fullmatch=True),
    JSON_VALUES,
)


@given(st.lists(TIMES, max_size=6))
def test_a_time_is_read_alike_whatever_stands_beside_it(values: list[object]) -> None:
    together = times_of(Cells.of_values(values))
    alone = [times_of(Cells.of_values([value])) for value in values]
    assert together.malformed.tolist() == [bool(one.malformed[0]) for one in alone]
    assert together.absent.tolist() == [bool(one.absent[0]) for one in alone]
    usable = ~(together.malformed | together.absent)
    assert together.milliseconds[usable].tolist() == [int(one.milliseconds[0]) for one, good in zip(alone, usable, strict=True) if good]


@given(st.lists(st.sampled_from("abcd") | st.none(), max_size=20), st.data())
def test_text_columns_put_together_in_another_order_keep_each_row_s_text(values: list[str | None], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(values)))
    order = np.array(data.draw(st.permutations(range(len(values)))), dtype=np.int64)

    def of(part: list[str | None]) -> TextColumn:
        return Texts.of_cells(Cells.of_values(part)).column()

    joined = Texts.joined([of(values[:cut]), of(values[cut:])], order)
    expected = [-1 if values[row] is None else values[row] for row in order]
    assert texts(joined.column()) == expected
    assert joined.column().categories == tuple(dict.fromkeys(text for text in expected if isinstance(text, str)))
