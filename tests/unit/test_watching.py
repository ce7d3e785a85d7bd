"""The board between the worker and the door, and the daemon's own commands on a folder."""

import json
import socket
import threading
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
import structlog
from click.testing import CliRunner
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from structlog.testing import capture_logs

from monitor.app import cli
from monitor.clock import ManualClock, WallClock
from monitor.commands.board import Board
from monitor.commands.models import KnownModel
from monitor.commands.watching import HEALTHY_FOR_MS, Member, Turns, Watchdog, board_of, pace_of, take_part
from monitor.config import Settings, load
from monitor.errors import OwnedElsewhere
from monitor.events import Stream
from monitor.export.exposition import Exposition
from monitor.export.families import Shown
from monitor.export.http import BadQuery, UnknownModel
from monitor.export.page import StatusPage
from monitor.log import Message
from monitor.log.embedded import EmbeddedLog
from monitor.quality.drift import Method
from monitor.quality.readings import Tick
from monitor.worker import Worker
from tests.committed import PREDICTIONS, aggregate, commit
from tests.fleet import Member as FleetMember
from tests.unit.worker_worlds import World
from tests.worlds import DAY, HOUR, START, label, prediction, record

EVENTS = [prediction(number, START + number * 60_000) for number in range(30)]
CONFIG = """
log: {kind: embedded, path: data/log.db}
exporter: {port: %d}
models:
  - {name: late, task: binary, classes: [on_time, late], positive_class: late, windows: [1h, 1d], features: {temp: numeric}}
"""


@pytest.fixture
def board() -> Board:
    return Board(aggregate(), Exposition(), StatusPage("1", 5), Shown((Method.PSI,), 0.05), ManualClock(START + DAY))


def worked(board: Board) -> Board:
    """After a worker has taken events in and the tick is computed."""
    world = World()
    world.append(PREDICTIONS, *EVENTS)
    worker, member = world.only_member()
    worker.drain()
    board.follow(member.changes())
    board.update(worker, member, START + HOUR - 1)
    return board


def rows(board: Board, **query: str) -> list[object]:
    readings = board.readings(query)["readings"]
    assert isinstance(readings, list)
    return readings


def test_before_the_first_tick_there_is_what_the_configuration_tells(board: Board) -> None:
    text = board.exposition.render("")[0].decode()
    assert 'model_monitor_model_info{model="late"} 1\n' in text
    assert 'model_monitor_build_info{version="' in text
    assert "model_monitor_ready 0\n" in text
    assert "model_monitor_events_total{" not in text  # a count that is restored later would read as a reset
    assert "restoring" in board.render_page()
    assert board.readings({}) == {"now": None, "stale": True, "coverage": {"late": 0.0}, "readings": []}
    assert not board.is_ready


def test_after_a_tick_every_door_tells_the_same(board: Board) -> None:
    worked(board)
    assert board.is_ready
    text = board.exposition.render("")[0].decode()
    assert 'model_monitor_window_predictions{model="late",version="",segment="",window="1h",clock="cohort"} 30\n' in text
    assert 'outcome="accepted"} 30\n' in text
    assert "model_monitor_clock_timestamp_seconds 1699923599.999\n" in text
    assert "30 accepted" in board.render_page()
    assert "restoring" not in board.render_page()
    assert board.readings({})["now"] == "2023-11-14T00:59:59.999Z"
    assert rows(board) == rows(board, model="late")


def test_a_range_is_read_from_the_aggregate(board: Board) -> None:
    [cohort, *_] = rows(worked(board), model="late", since="2023-11-14T00:10:00Z", until="2023-11-14T01:20:00+01:00")
    assert isinstance(cohort, dict)
    assert (cohort["since"], cohort["until"], cohort["predictions"]) == ("2023-11-14T00:10:00Z", "2023-11-14T00:20:00Z", 10)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"modle": "late"}, "unknown parameter 'modle'; there are model, since and until"),
        ({"since": "2023-11-14T00:00:00Z"}, "a range needs model, since and until"),
        ({"model": "late", "until": "2023-11-14T00:00:00Z"}, "a range needs model, since and until"),
        ({"model": "late", "since": "yesterday", "until": "x"}, "since='yesterday' is not RFC 3339"),
        ({"model": "late", "since": "2023-11-14T00:00:00", "until": "x"}, "since='2023-11-14T00:00:00' has no offset"),
        ({"model": "late", "since": "0001-01-01T00:00:00+14:00", "until": "x"}, "since='0001-01-01T00:00:00+14:00' is not"),
        (
            {"model": "late", "since": "2023-11-14T00:00:00Z", "until": "9999-12-31T23:59:59-14:00"},
            "until='9999-12-31T23:59:59-14:00' is not",
        ),
        ({"model": "late", "since": "2023-11-14T00:00:01Z", "until": "2023-11-14T01:00:00Z"}, "60 min, 2 min wide"),
    ],
)
def test_a_query_that_makes_no_sense_says_why(board: Board, query: dict[str, str], message: str) -> None:
    with pytest.raises(BadQuery) as refusal:
        worked(board).readings(query)
    assert message in str(refusal.value)


@pytest.mark.parametrize("span", [{}, {"since": "2023-11-14T00:00:00Z", "until": "2023-11-14T01:00:00Z"}])
def test_a_model_that_is_not_configured_is_unknown(board: Board, span: dict[str, str]) -> None:
    with pytest.raises(UnknownModel, match="'nobody' is not configured"):
        board.readings({"model": "nobody"} | span)


def test_the_widest_range_is_answered(board: Board) -> None:
    found = rows(worked(board), model="late", since="0001-01-01T00:00:00Z", until="9999-12-31T00:00:00Z")
    assert isinstance(found[0], dict)
    assert found[0]["predictions"] == 30


def test_a_commit_waits_for_a_range_that_is_being_read(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    """The aggregate is one thread's at a time, or a range would see half of a commit."""
    worked(board)
    more = commit(EVENTS, [label(number, START + HOUR) for number in range(30)])
    read = board.aggregate.between
    applying = threading.Thread(target=board.follow, args=([more],))

    def meanwhile(name: str, since: int, until: int) -> object:
        applying.start()
        applying.join(0.05)
        return read(name, since, until)

    monkeypatch.setattr(board.aggregate, "between", meanwhile)
    [cohort, *_] = rows(board, model="late", since="2023-11-14T00:00:00Z", until="2023-11-14T01:00:00Z")
    applying.join()
    assert isinstance(cohort, dict)
    assert (cohort["predictions"], cohort["labels"]) == (30, 0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A configuration, and a log with some events."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        (tmp_path / "model-monitor.yaml").write_text(CONFIG % probe.getsockname()[1])
    (tmp_path / "data").mkdir()
    log = EmbeddedLog(tmp_path / "data" / "log.db", partitions=1, clock=ManualClock(START + DAY))
    log.append(Stream.PREDICTIONS, [Message(0, START, record(0, event).value) for event in EVENTS])
    log.append(Stream.LABELS, [Message(0, START, record(0, label(1, START + HOUR)).value)])
    log.close()
    return tmp_path


def once(folder: Path, form: str) -> str:
    result = CliRunner().invoke(cli, ["watch", "-c", str(folder / "model-monitor.yaml"), "--once", "--format", form])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_once_prints_the_readings_as_of_the_newest_record_in_each_format(folder: Path) -> None:
    document = json.loads(once(folder, "json"))
    assert document["now"] == "2023-11-14T01:00:00Z"
    assert document["readings"][0]["predictions"] == 28  # the hour that ends at 01:02
    families = text_string_to_metric_families(once(folder, "openmetrics"))  # type: ignore[no-untyped-call]  # its text twin is typed
    assert "model_monitor_recall_ratio" in {family.name for family in families}
    header, *lines = once(folder, "table").splitlines()
    assert header.split()[:3] == ["model", "version", "segment"]
    assert {len(line.split()) for line in lines} == {len(header.split())}


def test_once_beside_a_daemon_stops_with_a_message(folder: Path) -> None:
    with ExitStack() as stack:
        settings = load(folder / "model-monitor.yaml", {})
        take_part(settings, [KnownModel(model) for model in settings.models], WallClock(), stack, once=False)
        result = CliRunner().invoke(cli, ["watch", "-c", str(folder / "model-monitor.yaml"), "--once"])
    assert (result.exit_code, result.stdout) == (1, "")
    assert "another daemon holds this log" in result.stderr


def test_the_daemon_is_up_but_not_ready_while_it_restores_and_stops_when_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The signal handlers are the process's; here they are called as the interpreter would."""
    handlers: list[object] = []
    monkeypatch.setattr("signal.signal", lambda _, handler: handlers.append(handler))
    settings = load(folder / "model-monitor.yaml", {})
    address = f"http://127.0.0.1:{settings.exporter.port}"
    answers: dict[str, int] = {}

    def restoring(_worker: Worker, _on_turn: object, stop: threading.Event) -> None:
        answers["healthz"] = httpx.get(f"{address}/healthz").status_code
        answers["readyz"] = httpx.get(f"{address}/readyz").status_code
        answers["metrics"] = httpx.get(f"{address}/metrics").status_code
        for handler in handlers:
            assert callable(handler)
            handler()
        answers["told to stop"] = stop.is_set()

    monkeypatch.setattr(Worker, "take_on", restoring)
    result = CliRunner().invoke(cli, ["watch", "-c", str(folder / "model-monitor.yaml")])
    assert result.exit_code == 0, result.output
    assert answers == {"healthz": 200, "readyz": 503, "metrics": 200, "told to stop": True}


KAFKA = """
log: {kind: kafka, bootstrap_servers: [localhost:1], partitions: 4}
exporter: {port: %d, tick: 5s}
models:
  - {name: late, task: binary, classes: [on_time, late], positive_class: late, windows: [1h, 1d], labels: {horizon: 3d}}
"""


@pytest.fixture
def on_kafka(folder: Path) -> Path:
    """A configuration whose cluster is nowhere."""
    path = folder / "kafka.yaml"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        path.write_text(KAFKA % probe.getsockname()[1])
    return path


def test_on_a_cluster_the_door_is_open_before_the_log_lets_anyone_in(on_kafka: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("signal.signal", lambda *_: None)
    answers: dict[str, int] = {}

    def joining(settings: Settings, *_: object, **__: object) -> Member:
        for path in ("healthz", "readyz", "metrics"):
            answers[path] = httpx.get(f"http://127.0.0.1:{settings.exporter.port}/{path}").status_code
        raise OwnedElsewhere("somebody was there first")

    monkeypatch.setattr("monitor.commands.watching.take_part", joining)
    result = CliRunner().invoke(cli, ["watch", "-c", str(on_kafka)])
    assert answers == {"healthz": 200, "readyz": 503, "metrics": 200}
    assert (result.exit_code, result.stdout) == (1, "")
    assert "somebody was there first" in result.stderr


def test_a_loop_that_hangs_is_not_healthy() -> None:
    world = World()
    watchdog = Watchdog(world.clock)
    world.clock.advance(HEALTHY_FOR_MS)
    assert watchdog.is_healthy()  # there is none yet
    watchdog.worker = world.worker()
    assert watchdog.is_healthy()
    world.clock.advance(HEALTHY_FOR_MS)
    assert not watchdog.is_healthy()


def test_replicas_give_signs_of_life_and_a_daemon_alone_need_not(on_kafka: Path, folder: Path) -> None:
    shared, alone = (pace_of(load(path, {}), once=False) for path in (on_kafka, folder / "model-monitor.yaml"))
    assert (shared.sign_of_life, shared.longest_commit) == (10_000, 20_000)
    assert (alone.sign_of_life, alone.longest_commit) == (None, None)
    assert pace_of(load(on_kafka, {}), once=True).idle_after is None


def turning(world: World, settings: Settings, *, shared: bool = False) -> tuple[Turns, Board, Worker, FleetMember]:
    """One of two replicas, and what happens in each turn of its loop."""
    worker, member = world.member()
    board = board_of(settings, [KnownModel(model) for model in settings.models], world.clock, once=False)
    return Turns(settings, Member(worker, member, shared), board, world.clock), board, worker, member


def test_a_tick_is_due_by_time_and_whenever_the_assignment_changes(on_kafka: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(partitions=4)
    turns, board, worker, _ = turning(world, load(on_kafka, {}))
    ticks: list[int | None] = []
    inner = board.aggregate.tick

    def tick(now: int | None, *, lag: Mapping[tuple[str, int], int], live: frozenset[int]) -> Tick:
        ticks.append(now)
        return inner(now, lag=lag, live=live)

    monkeypatch.setattr(board.aggregate, "tick", tick)

    def ticked() -> int:
        before = len(ticks)
        turns.turn()
        return len(ticks) - before

    assert [ticked(), ticked()] == [1, 0]
    world.fleet.assign((0, 1, 2, 3))
    assert ticked() == 0  # not known here yet
    before = len(ticks)
    worker.take_on(turns.turn)
    assert len(ticks) - before == 1
    assert board.is_ready
    assert [ticked(), ticked()] == [1, 0]  # that it is restored is told too
    world.clock.advance(4_999)
    assert ticked() == 0
    world.clock.advance(1)
    assert ticked() == 1


@pytest.mark.parametrize(
    ("shared", "others", "warnings"), [(False, 1, 1), (True, 1, 0), (False, 0, 0)], ids=["one more", "a shared store", "alone"]
)
def test_replicas_without_shared_snapshots_are_told_once_what_a_take_over_costs(
    on_kafka: Path, shared: bool, others: int, warnings: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monitor.commands.watching._logger", structlog.get_logger())  # one that was used keeps the way out of that time
    world = World(partitions=4)
    turns, _, worker, _ = turning(world, load(on_kafka, {}), shared=shared)
    for _ in range(others):
        world.member()[1].partitions = (2, 3)
    world.fleet.members[0].coming = (0, 1) if others else (0, 1, 2, 3)
    with capture_logs() as logs:
        for _ in range(3):
            worker.take_on(turns.turn)
            turns.turn()
            world.clock.advance(5_000)
    told = [entry for entry in logs if entry["log_level"] == "warning"]
    assert [entry["read_again_up_to"] for entry in told] == ["97h"] * warnings
    assert all("state.path" in entry["event"] for entry in told)
