"""One daemon a log: whoever comes second is told, and leaves no trace; and `kill -9` leaves no lock."""

import json
from pathlib import Path

import pytest

from tests.e2e.demos import monitor
from tests.faults.plain import World, running
from tests.unit.demo_ports import free_port

pytestmark = pytest.mark.e2e


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World.make(tmp_path / "world")
    made.take(0, 200)
    return made


@pytest.mark.parametrize("options", [[], ["--once"]], ids=["a second daemon", "watch --once"])
def test_beside_a_running_daemon_a_second_one_is_told(world: World, options: list[str]) -> None:
    second = world.folder / "second.yaml"
    second.write_text(world.configuration.read_text().replace(f"port: {world.exporter}", f"port: {free_port()}"))
    with running(world) as daemon:
        daemon.await_ready("/readyz")
        done = monitor("watch", "-c", second, *options, expect=1)
        assert f"another daemon holds this log (process {daemon.process.pid} on" in done.stderr
        assert "Stop it, or give this one a `log.path` of its own" in done.stderr
        assert "Traceback" not in done.stderr
        assert done.stdout == ""
        assert daemon.answers("/readyz")
        assert daemon.stop() == 0


def test_a_killed_daemon_leaves_no_lock(world: World) -> None:
    with running(world) as daemon:
        daemon.await_ready("/readyz")
        daemon.kill()
    assert json.loads(world.once())["readings"]


def test_a_taken_port_is_named_and_the_state_is_left_to_others(world: World) -> None:
    with running(world) as daemon:
        daemon.await_ready("/readyz")
        elsewhere = World.make(world.folder.with_name("elsewhere"))
        text = elsewhere.configuration.read_text().replace(f"port: {elsewhere.exporter}", f"port: {world.exporter}")
        elsewhere.configuration.write_text(text)
        done = monitor("watch", "-c", elsewhere.configuration, expect=1)
    assert f"127.0.0.1:{world.exporter}" in done.stderr
    assert "MODEL_MONITOR_EXPORTER__PORT" in done.stderr
