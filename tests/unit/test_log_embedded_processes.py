"""The embedded log among several processes: nothing is lost or doubled, and a killed one leaves nothing that stops the next."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from monitor.clock import WallClock
from monitor.errors import OwnedElsewhere
from monitor.events import Stream
from monitor.log.embedded import EmbeddedLog
from tests.unit.log_processes import PARTITIONS

ALL = 1 << 40
Process = subprocess.Popen[str]


@contextmanager
def other(verb: str, *arguments: object, before: tuple[str, ...] = ()) -> Iterator[Process]:
    """A process of `tests.unit.log_processes`, killed with `kill -9` when left."""
    command = [*before, sys.executable, "-m", "tests.unit.log_processes", verb, *map(str, arguments)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def said(process: Process) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "log.db"


@pytest.fixture
def log(path: Path) -> Iterator[EmbeddedLog]:
    log = EmbeddedLog(path, partitions=PARTITIONS, clock=WallClock())
    yield log
    log.close()


def tokens(log: EmbeddedLog, partition: int) -> list[str]:
    return [record.value.decode().rstrip() for record in log.read(Stream.PREDICTIONS, partition, 0, ALL)]


def test_two_processes_append_and_a_third_reads_everything_once_in_order(path: Path, log: EmbeddedLog) -> None:
    count = 60
    read: list[list[str]] = [[] for _ in range(PARTITIONS)]
    offsets = [0] * PARTITIONS
    with other("append", path, "a", count), other("append", path, "b", count):
        while any(len(values) < 2 * count for values in read):
            for partition in range(PARTITIONS):
                records = log.read(Stream.PREDICTIONS, partition, offsets[partition], 50_000)
                assert [record.offset for record in records] == list(range(offsets[partition], offsets[partition] + len(records)))
                offsets[partition] += len(records)
                read[partition] += [record.value.decode().rstrip() for record in records]
    for values in read:
        assert sorted(values) == sorted(f"{name} {number}" for name in "ab" for number in range(count))
        for name in "ab":
            assert [value for value in values if value.startswith(name)] == [f"{name} {number}" for number in range(count)]


def test_after_kill_9_of_an_appender_every_acknowledged_record_is_there(path: Path) -> None:
    for round_number in range(3):
        with other("append", path, f"round{round_number}", 0) as appender:
            acknowledged = [said(appender) for _ in range(20 + 7 * round_number)]
            appender.kill()
            assert appender.stdout is not None
            acknowledged += appender.stdout.read().split()
        log = EmbeddedLog(path, partitions=PARTITIONS, clock=WallClock())
        both = [[token for token in tokens(log, partition) if token.startswith(f"round{round_number} ")] for partition in range(PARTITIONS)]
        log.close()
        assert both[0] == both[1]  # an append is whole or not at all
        assert both[0][: len(acknowledged)] == [f"round{round_number} {number}" for number in acknowledged]
        assert len(both[0]) <= len(acknowledged) + 1


def test_kill_9_of_the_owner_lets_the_next_acquire(path: Path, log: EmbeddedLog) -> None:
    with other("own", path) as owner:
        assert said(owner) == "owned"
        with pytest.raises(OwnedElsewhere, match=f"process {owner.pid} on"):
            log.acquire()
        owner.kill()
        owner.wait()
        log.acquire().close()


def test_a_disk_limit_is_a_full_log_that_resumes_by_itself(path: Path) -> None:
    with other("fill", path, 2_000_000) as process:
        assert said(process).startswith(f"{path}: an append failed because nothing more can be written there")
        kept, readable = map(int, said(process).split())
        assert kept == readable > 0
        assert int(said(process)) == kept


@pytest.mark.skipif(
    not shutil.which("unshare") or subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode != 0,
    reason="needs user namespaces, to mount a small file system",
)
def test_a_full_disk_is_a_full_log_that_names_its_path(tmp_path: Path) -> None:
    mount = f'mount -t tmpfs -o size=3m tmpfs {tmp_path} && exec "$@"'
    with ExitStack() as stack, other("fill", tmp_path / "log.db", 0, before=("unshare", "-rm", "sh", "-c", mount, "-")) as process:
        stack.callback(process.wait)
        assert said(process).startswith(f"{tmp_path}/log.db: an append failed because nothing more can be written there")
        kept, readable = map(int, said(process).split())
        assert kept == readable > 0
