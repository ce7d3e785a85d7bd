"""What every reading of the demo has to be: windows cut from the joined rows as the design says, and what the oracles say of each.

Also how what is shown is held against it: both ways, so that a number too many is found like one too few.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import pandas as pd

from tests.e2e.drift_oracle import Profile, drift_of_cells, input_values
from tests.e2e.exposed import Place, Shown
from tests.e2e.quality_oracle import Facts, decisions, losses, ranking_of_cells

HOUR = 3_600_000
DAY = 24 * HOUR
STEPS = {"1d": HOUR, "7d": 6 * HOUR, "28d": DAY, "365d": DAY}
"""The demo's windows, and the largest step of the design's list that divides each and is at most a 24th of it."""
LENGTHS = {"1d": DAY, "7d": 7 * DAY, "28d": 28 * DAY, "365d": 365 * DAY}
ORIGINS = ("EWR", "JFK", "LGA")
VERSIONS = ("1", "")
TOLERANCE = 1e-9


@dataclass(frozen=True)
class Span:
    """Whole panes: [since, until) in milliseconds, multiples of the step."""

    since: int
    until: int
    step: int

    @classmethod
    def ending(cls, window: str, now: int) -> "Span":
        """Up to the end of the step that holds `now`."""
        step = STEPS[window]
        until = now // step * step + step
        return cls(until - LENGTHS[window], until, step)

    def of(self, times: pd.Series) -> pd.Series:
        return (times >= self.since) & (times < self.until)

    def coverage(self, times: pd.Series) -> float:
        """The share of it from the first pane of all on."""
        first = times.min() // self.step * self.step
        return float(max(0, self.until - max(self.since, first)) / (self.until - self.since))


def windows(now: int) -> dict[str, Span]:
    return {window: Span.ending(window, now) for window in STEPS}


def expected(rows: pd.DataFrame, profile: Profile, spans: Mapping[str, Span]) -> Shown:
    """Of joined rows (`flights_truth.joined`), by window. A segment without events in a window has no reading there."""
    shown: Shown = {}
    for window, span in spans.items():
        for segment in ("", *(f"origin={origin}" for origin in ORIGINS)):
            own = rows if not segment else rows[rows["origin"] == segment.removeprefix("origin=")]
            for clock, facts in (("cohort", _cohort(own, profile, segment, span)), ("feedback", _feedback(own, span))):
                if not segment or facts.get("predictions") or facts["labels"]:
                    shown |= {Place(version, segment, window, clock): facts for version in VERSIONS}
    return shown


def cohort_rows(rows: pd.DataFrame, span: Span) -> pd.DataFrame:
    return rows[span.of(rows["time"])]


def labelled(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows["label"].notna()]


def _cohort(rows: pd.DataFrame, profile: Profile, segment: str, span: Span) -> Facts:
    inside = cohort_rows(rows, span)
    known = labelled(inside)
    facts: Facts = {"predictions": len(inside), "labels": len(known), "coverage": span.coverage(rows["time"])}
    if len(inside):
        facts["maturity"] = len(known) / len(inside)
    if len(known):
        facts["scored"] = len(known)
    facts |= decisions(known) | losses(known) | ranking_of_cells(known, profile.score_edges)
    return facts | drift_of_cells(inside, known, profile, segment) | input_values(inside, profile)


def _feedback(rows: pd.DataFrame, span: Span) -> Facts:
    answered = rows[rows["answered"] >= 0]
    inside = answered[span.of(answered["answered"])]
    facts: Facts = {"labels": len(inside), "coverage": span.coverage(answered["answered"])}
    if len(inside):
        facts["scored"] = 0
    return facts | decisions(inside)


Chosen = Callable[[Place, str, float], bool]


def stands_on_metrics(place: Place, fact: str, value: float) -> bool:
    """By segment no drift and no inputs; PSI alone; nothing that only explains another number."""
    del value
    kind, _, rest = fact.partition("/")
    if kind in ("scored", "drift_rows", "drift_reference_rows", "drift_error"):
        return False
    if kind == "drift":
        return not place.segment and rest.endswith("/psi")
    if kind == "inputs":
        return not place.segment and not rest.endswith("/rows") and (not rest.endswith("/out_of_range") or rest.startswith("@score"))
    return True


def stands_in_json(place: Place, fact: str, value: float) -> bool:
    """All but what the other numbers give: the support of an average is that of all classes, an error of 0 says nothing."""
    del place
    return not fact.startswith("support@") and (value != 0 or not fact.startswith("drift_error/"))


def differences(shown: Shown, wanted: Shown, stands: Chosen) -> list[str]:
    """Every number that is shown and should not be, is not shown and should be, or is another.

    Wasserstein distances are left out: from cells they have no exact oracle, and `drift_oracle.drift_of_rows` judges them by their bound.
    """
    found = [f"{place} is shown" for place in shown.keys() - wanted.keys()]
    found += [f"{place} is not shown" for place in wanted.keys() - shown.keys()]
    for place in shown.keys() & wanted.keys():
        seen = {fact: value for fact, value in shown[place].items() if not fact.endswith("/wasserstein")}
        due = {fact: value for fact, value in wanted[place].items() if stands(place, fact, value)}
        found += (f"{place} {problem}" for problem in _differences(seen, due))
    return sorted(found)


def _differences(seen: Facts, due: Facts) -> Iterator[str]:
    for fact in sorted(seen.keys() | due.keys()):
        if fact not in due:
            yield f"{fact} = {seen[fact]} should not be there"
        elif fact not in seen:
            yield f"{fact} is missing, expected {due[fact]}"
        elif not math.isclose(seen[fact], due[fact], rel_tol=TOLERANCE, abs_tol=TOLERANCE):
            yield f"{fact} = {seen[fact]}, expected {due[fact]}"
