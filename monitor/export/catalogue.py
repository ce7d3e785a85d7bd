"""Every metric of the daemon: name, type, labels, unit and help, once. Whatever shows or queries one takes it from here."""

from dataclasses import dataclass
from enum import StrEnum

PREFIX = "model_monitor_"


class Kind(StrEnum):
    """A metric's type, as the exposition formats spell it."""

    GAUGE = "gauge"
    COUNTER = "counter"


class Source(StrEnum):
    """Which replicas of the daemon show a series. Of a metric's series all have the same."""

    OWNER = "owner"
    """The one that owns its model or its partition, while nobody else can: once for the fleet."""
    REPLICA = "every replica"
    """Each, of itself or of what all agree on: to be aggregated by max."""


@dataclass(frozen=True, slots=True)
class MetricDefinition:
    """One metric. `name` is as exposed, a counter's with its `_total`; `fixed` ones are a promise to people who script against them."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    help: str
    unit: str = ""
    fixed: bool = True
    source: Source = Source.OWNER


_WINDOW = ("model", "version", "segment", "window", "clock")
_INPUT = ("model", "version", "segment", "window")


def _gauge(name: str, labels: tuple[str, ...], description: str, unit: str = "", *, fixed: bool = True) -> MetricDefinition:
    return MetricDefinition(PREFIX + name, Kind.GAUGE, labels, description, unit, fixed)


def _of_replica(name: str, labels: tuple[str, ...], description: str, unit: str = "", *, fixed: bool = False) -> MetricDefinition:
    return MetricDefinition(PREFIX + name, Kind.GAUGE, labels, description, unit, fixed, Source.REPLICA)


def _counter(name: str, labels: tuple[str, ...], description: str, *, fixed: bool = True) -> MetricDefinition:
    return MetricDefinition(PREFIX + name, Kind.COUNTER, labels, description, "", fixed)


CONFUSION = _gauge(
    "confusion_predictions", (*_WINDOW, "actual", "predicted"), "Labelled predictions of the window by actual and predicted class."
)
PRECISION = _gauge(
    "precision_ratio",
    (*_WINDOW, "class", "average"),
    "Share of the predictions of a class that were right; by class, or averaged.",
    "ratio",
)
RECALL = _gauge(
    "recall_ratio",
    (*_WINDOW, "class", "average"),
    "Share of the actual members of a class that were predicted so; by class, or averaged.",
    "ratio",
)
F1 = _gauge(
    "f1_ratio", (*_WINDOW, "class", "average"), "Harmonic mean of precision and recall, 2TP/(2TP+FP+FN); by class, or averaged.", "ratio"
)
SUPPORT = _gauge(
    "support_predictions", (*_WINDOW, "class", "average"), "Labelled predictions whose actual class it is; of an average, all of them."
)
ACCURACY = _gauge("accuracy_ratio", _WINDOW, "Share of labelled predictions that were right.", "ratio")
ROC_AUC = _gauge("roc_auc_ratio", _WINDOW, "Area under the ROC curve, from score cells; multi-class: macro, one against the rest.", "ratio")
AVERAGE_PRECISION = _gauge(
    "average_precision_ratio", _WINDOW, "Average precision, from score cells; multi-class: macro, one against the rest.", "ratio"
)
LOG_LOSS = _gauge("log_loss", _WINDOW, "Mean negative log-likelihood of the actual class, in nats.")
BRIER_SCORE = _gauge("brier_score", _WINDOW, "Mean squared error of the probabilities; multi-class: summed over classes.")
WINDOW_PREDICTIONS = _gauge("window_predictions", _WINDOW, "Predictions of the window.")
WINDOW_LABELS = _gauge("window_labels", _WINDOW, "Labelled predictions of the window; on the feedback clock, labels that arrived in it.")
LABEL_MATURITY = _gauge("label_maturity_ratio", _WINDOW, "Labelled over the predictions of the window that are joined.", "ratio")
DRIFT_SCORE = _gauge(
    "drift_score", (*_INPUT, "feature", "method"), "Distance of the window's distribution from the reference's, by method."
)
EVENTS = _counter(
    "events_total", ("stream", "partition", "model", "outcome"), "Events received, by what became of them; their sum is what was received."
)
MODEL_INFO = _of_replica("model_info", ("model",), "Always 1; a model of the configuration.", fixed=True)
COVERAGE = _gauge(
    "coverage_ratio", ("model",), "Share of the partitions whose panes are in the readings and that some replica works on.", "ratio"
)
LAST_PREDICTION = _gauge(
    "last_prediction_timestamp_seconds", ("model", "version"), "Time of the newest prediction, seconds since the epoch.", "seconds"
)
LAST_LABEL = _gauge("last_label_timestamp_seconds", ("model",), "Arrival of the newest label, seconds since the epoch.", "seconds")
PENDING = _gauge("pending_predictions", ("model",), "Predictions that wait for their label.")
LOG_PARTITIONS = _of_replica("log_partitions", ("stream",), "Partitions of the stream.", fixed=True)
LAG = _gauge("lag_records", ("stream", "partition"), "Records in the log that are not in the readings yet.")
WATERMARK = _gauge(
    "watermark_timestamp_seconds", ("stream", "partition"), "Greatest arrival seen in the log, seconds since the epoch.", "seconds"
)
CLOCK = _of_replica("clock_timestamp_seconds", (), "What the readings take for now, seconds since the epoch.", "seconds", fixed=True)
INVALID_LIMIT = _of_replica(
    "invalid_events_limit_ratio", ("stream",), "Configured share of a stream's events that may be refused.", "ratio", fixed=True
)

MODEL_OWNER = _gauge("model_owner_info", ("model", "owner", "task"), "Always 1; what the configuration says of a model.", fixed=False)
UNKNOWN_KEYS = _counter("unknown_keys_total", ("stream", "partition"), "Keys of events that nothing asked for, left out.", fixed=False)
WINDOW_COVERAGE = _gauge(
    "window_coverage_ratio", _WINDOW, "Share of the window for which panes of the present layout can exist.", "ratio", fixed=False
)
ROC_AUC_ERROR = _gauge(
    "roc_auc_error_ratio", _WINDOW, "Bound on how far the AUROC from score cells is from that of the rows.", "ratio", fixed=False
)
AVERAGE_PRECISION_ERROR = _gauge(
    "average_precision_error_ratio",
    _WINDOW,
    "Bound on how far the average precision from score cells is from that of the rows.",
    "ratio",
    fixed=False,
)
DRIFT_ERROR = _gauge(
    "drift_error", (*_INPUT, "feature", "method"), "Bound on how far a drift score from bins is from that of the rows.", fixed=False
)
INPUT_VALUES = _gauge(
    "input_values",
    (*_INPUT, "feature", "kind"),
    "Values of the window that were missing, non_finite, mistyped, below or above the reference's range, out_of_range (a score), unseen in "
    "the reference, or other (seen there, but rare).",
    fixed=False,
)
PAIRS = _gauge(
    "label_pairs",
    ("model", "fate"),
    "Pairs of a prediction and a label by fate: joined, repeated, replaced, conflict, late; and labels without any prediction (orphaned), "
    "repeated predictions that differ (differing).",
    fixed=False,
)
DROPPED_SERIES = _gauge(
    "dropped_series",
    ("model", "reason"),
    "Series left out of the exposition: over the budget (extra, and then fixed ones), or a confusion matrix of too many classes.",
    fixed=False,
)
READY = _of_replica("ready", (), "1 once every assigned partition is worked on, 0 while one is being restored.")
ASSIGNED_PARTITIONS = _of_replica("assigned_partitions", (), "Partitions that this replica owns.")
LAST_COMMIT = _of_replica(
    "last_commit_timestamp_seconds", (), "When everything this replica had taken in was durable, by the wall clock.", "seconds"
)
COMMIT_DURATION = _of_replica("commit_duration_seconds", (), "Time the latest commit took.", "seconds")
LAST_SNAPSHOT = _of_replica(
    "last_snapshot_timestamp_seconds", (), "When this replica's snapshots held all that was committed, by the wall clock.", "seconds"
)
UNSAVED_PARTITIONS = _of_replica(
    "unsaved_partitions", (), "Partitions whose last snapshot could not be written (disk full, store away); it is tried again by itself."
)
TICK_DURATION = _of_replica("tick_duration_seconds", (), "Time the latest tick took.", "seconds")
BUILD_INFO = _of_replica("build_info", ("version",), "Always 1; the version of the daemon.")

METRICS: tuple[MetricDefinition, ...] = tuple(value for value in list(globals().values()) if isinstance(value, MetricDefinition))
"""All of them, in the order above."""


def as_markdown() -> str:
    """The catalogue as a table, for the documentation."""
    lines = ["| metric | type | labels | shown by | help |", "|---|---|---|---|---|"]
    for metric in METRICS:
        labels = ", ".join(f"`{label}`" for label in metric.labels) or "–"
        lines.append(f"| `{metric.name}` | {metric.kind} | {labels} | {metric.source} | {metric.help} |")
    return "\n".join(lines) + "\n"
