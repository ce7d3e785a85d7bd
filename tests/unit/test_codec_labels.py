"""Labels: what they mean, for which model, and when."""

from dataclasses import replace

import pytest

from monitor.codec import decode_labels
from monitor.events import ANY_MODEL, LabelValues
from tests.unit.codec_events import DIGITS, LATE, RECORD_TIME, SCHEMAS, TIME, VALUES, decoded_labels, json_record, label, reason

CODE = {text: code for code, text in enumerate(VALUES.texts)}


def test_a_label_becomes_a_row() -> None:
    batch = decoded_labels(label(arrival=TIME + 5))
    assert (batch.time.tolist(), batch.arrival.tolist()) == ([TIME], [TIME + 5])
    assert (batch.model.tolist(), batch.value.tolist()) == ([0], [CODE["late"]])
    assert batch.rejected == ()


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"label": "on_time"}, "on_time"),
        ({"label": 1}, "late"),
        ({"label": 0.0}, "on_time"),
        ({"label": True}, "late"),
        ({"label": 2, "model": "digits"}, "two"),
        ({"label": "two", "model": "digits"}, "two"),
    ],
)
def test_a_value_is_a_class_of_the_model_that_the_label_names(changes: dict[str, object], text: str) -> None:
    assert decoded_labels(label(**changes)).value.tolist() == [CODE[text]]


@pytest.mark.parametrize(
    ("changes", "outcome", "why"),
    [
        ({"id": ""}, "invalid", "id is ''; expected a text of 1 to 512 bytes"),
        ({"label": ...}, "invalid", "label is missing; expected a class"),
        ({"label": None}, "invalid", "label is missing; expected a class"),
        ({"label": "two"}, "invalid", "label is 'two', no class of model 'flights'"),
        ({"label": 2}, "invalid", "label is 2, no class of model 'flights'"),
        ({"label": ["late"]}, "invalid", "label is an object or array, no class of model 'flights'"),
        ({"label": "x" * 10_000_000}, "invalid", f"label is '{'x' * 60}'…, no class of model 'flights'"),
        ({"model": "trains"}, "unknown_model", "no model named 'trains' is configured"),
        ({"model": 3}, "invalid", "model is 3; expected a text of 1 to 128 bytes"),
        ({"model": ..., "label": "never"}, "invalid", "label is 'never', no class of any model"),
        ({"model": ..., "label": 0}, "invalid", "label is 0, which models understand differently; expected a class name"),
    ],
)
def test_what_a_label_lacks_is_told(changes: dict[str, object], outcome: str, why: str) -> None:
    assert reason(decoded_labels(label(**changes))) == (outcome, why)


@pytest.mark.parametrize("time", ["2013-01-01T10:00:00", "soon", -1, True, []])
def test_a_malformed_time_is_invalid(time: object) -> None:
    assert reason(decoded_labels(label(time=time)))[1].startswith("time is ")


def test_a_label_without_a_time_has_that_of_its_arrival() -> None:
    batch = decoded_labels(label(time=...), label(time=None, arrival=TIME + 5))
    assert batch.time.tolist() == batch.arrival.tolist() == [RECORD_TIME, TIME + 5]


def test_a_label_without_a_model_answers_every_model_where_that_is_allowed() -> None:
    batch = decoded_labels(label(model=...), label(model=None, label="two"))
    assert batch.model.tolist() == [ANY_MODEL, ANY_MODEL]
    assert batch.value.tolist() == [CODE["late"], CODE["two"]]


def test_a_label_without_a_model_is_refused_where_a_model_is_required() -> None:
    outcome, why = reason(decoded_labels(label(model=...), model_required=True))
    assert (outcome, why) == ("invalid", "model is missing; several are configured, so a label has to say which it answers")


def test_a_label_without_a_model_is_the_only_model_s() -> None:
    batch = decode_labels([json_record(label(model=..., label=1))], (LATE,), LabelValues.of((LATE,)), True)
    assert batch.model.tolist() == [0]


def test_an_integer_without_a_model_counts_where_all_models_mean_the_same() -> None:
    schemas = (LATE, replace(DIGITS, classes=("on_time", "late", "cancelled")))
    values = LabelValues.of(schemas)
    batch = decode_labels([json_record([label(model=..., label=1), label(model=..., label=2)])], schemas, values, False)
    assert [values.texts[code] for code in batch.value.tolist()] == ["late", "cancelled"]


def test_good_labels_of_an_array_are_used_beside_bad_ones() -> None:
    batch = decoded_labels([label(id="a"), label(id=""), 5, label(id="b", label="never"), label(id="c")])
    assert batch.row.tolist() == [0, 4]
    assert [(rejection.row, rejection.outcome.value) for rejection in batch.rejected] == [
        (1, "invalid"),
        (2, "undecodable"),
        (3, "invalid"),
    ]


def test_unknown_keys_are_counted() -> None:
    assert decoded_labels(label(score=0.5, note=None), label()).unknown_keys == 1


def test_no_records_are_no_labels() -> None:
    assert len(decode_labels([], SCHEMAS, VALUES, True)) == 0
