"""`kill -9` at random moments, of the daemon and of the server: no count changes, nothing that was promised is lost.

Moments are drawn from seeds; where they fall depends on the machine, and must not matter.
"""

import json
import random
import threading
import time
from collections.abc import Iterable
from pathlib import Path

import httpx
import pytest

from tests.e2e.demos import SENDING, STAYS_UP, Demo, copy_of, demo, monitor, until
from tests.e2e.exposed import openmetrics_series, text_series
from tests.faults.plain import CLASSES, Process, World, running

pytestmark = pytest.mark.e2e

DAYS = ("--until", "2013-03-05")
OFTEN = {"MODEL_MONITOR_WORKER__TICK": "200ms", "MODEL_MONITOR_EXPORTER__TICK": "200ms"}
STARTED_AGAIN = "watch was killed by SIGKILL; started again"
WATCH_KILLS = 10
STOPS = (4, 8)
IN_THE_MIDDLE = 0.6
"""The share of kills that come soon after a commit; the others come at any moment of the start, or when all is counted."""
CHUNKS = 3
CUSTOMERS = 2_000


def final(configuration: Path) -> tuple[object, set[tuple[str, frozenset[tuple[str, str]], float]]]:
    """All readings and all committed counts, read when everything has stopped."""
    readings = json.loads(monitor("watch", "-c", configuration, "--once", "--format", "json").stdout)
    series = openmetrics_series(monitor("watch", "-c", configuration, "--once", "--format", "openmetrics").stdout)
    passing = ("tick_duration", "commit_duration", "last_commit_", "last_snapshot_", "process_", "python_")
    return readings, {(name, frozenset(of.items()), value) for name, of, value in series if not name.startswith(passing)}


@pytest.fixture(scope="module")
def undisturbed(trained_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The configuration of a demo that nobody troubled."""
    with demo(copy_of(trained_folder, tmp_path_factory.mktemp("undisturbed") / "demo"), "--once", *DAYS) as calm:
        assert calm.wait() == 0, calm.stderr
    return calm.configuration


def test_three_kills_of_the_daemon_change_no_final_count_of_the_demo(trained_folder: Path, undisturbed: Path, tmp_path: Path) -> None:
    """It commits ten times as often as usual, and is killed soon after it counted something, or while it starts."""
    draw = random.Random(2013)
    with demo(copy_of(trained_folder, tmp_path / "demo"), *DAYS, "--speed", 0.3, settings=OFTEN) as troubled:
        troubled.await_said(SENDING)
        for number, moment in enumerate((after_progress, at_start, after_progress), start=1):
            moment(troubled)
            time.sleep(draw.uniform(0, 1))
            kill_the_daemon(troubled)
            until(lambda: troubled.stderr.count(STARTED_AGAIN) == number, "another daemon")  # noqa: B023  called at once
        troubled.await_said(STAYS_UP)
        troubled.interrupt()
        assert troubled.wait() == 0
    assert troubled.stdout.splitlines()[1].startswith("2013-03")
    assert final(troubled.configuration) == final(undisturbed)


def at_start(troubled: Demo) -> None:
    """Returns when there is a daemon."""
    until(lambda: troubled.child("watch"), "a daemon")


def after_progress(troubled: Demo) -> None:
    """Returns when the daemon has counted more than when it was restored, or the stream has ended."""
    until(troubled.answers, "the daemon's metrics")
    restored = counted(troubled)
    until(lambda: counted(troubled) > restored or STAYS_UP in troubled.stderr, "something counted")


def counted(troubled: Demo) -> float:
    return sum(series.value for series in text_series(troubled.get("/metrics").text) if series.name == "events_total")


def kill_the_daemon(troubled: Demo) -> None:
    daemon = troubled.child("watch")
    assert daemon is not None
    daemon.kill()


def test_ten_kills_of_watch_change_no_final_reading(tmp_path: Path) -> None:
    """The log grows by `log import` meanwhile; twice the daemon is asked to stop instead, which leaves a snapshot to begin with."""
    draw = random.Random(7)
    troubled, calm = World.make(tmp_path / "troubled"), World.make(tmp_path / "calm")
    troubled.take(0, CUSTOMERS)
    feeder = threading.Thread(target=feed, args=(troubled, range(1, CHUNKS)))
    feeder.start()
    for life in range(WATCH_KILLS + len(STOPS)):
        with running(troubled) as daemon:
            if life in STOPS or draw.random() < IN_THE_MIDDLE:
                await_progress(daemon)
                time.sleep(draw.uniform(0, 0.3))
            else:
                time.sleep(draw.uniform(0, 2))
            if life in STOPS:
                assert daemon.stop() == 0
            daemon.kill()
    feeder.join()
    calm.take(0, CHUNKS * CUSTOMERS)
    assert final(troubled.configuration) == final(calm.configuration)
    starts = [json.loads(line) for line in (troubled.folder / "watch.log").read_text().splitlines() if '"restored"' in line]
    assert len({start["panes"] for start in starts}) > CHUNKS, "kills came when something was under way"
    assert any(start["snapshot"] and start["replayed_records"] for start in starts)
    assert any(not start["snapshot"] and start["replayed_records"] for start in starts)


def feed(world: World, chunks: Iterable[int]) -> None:
    for chunk in chunks:
        world.take(chunk * CUSTOMERS, CUSTOMERS)


def await_progress(daemon: Process) -> None:
    """Returns when the daemon has counted more than at its start, or has nothing to count."""
    daemon.await_ready("/readyz")
    restored = daemon.counted()
    until(lambda: daemon.counted() > restored or daemon.lag() == 0, "something counted")


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_killed_server_loses_no_label_that_it_acknowledged(tmp_path: Path, seed: int) -> None:
    world = World.make(tmp_path / "world")
    acknowledged: list[str] = []
    with running(world, "serve") as server:
        server.await_ready("/v2/health/ready")
        clients = [threading.Thread(target=post_labels, args=(server.url, client, acknowledged)) for client in range(4)]
        for client in clients:
            client.start()
        until(lambda: acknowledged, "a first label acknowledged")
        time.sleep(random.Random(seed).uniform(0, 0.5))
        server.kill()
        for client in clients:
            client.join()
    logged = [event["id"] for event in world.exported("labels")]
    assert set(acknowledged) <= set(logged)
    assert len(logged) == len(set(logged))


def post_labels(url: str, client: int, acknowledged: list[str]) -> None:
    """Sends labels until nobody answers."""
    with httpx.Client() as connection:
        for batch in range(100_000):
            names = [f"{client}-{batch}-{row}" for row in range(1 + batch % 40)]
            events = [{"id": name, "label": CLASSES[batch % 2], "model": "churn"} for name in names]
            try:
                answer = connection.post(f"{url}/v1/labels", json=events)
            except httpx.TransportError:
                return
            assert answer.status_code == httpx.codes.ACCEPTED
            acknowledged += names
