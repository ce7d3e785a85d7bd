"""What each of several replicas shows: every series once for the fleet, and only by who is its owner at the very scrape."""

from collections import Counter
from dataclasses import dataclass, field
from functools import partial

import pytest
from prometheus_client.parser import text_string_to_metric_families

from monitor.aggregate import Aggregate
from monitor.commands.board import Board
from monitor.export import catalogue
from monitor.export.catalogue import METRICS, Source
from monitor.export.exposition import Exposition
from monitor.export.families import Sample, Shown
from monitor.export.page import StatusPage
from monitor.pipeline import Pipeline
from monitor.quality.drift import Method
from monitor.worker import Worker
from tests.committed import watched
from tests.fleet import Member
from tests.unit.worker_worlds import LABELS, PREDICTIONS, World
from tests.worlds import BINARY, HOUR, MULTICLASS, START, label, model_of, pipeline, prediction

Series = tuple[str, tuple[tuple[str, str], ...]]

MODELS = {"late": model_of(BINARY), "kind": model_of(MULTICLASS)}
HOMES = {"late": 3, "kind": 2}
"""Of four partitions: the murmur2 of the names."""
PARTITIONS = 4
OF_EACH = {metric.name for metric in METRICS if metric.source is Source.REPLICA}


@dataclass
class Daemon:
    """A replica with all that it shows."""

    world: World
    worker: Worker
    member: Member
    board: Board = field(init=False)

    def __post_init__(self) -> None:
        models = [watched(model) for model in MODELS.values()]
        aggregate = Aggregate(models, dict.fromkeys((PREDICTIONS, LABELS), self.world.partitions))
        self.board = Board(aggregate, Exposition(), StatusPage("1", 5), Shown((Method.PSI,), 0.05), self.world.clock)

    def take_in(self) -> None:
        """Takes on the present assignment and commits all there is."""
        self.worker.take_on()
        while self.worker.poll():
            pass
        self.worker.commit()

    def show(self) -> None:
        """A tick."""
        self.board.follow(self.member.changes())
        self.board.update(self.worker, self.member, START + HOUR - 1)

    def scrape(self) -> dict[Series, float]:
        text = self.board.exposition.render("text/plain")[0].decode()
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name.startswith(catalogue.PREFIX)
        }

    def owned(self) -> dict[Series, float]:
        """What it scrapes but for what every replica shows."""
        return {series: value for series, value in self.scrape().items() if series[0] not in OF_EACH}


class FleetWorld(World):
    """A world of both models."""

    def pipeline(self, partition: int) -> Pipeline:
        return pipeline(*MODELS.values(), partition=partition, partitions=self.partitions)


def a_world() -> World:
    """Predictions of both models in every partition, most of them misrouted there, and labels for them."""
    world = FleetWorld(partitions=PARTITIONS)
    grow(world, 0)
    return world


@pytest.fixture
def world() -> World:
    return a_world()


def grow(world: World, first: int) -> None:
    for partition in range(PARTITIONS):
        numbers = range(first, first + 20)
        world.append(PREDICTIONS, *(prediction(number, START + number * 60_000) for number in numbers), partition=partition)
        kinds = (prediction(number, START, model="kind", score=None, prediction="a", features={}) for number in numbers)
        world.append(PREDICTIONS, *kinds, partition=partition)
        world.append(LABELS, *(label(number, START + HOUR) for number in numbers), partition=partition)
        world.append(LABELS, *({"id": f"id-{number}", "label": "a", "arrival": START} for number in numbers), partition=partition)


def daemons(world: World, *assigned: tuple[int, ...]) -> list[Daemon]:
    """Replicas that have taken in what is theirs and shown it."""
    made = [Daemon(world, *world.member()) for _ in assigned]
    world.fleet.assign(*assigned)
    for daemon in made:
        daemon.take_in()
    for daemon in made:
        daemon.show()
    return made


def names(found: dict[Series, float], label_name: str) -> set[str]:
    return {dict(labels)[label_name] for _, labels in found if label_name in dict(labels)}


@pytest.mark.parametrize("assigned", [((0, 1), (2, 3)), ((0, 1, 2, 3), ()), ((3,), (0, 2), (1,)), ((0,), (1,), (2,), (3,))])
def test_every_series_is_shown_by_one_replica_and_together_they_show_what_one_alone_would(
    world: World, assigned: tuple[tuple[int, ...], ...]
) -> None:
    fleet = daemons(world, *assigned)
    shown = [daemon.owned() for daemon in fleet]
    assert {series for series, count in Counter(series for found in shown for series in found).items() if count > 1} == set()
    [alone] = daemons(a_world(), (0, 1, 2, 3))
    assert {series: value for found in shown for series, value in found.items()} == alone.owned()


def test_a_model_is_shown_by_the_owner_of_its_home_and_a_partition_by_its_own(world: World) -> None:
    first, second, third = daemons(world, (0, 1), (2,), (3,))
    assert names(first.owned(), "partition") == {"0", "1"}
    assert names(second.owned(), "partition") == {"2"}
    assert (catalogue.PENDING.name, (("model", "late"),)) in third.owned()
    assert (catalogue.PENDING.name, (("model", "kind"),)) in second.owned()
    of_models = {metric.name for metric in METRICS if "model" in metric.labels} - {catalogue.EVENTS.name}
    assert {series[0] for series in first.owned()} & of_models == {catalogue.PAIRS.name}


def test_pairs_go_with_their_model_and_those_that_name_none_with_the_first_partition(world: World) -> None:
    shown = [
        {dict(labels)["model"] for name, labels in daemon.owned() if name == catalogue.PAIRS.name}
        for daemon in daemons(world, (0, 1), (2,), (3,))
    ]
    assert shown == [{""}, {"kind"}, {"late"}]


def test_a_replica_says_of_itself_what_every_one_does(world: World) -> None:
    shown = [daemon.scrape() for daemon in daemons(world, (0, 1, 2, 3), ())]
    of_itself = [{series for series in found if series[0] in OF_EACH} for found in shown]
    assert of_itself[0] - of_itself[1] == {(catalogue.COMMIT_DURATION.name, ())}  # the other had nothing to commit
    assert [found[catalogue.ASSIGNED_PARTITIONS.name, ()] for found in shown] == [4, 0]
    assert [found[catalogue.READY.name, ()] for found in shown] == [1, 1]
    assert all((catalogue.MODEL_INFO.name, (("model", model),)) in found for found in shown for model in MODELS)


def test_without_a_heartbeat_the_series_leave_at_once_and_come_back_by_themselves(world: World) -> None:
    [daemon, _] = daemons(world, (0, 1), (2, 3))
    before = daemon.scrape()
    daemon.member.has_heartbeat = False
    assert daemon.owned() == {}
    assert daemon.scrape().items() == {series: value for series, value in before.items() if series[0] in OF_EACH}.items()
    daemon.member.has_heartbeat = True
    assert daemon.scrape() == before


def test_a_series_that_moves_is_never_shown_by_both(world: World) -> None:
    first, second = daemons(world, (0, 1, 2, 3), ())
    world.fleet.assign((0, 1), (2, 3))
    assert (first.owned(), second.owned()) == ({}, {})  # the rebalance is under way
    second.worker.take_on()
    assert second.owned() == {}  # what was computed under the former assignment is not shown under the next
    second.show()
    assert names(second.owned(), "partition") == {"2", "3"}
    assert first.owned() == {}
    first.worker.take_on()
    first.show()
    assert names(first.owned(), "partition") == {"0", "1"}
    assert first.owned().keys() & second.owned().keys() == set()


def test_an_assignment_that_comes_back_unchanged_is_shown_from_the_next_tick_on(world: World) -> None:
    [daemon] = daemons(world, (0, 1, 2, 3))
    before = daemon.owned()
    world.fleet.assign((0, 1, 2, 3))
    daemon.worker.take_on()
    assert daemon.owned() == {}
    daemon.show()
    assert daemon.owned() == before


def test_while_a_partition_is_restored_its_owner_shows_what_is_committed(world: World) -> None:
    first, second = daemons(world, (0, 1, 2, 3), ())
    before = first.owned()
    world.fleet.assign((), (0, 1, 2, 3))
    shown: list[dict[Series, float]] = []

    def on_turn() -> None:
        second.show()
        assert not second.worker.is_restored
        assert not second.board.is_ready
        shown.append(second.owned())

    second.worker.take_on(on_turn)
    lags = catalogue.LAG.name  # known once the partition is looked at
    assert shown[0] == {series: value for series, value in before.items() if series[0] != lags}
    assert all(found.items() <= before.items() for found in shown)
    second.show()
    assert second.board.is_ready
    assert second.owned() == before


def test_no_count_goes_backwards_however_partitions_move(world: World) -> None:
    fleet = daemons(world, (0, 1), (2, 3))
    highest: dict[Series, float] = {}
    for turn, assigned in enumerate([((0, 1, 2, 3), ()), ((0,), (1, 2, 3)), ((2, 3), (0, 1)), ((), (0, 1, 2, 3))]):
        grow(world, 20 * turn + 20)
        for daemon in fleet:
            while daemon.worker.poll():
                pass
        if turn % 2:
            fleet[turn % 2].worker.commit()
        world.fleet.assign(*assigned)
        for daemon in fleet:
            daemon.worker.take_on()
            daemon.show()
            for series, value in daemon.owned().items():
                if series[0] == catalogue.EVENTS.name:
                    assert value >= highest.get(series, 0)
                    highest[series] = value
    fleet[1].take_in()
    fleet[1].show()
    received = sum(value for series, value in fleet[1].owned().items() if series[0] == catalogue.EVENTS.name)
    assert received == PARTITIONS * 80 * 5


def test_nothing_that_is_not_committed_is_shown(world: World) -> None:
    [daemon] = daemons(world, (0, 1, 2, 3))
    before = daemon.owned()
    grow(world, 20)
    while daemon.worker.poll():
        pass
    daemon.member.refusals = 1
    with pytest.raises(Exception, match="the broker is away"):
        daemon.worker.commit()
    daemon.show()
    changed = {series[0] for series, value in daemon.owned().items() if before.get(series) != value}
    assert changed == {catalogue.LAG.name}


def test_giving_the_partitions_up_takes_the_series_away_first(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    [daemon] = daemons(world, (0, 1, 2, 3))
    shown: list[dict[Series, float]] = []
    monkeypatch.setattr(daemon.worker._follower, "close", lambda: shown.append(daemon.owned()))  # what comes after the owner's end
    daemon.worker.close()
    assert shown == [{}]


def test_every_replica_reads_every_model_and_says_when_it_may_be_behind(world: World) -> None:
    first, second = daemons(world, (0, 1, 2, 3), ())
    read = partial(first.board.readings, {})
    assert read() == second.board.readings({})
    assert (read()["stale"], read()["coverage"]) == (False, {"late": 1.0, "kind": 1.0})
    assert "stale" not in first.board.render_page()
    known = world.clock.now()
    first.member.has_heartbeat = False
    world.clock.advance(HOUR)
    first.show()
    stale = read()
    assert (stale.pop("stale"), stale.pop("stale_since")) == (True, "2023-11-15T00:00:00Z")
    assert known == START + 24 * HOUR
    assert stale.items() <= second.board.readings({}).items()
    assert "stale since 2023-11-15 00:00 UTC" in first.board.render_page()
    first.member.has_heartbeat = True
    assert read()["stale"] is False


def test_coverage_is_of_the_partitions_that_somebody_works_on(world: World) -> None:
    first, second = daemons(world, (0, 1), (2, 3))
    first.member.close()
    second.show()
    assert second.board.readings({"model": "late"})["coverage"] == {"late": 0.5}


def test_a_family_is_whole_in_either_part() -> None:
    """So that a scrape without the owned part is still a valid exposition, and each metric has one heading."""
    exposition = Exposition()
    found = [Sample(metric, tuple("x" for _ in metric.labels), 1.0) for metric in METRICS]
    for is_owner in (True, False):
        exposition.publish(found, lambda shown=is_owner: shown)  # type: ignore[misc]  # a default is no parameter to be told
        text = exposition.render("text/plain")[0].decode()
        headings = [line for line in text.splitlines() if line.startswith(f"# TYPE {catalogue.PREFIX}")]
        expected = [metric for metric in METRICS if is_owner or metric.source is Source.REPLICA]
        assert len(set(headings)) == len(headings) == len(expected)
        assert exposition.render("application/openmetrics-text")[0].endswith(b"# EOF\n")
