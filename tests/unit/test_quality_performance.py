"""Quality read from sums, against scikit-learn on the rows that were summed."""

import numpy as np
import pytest
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    brier_score_loss,
    confusion_matrix,
    log_loss,
    precision_recall_fscore_support,
    roc_auc_score,
)

from monitor.events import Floats, Int64s
from monitor.quality.performance import Average, Bounded, ClassQuality, Performance, cohort_performance, feedback_performance
from monitor.stats.layout import Classes, CohortLayout, FeedbackLayout
from tests.unit.quality_rows import DELAY_EDGES, binary, cohort_vector, feedback_vector, multiclass, predicted_from

pytestmark = pytest.mark.filterwarnings("error")

ROUNDING = 1e-9
EXACT_ONE = Bounded(1.0, 0.0)


def performance_of(classes: Classes, actual: Int64s, predicted: Int64s, scores: Floats) -> Performance:
    layout = CohortLayout(classes, DELAY_EDGES)
    performance = cohort_performance(layout, cohort_vector(layout, actual, predicted, scores))
    assert performance is not None
    return performance


def binary_rows(count: int, threshold: float, seed: int = 0) -> tuple[Int64s, Int64s, Floats]:
    rng = np.random.default_rng(seed)
    scores = rng.beta(1.2, 3.0, count)
    actual = (rng.random(count) < scores**0.8).astype(np.int64)
    actual[:2] = (0, 1)
    return actual, predicted_from(scores, threshold).astype(np.int64), scores


def multiclass_rows(count: int, classes: int, seed: int = 0) -> tuple[Int64s, Int64s, Floats]:
    rng = np.random.default_rng(seed)
    scores = rng.dirichlet(np.linspace(0.5, 2.0, classes), count).astype(np.float32).astype(np.float64)
    actual = np.where(rng.random(count) < 0.6, scores.argmax(axis=1), rng.integers(0, classes, count))
    actual[:classes] = np.arange(classes)
    return actual.astype(np.int64), scores.argmax(axis=1).astype(np.int64), scores


def assert_ratios_are_those_of_the_rows(performance: Performance, actual: Int64s, predicted: Int64s) -> None:
    labels = list(range(len(performance.classes)))
    assert performance.confusion.tolist() == confusion_matrix(actual, predicted, labels=labels).tolist()
    precision, recall, f1, support = precision_recall_fscore_support(actual, predicted, labels=labels, zero_division=np.nan)
    for index, quality in enumerate(performance.by_class):
        assert quality.support == support[index]
        for ours, theirs in ((quality.precision, precision[index]), (quality.recall, recall[index]), (quality.f1, f1[index])):
            assert ours is None if np.isnan(theirs) else ours == pytest.approx(theirs, rel=ROUNDING)
    present = sorted({*actual.tolist(), *predicted.tolist()})
    for average, quality in performance.averages.items():
        expected = precision_recall_fscore_support(actual, predicted, labels=present, average=average.value, zero_division=0)
        assert (quality.precision, quality.recall, quality.f1) == pytest.approx(expected[:3], rel=ROUNDING)
        assert quality.support == len(actual)
    assert performance.accuracy == pytest.approx(accuracy_score(actual, predicted), rel=ROUNDING)


@pytest.mark.parametrize(("count", "threshold"), [(2, 0.5), (7, 0.235), (300, 0.5), (20_000, 0.235)])
def test_a_binary_models_readings_are_those_of_its_rows(count: int, threshold: float) -> None:
    actual, predicted, scores = binary_rows(count, threshold)

    performance = performance_of(binary(threshold), actual, predicted, scores)

    assert_ratios_are_those_of_the_rows(performance, actual, predicted)
    assert performance.scored == count
    assert performance.log_loss == pytest.approx(log_loss(actual, scores), rel=ROUNDING)
    assert performance.brier_score == pytest.approx(brier_score_loss(actual, scores), rel=ROUNDING)
    assert performance.roc_auc is not None
    assert abs(performance.roc_auc.value - roc_auc_score(actual, scores)) <= performance.roc_auc.error + 1e-12
    assert performance.average_precision is not None
    gap = abs(performance.average_precision.value - average_precision_score(actual, scores))
    assert gap <= performance.average_precision.error + 1e-12


def test_the_bounds_of_the_rankings_are_small_where_rows_are_many() -> None:
    performance = performance_of(binary(), *binary_rows(20_000, 0.5))

    assert performance.roc_auc is not None
    assert performance.roc_auc.error < 0.01
    assert performance.average_precision is not None
    assert performance.average_precision.error < 0.02


@pytest.mark.parametrize("count", [4, 50, 20_000])
def test_a_multiclass_models_readings_are_those_of_its_rows(count: int) -> None:
    actual, predicted, scores = multiclass_rows(count, 4)

    performance = performance_of(multiclass(), actual, predicted, scores)

    assert_ratios_are_those_of_the_rows(performance, actual, predicted)
    one_hot = np.eye(4, dtype=np.int64)[actual]
    normal = scores / scores.sum(axis=1, keepdims=True)
    assert performance.log_loss == pytest.approx(log_loss(actual, normal, labels=range(4)), abs=1e-6)
    assert performance.brier_score == pytest.approx(brier_score_loss(actual, normal, labels=range(4)), abs=1e-6)
    assert performance.roc_auc is not None
    assert abs(performance.roc_auc.value - roc_auc_score(one_hot, scores, average="macro")) <= performance.roc_auc.error + 1e-12
    assert performance.average_precision is not None
    gap = abs(performance.average_precision.value - average_precision_score(one_hot, scores, average="macro"))
    assert gap <= performance.average_precision.error + 1e-12


def test_scores_of_one_value_a_cell_rank_exactly() -> None:
    rng = np.random.default_rng(1)
    scores = rng.integers(0, 100, 2_000) / 100 + 0.005
    actual = (rng.random(2_000) < scores).astype(np.int64)

    performance = performance_of(binary(), actual, predicted_from(scores, 0.5).astype(np.int64), scores)

    assert performance.roc_auc is not None
    assert performance.roc_auc.value == pytest.approx(roc_auc_score(actual, scores), rel=1e-12)


def test_perfectly_parted_scores_have_a_ranking_of_one_without_error() -> None:
    actual = np.repeat([0, 1], 500)
    scores = np.concatenate((np.linspace(0.0, 0.399, 500), np.linspace(0.6, 1.0, 500)))

    performance = performance_of(binary(), actual, actual, scores)

    assert (performance.roc_auc, performance.average_precision) == (EXACT_ONE, EXACT_ONE)


def test_a_class_that_is_never_predicted_has_no_precision_and_counts_zero_in_averages() -> None:
    layout = FeedbackLayout(multiclass(3))
    performance = feedback_performance(layout, feedback_vector(layout, np.array([0, 0, 1]), np.array([0, 0, 0])))

    assert performance is not None
    assert performance.by_class == (
        ClassQuality(2, precision=2 / 3, recall=1.0, f1=0.8),
        ClassQuality(1, precision=None, recall=0.0, f1=0.0),
        ClassQuality(0, precision=None, recall=None, f1=None),
    )
    assert performance.averages[Average.MACRO] == ClassQuality(3, precision=1 / 3, recall=0.5, f1=0.4)
    assert performance.averages[Average.WEIGHTED].precision == pytest.approx(4 / 9)


def test_a_class_that_never_occurs_but_is_predicted_has_no_recall_and_an_f1_of_zero() -> None:
    layout = FeedbackLayout(multiclass(3))
    performance = feedback_performance(layout, feedback_vector(layout, np.array([0, 0]), np.array([0, 2])))

    assert performance is not None
    assert performance.by_class[2] == ClassQuality(0, precision=0.0, recall=None, f1=0.0)


def test_the_feedback_clock_has_counts_and_ratios_but_no_scores() -> None:
    layout = FeedbackLayout(binary())
    actual, predicted, _ = binary_rows(500, 0.5)

    performance = feedback_performance(layout, feedback_vector(layout, actual, predicted))

    assert performance is not None
    assert_ratios_are_those_of_the_rows(performance, actual, predicted)
    assert (performance.roc_auc, performance.average_precision, performance.log_loss, performance.brier_score) == (None, None, None, None)
    assert performance.scored == 0


def test_a_window_without_labels_has_no_performance() -> None:
    cohort, feedback = CohortLayout(multiclass(), DELAY_EDGES), FeedbackLayout(multiclass())

    assert cohort_performance(cohort, np.zeros(cohort.size, dtype=np.int64)) is None
    assert feedback_performance(feedback, np.zeros(feedback.size, dtype=np.int64)) is None


@pytest.mark.parametrize("classes", [binary(), multiclass(2)], ids=["binary", "multiclass"])
def test_labels_without_scores_have_ratios_but_no_ranking_and_no_loss(classes: Classes) -> None:
    scores = np.full((3, 1 if classes.positive == 1 else 2), np.nan)

    performance = performance_of(classes, np.array([0, 1, 1]), np.array([0, 0, 1]), scores)

    assert performance.accuracy == pytest.approx(2 / 3)
    assert (performance.roc_auc, performance.average_precision, performance.log_loss, performance.brier_score) == (None, None, None, None)


def test_scores_outside_zero_and_one_are_in_the_confusion_and_in_nothing_else() -> None:
    actual, predicted, scores = binary_rows(1_000, 0.5)
    spoiled = np.array([np.nan, np.inf, -np.inf, -0.1, 1.5, 1e308])

    performance = performance_of(
        binary(),
        np.concatenate((actual, np.ones(6, dtype=np.int64))),
        np.concatenate((predicted, np.zeros(6, dtype=np.int64))),
        np.concatenate((scores, spoiled)),
    )

    clean = performance_of(binary(), actual, predicted, scores)
    assert performance.confusion[1, 0] == clean.confusion[1, 0] + 6
    assert performance.scored == clean.scored
    assert (performance.roc_auc, performance.average_precision) == (clean.roc_auc, clean.average_precision)
    assert (performance.log_loss, performance.brier_score) == (clean.log_loss, clean.brier_score)


def test_only_positives_leave_auroc_undefined_and_every_retrieved_row_relevant() -> None:
    performance = performance_of(binary(), np.ones(9, dtype=np.int64), np.ones(9, dtype=np.int64), np.linspace(0.5, 1.0, 9))

    assert performance.roc_auc is None
    assert performance.average_precision == EXACT_ONE


def test_no_positives_leave_both_rankings_undefined() -> None:
    performance = performance_of(binary(), np.zeros(9, dtype=np.int64), np.zeros(9, dtype=np.int64), np.linspace(0.0, 0.4, 9))

    assert (performance.roc_auc, performance.average_precision) == (None, None)
    assert performance.log_loss is not None


def test_one_row_has_readings() -> None:
    performance = performance_of(binary(), np.array([1]), np.array([1]), np.array([0.75]))

    assert performance.accuracy == 1.0
    assert performance.log_loss == pytest.approx(-np.log(0.75), rel=ROUNDING)


def test_equal_scores_rank_nothing_and_say_so() -> None:
    performance = performance_of(binary(), np.array([0, 1, 0, 1, 0]), np.zeros(5, dtype=np.int64), np.full(5, 0.3))

    assert performance.roc_auc is not None
    assert (performance.roc_auc.value, performance.roc_auc.error) == (0.5, 0.5)
    assert performance.average_precision is not None
    assert abs(performance.average_precision.value - 0.4) <= performance.average_precision.error


def test_certainty_that_was_wrong_costs_a_bounded_log_loss() -> None:
    performance = performance_of(binary(), np.array([0, 1]), np.array([1, 0]), np.array([1.0, 0.0]))

    assert performance.log_loss == pytest.approx(-np.log(1e-15), rel=1e-3)
    assert performance.brier_score == 1.0


def test_probabilities_that_do_not_add_up_are_read_as_sent() -> None:
    performance = performance_of(multiclass(3), np.array([0, 1]), np.array([0, 1]), np.array([[0.9, 0.9, 0.9], [0.0, 0.0, 0.0]]))

    assert performance.log_loss == pytest.approx((-np.log(0.9) - np.log(1e-15)) / 2, rel=ROUNDING)
    assert performance.brier_score == pytest.approx((0.01 + 0.81 + 0.81 + 1.0) / 2, rel=ROUNDING)


def test_a_corrected_label_leaves_no_trace_of_the_first_one() -> None:
    layout = CohortLayout(binary(), DELAY_EDGES)
    actual, predicted, scores = binary_rows(50, 0.5)
    first_label = 1 - actual
    delay = np.zeros(50, dtype=np.int64)
    one = np.ones(50, dtype=np.int64)
    vector = np.zeros(layout.size, dtype=np.int64)
    for sign, label in ((one, first_label), (-one, first_label), (one, actual)):
        added = layout.additions(sign, label.astype(np.int16), predicted.astype(np.int16), scores[:, None], delay)
        np.add.at(vector, added.cell, added.amount)

    corrected, direct = cohort_performance(layout, vector), performance_of(binary(), actual, predicted, scores)

    assert corrected is not None
    assert corrected.confusion.tolist() == direct.confusion.tolist()
    assert (corrected.log_loss, corrected.brier_score, corrected.roc_auc) == (direct.log_loss, direct.brier_score, direct.roc_auc)
