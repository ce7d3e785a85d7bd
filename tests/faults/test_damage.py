"""Files that are damaged, missing, or cannot be written: the daemon says so and goes on, or says so and ends; counts never change."""

import json
import resource
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.demos import monitor, until
from tests.faults.plain import World, running

pytestmark = pytest.mark.e2e

CUSTOMERS = 1_000


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a daemon that was asked to stop when everything was counted, with more events come since; to be copied."""
    world = World.make(tmp_path_factory.mktemp("stopped") / "world")
    world.take(0, CUSTOMERS)
    with running(world) as daemon:
        daemon.await_ready("/readyz")
        until(lambda: daemon.lag() == 0, "everything counted")
        assert daemon.stop() == 0
    world.take(CUSTOMERS, CUSTOMERS)
    return world.folder


@pytest.fixture
def world(stopped: Path, tmp_path: Path) -> World:
    """A copy, whose daemon has work to do from its snapshot on."""
    made = World.make(tmp_path / "world")
    shutil.copytree(stopped / "data", made.folder / "data")
    return made


@pytest.fixture(scope="module")
def wanted(stopped: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """What an undamaged copy reads."""
    made = World.make(tmp_path_factory.mktemp("wanted") / "world")
    shutil.copytree(stopped / "data", made.folder / "data")
    assert list(made.state.glob("*.join"))
    return made.once()


def flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :]


def cut_short(content: bytes) -> bytes:
    return content[: len(content) // 2]


def emptied(content: bytes) -> bytes:
    return content[:0]


@pytest.mark.parametrize("damage", [flipped, cut_short, emptied])
def test_a_corrupt_snapshot_is_passed_over_and_costs_only_time(world: World, wanted: str, damage: Callable[[bytes], bytes]) -> None:
    snapshots = sorted(world.state.glob("*.join"))
    for snapshot in snapshots:
        snapshot.write_bytes(damage(snapshot.read_bytes()))
    done = monitor("watch", "-c", world.configuration, "--once", "--format", "json")
    assert done.stdout == wanted
    for snapshot in snapshots:
        assert f"{snapshot}" in done.stderr
    assert "snapshot passed over" in done.stderr


def test_a_deleted_state_folder_costs_only_time(world: World, wanted: str) -> None:
    shutil.rmtree(world.state)
    assert world.once() == wanted
    assert list(world.state.glob("*.join")), "it is there again for the next start"


@pytest.mark.parametrize("content", [b"this was a database once" * 1_000, b"short"])
@pytest.mark.parametrize("arguments", [["watch"], ["watch", "--once"]])
def test_a_log_that_is_no_database_ends_with_a_clear_error(world: World, arguments: list[str], content: bytes) -> None:
    path = world.folder / "data" / "log.db"
    path.write_bytes(content)
    for beside in ("log.db-wal", "log.db-shm"):
        (world.folder / "data" / beside).unlink(missing_ok=True)
    done = monitor(*arguments, "-c", world.configuration, expect=1)
    explained = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert len(explained) == 1
    assert str(path) in explained[0]
    assert "damaged" in explained[0]
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert path.read_bytes() == content


def test_a_log_with_damaged_pages_ends_with_a_clear_error(world: World) -> None:
    path = world.folder / "data" / "log.db"
    content = path.read_bytes()
    path.write_bytes(content[:8_192] + b"\xa5" * (len(content) - 8_192))
    done = monitor("watch", "-c", world.configuration, "--once", expect=1)
    assert f"Error: {path}" in done.stderr
    assert "damaged" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_state_folder_that_cannot_be_written_is_told_and_the_daemon_goes_on(stopped: Path, tmp_path: Path, wanted: str) -> None:
    """A file is in its way, which stops root too."""
    made = World.make(tmp_path / "world", state="data/in-the-way/state")
    shutil.copytree(stopped / "data", made.folder / "data")
    (made.folder / "data" / "in-the-way").write_text("a file, not a folder")
    with running(made) as daemon:
        daemon.await_ready("/readyz")
        until(lambda: daemon.lag() == 0, "everything counted")
        assert daemon.stop() == 0
        assert "snapshot not written" in daemon.said
        assert "make room or correct the directory" in daemon.said
    done = monitor("watch", "-c", made.configuration, "--once", "--format", "json")
    assert done.stdout == wanted


def test_a_full_disk_holds_the_daemon_up_until_there_is_room(world: World) -> None:
    """No file of the daemon's can grow, the log's least of all; then it can again."""
    with running(world) as daemon:
        daemon.await_ready("/readyz")
        until(lambda: daemon.lag() == 0, "everything counted")
        unlimited = resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, (1_024, unlimited[1]))
        world.take(2 * CUSTOMERS, CUSTOMERS)
        until(lambda: "trying again" in daemon.said, "the refused commit told")
        assert daemon.answers("/healthz")
        resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, unlimited)
        until(lambda: daemon.lag() == 0, "everything counted at last")
        assert daemon.stop() == 0
    calm = World.make(world.folder.with_name("calm"))
    calm.take(0, 3 * CUSTOMERS)
    assert json.loads(world.once()) == json.loads(calm.once())
