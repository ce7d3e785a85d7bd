"""The three promises that a round is judged by: counts that are right, shown once, and never going backwards."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from tests.faults.campaign.oracle import DeadRow, SeriesKey
from tests.faults.campaign.scrapes import Scrape
from tests.faults.campaign.shown import COUNTED

MOST_TOLD = 12


def differences(expected: Mapping[SeriesKey, float], found: Mapping[SeriesKey, float]) -> list[str]:
    """Where what is shown is not what was sent; a series that nothing was counted for may be there as 0, or not at all."""
    told = []
    for key in sorted(expected.keys() | {key for key in found if key[0] in COUNTED}, key=_spelled):
        wanted, shown = expected.get(key, 0), found.get(key)
        if wanted != (shown or 0):
            told.append(f"{_spelled(key)}: shown {'nothing' if shown is None else _number(shown)}, expected {_number(wanted)}")
    return sorted(told, key=lambda line: "window=" in line)  # the counts that windows are made of come first


def letters_differ(expected: Counter[DeadRow], found: Counter[DeadRow]) -> list[str]:
    """Events that should be among the dead letters, each once, and others that are."""
    places = sorted(expected.keys() | found.keys())
    return [
        f"dead letter of {stream}-{partition}, offset {offset}, row {row}, {outcome}: found {found[place]}, expected {expected[place]}"
        for place in places
        if found[place] != expected[place]
        for stream, partition, offset, row, outcome in [place]
    ]


def doubled(rounds: Sequence[Sequence[Scrape]]) -> list[str]:
    """Series that two members showed at the same time: in answers of one round whose times overlap."""
    found = []
    for number, round_ in enumerate(rounds):
        holders: dict[str, Scrape] = {}
        for scrape in round_:
            for series, _ in scrape.samples():
                if not _is_of_the_fleet(series):
                    continue
                other = holders.setdefault(series, scrape)
                if other is not scrape and max(other.began, scrape.began) <= min(other.ended, scrape.ended):
                    found.append(f"scrape round {number}: {series} at {other.member} and at {scrape.member}")
    return found


def backwards(rounds: Sequence[Sequence[Scrape]]) -> list[str]:
    """Counters of the fleet that showed less than in an earlier round."""
    found = []
    highest: dict[str, tuple[float, int, str]] = {}
    for number, round_ in enumerate(rounds):
        for scrape in round_:
            for series, value in scrape.samples():
                if not series.partition("{")[0].endswith("_total") or not _is_of_the_fleet(series):
                    continue
                before = highest.get(series)
                if before is not None and before[1] < number and value < before[0]:
                    told = (
                        f"{_number(before[0])} at {before[2]} in round {before[1]}, {_number(value)} at {scrape.member} in round {number}"
                    )
                    found.append(f"{series}: {told}")
                if before is None or value > before[0]:
                    highest[series] = (value, number, scrape.member)
    return found


def cut(problems: Sequence[str]) -> Iterable[str]:
    """The first ones, and how many there are."""
    yield from problems[:MOST_TOLD]
    if len(problems) > MOST_TOLD:
        yield f"… and {len(problems) - MOST_TOLD} more"


def _is_of_the_fleet(series: str) -> bool:
    return series.partition("{")[0] in COUNTED or 'window="' in series


def _spelled(key: SeriesKey) -> str:
    name, labels = key
    return name + "{" + ", ".join(f"{label}={value}" for label, value in sorted(labels)) + "}"


def _number(value: float) -> str:
    return str(int(value)) if int(value) == value else str(value)
