"""Quality of labelled rows by scikit-learn, under the names that `exposed` gives to what the monitor shows.

Rows are a frame with `prediction`, `label` (class names) and `score` (P(late)). What is undefined has no name.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    brier_score_loss,
    confusion_matrix,
    log_loss,
    precision_recall_fscore_support,
    roc_auc_score,
)

from tests.e2e.flights_truth import CLASSES

Facts = dict[str, float]
POSITIVE = CLASSES[1]
METRICS = ("precision", "recall", "f1")


def decisions(rows: pd.DataFrame) -> Facts:
    """Confusion, support, accuracy, and precision, recall and F1 by class and averaged. Nothing of no rows."""
    if rows.empty:
        return {}
    # As numbers, because scikit-learn takes many times longer for names.
    actual, predicted = ((rows[column] == POSITIVE).to_numpy(dtype=int) for column in ("label", "prediction"))
    facts = {
        f"confusion/{CLASSES[i]}/{CLASSES[j]}": float(count)
        for (i, j), count in np.ndenumerate(confusion_matrix(actual, predicted, labels=[0, 1]))
    }
    *ratios, support = precision_recall_fscore_support(actual, predicted, labels=[0, 1], zero_division=np.nan)
    facts |= {f"support/{name}": float(count) for name, count in zip(CLASSES, support, strict=True)}
    for metric, values in zip(METRICS, ratios, strict=True):
        facts |= {f"{metric}/{name}": float(value) for name, value in zip(CLASSES, values, strict=True) if not np.isnan(value)}
    for average in ("macro", "weighted", "micro"):
        *means, _ = precision_recall_fscore_support(actual, predicted, average=average, zero_division=0)
        facts |= {f"{metric}@{average}": float(value) for metric, value in zip(METRICS, means, strict=True)}
        facts[f"support@{average}"] = len(rows)
    return facts | {"accuracy": float(accuracy_score(actual, predicted))}


def losses(rows: pd.DataFrame) -> Facts:
    if rows.empty:
        return {}
    late = rows["label"] == POSITIVE
    return {
        "log_loss": float(log_loss(late, rows["score"], labels=[False, True])),
        "brier_score": float(brier_score_loss(late, rows["score"])),
    }


def ranking_of_rows(rows: pd.DataFrame) -> Facts:
    """AUROC and average precision of the scores themselves: what those from cells are promised to be near."""
    late = (rows["label"] == POSITIVE).to_numpy()
    return dict(_ranking(late, rows["score"].to_numpy()))


def _ranking(late: npt.NDArray[np.bool_], score: npt.NDArray[np.float64]) -> Iterator[tuple[str, float]]:
    if late.any() and not late.all():
        yield "roc_auc", float(roc_auc_score(late, score))
    if late.any():
        yield "average_precision", float(average_precision_score(late, score))


def ranking_of_cells(rows: pd.DataFrame, edges: npt.NDArray[np.float64]) -> Facts:
    """The same when all that is known of a score is its cell `[a, b)`, and the promised distance from that of the rows.

    For AUROC a cell is a tie, and off by at most half of the share of pairs in it. Average precision lies between those of the best
    order within the cells (positives first, all at once) and the worst (negatives first, then the positives one by one).
    """
    late = (rows["label"] == POSITIVE).to_numpy()
    cell = np.searchsorted(edges, rows["score"].to_numpy(), side="right")
    facts: Facts = {}
    if late.any() and not late.all():
        facts["roc_auc"] = float(roc_auc_score(late, cell))
        positives, negatives = (np.bincount(cell[of], minlength=len(edges) + 1) / np.sum(of) for of in (late, ~late))
        facts["roc_auc_error"] = float(positives @ negatives / 2)
    if late.any():
        rank = np.arange(len(late))
        best = float(average_precision_score(late, 2 * cell + late))
        worst = float(average_precision_score(late, (len(late) + 1) * cell + np.where(late, rank, len(late))))
        facts |= {"average_precision": (best + worst) / 2, "average_precision_error": (best - worst) / 2}
    return facts
