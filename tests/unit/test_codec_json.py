"""JSON predictions: what is an event, which fields it needs, and what its times mean."""

from typing import Any

import numpy.typing as npt
import orjson
import pytest

from monitor.codec import decode_predictions
from monitor.events import Outcome
from monitor.log import CLOUDEVENTS, TIME_MARK, Record
from tests.unit.codec_events import RECORD_TIME, SCHEMAS, TIME, decoded, json_record, prediction, reason


def test_a_prediction_becomes_a_row() -> None:
    batch = decoded(prediction(arrival=TIME + 5))
    assert (batch.time.tolist(), batch.arrival.tolist()) == ([TIME], [TIME + 5])
    assert (batch.model.tolist(), batch.version.tolist(), batch.versions) == ([0], [0], ("1",))
    (group,) = batch.groups
    assert (group.predicted.tolist(), group.scores.tolist(), group.rows.tolist()) == ([1], [[0.75]], [0])
    assert batch.rejected == ()
    assert batch.unknown_keys == 0


def test_an_array_is_its_events_and_rows_count_within_the_record() -> None:
    batch = decode_predictions([json_record([prediction(id="a"), prediction(id="b")], 7), json_record(prediction(id="c"), 9)], SCHEMAS)
    assert list(zip(batch.offset.tolist(), batch.row.tolist(), strict=True)) == [(7, 0), (7, 1), (9, 0)]


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (b"", "the message is empty; expected an event or an array of events"),
        (b" \n", "the message is empty; expected an event or an array of events"),
        (b"[]", "the array holds no event"),
        (b"7", "expected an event (a JSON object) or an array of events, not a number"),
        (b"null", "expected an event (a JSON object) or an array of events, not null"),
        (b'"text"', "expected an event (a JSON object) or an array of events, not a text"),
        (b"true", "expected an event (a JSON object) or an array of events, not a boolean"),
    ],
)
def test_a_record_that_holds_no_event_is_one_undecodable_event(value: bytes, why: str) -> None:
    batch = decoded(value)
    assert len(batch) == 0
    assert reason(batch) == ("undecodable", why)


@pytest.mark.parametrize(
    "value", [b"{", b'{"id":"a"}{"id":"b"}', b'{"id":1e999}', b'{"id":NaN}', b"\xff\xfe", b'{"id":"\\ud800"}', b"[" * 5_000]
)
def test_a_record_that_is_not_json_is_one_undecodable_event(value: bytes) -> None:
    outcome, why = reason(decoded(value))
    assert outcome == "undecodable"
    assert why.startswith("not JSON: ")


def test_two_events_in_a_record_without_an_array_never_count_as_two() -> None:
    one = orjson.dumps(prediction())
    batch = decoded(one + b"," + one, prediction())
    assert (len(batch), len(batch.rejected)) == (1, 1)


def test_an_event_of_an_array_that_is_no_object_is_refused_by_its_row() -> None:
    batch = decoded([prediction(id="a"), 5, prediction(id="b"), prediction(id=None)])
    assert batch.row.tolist() == [0, 2]
    assert [(rejection.row, rejection.outcome.value) for rejection in batch.rejected] == [(1, "undecodable"), (3, "invalid")]
    assert batch.rejected[0].reason == "an event has to be a JSON object; this is a number"


def test_an_array_beyond_the_limit_is_one_undecodable_event() -> None:
    outcome, why = reason(decoded(b"[" + b"1," * 100_000 + b"1]"))
    assert (outcome, why) == ("undecodable", "an array of 100001 events; at most 100000 fit one message")


def test_received_is_the_rows_and_the_rejections() -> None:
    batch = decoded(prediction(), [prediction(), prediction(id="")], b"", b"[]", [], [1, 2], prediction(model="other"), "text")
    assert len(batch) + len(batch.rejected) == 1 + 2 + 1 + 1 + 1 + 2 + 1 + 1


def test_time_marks_are_passed_over_and_cloudevents_told_apart() -> None:
    records = [
        Record(0, RECORD_TIME, b"", TIME_MARK),
        Record(1, RECORD_TIME, b"{}", CLOUDEVENTS),
        Record(2, RECORD_TIME, b"{}", "text/csv"),
    ]
    batch = decode_predictions(records, SCHEMAS)
    assert [(rejection.offset, rejection.outcome) for rejection in batch.rejected] == [(1, Outcome.UNDECODABLE), (2, Outcome.UNDECODABLE)]
    assert "not supported yet" in batch.rejected[0].reason
    assert batch.rejected[1].reason.startswith("unknown content type 'text/csv'; expected application/json")


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "Application/JSON", ""])
def test_a_content_type_may_have_parameters_capitals_or_be_absent(content_type: str) -> None:
    assert len(decode_predictions([Record(0, RECORD_TIME, orjson.dumps(prediction()), content_type)], SCHEMAS)) == 1


def test_no_records_are_no_events() -> None:
    batch = decode_predictions([], SCHEMAS)
    assert (len(batch), batch.rejected, batch.groups) == (0, (), ())


BAD_FIELDS: list[tuple[dict[str, Any], str, str]] = [
    ({"id": ...}, "invalid", "id is nothing; expected a text of 1 to 512 bytes"),
    ({"id": None}, "invalid", "id is nothing; expected a text of 1 to 512 bytes"),
    ({"id": ""}, "invalid", "id is ''; expected a text of 1 to 512 bytes"),
    ({"id": 7}, "invalid", "id is 7; expected a text of 1 to 512 bytes"),
    ({"id": ["a"]}, "invalid", "id is an object or array; expected a text of 1 to 512 bytes"),
    ({"id": "é" * 257}, "invalid", f"id is '{'é' * 60}'…; expected a text of 1 to 512 bytes"),
    ({"id": "x" * 10_000_000}, "invalid", f"id is '{'x' * 60}'…; expected a text of 1 to 512 bytes"),
    ({"model": ...}, "invalid", "model is missing; expected a model's name"),
    ({"model": 5}, "invalid", "model is 5; expected a text of 1 to 128 bytes"),
    ({"model": "m" * 129}, "invalid", f"model is '{'m' * 60}'…; expected a text of 1 to 128 bytes"),
    ({"model": "trains"}, "unknown_model", "no model named 'trains' is configured"),
    ({"version": ...}, "invalid", "version is nothing; expected a text of 1 to 128 bytes, or an integer"),
    ({"version": ""}, "invalid", "version is ''; expected a text of 1 to 128 bytes, or an integer"),
    ({"version": 1.5}, "invalid", "version is 1.5; expected a text of 1 to 128 bytes, or an integer"),
    ({"version": True}, "invalid", "version is True; expected a text of 1 to 128 bytes, or an integer"),
    ({"version": "v" * 129}, "invalid", f"version is '{'v' * 60}'…; expected a text of 1 to 128 bytes, or an integer"),
    ({"features": ...}, "invalid", "features is missing; expected an object, {} where there are none"),
    ({"features": None}, "invalid", "features is missing; expected an object, {} where there are none"),
    ({"features": [1]}, "invalid", "features is not an object; expected names with their values"),
    ({"segments": "EWR"}, "invalid", "segments is not an object; expected names with their values"),
    ({"prediction": ..., "score": ...}, "invalid", "neither a prediction nor a score to derive it from; expected one of them"),
    ({"prediction": "early"}, "invalid", "prediction is 'early', no class of model 'flights'"),
    ({"prediction": ["late"]}, "invalid", "prediction is an object or array, no class of model 'flights'"),
]


@pytest.mark.parametrize(("changes", "outcome", "why"), BAD_FIELDS, ids=[next(iter(changes)) for changes, _, _ in BAD_FIELDS])
def test_what_a_prediction_lacks_is_told(changes: dict[str, Any], outcome: str, why: str) -> None:
    assert reason(decoded(prediction(**changes))) == (outcome, why)


def test_a_rejection_names_its_model_only_where_it_is_configured() -> None:
    batch = decoded(prediction(id=""), prediction(model="trains"), prediction(model=...), b"{")
    assert [rejection.model for rejection in batch.rejected] == ["flights", "", "", ""]


def test_an_unknown_model_is_told_before_any_other_fault() -> None:
    assert reason(decoded(prediction(model="trains", id="", time=...)))[0] == "unknown_model"


def test_an_integer_is_a_version() -> None:
    batch = decoded(prediction(version=3), prediction(version="3"), prediction(version="v4"))
    assert [batch.versions[code] for code in batch.version.tolist()] == ["3", "3", "v4"]


@pytest.mark.parametrize(
    ("time", "milliseconds"),
    [
        (TIME, TIME),
        (float(TIME), TIME),
        (0, 0),
        (253_402_300_799_999, 253_402_300_799_999),
        ("2013-01-01T10:00:00Z", TIME),
        ("2013-01-01t10:00:00z", TIME),
        ("2013-01-01 10:00:00Z", TIME),
        ("2013-01-01T10:00:00+00:00", TIME),
        ("2013-01-01T05:00:00-05:00", TIME),
        ("2013-01-01T15:30:00+05:30", TIME),
        ("2013-01-01T10:00:00.001Z", TIME + 1),
        ("2013-01-01T10:00:00.0019Z", TIME + 1),
        ("2013-01-01T10:00:00.001999999999Z", TIME + 1),
        ("1970-01-01T00:00:00Z", 0),
        ("9999-12-31T23:59:59.999Z", 253_402_300_799_999),
    ],
)
def test_a_time_is_epoch_milliseconds_or_rfc_3339(time: object, milliseconds: int) -> None:
    assert decoded(prediction(time=time)).time.tolist() == [milliseconds]
    if milliseconds < RECORD_TIME:
        assert decoded(prediction(arrival=time)).arrival.tolist() == [milliseconds]


@pytest.mark.parametrize(
    "time",
    [
        "2013-01-01T10:00:00",
        "2013-01-01",
        "2013-01-01T10:00Z",
        "2013-01-01T10:00:00+0000",
        "2013-01-01T10:00:00+24:00",
        "2013-02-30T10:00:00Z",
        "2013-13-01T10:00:00Z",
        "2013-01-01T24:00:00Z",
        "2013-01-01T10:00:00.Z",
        "20130101T100000Z",
        " 2013-01-01T10:00:00Z",
        "2013-01-01T10:00:00Z\n",
        "1969-12-31T23:59:59.999Z",
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:59-01:00",
        "yesterday",
        "",
        "1357034400000",
        -1,
        253_402_300_800_000,
        1e300,
        1357034400000.5,
        2**63,
        True,
        {},
        [TIME],
    ],
)
def test_a_time_of_no_known_form_is_invalid(time: object) -> None:
    for field in ("time", "arrival"):
        outcome, why = reason(decoded(prediction(**{field: time})))
        assert outcome == "invalid"
        assert why.startswith(f"{field} is ")
        assert why.endswith("; expected RFC 3339 with an offset, or whole milliseconds since the epoch, in the years 1970 to 9999")


def test_a_time_is_required_and_an_arrival_is_not() -> None:
    assert reason(decoded(prediction(time=...)))[1].startswith("time is missing; expected RFC 3339")
    assert decoded(prediction(arrival=None), prediction(arrival=...)).arrival.tolist() == [RECORD_TIME, RECORD_TIME]


def test_one_bad_time_does_not_disturb_the_others() -> None:
    good = "2013-01-01T10:00:00Z"
    batch = decoded(*(prediction(time=time) for time in (good, "2013-02-30T10:00:00Z", good, "2013-01-01T10:00:00.1234567Z", TIME)))
    assert batch.time.tolist() == [TIME, TIME, TIME + 123, TIME]
    assert [rejection.offset for rejection in batch.rejected] == [1]


def test_unknown_keys_are_counted_with_their_values() -> None:
    event = prediction(note="hi", nothing=None, features={"distance": 1, "wings": 2}, segments={"origin": "EWR", "gate": "A"})
    assert decoded(event, prediction()).unknown_keys == 3
    assert decoded(prediction(scores={"late": 0.5, "never": 0.5})).unknown_keys == 1


def test_a_segment_dimension_may_come_among_the_features_without_being_one() -> None:
    assert decoded(prediction(features={"origin": "EWR"})).unknown_keys == 0


def test_columns_have_the_types_that_the_join_expects() -> None:
    batch = decoded(prediction())
    (group,) = batch.groups
    columns: dict[str, tuple[npt.NDArray[Any], ...]] = {
        "uint64": (batch.ids, group.content),
        "int64": (batch.id_partition, batch.time, batch.arrival, batch.offset, group.rows),
        "int32": (batch.row, batch.version),
        "int16": (batch.model, group.predicted),
        "float64": (group.scores,),
    }
    assert batch.ids.shape == (1, 2)
    for name, arrays in columns.items():
        assert {str(array.dtype) for array in arrays} == {name}


def test_an_arrival_far_ahead_of_its_record_is_refused_and_cannot_move_the_watermark() -> None:
    batch = decoded(
        prediction(arrival=RECORD_TIME + 3_600_000), prediction(arrival=RECORD_TIME + 3_600_001), prediction(arrival="2100-01-01T00:00:00Z")
    )
    assert batch.arrival.tolist() == [RECORD_TIME + 3_600_000]
    assert [rejection.outcome for rejection in batch.rejected] == [Outcome.BAD_TIME] * 2
