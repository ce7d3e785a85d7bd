"""The spool under `kill -9` and on a full disk: what was promised is in the log in the end, whatever happened meanwhile.

At length: `MODEL_MONITOR_TEST_SPOOL_KILLS=200 pytest tests/faults/test_serving_spool.py`.
"""

import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import httpx
import pytest

from monitor.clock import WallClock
from monitor.errors import LogAway
from monitor.events import Stream
from monitor.log import JSON, Message
from monitor.serving.accounts import Loss, SpoolState
from monitor.serving.outbox import Outbox
from monitor.serving.parcels import Parcel
from monitor.serving.spool.slots import Spool
from tests.e2e.demos import monitor_environment, until
from tests.faults.plain import CLASSES, World, running
from tests.faults.spooling import DURABLE, WORKERS

KILLS = int(os.environ.get("MODEL_MONITOR_TEST_SPOOL_KILLS", "20"))
SERVER_KILLS = 3


@dataclass
class ListLog:
    """Keeps messages, and refuses with `error` while it is set."""

    partitions: int = 1
    error: Exception | None = None
    messages: list[Message] = field(default_factory=list)

    def append(self, stream: Stream, messages: Sequence[Message]) -> list[int]:
        if self.error is not None:
            raise self.error
        self.messages += messages
        return list(range(len(messages)))


def size_of(path: Path) -> int:
    return path.stat().st_size


def holds_more(names: list[str], count: int) -> bool:
    return len(names) > count


def spooling(folder: Path, slot: int, life: int, mode: str) -> subprocess.Popen[bytes]:
    arguments = [sys.executable, "-m", "tests.faults.spooling", str(folder), str(slot), str(life), mode]
    with (folder / f"said-{slot}-{life}").open("wb") as said:
        return subprocess.Popen(arguments, env=monitor_environment(), stdout=said, stderr=subprocess.STDOUT)


@pytest.mark.e2e
def test_kills_while_spooling_lose_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """Two workers, killed at moments drawn from a seed; then one worker alone, which takes over what the other has left."""
    draw = random.Random(6)
    with ThreadPoolExecutor(WORKERS) as pool:

        def live_and_die(slot: int, lives: list[tuple[int, float]]) -> None:
            for life, seconds in lives:
                process = spooling(tmp_path, slot, life, "alternates")
                said = tmp_path / f"said-{slot}-{life}"
                until(partial(size_of, said), "a first acknowledgement")
                time.sleep(seconds)
                assert process.poll() is None, said.read_text()
                process.kill()
                process.wait()

        lives = [[(life * WORKERS + slot, draw.uniform(0, 0.4)) for life in range(KILLS // WORKERS)] for slot in range(WORKERS)]
        for done in [pool.submit(live_and_die, slot, lives[slot]) for slot in range(WORKERS)]:
            done.result()
    left = sum(path.stat().st_size for path in tmp_path.glob("spool/*/*/*.seg"))
    last = spooling(tmp_path, 0, 10**6, "stays")
    assert last.wait(120) == 0, (tmp_path / f"said-0-{10**6}").read_text()
    said = [line for path in tmp_path.glob("said-*") for line in path.read_text().split("\n")[:-1]]
    acknowledged = {line.removeprefix(DURABLE) for line in said if line.startswith(DURABLE)}
    logged = [line.split(" ") for line in (tmp_path / "log").read_text().splitlines()]
    labels = Counter(name for stream, _, name in logged if stream == "labels")
    assert len(acknowledged) > 20 * KILLS
    assert acknowledged <= labels.keys()
    assert left > 0
    assert list(tmp_path.glob("spool/*/*/*.seg")) == []
    assert sum(labels.values()) < 1.5 * len(labels), "only what was under way is sent twice"


@pytest.mark.e2e
def test_a_killed_server_keeps_every_label_that_it_told_202_while_its_log_was_full(tmp_path: Path) -> None:
    """The log has no room at first; after some kills it has, and gets everything."""
    world = World.make(tmp_path / "world")
    text = world.configuration.read_text()
    full = text.replace("partitions: 2}", "partitions: 2, max_bytes: 40kB}")
    world.configuration.write_text(full.replace("serving: {", "serving: {labels_durable: spool, "))
    acknowledged: list[str] = []
    for life in range(SERVER_KILLS):
        with running(world, "serve") as server:
            server.await_ready("/v2/health/ready")
            before = len(acknowledged)
            clients = [threading.Thread(target=post_labels, args=(server.url, f"{life}-{client}", acknowledged)) for client in range(4)]
            for client in clients:
                client.start()
            until(partial(holds_more, acknowledged, before + 2_000), "labels acknowledged")
            time.sleep(random.Random(life).uniform(0, 0.3))
            server.kill()
            for client in clients:
                client.join()
    assert list(tmp_path.rglob("labels/*.seg"))
    world.configuration.write_text(text)
    with running(world, "serve") as server:
        server.await_ready("/v2/health/ready")
        until(lambda: not list(tmp_path.rglob("labels/*.seg")), "the spool is empty")
        assert server.stop() == 0
    logged = Counter(str(event["id"]) for event in world.exported("labels"))
    assert set(acknowledged) <= logged.keys()


def post_labels(url: str, name: str, acknowledged: list[str]) -> None:
    """Sends labels until nobody answers."""
    with httpx.Client(timeout=30) as connection:
        for batch in range(100_000):
            names = [f"{name}-{batch}-{row}" for row in range(1 + batch % 40)]
            events = [{"id": row_id, "label": CLASSES[batch % 2], "model": "churn"} for row_id in names]
            try:
                answer = connection.post(f"{url}/v1/labels", json=events)
            except httpx.TransportError:
                return
            assert answer.status_code == httpx.codes.ACCEPTED, answer.text
            acknowledged += names


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB. Skips where this user may mount none."""
    place = tmp_path / "disk"
    place.mkdir()
    if sys.platform != "linux" or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", place], check=False).returncode:
        pytest.skip("needs the right to mount a file system (run as root on Linux)")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def test_a_full_disk_costs_what_is_counted_and_is_used_again_when_there_is_room(small_disk: Path) -> None:
    log = ListLog(error=LogAway("nobody answers"))
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(1_000_000))
    outbox = Outbox(log, Spool(small_disk / "spool", slot=0, workers=1, bytes_limit=10**9, clock=WallClock()))
    outbox.start()
    posted = 0
    while not outbox.counts(Stream.PREDICTIONS).lost.get(Loss.SPOOL_FAILED):
        outbox.post(Stream.PREDICTIONS, [parcel(posted)])
        posted += 1
        assert posted < 1_000
    kept = posted - 1
    counts = outbox.counts(Stream.PREDICTIONS)
    assert counts.spool_state is SpoolState.FAILED
    assert 8 < counts.spooled < 12, "100 kB each"
    ballast.unlink()
    outbox.post(Stream.PREDICTIONS, [parcel(posted)])
    assert outbox.counts(Stream.PREDICTIONS).spooled > counts.spooled + 5
    log.error = None
    until(lambda: outbox.counts(Stream.PREDICTIONS).written == kept + 1, "all of it is sent")
    outbox.stop(1.0)
    sent = [int(message.value.split(b'"')[3]) for message in log.messages]
    assert sent == [*range(kept), posted]
    assert list(small_disk.rglob("*.seg")) == []


def parcel(number: int) -> Parcel:
    return Parcel(JSON, b'[{"id": "%d"}]'.ljust(100_000) % number, 1, 0)
