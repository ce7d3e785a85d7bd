"""A tick as the status page shows it: what stands in which cell. `status.html` beside it is how it looks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from jinja2 import Environment, PackageLoader, StrictUndefined

from monitor.clock import Milliseconds
from monitor.quality.drift import Method
from monitor.quality.performance import Average, ClassQuality
from monitor.quality.readings import ClockName, Freshness, ModelState, Reading, Tick

SPARK_WIDTH, SPARK_HEIGHT = 160, 28
DRIFTED_SHOWN = 8


@dataclass(frozen=True, slots=True)
class Row:
    """One reading as the table shows it, numbers formatted."""

    window: str
    clock: str
    predictions: str
    labels: str
    maturity: str
    precision: str
    recall: str
    f1: str
    roc_auc: str
    spark: str
    """SVG path data of recall over the window, "" where there are fewer than two points."""


@dataclass(frozen=True, slots=True)
class DriftedFeature:
    """A feature's PSI by window, and the share of the largest, for a bar."""

    feature: str
    psi: str
    share: float
    missing: str


@dataclass(frozen=True, slots=True)
class Panel:
    """One model on the page."""

    state: ModelState
    last_prediction: str
    last_label: str
    shown: str
    rows: Sequence[Row]
    segments: Mapping[str, Sequence[Row]]
    drift_window: str
    drifted: Sequence[DriftedFeature]


def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("monitor.export.page", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )


class StatusPage:
    """Renders ticks. `refresh_seconds` is how often a browser asks again."""

    def __init__(self, version: str, refresh_seconds: int) -> None:
        self._template = _environment().get_template("status.html")
        self._version = version
        self._refresh_seconds = refresh_seconds

    def render(self, tick: Tick, freshness: Freshness, *, ready: bool) -> str:
        return self._template.render(
            now=_moment(tick.now),
            ready=ready,
            stale=freshness.is_stale,
            stale_since=None if freshness.known_at is None else _moment(freshness.known_at),
            panels=[_panel(model, tick) for model in tick.models],
            partitions=tick.partitions,
            events=_events(tick),
            version=self._version,
            refresh_seconds=self._refresh_seconds,
            moment=_moment,
            spark_width=SPARK_WIDTH,
            spark_height=SPARK_HEIGHT,
        )


def _panel(model: ModelState, tick: Tick) -> Panel:
    by_segment: dict[str, list[Reading]] = {}
    for reading in tick.readings:
        if reading.model == model.model and reading.version == "":
            by_segment.setdefault(reading.segment, []).append(reading)
    whole = by_segment.pop("", [])
    widest = next((reading for reading in reversed(whole) if reading.clock is ClockName.COHORT and reading.drift), None)
    return Panel(
        model,
        _moment(max(model.last_predictions.values(), default=None)),
        _moment(model.last_label),
        model.shown_class or "macro average",
        [_row(reading, model, tick.history.get((model.model, reading.window), ())) for reading in whole],
        {
            segment: [_row(reading, model, ()) for reading in readings if reading.clock is ClockName.COHORT]
            for segment, readings in sorted(by_segment.items())
        },
        widest.window if widest else "",
        _drifted(widest) if widest else (),
    )


def _row(reading: Reading, model: ModelState, history: Sequence[Reading]) -> Row:
    quality = _shown_quality(reading, model.shown_class)
    performance = reading.performance
    precision, recall, f1 = (None, None, None) if quality is None else (quality.precision, quality.recall, quality.f1)
    return Row(
        reading.window,
        reading.clock,
        "" if reading.predictions is None else f"{reading.predictions:,}",
        f"{reading.labels:,}",
        _ratio(reading.maturity),
        _ratio(precision),
        _ratio(recall),
        _ratio(f1),
        _ratio(performance.roc_auc.value if performance and performance.roc_auc else None),
        _spark(history, model.shown_class) if reading.clock is ClockName.COHORT else "",
    )


def _shown_quality(reading: Reading, shown_class: str) -> ClassQuality | None:
    performance = reading.performance
    if performance is None:
        return None
    if shown_class in performance.classes:
        return performance.by_class[performance.classes.index(shown_class)]
    return performance.averages[Average.MACRO]


def _spark(history: Sequence[Reading], shown_class: str) -> str:
    """Recall from 0 to 1 over the window as an SVG path with a gap where it is undefined."""
    path, pen_down, points = [], False, 0
    for place, reading in enumerate(history):
        quality = _shown_quality(reading, shown_class)
        if quality is None or quality.recall is None:
            pen_down = False
            continue
        x = SPARK_WIDTH * place / max(1, len(history) - 1)
        y = 1 + (SPARK_HEIGHT - 2) * (1 - quality.recall)
        path.append(f"{'L' if pen_down else 'M'}{x:.1f} {y:.1f}")
        pen_down, points = True, points + 1
    return "".join(path) if points > 1 else ""


def _drifted(reading: Reading) -> list[DriftedFeature]:
    psi = {feature: drift.scores[Method.PSI].value for feature, drift in reading.drift.items() if Method.PSI in drift.scores}
    largest = max(psi.values(), default=0.0) or 1.0
    most = sorted(psi, key=lambda feature: -psi[feature])[:DRIFTED_SHOWN]
    shares = {feature: quality.missing / quality.rows for feature, quality in reading.inputs.items() if quality.rows}
    return [DriftedFeature(feature, f"{psi[feature]:.3f}", psi[feature] / largest, _ratio(shares.get(feature))) for feature in most]


def _events(tick: Tick) -> dict[str, dict[str, int]]:
    """Events by stream and outcome."""
    totals: dict[str, dict[str, int]] = {}
    for event in tick.events:
        by_outcome = totals.setdefault(event.stream, {})
        by_outcome[event.outcome] = by_outcome.get(event.outcome, 0) + event.count
    return totals


def _moment(time: Milliseconds | None) -> str:
    return "never" if time is None else datetime.fromtimestamp(time / 1_000, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _ratio(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
