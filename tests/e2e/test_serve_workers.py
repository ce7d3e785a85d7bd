"""Several worker processes behind one port: one answer for all of them, whatever becomes of one."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

import httpx
import psutil
import pytest

from monitor.events import Stream
from tests.e2e.servers import FLIGHT, START_WITHIN_SECONDS, Serve, launch, ready

WITHIN_SECONDS = 20
ANSWER_SECONDS = 3


@dataclass
class Workers:
    """A supervisor of small workers (`small_workers`)."""

    process: subprocess.Popen[str]
    port: int
    temporary: Path
    """Where it may put what it shares with its workers."""

    def ask(self, path: str) -> bytes:
        """On a connection of its own, so by whichever worker takes it: perhaps by one that hangs a moment later."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_SECONDS)
        try:
            connection.request("GET", path)
            return connection.getresponse().read()
        finally:
            connection.close()

    def ask_slot(self, slot: int, path: str) -> bytes:
        """By that worker."""
        while True:
            connection = HTTPConnection("127.0.0.1", self.port, timeout=WITHIN_SECONDS)
            try:
                connection.request("GET", "/")
                if json.loads(connection.getresponse().read())["slot"] == slot:
                    connection.request("GET", path)
                    return connection.getresponse().read()
            finally:
                connection.close()

    def metrics(self, slot: int | None = None) -> dict[str, float]:
        page = self.ask("/metrics") if slot is None else self.ask_slot(slot, "/metrics")
        return {name: float(value) for name, value in re.findall(r"^([^#]\S*) (\S+)$", page.decode(), re.MULTILINE)}

    def answered(self, slot: int | None = None) -> float:
        return self.metrics(slot)['model_monitor_serving_requests_total{code="200",endpoint="infer",model="m",version="1"}']

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        """The exit code and what it logged."""
        self.process.send_signal(number)
        _, stderr = self.process.communicate(timeout=WITHIN_SECONDS)
        return self.process.returncode, stderr


Start = Callable[[int], Workers]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts so many workers and waits until all of them are ready."""
    running: list[Workers] = []
    # pytest's own have paths that are too long for sockets.
    temporary = Path(tempfile.mkdtemp())

    def started(count: int) -> Workers:
        command = [sys.executable, "-m", "tests.e2e.small_workers", str(count)]
        environment = os.environ | {"TMPDIR": str(temporary)}
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stdout is not None
        workers = Workers(process, int(process.stdout.readline()), temporary)
        running.append(workers)
        until(lambda: workers.metrics()["model_monitor_serving_workers"] == count)
        return workers

    yield started
    for workers in running:
        workers.process.kill()
        workers.process.communicate()
    shutil.rmtree(temporary)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WITHIN_SECONDS
    while True:
        try:
            if condition():
                return
        except (OSError, httpx.TransportError):
            # Not listening yet, or the worker that had taken the connection is gone.
            pass
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_whichever_worker_is_scraped_the_numbers_are_those_of_all(start: Start) -> None:
    workers = start(3)
    before = workers.answered()
    slots = {json.loads(workers.ask("/"))["slot"] for _ in range(30)}
    assert len(slots) > 1
    shown = [workers.metrics() for _ in range(10)]
    requests = 'model_monitor_serving_requests_total{code="200",endpoint="infer",model="m",version="1"}'
    assert [metrics[requests] for metrics in shown] == [before + 30] * 10
    assert {metrics["model_monitor_serving_workers"] for metrics in shown} == {3}
    assert shown[0]["model_monitor_serving_workers_configured"] == 3
    assert shown[0]["model_monitor_serving_ready"] == 1
    assert all(shown[0][f'model_monitor_serving_process_resident_memory_bytes{{worker="{slot}"}}'] > 1e6 for slot in range(3))


def test_counters_never_go_backwards_when_a_worker_dies_and_is_replaced(start: Start) -> None:
    workers = start(2)
    for _ in range(20):
        workers.ask("/")
    shown = workers.answered()
    killed = json.loads(workers.ask_slot(1, "/"))["pid"]
    shown = max(shown, workers.answered(0))
    os.kill(killed, signal.SIGKILL)
    while (
        workers.metrics()["model_monitor_serving_workers"] < 2
        or workers.metrics()['model_monitor_serving_worker_starts_total{worker="1"}'] < 2
    ):
        now = workers.answered()
        assert now >= shown
        shown = now
    assert workers.answered() >= shown
    assert json.loads(workers.ask_slot(1, "/"))["pid"] != killed
    code, stderr = workers.stop()
    assert code == 0
    assert "was killed by SIGKILL" in stderr


def test_a_worker_that_ends_by_itself_is_replaced_and_its_exit_code_told(start: Start) -> None:
    workers = start(2)
    workers.ask_slot(1, "/exit")
    until(lambda: workers.metrics().get('model_monitor_serving_worker_starts_total{worker="1"}') == 2)
    assert "ended with exit code 3" in workers.stop()[1]


def test_a_scrape_answers_in_time_beside_a_hung_worker_with_what_that_one_had_counted(start: Start) -> None:
    workers = start(2)
    for _ in range(20):
        workers.ask("/")
    before = workers.answered()
    hung = HTTPConnection("127.0.0.1", workers.port)
    hung.request("GET", "/hang")
    until(lambda: workers.metrics()["model_monitor_serving_workers"] == 1)
    started = time.monotonic()
    metrics = workers.metrics()
    assert time.monotonic() - started < ANSWER_SECONDS
    assert metrics['model_monitor_serving_requests_total{code="200",endpoint="infer",model="m",version="1"}'] >= before
    hung.close()


def test_a_command_reaches_all_workers_and_those_that_follow_them(start: Start) -> None:
    workers = start(3)
    assert json.loads(workers.ask("/do/load/flights")) == {}
    assert [json.loads(workers.ask_slot(slot, "/done")) for slot in range(3)] == [["flights"]] * 3
    workers.ask_slot(2, "/exit")
    until(lambda: workers.metrics().get('model_monitor_serving_worker_starts_total{worker="2"}') == 2)
    assert json.loads(workers.ask_slot(2, "/done")) == ["flights"]


def test_a_command_that_fails_in_one_worker_says_in_which_and_why(start: Start) -> None:
    workers = start(2)
    answer = json.loads(workers.ask_slot(0, "/do/fail_in_1/flights"))
    assert answer == {"error": "fail_in_1 flights: done, but not by all workers: worker 1: flights cannot be had here"}


def test_no_worker_outlives_a_supervisor_that_is_killed(start: Start) -> None:
    workers = start(2)
    children = workers.children()
    (folder,) = workers.temporary.iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700
    workers.process.kill()
    _, alive = psutil.wait_procs(children, timeout=WITHIN_SECONDS)
    assert alive == []
    assert list(workers.temporary.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_answers_what_has_begun_and_ends_with_0(start: Start, number: signal.Signals) -> None:
    workers = start(2)
    connection = HTTPConnection("127.0.0.1", workers.port, timeout=WITHIN_SECONDS)
    connection.request("GET", "/")
    connection.getresponse().read()
    connection.request("GET", "/slow")
    until(lambda: workers.metrics()["model_monitor_serving_active_requests"] >= 2)
    children = workers.children()
    workers.process.send_signal(number)
    answer = connection.getresponse()
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    assert workers.process.wait(WITHIN_SECONDS) == 0
    assert not any(child.is_running() for child in children)


def test_a_worker_that_does_not_stop_is_killed_after_the_grace_time(start: Start) -> None:
    workers = start(2)
    hung = HTTPConnection("127.0.0.1", workers.port, timeout=WITHIN_SECONDS)
    hung.request("GET", "/hang")
    until(lambda: workers.metrics()["model_monitor_serving_workers"] == 1)
    code, stderr = workers.stop()
    assert code == 1
    assert re.search(r"Error: workers \[\d\] had not stopped after 5 s and were killed", stderr)
    hung.close()


def test_what_keeps_every_worker_from_starting_ends_it_all_with_its_message() -> None:
    process = subprocess.run(
        [sys.executable, "-m", "tests.e2e.small_workers", "3"],
        env=os.environ | {"FAIL_AT_START": "1"},
        capture_output=True,
        text=True,
        timeout=WITHIN_SECONDS,
        check=False,
    )
    assert process.returncode == 1
    assert process.stderr.count("the model cannot be read") == 1
    assert "Error: worker 0 ended with exit code 1 before it was ready, and no other one is; what it said is above" in process.stderr


def test_connections_are_shared_evenly_among_workers(start: Start) -> None:
    workers = start(2)
    connections = [HTTPConnection("127.0.0.1", workers.port, timeout=WITHIN_SECONDS) for _ in range(40)]
    slots = []
    for connection in connections:
        connection.request("GET", "/")
        slots.append(json.loads(connection.getresponse().read())["slot"])
    assert 15 <= slots.count(0) <= 25
    for connection in connections:
        connection.close()


# The real thing: models, log, gRPC.


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Two workers, both ready."""
    running = launch(tmp_path, partitions=2, serving="workers: 2, model_control: explicit")
    try:
        ready(running)
        until(lambda: shown(running)["model_monitor_serving_workers"] == 2)
        yield running
    finally:
        running.kill()


def shown(serve: Serve) -> dict[str, float]:
    page = httpx.get(f"{serve.url}/metrics").text
    return {name: float(value) for name, value in re.findall(r"^([^#]\S*) (\S+)$", page, re.MULTILINE)}


def test_several_workers_infer_and_log_as_one(serve: Serve) -> None:
    ids = [f"flight-{number}" for number in range(40)]
    for row_id in ids:
        # On a connection of its own each.
        assert httpx.post(f"{serve.url}/v2/models/flights/infer", json=FLIGHT | {"id": row_id}).json()["id"] == row_id
        assert httpx.post(f"{serve.url}/v1/labels", json={"id": row_id, "label": "late"}).status_code == 202
    metrics = shown(serve)
    assert metrics['model_monitor_serving_rows_total{endpoint="infer",model="flights",version="1"}'] == 40
    assert metrics['model_monitor_serving_rows_total{endpoint="labels",model="",version=""}'] == 40
    assert metrics['model_monitor_serving_model_ready{model="flights",version="1"}'] == 1
    assert metrics["model_monitor_serving_tap_accepted_rows_total"] == 40
    assert serve.stop() == 0
    for stream in (Stream.PREDICTIONS, Stream.LABELS):
        assert sorted(str(event["id"]) for event in serve.logged(stream)) == sorted(ids)


def test_a_model_that_is_unloaded_in_one_worker_is_in_none(serve: Serve) -> None:
    assert httpx.post(f"{serve.url}/v2/repository/models/flights/unload").status_code == 200
    assert {httpx.post(f"{serve.url}/v2/models/flights/infer", json=FLIGHT).status_code for _ in range(20)} <= {400, 404, 503}
    assert httpx.post(f"{serve.url}/v2/repository/models/flights/load").status_code == 200
    assert {httpx.post(f"{serve.url}/v2/models/flights/infer", json=FLIGHT).status_code for _ in range(20)} == {200}


def test_requests_go_on_while_a_worker_is_killed_and_replaced(serve: Serve) -> None:
    worker = psutil.Process(serve.process.pid).children()[1]
    stop, answered, failed = threading.Event(), [0], [0]

    def ask() -> None:
        while not stop.is_set():
            try:
                # A connection each: those that a dead worker had are lost with it, others must not be.
                assert httpx.post(f"{serve.url}/v2/models/flights/infer", json=FLIGHT, timeout=ANSWER_SECONDS).status_code == 200
                answered[0] += 1
            except httpx.TransportError:
                failed[0] += 1

    asking = threading.Thread(target=ask)
    asking.start()
    until(lambda: answered[0] > 20)
    worker.kill()
    until(lambda: shown(serve).get('model_monitor_serving_worker_starts_total{worker="1"}') == 2)
    stop.set()
    asking.join()
    assert failed[0] <= 1
    total = shown(serve)['model_monitor_serving_requests_total{code="200",endpoint="infer",model="flights",version="1"}']
    # What a killed process counted within its last second may be lost; what was shown is not.
    assert total <= answered[0]


def test_a_port_in_use_is_told_once_before_any_worker_starts(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        process = launch(tmp_path, port=port, serving="workers: 2").process
        _, stderr = process.communicate(timeout=START_WITHIN_SECONDS)
    assert process.returncode == 1
    assert stderr.count("is in use: stop what listens there, or set serving.port") == 1


def test_a_model_that_cannot_be_loaded_ends_all_workers_with_its_message(tmp_path: Path) -> None:
    broken = tmp_path / "models" / "broken" / "1" / "model.onnx"
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"not ONNX")
    process = launch(tmp_path, serving="workers: 3").process
    _, stderr = process.communicate(timeout=START_WITHIN_SECONDS)
    assert process.returncode == 1
    assert len(re.findall(r"^Error: .*broken/1/model.onnx", stderr, re.MULTILINE)) == 1
    assert "before it was ready" in stderr
