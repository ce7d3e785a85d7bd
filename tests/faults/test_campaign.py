"""The fault campaign, as small as CI can bear (`python -m tests.faults` is the large one), and its checks, held against what they find."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.campaign.checks import backwards, differences, doubled
from tests.faults.campaign.murmur2 import partition_of
from tests.faults.campaign.rounds import BROKERS, Round, Size
from tests.faults.campaign.scrapes import Scrape, shown
from tests.faults.campaign.shown import key_of
from tests.kafka.brokers import Cluster

SMALL = Size(requests=500, feeding_seconds=4.0, faults=(2, 3))
SERIES = 'model_monitor_events_total{stream="labels",partition="0",model="",outcome="accepted"}'


@pytest.fixture(scope="module")
def cluster(own_cluster: type[Cluster]) -> Iterator[Cluster]:
    with own_cluster(properties=BROKERS) as running:
        yield running


@pytest.mark.e2e
@pytest.mark.parametrize("seed", [1, 2])
def test_a_daemon_in_trouble_counts_everything_once(seed: int, tmp_path: Path) -> None:
    report = Round(seed, tmp_path / "round", None, SMALL).play()
    assert not report.problems, "\n".join(report.lines())


@pytest.mark.e2e
@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_a_fleet_in_trouble_counts_everything_once(cluster: Cluster, seed: int, tmp_path: Path) -> None:
    report = Round(seed, tmp_path / "round", cluster, SMALL).play()
    assert not report.problems, "\n".join(report.lines())


def scraped(member: str, began: float, ended: float, value: int | None) -> Scrape:
    return Scrape(member, began, ended, None if value is None else f"# HELP x y\n{SERIES} {value}\n")


def test_what_is_shown_is_held_against_what_was_sent() -> None:
    key = key_of("events_total", stream="labels", partition=0, model="", outcome="accepted")
    found = shown([scraped("a", 0, 1, 3), scraped("b", 0, 1, None)])
    assert differences({key: 3}, found) == []
    spelled = "events_total{outcome=accepted, partition=0, stream=labels}"
    assert differences({key: 4}, found) == [f"{spelled}: shown 3, expected 4"]
    assert differences({}, found) == [f"{spelled}: shown 3, expected 0"]
    assert differences({key: 3}, {}) == [f"{spelled}: shown nothing, expected 3"]


def test_two_members_that_show_a_series_at_the_same_time_are_found() -> None:
    one_after_the_other = [[scraped("a", 0, 1, 3), scraped("b", 2, 3, 3)], [scraped("a", 5, 6, None), scraped("b", 5, 6, 3)]]
    assert doubled(one_after_the_other) == []
    assert len(doubled([*one_after_the_other, [scraped("a", 8, 9.5, 3), scraped("b", 9, 10, 3)]])) == 1


def test_a_counter_that_goes_backwards_is_found_whoever_shows_it() -> None:
    growing = [[scraped("a", 0, 1, 3)], [scraped("a", 2, 3, None)], [scraped("b", 4, 5, 4)]]
    assert backwards(growing) == []
    assert len(backwards([*growing, [scraped("a", 6, 7, 3)]])) == 1


@pytest.mark.parametrize(("identifier", "hashed"), [("21", -973932308), ("foobar", -790332482), ("a-little-bit-long-string", -985981536)])
def test_ids_go_where_kafka_puts_them(identifier: str, hashed: int) -> None:
    """Values from Kafka's own `UtilsTest.testMurmur2`."""
    assert partition_of(identifier, 1_000_003) == (hashed & 0x7FFFFFFF) % 1_000_003
