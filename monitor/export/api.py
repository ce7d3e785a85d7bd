"""Readings as JSON: the shape of `/api/v1/readings` and of `watch --once --format json`. An undefined number is left out."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from math import isfinite

from monitor.clock import Milliseconds
from monitor.quality.performance import Bounded, Performance
from monitor.quality.readings import Freshness, Reading

Json = dict[str, object]


def timestamp(time: Milliseconds) -> str:
    """RFC 3339, UTC, to the millisecond where there are any."""
    moment = datetime.fromtimestamp(time / 1_000, UTC)
    return moment.isoformat(timespec="milliseconds" if time % 1_000 else "seconds").replace("+00:00", "Z")


def readings_json(now: Milliseconds | None, readings: Iterable[Reading], coverage: Mapping[str, float], freshness: Freshness) -> Json:
    """The whole document. `coverage` is by model: the share of the partitions whose panes are in its readings."""
    document: Json = {"now": None if now is None else timestamp(now), "stale": freshness.is_stale}
    if freshness.is_stale and freshness.known_at is not None:
        document["stale_since"] = timestamp(freshness.known_at)
    return document | {"coverage": dict(coverage), "readings": [reading_json(reading) for reading in readings]}


def reading_json(reading: Reading) -> Json:
    """One reading. `precision`, `recall`, `f1` and `support` are by class; `averages` has them by average."""
    document: Json = {
        "model": reading.model,
        "version": reading.version,
        "segment": reading.segment,
        "window": reading.window,
        "clock": reading.clock,
        "since": timestamp(reading.since),
        "until": timestamp(reading.until),
        "coverage": reading.coverage,
        "labels": reading.labels,
    }
    document |= _defined(predictions=reading.predictions, maturity=reading.maturity)
    if reading.performance is not None:
        document |= _performance_json(reading.performance)
    if reading.drift:
        document["drift"] = {
            feature: {
                "rows": drift.rows,
                "reference_rows": drift.reference_rows,
                **{method: score.value for method, score in drift.scores.items() if isfinite(score.value)},
                "errors": {method: score.error for method, score in drift.scores.items() if score.error and isfinite(score.error)},
            }
            for feature, drift in reading.drift.items()
        }
    if reading.inputs:
        document["inputs"] = {
            feature: _defined(
                rows=quality.rows,
                missing=quality.missing,
                non_finite=quality.non_finite,
                mistyped=quality.mistyped,
                below=quality.below,
                above=quality.above,
                out_of_range=quality.out_of_range,
                unseen=quality.unseen,
                other=quality.other,
            )
            for feature, quality in reading.inputs.items()
        }
    return document


def _performance_json(performance: Performance) -> Json:
    classes = performance.classes
    by_class = dict(zip(classes, performance.by_class, strict=True))
    return {
        "classes": list(classes),
        "confusion": performance.confusion.tolist(),
        "precision": _defined(**{name: quality.precision for name, quality in by_class.items()}),
        "recall": _defined(**{name: quality.recall for name, quality in by_class.items()}),
        "f1": _defined(**{name: quality.f1 for name, quality in by_class.items()}),
        "support": {name: quality.support for name, quality in by_class.items()},
        "averages": {
            average: _defined(precision=quality.precision, recall=quality.recall, f1=quality.f1)
            for average, quality in performance.averages.items()
        },
        "scored": performance.scored,
        **_defined(
            accuracy=performance.accuracy,
            log_loss=performance.log_loss,
            brier_score=performance.brier_score,
        ),
        **_bounded("roc_auc", performance.roc_auc),
        **_bounded("average_precision", performance.average_precision),
    }


def _bounded(name: str, bounded: Bounded | None) -> Json:
    return {} if bounded is None else {name: bounded.value, f"{name}_error": bounded.error}


def _defined(**values: float | None) -> Json:
    return {name: value for name, value in values.items() if value is not None}
