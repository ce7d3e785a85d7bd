"""Quality of a classifier from the sums of its labelled predictions: confusion matrix, ratios by class and averaged, ranking, losses.

Every ratio is read from merged counts, none is an average of ratios. What is 0/0 is None. It does not know windows, clocks or intervals.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from monitor.events import Bools, Floats, Int64s, Task
from monitor.quality.ranking import average_precision, roc_auc
from monitor.stats.layout import CohortLayout, FeedbackLayout, Loss
from monitor.stats.scores import FIXED_POINT


class Average(StrEnum):
    """Over classes: each counts alike, each by its support, or all decisions pooled."""

    MACRO = "macro"
    WEIGHTED = "weighted"
    MICRO = "micro"


@dataclass(frozen=True, slots=True)
class ClassQuality:
    """One class against the rest, or an average of such. `support` is the actual count, as scikit-learn's.

    Precision is None where nothing was predicted so, recall where nothing was so, F1 = 2TP / (2TP + FP + FN) only where both.
    """

    support: int
    precision: float | None
    recall: float | None
    f1: float | None


@dataclass(frozen=True, slots=True)
class Bounded:
    """A number read from cells, and the bound on its distance from the same number read from the rows."""

    value: float
    error: float


@dataclass(frozen=True, slots=True, eq=False)
class Performance:
    """What labelled predictions of one window say. `confusion` is int64 (C, C), actual × predicted, in the order of `classes`.

    `scored` of them have usable scores, and the losses are means over these; each ranking is over those whose score is in [0, 1]. All of
    these are None without scores. Compares by identity, because arrays do not compare to one truth.
    """

    classes: tuple[str, ...]
    confusion: Int64s
    by_class: tuple[ClassQuality, ...]
    averages: Mapping[Average, ClassQuality]
    accuracy: float | None
    roc_auc: Bounded | None
    average_precision: Bounded | None
    log_loss: float | None
    brier_score: float | None
    scored: int


def cohort_performance(layout: CohortLayout, vector: Int64s) -> Performance | None:
    """From a cohort vector, int64 (layout.size,); None where it holds no labelled prediction.

    AUROC and average precision of a multi-class model are means over classes, each against the rest: those with positives, for AUROC
    negatives too.
    """
    count = layout.classes.count
    confusion = vector[layout.delays].reshape(count, count, layout.delay_bins).sum(axis=2)
    losses = vector[layout.losses]
    scored = int(losses[Loss.SCORED])
    positives, negatives = _one_against_the_rest(layout, vector)
    has_positives: Bools = np.any(positives, axis=1)
    has_both: Bools = has_positives & np.any(negatives, axis=1)
    return _performance(
        layout.classes.names,
        confusion,
        ranking=_macro(*roc_auc(positives[has_both], negatives[has_both]), has_both),
        retrieval=_macro(*average_precision(positives[has_positives], negatives[has_positives]), has_positives),
        log_loss=_mean(int(losses[Loss.LOG_LOSS]), scored),
        brier_score=_mean(int(losses[Loss.BRIER]), scored),
        scored=scored,
    )


def feedback_performance(layout: FeedbackLayout, vector: Int64s) -> Performance | None:
    """From a feedback vector, int64 (layout.size,), which holds no scores; None where it holds no label."""
    count = layout.classes.count
    return _performance(layout.classes.names, vector.reshape(count, count).copy())


def _performance(
    classes: tuple[str, ...],
    confusion: Int64s,
    *,
    ranking: Bounded | None = None,
    retrieval: Bounded | None = None,
    log_loss: float | None = None,
    brier_score: float | None = None,
    scored: int = 0,
) -> Performance | None:
    support: list[int] = confusion.sum(axis=1).tolist()
    predicted: list[int] = confusion.sum(axis=0).tolist()
    correct: list[int] = confusion.diagonal().tolist()
    labels = sum(support)
    if not labels:
        return None
    by_class = tuple(
        ClassQuality(actual, _ratio(right, claimed), _ratio(right, actual), _ratio(2 * right, claimed + actual))
        for actual, claimed, right in zip(support, predicted, correct, strict=True)
    )
    occurs = [int(actual + claimed > 0) for actual, claimed in zip(support, predicted, strict=True)]
    accuracy = _ratio(sum(correct), labels)
    averages = {
        Average.MACRO: _average(by_class, occurs, labels),
        Average.WEIGHTED: _average(by_class, support, labels),
        Average.MICRO: ClassQuality(labels, accuracy, accuracy, accuracy),  # every decision is right or one class's FP and another's FN
    }
    return Performance(classes, confusion, by_class, averages, accuracy, ranking, retrieval, log_loss, brier_score, scored)


def _average(by_class: Sequence[ClassQuality], weights: Sequence[int], support: int) -> ClassQuality:
    """The weighted mean of the classes, an undefined ratio counting as 0 (scikit-learn's `zero_division=0` on the labels present)."""

    def mean(ratios: list[float | None]) -> float:
        return sum(weight * (ratio or 0.0) for weight, ratio in zip(weights, ratios, strict=True)) / sum(weights)

    precision = mean([quality.precision for quality in by_class])
    recall = mean([quality.recall for quality in by_class])
    return ClassQuality(support, precision, recall, f1=mean([quality.f1 for quality in by_class]))


def _ratio(numerator: int, denominator: int) -> float | None:
    return numerator / denominator if denominator else None


def _mean(fixed_point_sum: int, rows: int) -> float | None:
    return fixed_point_sum / FIXED_POINT / rows if rows else None


def _macro(values: Floats, errors: Floats, defined: Bools) -> Bounded | None:
    return Bounded(float(values.mean()), float(errors.mean())) if defined.any() else None


def _one_against_the_rest(layout: CohortLayout, vector: Int64s) -> tuple[Int64s, Int64s]:
    """Positives and negatives by score cell, (g, cells): the positive class of a binary model (g = 1), or each class of another."""
    classes, grid = layout.classes, layout.classes.grid
    if classes.task is Task.BINARY:
        by_actual = vector[layout.scores].reshape(classes.count, classes.count, grid.size)[:, :, : grid.cells].sum(axis=1)
        is_positive = np.arange(classes.count) == classes.positive
        return by_actual[is_positive], by_actual[~is_positive]
    by_class = vector[layout.rest_scores].reshape(classes.count, 2, grid.size)[:, :, : grid.cells]
    return by_class[:, 1], by_class[:, 0]
