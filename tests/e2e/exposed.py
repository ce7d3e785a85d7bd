"""What the daemon shows, by place and name: /metrics in both formats and the JSON of readings, brought to one form.

A *place* is a version, segment, window and clock; what is shown there has names such as `precision/late`, `precision@macro`,
`confusion/late/on_time`, `drift/temp/psi` or `inputs/temp/missing`.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from tests.e2e.quality_oracle import Facts

PREFIX = "model_monitor_"
WINDOW_METRICS = {
    "window_predictions": "predictions",
    "window_labels": "labels",
    "label_maturity_ratio": "maturity",
    "window_coverage_ratio": "coverage",
    "accuracy_ratio": "accuracy",
    "log_loss": "log_loss",
    "brier_score": "brier_score",
    "roc_auc_ratio": "roc_auc",
    "roc_auc_error_ratio": "roc_auc_error",
    "average_precision_ratio": "average_precision",
    "average_precision_error_ratio": "average_precision_error",
}
CLASS_METRICS = {"precision_ratio": "precision", "recall_ratio": "recall", "f1_ratio": "f1", "support_predictions": "support"}


class Place(NamedTuple):
    version: str
    segment: str
    window: str
    clock: str


Shown = dict[Place, Facts]


class Series(NamedTuple):
    """One sample of /metrics."""

    name: str
    labels: Mapping[str, str]
    value: float


def text_series(text: str) -> list[Series]:
    return list(_series(parse_text(text)))


def openmetrics_series(text: str) -> list[Series]:
    """Raises ValueError where the text breaks the format's rules."""
    return list(_series(parse_openmetrics(text)))  # type: ignore[no-untyped-call]  # unlike the other, it has no types


def _series(families: Iterable[Metric]) -> Iterator[Series]:
    for family in families:
        for sample in family.samples:
            yield Series(sample.name.removeprefix(PREFIX), sample.labels, sample.value)


def on_metrics(series: Iterable[Series]) -> Shown:
    """The samples that belong to a window; no name comes twice at a place."""
    shown: Shown = {}
    for name, labels, value in series:
        if "window" not in labels:
            continue
        place = Place(labels["version"], labels["segment"], labels["window"], labels.get("clock", "cohort"))
        facts = shown.setdefault(place, {})
        fact = _fact(name, labels)
        assert fact not in facts, f"{fact} at {place} is there twice"
        facts[fact] = value
    return shown


def _fact(name: str, labels: Mapping[str, str]) -> str:
    if name in WINDOW_METRICS:
        return WINDOW_METRICS[name]
    if name in CLASS_METRICS:
        return f"{CLASS_METRICS[name]}/{labels['class']}" if "class" in labels else f"{CLASS_METRICS[name]}@{labels['average']}"
    if name == "confusion_predictions":
        return f"confusion/{labels['actual']}/{labels['predicted']}"
    if name in ("drift_score", "drift_error"):
        return f"{name.removesuffix('_score')}/{labels['feature']}/{labels['method']}"
    if name == "input_values":
        return f"inputs/{labels['feature']}/{labels['kind']}"
    raise AssertionError(f"{name} is a window's series, and this test does not know it")


def in_readings(document: Mapping[str, Any]) -> Shown:
    """The readings of `/api/v1/readings` and `watch --once --format json`."""
    shown: Shown = {}
    for reading in document["readings"]:
        place = Place(reading["version"], reading["segment"], reading["window"], reading["clock"])
        assert place not in shown, f"{place} is there twice"
        shown[place] = dict(_reading_facts(reading))
    return shown


def _reading_facts(reading: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for name in ("scored", *WINDOW_METRICS.values()):
        if name in reading:
            yield name, reading[name]
    classes = reading.get("classes", ())
    for actual, row in zip(classes, reading.get("confusion", ()), strict=True):
        for predicted, count in zip(classes, row, strict=True):
            yield f"confusion/{actual}/{predicted}", count
    for metric in CLASS_METRICS.values():
        for of_class, value in reading.get(metric, {}).items():
            yield f"{metric}/{of_class}", value
    for average, values in reading.get("averages", {}).items():
        for metric, value in values.items():
            yield f"{metric}@{average}", value
    for feature, drift in reading.get("drift", {}).items():
        yield from _drift_facts(feature, drift)
    for feature, kinds in reading.get("inputs", {}).items():
        for kind, value in kinds.items():
            yield f"inputs/{feature}/{kind}", value


def _drift_facts(feature: str, drift: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for method, value in drift.items():
        if method in ("rows", "reference_rows"):
            yield f"drift_{method}/{feature}", value
        elif method != "errors":
            yield f"drift/{feature}/{method}", value
    for method, value in drift["errors"].items():
        yield f"drift_error/{feature}/{method}", value
