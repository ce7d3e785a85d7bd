"""What the demo takes from the daemon's answers."""

import json
from datetime import UTC, datetime

import pytest

from monitor.demo import asking
from monitor.demo.asking import Address, MonthReading, Position, Unanswered, milliseconds, month_reading, months_between, position_of
from tests.unit.demo_ports import free_port

METRICS = """\
# HELP model_monitor_lag_records Records that no commit accounts for yet.
# TYPE model_monitor_lag_records gauge
model_monitor_lag_records{stream="predictions",partition="0"} 3
model_monitor_lag_records{stream="labels",partition="0"} 4
model_monitor_events_total{stream="predictions",partition="0",model="flights",outcome="accepted"} 1.2e+03
model_monitor_events_total{stream="predictions",partition="0",model="flights",outcome="duplicate"} 5
model_monitor_events_total{stream="labels",partition="0",model="flights",outcome="accepted"} 1000
model_monitor_recall_ratio{model="flights",version="1",segment="",window="1d",clock="cohort",class="late"} 0.1
model_monitor_recall_ratio{model="flights",version="1",segment="",window="7d",clock="cohort",class="on_time"} 0.2
model_monitor_recall_ratio{model="flights",version="1",segment="origin=JFK",window="7d",clock="cohort",class="late"} 0.3
model_monitor_recall_ratio{model="flights",version="1",segment="",window="7d",clock="cohort",class="late"} 0.625
"""


def test_the_position_adds_partitions_and_streams_up() -> None:
    assert position_of(METRICS) == Position(lag=7, events=2_205, accepted_predictions=1_200, recall=0.625)


def test_a_daemon_without_labels_has_no_recall() -> None:
    assert position_of(METRICS.rpartition("model_monitor_recall_ratio")[0]).recall is None


def test_a_daemon_that_has_no_partition_yet_has_not_answered() -> None:
    with pytest.raises(Unanswered, match="no partition"):
        position_of("\n".join(line for line in METRICS.splitlines() if "lag_records" not in line))


MARCH, APRIL = datetime(2013, 3, 1, tzinfo=UTC), datetime(2013, 4, 1, tzinfo=UTC)
READING = {"model": "flights", "version": "1", "segment": "", "clock": "cohort", "labels": 90, "predictions": 100, "maturity": 0.9}
QUALITY = {
    "precision": {"late": 0.4},
    "recall": {"late": 0.6, "on_time": 0.7},
    "f1": {},
    "support": {"late": 30, "on_time": 60},
    "roc_auc": 0.7,
}
DRIFT = {"temp": {"rows": 100, "psi": 1.25, "errors": {}}, "dest": {"rows": 0}}


def answering(monkeypatch: pytest.MonkeyPatch, *readings: object) -> None:
    monkeypatch.setattr(Address, "get", lambda _self, _path: json.dumps({"readings": readings}).encode())


def test_a_month_is_the_whole_of_the_model_on_the_cohort_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    others = [READING | {"clock": "feedback"}, READING | {"segment": "origin=JFK"}, READING | {"version": ""}]
    answering(monkeypatch, *others, READING | QUALITY | {"drift": DRIFT})
    assert month_reading(Address("127.0.0.1", 1), MARCH, APRIL) == MonthReading(
        "2013-03", 100, 90, 0.9, precision=0.4, recall=0.6, f1=None, roc_auc=0.7, late=30, drift={"temp": 1.25}
    )


def test_a_month_without_labels_has_no_ratios(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, READING | {"labels": 0})
    reading = month_reading(Address("127.0.0.1", 1), MARCH, APRIL)
    assert reading is not None
    assert (reading.recall, reading.roc_auc, reading.drift) == (None, None, {})


def test_a_month_without_predictions_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, {**READING, "predictions": 0})
    assert month_reading(Address("127.0.0.1", 1), MARCH, APRIL) is None


def test_months_are_those_that_hold_the_span() -> None:
    span = milliseconds(datetime(2013, 11, 30, 23, tzinfo=UTC)), milliseconds(datetime(2014, 1, 1, tzinfo=UTC))
    assert [f"{start:%Y-%m} {end:%Y-%m}" for start, end in months_between(*span)] == [
        "2013-11 2013-12",
        "2013-12 2014-01",
        "2014-01 2014-02",
    ]


def test_nobody_there_is_unanswered() -> None:
    address = Address("127.0.0.1", free_port())
    assert not address.answers("/readyz")
    with pytest.raises(Unanswered, match="/metrics"):
        asking.position(address)


@pytest.mark.parametrize(("bound", "reached"), [("0.0.0.0", "127.0.0.1"), ("::", "::1"), ("10.0.0.7", "10.0.0.7")])
def test_what_is_bound_to_every_interface_is_reached_on_loopback(bound: str, reached: str) -> None:
    assert Address.of(bound, 1).host == reached
