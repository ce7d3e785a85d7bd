"""What the demo prints at its end: a line a month, and in a few sentences what changed and why.

Every figure comes from the readings or from what the training wrote down about the model; nothing here knows how the year went.
"""

from collections.abc import Iterator, Sequence
from datetime import date
from typing import Final

from monitor.demo.asking import MonthReading
from monitor.demo.facts import Facts

COLUMNS: Final = ("month", "predictions", "labels", "maturity", "precision", "recall", "f1", "roc_auc", "drifted")
DRIFTED_SHOWN: Final = 3
NOTABLE_PSI: Final = 0.25
"""The customary line between some shift and a large one."""
NOTABLE_RECALL: Final = 0.1
"""A change of recall that is worth a sentence: monthly figures of an unchanged model differ by a few hundredths."""
_WHO_FLIES_WHERE: Final = ("carrier", "origin", "dest")


def table(months: Sequence[MonthReading]) -> str:
    """The header and a line a month, in columns parted by white space; `-` is undefined, or that nothing drifted."""
    rows = [COLUMNS, *(_cells(month) for month in months)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    numbers = range(1, len(COLUMNS) - 1)
    return "\n".join(
        "  ".join(
            cell.rjust(widths[column]) if column in numbers else cell.ljust(widths[column]) for column, cell in enumerate(row)
        ).rstrip()
        for row in rows
    )


def explanation(months: Sequence[MonthReading], facts: Facts) -> str:
    """What changed and why, from the first month to the worst and the last."""
    judged = [month for month in months if month.recall is not None]
    if not judged:
        return "No label has come yet, so there is nothing to say about quality."
    first, last = judged[0], judged[-1]
    worst = min(judged, key=lambda month: _known(month.recall))
    lost = _known(first.recall) - _known(worst.recall)
    if lost < NOTABLE_RECALL:
        return (
            f"Quality did not change enough to speak of: recall of late flights was {_ratio(first.recall)} in {_name(first)} "
            f"and did not fall by more than {NOTABLE_RECALL}."
        )
    return " ".join(
        (_what_changed(first, worst, last), *_what_held(judged), *_what_drifted(worst), *_what_did_not(judged), *_why(worst, facts))
    )


def _what_changed(first: MonthReading, worst: MonthReading, last: MonthReading) -> str:
    text = f"Recall of late flights fell from {_ratio(first.recall)} in {_name(first)} to {_ratio(worst.recall)} in {_name(worst)}"
    if _known(last.recall) - _known(worst.recall) > NOTABLE_RECALL:
        text += f" (back at {_ratio(last.recall)} in {_name(last)})"
    return f"{text}, while the share of flights that came late went from {_ratio(_late_rate(first))} to {_ratio(_late_rate(worst))}."


def _what_held(judged: Sequence[MonthReading]) -> Iterator[str]:
    ranking = [month.roc_auc for month in judged if month.roc_auc is not None]
    if ranking:
        yield f"The ranking of flights held (AUROC {min(ranking):.2f} to {max(ranking):.2f}); the level of the scores did not."


def _what_drifted(worst: MonthReading) -> Iterator[str]:
    for feature, psi in _most_drifted(worst)[:1]:
        yield f"Of its inputs, {feature} had drifted most: PSI {psi:.1f} in {_name(worst)}, against January and February."


def _what_did_not(judged: Sequence[MonthReading]) -> Iterator[str]:
    """Who flies from where to where is the first suspicion, so say it where it is unfounded."""
    found = [month.drift[feature] for month in judged for feature in _WHO_FLIES_WHERE if feature in month.drift]
    if found and max(found) < NOTABLE_PSI:
        yield f"Carriers, origins and destinations hardly moved (PSI {max(found):.2f} at most)."


def _why(worst: MonthReading, facts: Facts) -> Iterator[str]:
    held = facts.recall_with_temp_held.get(worst.month)
    if held is None or facts.temp_coefficient >= 0 or not any(feature == "temp" for feature, _ in _most_drifted(worst)):
        return
    yield (
        f"The cause: in six weeks of winter it learned that warmer days are on time ({facts.temp_coefficient:+.3f} to the log-odds per °F, "
        f"a coincidence: February alone gives {facts.temp_coefficient_february:+.3f}) and carried that into warmth it had never seen. "
        f"Told {facts.temp_median:.0f} °F, the winter's median, on every day, the same model would have found {_ratio(held)} of "
        f"{_name(worst)}'s late flights. It was a modest model from the start (AUROC {facts.validation_roc_auc:.3f} on validation), "
        "picked among several that were compared because it shows this so plainly."
    )


def _cells(month: MonthReading) -> tuple[str, ...]:
    drifted = ",".join(f"{name}={psi:.2f}" for name, psi in _most_drifted(month)[:DRIFTED_SHOWN])
    ratios = map(_ratio, (month.maturity, month.precision, month.recall, month.f1, month.roc_auc))
    return (month.month, str(month.predictions), str(month.labels), *ratios, drifted or "-")


def _most_drifted(month: MonthReading) -> list[tuple[str, float]]:
    """Features with a large shift, the largest first. What comes out of the model (`@score`, …) is a consequence and left out."""
    notable = [(name, psi) for name, psi in month.drift.items() if psi >= NOTABLE_PSI and not name.startswith("@")]
    return sorted(notable, key=lambda item: -item[1])


def _late_rate(month: MonthReading) -> float | None:
    return month.late / month.labels if month.labels else None


def _name(month: MonthReading) -> str:
    return date.fromisoformat(f"{month.month}-01").strftime("%B")


def _known(ratio: float | None) -> float:
    return 0.0 if ratio is None else ratio


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
