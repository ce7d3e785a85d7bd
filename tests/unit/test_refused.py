"""What the daemon's log says of refused events, and how often."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import structlog
from structlog.testing import capture_logs

from monitor.clock import ManualClock
from monitor.codec.arrow import encode_predictions
from monitor.events import Stream
from monitor.log import ARROW, Commit, DeadLetter, Record
from monitor.refused import BETWEEN_LINES_MS, RefusedEvents
from tests.worlds import DAY, START, label, pipeline, prediction, record

Line = Mapping[str, Any]


@pytest.fixture(autouse=True)
def a_logger_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was used before keeps the way out of that time."""
    monkeypatch.setattr("monitor.refused._logger", structlog.get_logger())


def letter(outcome: str = "invalid", *, offset: int = 0, rows: Sequence[int] = (0,), reason: str = "id is nothing") -> DeadLetter:
    return DeadLetter(Stream.LABELS, offset, START, "application/json", outcome, reason, tuple(rows), b"{}")


def commit(*letters: DeadLetter, partition: int = 0) -> Commit:
    return Commit(partition, {}, {}, b"", letters)


class Told:
    """What is told, commit by commit, while a clock stands still between them."""

    def __init__(self) -> None:
        self.clock = ManualClock(START)
        self._refused = RefusedEvents(self.clock)

    def __call__(self, *commits: Commit, after: int = 0) -> list[Line]:
        self.clock.advance(after)
        with capture_logs() as logs:
            self._refused.committed(commits)
        return list(logs)


def counts(lines: Sequence[Line]) -> dict[str, int]:
    return {line["outcome"]: line["events"] for line in lines}


def test_a_refused_event_is_told_with_its_place_and_reason() -> None:
    [line] = Told()(commit(letter(offset=17, rows=(3,)), partition=5))
    assert line == {
        "event": "events refused",
        "log_level": "warning",
        "outcome": "invalid",
        "events": 1,
        "reason": "id is nothing",
        "stream": "labels",
        "partition": 5,
        "offset": 17,
        "row": 3,
        "see": "model-monitor log tail dead-letters",
    }


def test_where_nothing_is_refused_nothing_is_said() -> None:
    told = Told()
    assert told(commit()) == told() == []


def test_one_line_tells_of_all_the_events_of_an_outcome() -> None:
    lines = Told()(commit(letter(rows=(0, 4, 9)), letter("misrouted", offset=1)), commit(letter(offset=8), partition=1))
    assert counts(lines) == {"invalid": 4, "misrouted": 1}
    assert [(line["partition"], line["offset"]) for line in lines if line["outcome"] == "invalid"] == [(1, 8)]


def test_the_next_line_waits_and_counts_what_came_meanwhile() -> None:
    told = Told()
    told(commit(letter()))
    assert told(commit(letter(), letter()), after=1) == []
    assert told(commit(letter()), after=BETWEEN_LINES_MS - 2) == []
    assert counts(told(commit(letter()), after=1)) == {"invalid": 4}


def test_what_is_untold_is_told_when_its_time_comes_though_nothing_more_is_refused() -> None:
    told = Told()
    told(commit(letter()))
    told(commit(letter(offset=2)))
    [line] = told(after=BETWEEN_LINES_MS)
    assert (line["events"], line["offset"]) == (1, 2)
    assert told(after=BETWEEN_LINES_MS) == []


def test_outcomes_wait_for_themselves_alone() -> None:
    told = Told()
    told(commit(letter()))
    assert counts(told(commit(letter(), letter("misrouted")), after=1)) == {"misrouted": 1}


def test_a_clock_that_is_set_back_silences_nothing() -> None:
    told = Told()
    told(commit(letter()))
    assert counts(told(commit(letter()), after=-DAY)) == {"invalid": 1}


SECRET = "sentinel-7f3a"


def refused_in_every_way() -> Iterator[DeadLetter]:
    """What two partitions make of the same events, each with features that nobody should read in a log."""
    event = prediction(1, START, features={"temp": SECRET, "carrier": SECRET, SECRET: SECRET})
    keys: list[dict[str, object]] = [
        {"features": SECRET},
        {"segments": [SECRET]},
        {"model": "nobody"},
        {"id": None},
        {"prediction": 7.5},
        {"score": None},
        {"time": START + DAY},
        {"time": "today"},
        {"arrival": START + 2 * DAY, "time": START + 2 * DAY},
        {},
    ]
    bodies: list[object] = [*(event | changed for changed in keys), [event, SECRET], repr(event).encode()]
    events = [record(offset, body) for offset, body in enumerate(bodies)]
    columns = {"temp": np.array([SECRET]), SECRET: np.array([SECRET])}
    arrow = encode_predictions(model="late", version="1", ids=["x"], time=np.array([START]), features=columns)
    damaged = [arrow[:-9], arrow[:200] + b"\xff\xfe" + arrow[202:], arrow.replace(SECRET.encode(), b"\xff" * len(SECRET))]
    events += [Record(100 + place, START + 2 * DAY, value, ARROW) for place, value in enumerate(damaged)]
    for partition in range(2):
        worker = pipeline(partition=partition, partitions=2)
        worker.take(Stream.PREDICTIONS, events)
        worker.take(Stream.LABELS, [record(0, label(1, START, "nonsense", note=SECRET))])
        yield from worker.commit({Stream.PREDICTIONS: 103, Stream.LABELS: 1}).dead_letters


def test_no_line_tells_what_a_feature_held() -> None:
    told, letters = Told(), list(refused_in_every_way())
    assert {one.outcome for one in letters} == {"undecodable", "unknown_model", "invalid", "bad_time", "out_of_order", "misrouted"}
    for one in letters:
        [line] = told(commit(one), after=BETWEEN_LINES_MS)
        assert SECRET not in repr(line)
