"""What a prediction, a score and a label mean as a class."""

from dataclasses import replace

import numpy as np
import pytest

from monitor.codec import decode_predictions
from monitor.codec.cells import UNUSABLE, Scalar
from monitor.codec.classes import class_of
from monitor.codec.classes import derived as derived_class
from tests.unit.codec_events import DIGITS, LATE, decoded, json_record, prediction, reason


@pytest.mark.parametrize(
    ("value", "classes", "index"),
    [
        ("late", ["on_time", "late"], 1),
        ("Late", ["on_time", "late"], UNUSABLE),
        ("1", ["on_time", "late"], UNUSABLE),
        (1, ["on_time", "late"], 1),
        (1, ["1", "0"], 0),
        (0, ["1", "0"], 1),
        (2, ["on_time", "late"], UNUSABLE),
        (-1, ["on_time", "late"], UNUSABLE),
        (7, ["5", "7"], 1),
        (1.0, ["on_time", "late"], 1),
        (0.5, ["on_time", "late"], UNUSABLE),
        (float("nan"), ["on_time", "late"], UNUSABLE),
        (float("inf"), ["on_time", "late"], UNUSABLE),
        (True, ["on_time", "late"], 1),
        (False, ["on_time", "late"], 0),
        (True, ["true", "false"], 0),
        (True, ["1", "0"], 1),
    ],
)
def test_a_value_is_the_class_of_its_text_else_the_one_at_its_index(value: Scalar, classes: list[str], index: int) -> None:
    assert class_of(value, {name: place for place, name in enumerate(classes)}) == index


def test_predictions_of_all_types_in_one_batch() -> None:
    batch = decoded(*(prediction(prediction=value) for value in ("late", 0, True, 1.0, "on_time")))
    assert batch.groups[0].predicted.tolist() == [1, 0, 1, 1, 0]


@pytest.mark.parametrize(("score", "index"), [(0.5, 1), (0.49999, 0), (1.5, 1), (-3, 0), (1, 1)])
def test_an_absent_prediction_is_the_score_against_the_threshold(score: float, index: int) -> None:
    batch = decoded(prediction(prediction=..., score=score))
    assert batch.groups[0].predicted.tolist() == [index]
    assert batch.groups[0].scores.tolist() == [[float(score)]]


def test_the_prediction_as_sent_wins_over_the_score() -> None:
    assert decoded(prediction(prediction="on_time", score=0.9)).groups[0].predicted.tolist() == [0]


def test_the_threshold_is_compared_in_double_precision() -> None:
    schema = replace(LATE, threshold=0.7)
    scores = np.array([[0.7], [np.float64(np.float32(0.7))]])
    assert derived_class(scores, schema).tolist() == [1, 0]


def test_the_positive_class_may_come_first() -> None:
    schema = replace(LATE, classes=("late", "on_time"), positive=0)
    batch = decode_predictions([json_record([prediction(prediction=..., score=0.9), prediction(prediction=..., score=0.1)])], (schema,))
    assert batch.groups[0].predicted.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("scores", "score"),
    [({"late": 0.8, "on_time": 0.2}, 0.8), ({"late": 0.8}, 0.8), ({"on_time": 0.25}, 0.75), ({"late": "x", "on_time": 0.25}, 0.75)],
)
def test_a_binary_score_may_come_by_class(scores: dict[str, object], score: float) -> None:
    assert decoded(prediction(score=..., scores=scores)).groups[0].scores.tolist() == [[score]]


@pytest.mark.parametrize("score", [None, "0.9", True, {}, []])
def test_a_score_that_is_no_number_is_absent(score: object) -> None:
    assert np.isnan(decoded(prediction(score=score)).groups[0].scores).all()
    assert reason(decoded(prediction(prediction=..., score=score)))[1].startswith("neither a prediction nor a score")


def test_scores_that_are_no_object_are_absent() -> None:
    assert len(decoded(prediction(scores=[0.1, 0.9]))) == 1


def digit(**changes: object) -> dict[str, object]:
    return prediction(**({"model": "digits", "features": {"ink": 1.0}, "score": ..., "prediction": ...} | changes))


@pytest.mark.parametrize(
    ("scores", "index"),
    [
        ({"zero": 0.2, "one": 0.5, "two": 0.3}, 1),
        ({"zero": 0.4, "one": 0.4, "two": 0.2}, 0),
        ({"two": 0.1}, 2),
        ({"zero": None, "one": 0.1, "two": 0.2}, 2),
    ],
)
def test_an_absent_prediction_of_many_classes_is_the_first_greatest_score(scores: dict[str, object], index: int) -> None:
    (group,) = decoded(digit(scores=scores)).groups
    assert group.predicted.tolist() == [index]
    assert group.scores.shape == (1, 3)


def test_many_classes_without_any_usable_score_need_a_prediction() -> None:
    assert reason(decoded(digit(scores={"zero": "high"})))[1].startswith("neither a prediction nor a score")
    batch = decoded(digit(prediction=2))
    assert batch.groups[0].predicted.tolist() == [2]
    assert np.isnan(batch.groups[0].scores).all()


def test_an_infinite_score_decides_nothing() -> None:
    assert derived_class(np.array([[np.inf], [-np.inf], [np.nan]]), LATE).tolist() == [UNUSABLE] * 3
    assert derived_class(np.array([[np.inf, 0.1, 0.2]]), DIGITS).tolist() == [2]


def test_models_of_one_batch_are_apart_and_their_rows_stand_in_log_order() -> None:
    batch = decoded(
        prediction(id="a"), digit(id="b", prediction="two"), prediction(id="c", prediction="on_time"), digit(id="d", prediction="one")
    )
    assert [(group.model, group.rows.tolist(), group.predicted.tolist()) for group in batch.groups] == [
        (0, [0, 2], [1, 0]),
        (1, [1, 3], [2, 1]),
    ]
    assert batch.model.tolist() == [0, 1, 0, 1]


def test_rows_are_counted_without_the_rejected_ones() -> None:
    batch = decoded(prediction(id=""), prediction(), digit(), digit(prediction=0), prediction(prediction="early"), prediction())
    assert [(group.model, group.rows.tolist()) for group in batch.groups] == [(0, [0, 2]), (1, [1])]
    assert [rejection.offset for rejection in batch.rejected] == [0, 2, 4]
