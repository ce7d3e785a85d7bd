"""Features and segments: numbers, text, what is missing and what is mistyped."""

import math

import numpy as np
import pytest

from monitor.codec.cells import Cells
from monitor.codec.columns import Texts, numeric_column
from monitor.events import TextColumn
from tests.unit.codec_events import decoded, numbers, prediction, texts


def carrier(*values: object) -> TextColumn:
    column = decoded([prediction(features={"carrier": value}) for value in values]).groups[0].features["carrier"]
    assert isinstance(column, TextColumn)
    return column


@pytest.mark.parametrize(
    ("value", "number"), [(1, 1.0), (-2.5, -2.5), (True, 1.0), (False, 0.0), (2**53 + 1, 2.0**53), (2**64 - 1, 2.0**64), (1e308, 1e308)]
)
def test_a_numeric_feature_takes_numbers_and_booleans(value: object, number: float) -> None:
    column = numbers(decoded(prediction(features={"distance": value})), "distance")
    assert column.values.tolist() == [number]
    assert not column.missing.any()
    assert not column.mistyped.any()


def test_null_and_absence_are_missing_and_what_is_no_number_is_mistyped() -> None:
    values: list[object] = [1.0, None, "2", {}, [3]]
    events = [prediction(features={"distance": value}) for value in values] + [prediction(features={})]
    column = numbers(decoded(events), "distance")
    assert column.missing.tolist() == [False, True, False, False, False, True]
    assert column.mistyped.tolist() == [False, False, True, True, True, False]
    assert np.isnan(column.values[1:]).all()


def test_numbers_of_all_types_in_one_batch() -> None:
    events = [prediction(features={"distance": value}) for value in (1, 2.5, True, None, "x", 2**63, 2**53 + 1)]
    column = numbers(decoded(events), "distance")
    assert column.values[[0, 1, 2, 5, 6]].tolist() == [1.0, 2.5, 1.0, 2.0**63, 2.0**53]


def test_values_that_are_not_finite_stay_apart_from_missing_ones() -> None:
    column = numeric_column(Cells.of_values([math.nan, math.inf, -math.inf, None]))
    assert column.missing.tolist() == [False, False, False, True]
    assert repr(column.values.tolist()) == "[nan, inf, -inf, nan]"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("UA", "UA"),
        ("", ""),
        (7, "7"),
        (7.0, "7"),
        (-0.0, "0"),
        (0.1, "0.1"),
        (1e22, "10000000000000000000000"),
        (2**53 + 1, "9007199254740993"),
        (True, "true"),
        (False, "false"),
        (None, -1),
        ({}, -2),
        (["UA"], -2),
    ],
)
def test_a_categorical_feature_is_text(value: object, text: str | int) -> None:
    assert texts(carrier(value)) == [text]
    assert texts(carrier("DL", value, 0.5)) == ["DL", text, "0.5"], "whatever stands beside it"


def test_values_of_one_text_are_one_category_in_the_order_of_their_first_rows() -> None:
    column = carrier("b", 1, "a", 1.0, "1", "b", None)
    assert column.categories == ("b", "1", "a")
    assert column.codes.tolist() == [0, 1, 2, 1, 1, 0, -1]


@pytest.mark.parametrize(
    ("text", "cut"), [("x" * 300, "x" * 256), ("é" * 200, "é" * 128), ("a" + "é" * 200, "a" + "é" * 127), ("x" * 256, "x" * 256)]
)
def test_a_long_category_is_cut_between_characters(text: str, cut: str) -> None:
    column = carrier("UA", text, cut)
    assert column.categories == ("UA", cut)


def test_a_million_categories_are_a_million_categories() -> None:
    column = Texts.of_cells(Cells.of_values([f"category {number}" for number in range(1_000_000)])).column()
    assert len(column.categories) == 1_000_000
    assert column.codes[-1] == 999_999


def test_a_segment_is_given_or_else_the_feature_of_its_name() -> None:
    events = [
        prediction(segments={"carrier": "DL", "origin": "EWR"}, features={"carrier": "UA"}),
        prediction(segments={"carrier": None}, features={"carrier": "UA", "origin": 5}),
        prediction(features={"carrier": "UA"}),
        prediction(segments={"origin": {}}, features={}),
    ]
    (group,) = decoded(events).groups
    assert texts(group.segments["carrier"]) == ["DL", "UA", "UA", -1]
    assert texts(group.segments["origin"]) == ["EWR", "5", -1, -2]


def content(*events: dict[str, object]) -> list[int]:
    (group,) = decoded(*events).groups
    return group.content.tolist()  # type: ignore[no-any-return]  # numpy has no better type


@pytest.mark.parametrize(
    "changes",
    [
        {"version": "2"},
        {"time": 1},
        {"prediction": "on_time"},
        {"score": 0.76},
        {"score": None},
        {"features": {"distance": 101, "carrier": "UA"}},
        {"features": {"distance": None, "carrier": "UA"}},
        {"features": {"distance": "x", "carrier": "UA"}},
        {"features": {"distance": 100, "carrier": "DL"}},
        {"features": {"distance": 100}, "segments": {"carrier": "UA"}},
        {"features": {"distance": 100, "carrier": []}},
        {"segments": {"origin": "EWR"}},
    ],
)
def test_content_differs_where_anything_said_differs(changes: dict[str, object]) -> None:
    one, other = content(prediction(), prediction(**changes))
    assert one != other


def test_what_is_missing_and_what_is_mistyped_are_different_content() -> None:
    missing, mistyped = content(prediction(features={}), prediction(features={"distance": "x"}))
    assert missing != mistyped


def test_content_is_the_same_whatever_the_id_the_arrival_and_the_spelling() -> None:
    plain = prediction(features={"distance": 0.0, "carrier": "7"})
    same = [
        prediction(id="other", arrival=5, features={"distance": -0.0, "carrier": 7.0}),
        prediction(version=1, time="2013-01-01T10:00:00Z", prediction=1, features={"carrier": 7, "distance": 0}, segments={"carrier": "7"}),
        prediction(prediction=..., features={"distance": False, "carrier": "7", "unknown": 1}),
    ]
    assert len(set(content(plain, *same))) == 1


def test_content_does_not_depend_on_the_batch() -> None:
    events = [prediction(features={"distance": number, "carrier": f"c{number % 3}"}) for number in range(20)]
    assert content(*events) == [one for event in events for one in content(event)]
