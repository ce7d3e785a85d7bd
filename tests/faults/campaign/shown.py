"""The truth as the series that `/metrics` has to show: event counts, pairs, and every window's counts."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from tests.faults.campaign.oracle import FATES, SeriesKey, Truth
from tests.faults.campaign.reading import Prediction
from tests.faults.campaign.setting import MINUTE, Rules

STEPS = tuple(minutes * MINUTE for minutes in (1_440, 720, 360, 180, 120, 60, 30, 15, 10, 5, 2, 1))
INPUT_KINDS = ("missing", "non_finite", "mistyped", "unseen", "out_of_range")
COUNTED = frozenset(
    {
        "events_total",
        "unknown_keys_total",
        "label_pairs",
        "pending_predictions",
        "window_predictions",
        "window_labels",
        "confusion_predictions",
        "support_predictions",
        "input_values",
        "lag_records",
        "watermark_timestamp_seconds",
        "last_prediction_timestamp_seconds",
        "last_label_timestamp_seconds",
        "coverage_ratio",
    }
)
"""Series that the fleet shows once and that are compared: a shown one that the truth lacks has to be 0."""


def key_of(name: str, **labels: object) -> SeriesKey:
    return name, frozenset((label.rstrip("_"), str(value)) for label, value in labels.items() if str(value))


def series(truth: Truth) -> dict[SeriesKey, float]:
    """Every series that is not 0, or 1 where it is a share."""
    shown: Counter[SeriesKey] = Counter()
    for (stream, partition, model, outcome), count in truth.events.items():
        shown[key_of("events_total", stream=stream, partition=partition, model=model, outcome=outcome)] += count
    for (stream, partition), count in truth.unknown_keys.items():
        shown[key_of("unknown_keys_total", stream=stream, partition=partition)] += count
    for (model, fate), count in truth.fates.items():
        assert fate in FATES
        shown[key_of("label_pairs", model=model, fate=fate)] += count
    for model in truth.models:
        shown[key_of("pending_predictions", model=model)] += truth.pending[model]
    values: dict[SeriesKey, float] = dict(shown)
    for (stream, partition), mark in truth.watermarks.items():
        values[key_of("watermark_timestamp_seconds", stream=stream, partition=partition)] = mark / 1_000
    for rules in truth.models.values():
        values |= dict(_model_series(truth, rules))
    return {key: value for key, value in values.items() if value}


def _model_series(truth: Truth, rules: Rules) -> Iterator[tuple[SeriesKey, float]]:
    yield key_of("coverage_ratio", model=rules.name), 1.0
    of_model = [row for row in truth.kept if row.model == rules.name]
    for version in {row.version for row in of_model}:
        last = max(row.time for row in of_model if row.version == version)
        yield key_of("last_prediction_timestamp_seconds", model=rules.name, version=version), last / 1_000
    labels = [truth.last_labels[name] for name in (rules.name, "") if name in truth.last_labels]
    if labels:
        yield key_of("last_label_timestamp_seconds", model=rules.name), max(labels) / 1_000
    counts: Counter[SeriesKey] = Counter()
    for window, length in rules.windows.items():
        step = next(step for step in STEPS if step * 24 <= length and length % step == 0)
        until = truth.newest // step * step + step
        _count_window(counts, truth, rules, window, range(until - length, until))
    yield from counts.items()


def _count_window(counts: Counter[SeriesKey], truth: Truth, rules: Rules, window: str, span: range) -> None:
    for row in truth.kept:
        if row.model != rules.name or row.time not in span:
            continue
        for place in _places(rules, row, window):
            counts[key_of("window_predictions", **place, clock="cohort")] += 1
            if "segment" not in place:
                for feature, kind in row.inputs.items():
                    if kind in INPUT_KINDS:
                        counts[key_of("input_values", **place, feature=feature, kind=kind)] += 1
    for pair in truth.pairs:
        if pair.prediction.model != rules.name:
            continue
        for clock, moment in (("cohort", pair.prediction.time), ("feedback", pair.label_arrival)):
            if moment not in span:
                continue
            for place in _places(rules, pair.prediction, window):
                on = {**place, "clock": clock}
                counts[key_of("window_labels", **on)] += 1
                counts[key_of("confusion_predictions", **on, actual=pair.actual, predicted=pair.prediction.predicted)] += 1
                counts[key_of("support_predictions", **on, class_=pair.actual)] += 1
                for average in ("macro", "weighted", "micro"):
                    counts[key_of("support_predictions", **on, average=average)] += 1


def _places(rules: Rules, row: Prediction, window: str) -> Iterator[Mapping[str, str]]:
    """Where a row counts: in its version and in all of them, everywhere and in each of its segments."""
    for version in (row.version, ""):
        for segment in ((), *rules.segments):
            place = {"model": rules.name, "version": version, "segment": _segment(segment, row.segments), "window": window}
            yield {name: value for name, value in place.items() if value}


def _segment(dimensions: Sequence[str], values: Mapping[str, str]) -> str:
    return ",".join(f"{dimension}={values[dimension]}" for dimension in dimensions)
