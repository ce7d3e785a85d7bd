"""Arrow micro-batches: what they may look like, what is refused, and that they mean the same as JSON."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pytest

from monitor.codec import decode_labels, decode_predictions
from monitor.codec.arrow import encode_labels, encode_predictions
from monitor.codec.arrow_stream import END_OF_STREAM
from monitor.events import Labels, NumericColumn, Predictions, TextColumn
from tests.unit.codec_events import (
    RECORD_TIME,
    SCHEMAS,
    TIME,
    VALUES,
    arrow_record,
    json_record,
    plain,
    prediction,
    reason,
    texts,
)

MILLISECONDS = pa.timestamp("ms", "UTC")


def columns(**changes: object) -> dict[str, object]:
    """Three good predictions of `LATE`, some columns changed (a double underscore for a dot) or left out where they are `...`."""
    good: dict[str, object] = {
        "id": ["a", "b", "c"],
        "time": pa.array([TIME, TIME + 1, TIME + 2], MILLISECONDS),
        "model": ["flights"] * 3,
        "version": ["1"] * 3,
        "prediction": ["late", "on_time", "late"],
        "score": [0.75, 0.25, 0.5],
        "feature.distance": [100.0, 200.0, 300.0],
        "feature.carrier": ["UA", "DL", "UA"],
    }
    return {
        name: column
        for name, column in (good | {key.replace("__", "."): value for key, value in changes.items()}).items()
        if column is not ...
    }


def stream(batch: Mapping[str, object] | pa.RecordBatch, *, options: pa.ipc.IpcWriteOptions | None = None, times: int = 1) -> bytes:
    batch = batch if isinstance(batch, pa.RecordBatch) else pa.record_batch(dict(batch))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema, options=options) as writer:
        for _ in range(times):
            writer.write_batch(batch)
    value: bytes = sink.getvalue().to_pybytes()
    return value


def read(*values: bytes) -> Predictions:
    return decode_predictions([arrow_record(value, offset) for offset, value in enumerate(values)], SCHEMAS)


def read_labels(*values: bytes) -> Labels:
    return decode_labels([arrow_record(value, offset) for offset, value in enumerate(values)], SCHEMAS, VALUES, False)


def carriers(batch: Predictions) -> list[str | int]:
    return texts(batch.groups[0].features["carrier"])


def distances(batch: Predictions) -> NumericColumn:
    column = batch.groups[0].features["distance"]
    assert isinstance(column, NumericColumn)
    return column


def test_a_micro_batch_means_what_its_events_mean_as_json() -> None:
    events = [
        prediction(
            id=name,
            time=TIME + row,
            arrival=TIME + 10 * row,
            prediction=label,
            score=score,
            features={"distance": distance, "carrier": carrier},
            segments={"origin": "EWR"},
        )
        for row, (name, label, score, distance, carrier) in enumerate(
            [("a", "late", 0.75, 100.5, "UA"), ("b", "on_time", 0.25, 7.25, "DL"), ("é", "late", 0.5, 1e300, "UA")]
        )
    ]
    value = encode_predictions(
        model="flights",
        version="1",
        ids=["a", "b", "é"],
        time=np.array([TIME, TIME + 1, TIME + 2]),
        arrival=np.array([TIME, TIME + 10, TIME + 20]),
        prediction=["late", "on_time", "late"],
        scores={"": np.array([0.75, 0.25, 0.5])},
        features={"distance": np.array([100.5, 7.25, 1e300]), "carrier": ["UA", "DL", "UA"]},
        segments={"origin": pa.array(["EWR"] * 3)},
    )
    assert plain(read(value)) == plain(decode_predictions([json_record(events)], SCHEMAS))


def test_labels_survive_the_round_trip() -> None:
    value = encode_labels(ids=["a", "b"], label=["late", "on_time"], time=np.array([1, 2]), arrival=np.array([3, 4]), model="flights")
    batch = read_labels(value)
    assert (batch.time.tolist(), batch.arrival.tolist(), batch.model.tolist()) == ([1, 2], [3, 4], [0, 0])
    assert [VALUES.texts[code] for code in batch.value.tolist()] == ["late", "on_time"]


def test_labels_may_name_a_model_for_each_row_or_none() -> None:
    assert read_labels(encode_labels(ids=["a", "b"], label=np.array([1, 1]), model=["flights", "digits"])).model.tolist() == [0, 1]
    batch = read_labels(encode_labels(ids=["a"], label=["late"]))
    assert (batch.model.tolist(), batch.time.tolist()) == ([-1], [RECORD_TIME])


def test_scores_by_class_survive_the_round_trip() -> None:
    scores = {"zero": np.array([0.1, 0.9]), "one": np.array([0.2, 0.1]), "two": np.array([0.7, 0.0])}
    value = encode_predictions(
        model="digits", version="1", ids=["a", "b"], time=np.array([1, 2]), scores=scores, features={"ink": np.array([1, 2])}
    )
    (group,) = read(value).groups
    assert group.scores.tolist() == [[0.1, 0.2, 0.7], [0.9, 0.1, 0.0]]
    assert group.predicted.tolist() == [2, 0]


def test_model_and_version_come_from_a_column_or_else_from_the_schema() -> None:
    batch = pa.record_batch(columns(model=..., version=...)).replace_schema_metadata({"model": "flights", "version": "7"})
    assert read(stream(batch)).versions == ("7",)
    assert read(stream(pa.record_batch(columns()).replace_schema_metadata({"version": "7"}))).versions == ("1",)
    assert reason(read(stream(pa.record_batch(columns(model=..., id=["", "b", ""], version=...)).slice(1, 1))))[1].startswith(
        "model is missing"
    )


def test_records_of_several_schemas_come_out_in_log_order() -> None:
    def of(name: str, version: str) -> bytes:
        return encode_predictions(
            model="flights",
            version=version,
            ids=[f"{name}1", f"{name}2"],
            time=np.array([1, 2]),
            prediction=["late"] * 2,
            features={"carrier": [name] * 2},
        )

    records = [
        arrow_record(of("a", "1"), 0),
        json_record([prediction(id="b", features={"carrier": "b"})], 1),
        arrow_record(of("c", "2"), 2),
        arrow_record(of("d", "1"), 3),
    ]
    batch = decode_predictions(records, SCHEMAS)
    assert list(zip(batch.offset.tolist(), batch.row.tolist(), strict=True)) == [(0, 0), (0, 1), (1, 0), (2, 0), (2, 1), (3, 0), (3, 1)]
    (group,) = batch.groups
    column = group.features["carrier"]
    assert isinstance(column, TextColumn)
    assert texts(column) == ["a", "a", "b", "c", "c", "d", "d"]
    assert column.categories == ("a", "b", "c", "d")
    assert [batch.versions[code] for code in batch.version.tolist()] == ["1", "1", "1", "2", "2", "1", "1"]


def test_rows_count_over_the_batches_of_one_stream() -> None:
    batch = read(stream(columns(), times=3))
    assert batch.row.tolist() == list(range(9))


@pytest.mark.parametrize(
    "time",
    [
        pa.array([TIME] * 3, MILLISECONDS),
        pa.array([TIME] * 3, pa.int64()),
        pa.array([TIME] * 3, pa.uint64()),
        pa.array([TIME] * 3, pa.float64()),
        pa.array([TIME // 1_000] * 3, pa.timestamp("s", "UTC")),
        pa.array([TIME * 1_000 + 999] * 3, pa.timestamp("us", "+05:30")),
        pa.array([TIME * 1_000_000] * 3, pa.timestamp("ns", "America/New_York")),
        pa.array(["2013-01-01T10:00:00Z"] * 3),
        pa.array(["2013-01-01T10:00:00Z"] * 3).dictionary_encode(),
    ],
    ids=str,
)
def test_times_of_every_type_that_tells_an_instant(time: pa.Array) -> None:
    assert read(stream(columns(time=time))).time.tolist() == [TIME] * 3


@pytest.mark.parametrize(
    "time",
    [
        pa.array([TIME] * 3, pa.timestamp("ms")),
        pa.array([True] * 3),
        pa.array([-1] * 3, MILLISECONDS),
        pa.array([2**63 - 1] * 3, pa.timestamp("s", "UTC")),
        pa.array([2**64 - 1] * 3, pa.uint64()),
        pa.array([float("nan")] * 3),
        pa.array(["2013-01-01T10:00:00"] * 3),
    ],
    ids=str,
)
def test_times_that_tell_none_are_invalid(time: pa.Array) -> None:
    batch = read(stream(columns(time=time)))
    assert [rejection.outcome.value for rejection in batch.rejected] == ["invalid"] * 3
    assert batch.rejected[0].reason.startswith("time is ")


def test_a_null_arrival_is_the_record_s_timestamp_row_by_row() -> None:
    assert read(stream(columns(arrival=pa.array([5, None, 7], MILLISECONDS)))).arrival.tolist() == [5, RECORD_TIME, 7]


@pytest.mark.parametrize(
    ("column", "values"),
    [
        (pa.array([1, 2, None], pa.int8()), [1.0, 2.0, None]),
        (pa.array([1, 2**64 - 1, None], pa.uint64()), [1.0, 2.0**64, None]),
        (pa.array([1.5, None, 2.5], pa.float32()), [1.5, None, 2.5]),
        (pa.array(np.array([1.5, 2.5, 3.5], dtype=np.float16)), [1.5, 2.5, 3.5]),
        (pa.array([True, False, None]), [1.0, 0.0, None]),
        (pa.nulls(3), [None, None, None]),
    ],
    ids=["int8", "uint64", "float32", "float16", "bool", "null"],
)
def test_a_numeric_feature_of_every_type_of_number(column: pa.Array, values: list[float | None]) -> None:
    read_column = distances(read(stream(columns(feature__distance=column))))
    assert [
        None if missing else value for value, missing in zip(read_column.values.tolist(), read_column.missing.tolist(), strict=True)
    ] == values
    assert not read_column.mistyped.any()


@pytest.mark.parametrize(
    "column", [pa.array(["1", None, "x"]), pa.array(["1", None, "x"]).dictionary_encode(), pa.array(["1", None, "x"], pa.large_string())]
)
def test_text_in_a_numeric_feature_is_mistyped_where_it_is_not_null(column: pa.Array) -> None:
    read_column = distances(read(stream(columns(feature__distance=column))))
    assert read_column.mistyped.tolist() == [True, False, True]
    assert read_column.missing.tolist() == [False, True, False]


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["UA", None, "UA"]),
        pa.array(["UA", None, "UA"], pa.large_string()),
        pa.array(["UA", None, "UA"]).dictionary_encode(),
        pa.array(["UA", None, "UA"], pa.dictionary(pa.uint8(), pa.large_string())),
        pa.DictionaryArray.from_arrays(pa.array([2, None, 0], pa.int8()), ["UA", "unused", "UA"]),
        pa.DictionaryArray.from_arrays(pa.array([1, 0, 1], pa.int64()), pa.array([None, "UA"])),
    ],
    ids=["utf8", "large_utf8", "dictionary", "large dictionary", "repeating dictionary", "dictionary with null"],
)
def test_a_categorical_feature_of_every_type_of_text(column: pa.Array) -> None:
    batch = read(stream(columns(feature__carrier=column)), stream(columns(feature__carrier=column)))
    assert carriers(batch) == ["UA", -1, "UA"] * 2
    carrier = batch.groups[0].features["carrier"]
    assert isinstance(carrier, TextColumn)
    assert carrier.categories == ("UA",)


def test_dictionaries_grow_beyond_their_index_type_when_records_are_put_together() -> None:
    values = [
        stream(
            {
                **{
                    name: pa.array([text] * 100)
                    for name, text in (("id", "a"), ("model", "flights"), ("version", "1"), ("prediction", "late"))
                },
                "time": pa.array([TIME] * 100),
                "feature.carrier": pa.array([f"{record}-{row}" for row in range(100)], pa.dictionary(pa.int8(), pa.string())),
            }
        )
        for record in range(4)
    ]
    assert len(set(carriers(read(*values)))) == 400


def test_ids_may_be_a_dictionary() -> None:
    as_text, as_dictionary = (read(stream(columns(id=ids))) for ids in (["a", "b", "a"], pa.array(["a", "b", "a"]).dictionary_encode()))
    assert as_dictionary.ids.tolist() == as_text.ids.tolist()
    assert as_dictionary.id_partition.tolist() == as_text.id_partition.tolist()


def test_bad_rows_are_refused_one_by_one() -> None:
    batch = read(stream(columns(id=["a", None, "x" * 513], prediction=["never", "late", "late"])))
    assert [(rejection.row, rejection.reason.split(";")[0].split(",")[0]) for rejection in batch.rejected] == [
        (0, "prediction is 'never'"),
        (1, "id is nothing"),
        (2, f"id is '{'x' * 60}'…"),
    ]


def test_values_that_are_not_finite_are_kept_for_their_own_cells() -> None:
    column = distances(read(stream(columns(feature__distance=[float("nan"), float("inf"), 1e308]))))
    assert repr(column.values.tolist()) == "[nan, inf, 1e+308]"
    assert not column.missing.any()


def test_columns_that_nothing_reads_are_left_out_unseen_and_counted() -> None:
    batch = read(stream(columns(feature__wings=[[1], [2], [3]], note=["x"] * 3)))
    assert (len(batch), batch.unknown_keys) == (3, 6)


def test_a_feature_of_another_model_is_unknown_where_it_is_not_null() -> None:
    batch = read(stream(columns(feature__ink=[1.0, None, None])))
    assert batch.unknown_keys == 1


def test_the_first_of_columns_with_one_name_counts() -> None:
    arrays = [*(pa.array(column) for column in columns().values()), pa.array(["x", "y", "z"])]
    batch = read(stream(pa.RecordBatch.from_arrays(arrays, names=[*columns(), "id"])))
    assert (len(batch), batch.unknown_keys) == (3, 3)
    assert batch.ids.tolist() == read(stream(columns())).ids.tolist()


GOOD = stream(columns())


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (b"", "the message is empty"),
        (b"not arrow at all", "no end-of-stream mark"),
        (b"not arrow at all" + END_OF_STREAM, "not an Arrow IPC stream: "),
        (END_OF_STREAM, "not an Arrow IPC stream: "),
        (GOOD[:-8], "no end-of-stream mark"),
        (GOOD[:-7], "no end-of-stream mark"),
        (GOOD + b"x", "no end-of-stream mark"),
        (GOOD + GOOD, "bytes follow the end"),
        (GOOD[: len(GOOD) // 2], "no end-of-stream mark"),
        (GOOD[: len(GOOD) // 2] + END_OF_STREAM, "not an Arrow IPC stream: "),
        (stream(columns(), times=0), "holds no rows"),
        (stream(pa.record_batch(columns()).slice(0, 0)), "holds no rows"),
        (
            stream(columns(feature__distance=[[1.0], [2.0], [3.0]])),
            "column 'feature.distance' has the Arrow type list<item: double>; expected a number",
        ),
        (stream(columns(id=[b"a", b"b", b"c"])), "column 'id' has the Arrow type binary"),
        (stream(columns(feature__distance=pa.array([TIME] * 3, MILLISECONDS))), "column 'feature.distance' has the Arrow type timestamp"),
        (stream(columns(feature__carrier=pa.array([1, 2, 1]).dictionary_encode())), "has the Arrow type dictionary<values=int64"),
        (
            stream(pa.record_batch(columns()).replace_schema_metadata({"schema_version": "2"})),
            "schema_version is '2'; this reader knows version 1",
        ),
        (stream(columns(), options=pa.ipc.IpcWriteOptions(compression="zstd")), "compressed buffers"),
        (
            stream(columns(feature__carrier=pa.array(["a"] * 3).dictionary_encode()), options=pa.ipc.IpcWriteOptions(compression="lz4")),
            "compressed buffers",
        ),
        (stream({f"feature.{number}": [1] for number in range(4_097)}), "4097 columns; at most 4096"),
        (stream({"id": pa.nulls(1_048_577)}), "more rows than 1048576"),
        (stream({"id": pa.nulls(100_000)}), "bytes can hold"),
        (stream(columns(), times=4_096), "more than 4096 IPC messages"),
    ],
)
def test_a_message_that_is_not_sound_is_one_undecodable_event(value: bytes, why: str) -> None:
    batch = read(value, GOOD)
    (rejection,) = batch.rejected
    assert (rejection.offset, rejection.row, rejection.outcome.value) == (0, 0, "undecodable")
    assert why in rejection.reason
    assert len(rejection.reason) < 300
    assert len(batch) == 3, "the record beside it is read"


def test_every_truncation_is_one_undecodable_event() -> None:
    for size in range(len(GOOD)):
        assert len(read(GOOD[:size]).rejected) == 1


def test_offsets_and_characters_inside_the_message_are_checked() -> None:
    ids = pa.Array.from_buffers(pa.string(), 3, [None, pa.py_buffer(np.array([0, 3, 1, 3], dtype=np.int32)), pa.py_buffer(b"abc")])
    assert "the Arrow stream is corrupt" in reason(read(stream(columns(id=ids))))[1]
    ids = pa.Array.from_buffers(pa.string(), 3, [None, pa.py_buffer(np.array([0, 1, 2, 3], dtype=np.int32)), pa.py_buffer(b"a\xffc")])
    assert "the Arrow stream is corrupt" in reason(read(stream(columns(id=ids))))[1]
    carriers = pa.DictionaryArray.from_arrays(pa.array([0, 1, 99], pa.int32()), ["UA", "DL"], safe=False)
    assert "the Arrow stream is corrupt" in reason(read(stream(columns(feature__carrier=carriers))))[1]


@pytest.mark.parametrize(("text", "damaged"), [(b"feature.carrier", b"feature.carrie\xff"), (b"UTC", b"UT\xff")])
def test_a_schema_whose_texts_are_not_utf_8_is_undecodable(text: bytes, damaged: bytes) -> None:
    assert reason(read(GOOD.replace(text, damaged))) == ("undecodable", "a column's name or time zone is not UTF-8")


def test_a_huge_text_in_a_dictionary_is_told_and_hashed_once() -> None:
    huge = pa.DictionaryArray.from_arrays(pa.array([0] * 20_000, pa.int32()), ["x" * 10_000_000])
    batch = read(stream({"id": huge, "model": ["flights"] * 20_000, "version": ["1"] * 20_000, "time": [TIME] * 20_000}))
    assert len(batch.rejected) == 20_000
