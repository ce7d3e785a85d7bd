"""Readings as plain lines for a terminal or a pipe: a header, then one line each, separated by white space.

What clients named (versions, segments) may hold anything; here a space or what no terminal should be sent is `_`.
"""

from collections.abc import Iterable, Iterator

from monitor.export.api import timestamp
from monitor.quality.drift import Method
from monitor.quality.performance import Average, ClassQuality
from monitor.quality.readings import Reading

COLUMNS = (
    *("model", "version", "segment", "window", "clock", "until", "class"),
    *("predictions", "labels", "maturity", "precision", "recall", "f1", "roc_auc", "drifted"),
)
_NOTHING = "-"
_DRIFTED_SHOWN = 3
_CLASSES_SHOWN = 2


def table(readings: Iterable[Reading]) -> Iterator[str]:
    """One line a reading and class (or the macro average of more than two classes); what is undefined or pooled is `-`."""
    rows = [COLUMNS, *(tuple(map(_printable, row)) for reading in readings for row in _rows(reading))]
    widths = [max(len(row[place]) for row in rows) for place in range(len(COLUMNS))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _rows(reading: Reading) -> Iterator[tuple[str, ...]]:
    performance = reading.performance
    place = (reading.model, *(text or _NOTHING for text in (reading.version, reading.segment, reading.window)), reading.clock)
    counts = (_NOTHING if reading.predictions is None else str(reading.predictions), str(reading.labels), _ratio(reading.maturity))
    qualities: dict[str, ClassQuality | None] = {_NOTHING: None}
    if performance is not None:
        qualities = dict(zip(performance.classes, performance.by_class, strict=True))
        if len(qualities) > _CLASSES_SHOWN:
            qualities = {Average.MACRO: performance.averages[Average.MACRO]}
    roc_auc = _ratio(performance.roc_auc.value if performance and performance.roc_auc else None)
    for name, quality in qualities.items():
        ratios = (None, None, None) if quality is None else (quality.precision, quality.recall, quality.f1)
        yield (*place, timestamp(reading.until), name, *counts, *map(_ratio, ratios), roc_auc, drifted(reading, _DRIFTED_SHOWN))


def drifted(reading: Reading, shown: int) -> str:
    """The most drifted features with their PSI: `temp=8.12,humid=0.45`."""
    psi = {feature: drift.scores[Method.PSI].value for feature, drift in reading.drift.items() if Method.PSI in drift.scores}
    most = sorted(psi, key=lambda feature: -psi[feature])[:shown]
    return ",".join(f"{feature}={psi[feature]:.3f}" for feature in most) or _NOTHING


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() and character != " " else "_" for character in text)


def _ratio(value: float | None) -> str:
    return _NOTHING if value is None else f"{value:.3f}"
