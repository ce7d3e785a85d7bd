"""`model-monitor serve` before another inference server: real processes, the unmodified client of Triton, an upstream that is killed."""

import json
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import numpy as np
import pyarrow as pa
import pytest
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput

from monitor.clock import WallClock
from monitor.events import Stream
from monitor.log.embedded import EmbeddedLog
from tests.unit.demo_ports import free_port
from tests.unit.serving_models import logistic, tensor

WITHIN_SECONDS = 60
STOP_WITHIN_SECONDS = 20
PATH = "/v2/models/flights/infer"
CONFIG = """
log: {{kind: embedded, path: data/log.db, partitions: 1}}
serving: {{{serving}, port: {port}, grpc_port: null, max_body_bytes: 1MB, spool: {{enabled: false}}}}
models:
  - {{name: {model}, task: binary, classes: [on_time, late], positive_class: late, features: {{a: numeric, b: numeric, c: numeric}}}}
"""
COMMAND = [sys.executable, "-m", "monitor", "serve"]


class Server:
    """A `serve` process in a folder of its own, which can be started again at the same port."""

    def __init__(self, folder: Path, serving: str, model: str) -> None:
        self.folder = folder
        self.port = free_port()
        folder.mkdir()
        (folder / "monitor.yaml").write_text(CONFIG.format(serving=serving, port=self.port, model=model))
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self.process = subprocess.Popen([*COMMAND, "-c", str(self.folder / "monitor.yaml")], stderr=subprocess.PIPE, text=True)

    def until_ready(self) -> None:
        deadline = time.monotonic() + WITHIN_SECONDS
        while not self._answers():
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> str:
        """What it said. It ends in time, whoever is connected."""
        self.process.send_signal(signal.SIGTERM)
        _, said = self.process.communicate(timeout=STOP_WITHIN_SECONDS)
        assert self.process.returncode == 0, said
        return said

    def logged(self) -> list[dict[str, object]]:
        """Every prediction."""
        with closing(EmbeddedLog(self.folder / "data" / "log.db", partitions=1, clock=WallClock())) as log:
            records = log.read(Stream.PREDICTIONS, 0, 0, 100_000_000)
        tables = [pa.ipc.open_stream(record.value).read_all() for record in records]
        return [
            row | {key.decode(): value.decode() for key, value in table.schema.metadata.items()}
            for table in tables
            for row in table.to_pylist()
        ]

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/v2/health/ready", timeout=5).status_code == 200
        except httpx.TransportError:
            return False


@pytest.fixture
def upstream(tmp_path: Path) -> Iterator[Server]:
    """Serves `flights`, and logs nothing of it."""
    logistic(tmp_path / "upstream-models" / "flights" / "1" / "model.onnx")
    server = Server(tmp_path / "upstream", f"repository: {tmp_path / 'upstream-models'}", "another")
    server.until_ready()
    yield server
    server.kill()


@pytest.fixture
def proxy(tmp_path: Path, upstream: Server) -> Iterator[Server]:
    server = Server(tmp_path / "proxy", f"upstream: {{url: '{upstream.url}', timeout: 10s}}, cloudevents: {{}}", "flights")
    server.until_ready()
    yield server
    server.kill()


def test_tritons_client_notices_nothing_and_its_requests_are_logged(upstream: Server, proxy: Server) -> None:
    rows = np.array([[1, 2, 3], [0.5, 0, -1]], dtype=np.float32)
    answers = []
    for server in (upstream, proxy):
        with closing(InferenceServerClient(server.url.removeprefix("http://"))) as client:
            assert client.is_server_ready()
            assert client.is_model_ready("flights")
            described = client.get_model_metadata("flights")
            given = InferInput("X", rows.shape, "FP32")
            for name, is_binary in (("json", False), ("binary", True)):
                given.set_data_from_numpy(rows, binary_data=is_binary)
                wanted = [InferRequestedOutput("probabilities", binary_data=is_binary)]
                answer = client.infer("flights", [given], outputs=wanted, request_id=name)
                answers.append((described, answer.as_numpy("probabilities").tolist()))
            zipped = client.infer("flights", [given], request_id="zipped", response_compression_algorithm="gzip")
            answers.append((described, zipped.as_numpy("probabilities").tolist()))
    assert answers[:3] == answers[3:]
    proxy.stop()
    logged = {row["id"]: row for row in proxy.logged()}
    assert set(logged) == {f"{name}/{row}" for name in ("json", "binary", "zipped") for row in (0, 1)}
    for name in ("json", "binary", "zipped"):
        first = logged[f"{name}/1"]
        assert (first["model"], first["version"]) == ("flights", "1")
        assert [first[f"feature.{feature}"] for feature in "abc"] == [0.5, 0, -1]


def test_our_own_paths_stay_ours_and_health_is_the_upstreams(upstream: Server, proxy: Server) -> None:
    assert "model_monitor" in httpx.get(f"{proxy.url}/metrics").text
    events = [{"id": "x", "label": "late"}]
    assert httpx.post(f"{proxy.url}/v1/labels", json=events).status_code == 202
    upstream.kill()
    answer = httpx.get(f"{proxy.url}/v2/health/ready")
    assert answer.status_code == 502
    assert "refused" in answer.json()["error"]
    assert httpx.post(f"{proxy.url}/v1/labels", json=events).status_code == 202


def test_an_upstream_that_is_killed_and_started_again_costs_its_own_answers_only(upstream: Server, proxy: Server) -> None:
    told: list[str] = []
    codes: Counter[int] = Counter()
    is_over = threading.Event()

    def ask() -> None:
        with httpx.Client(timeout=30) as client:
            while not is_over.is_set():
                answer = client.post(proxy.url + PATH, json={"inputs": [tensor("X", "FP32", [1, 3], [1, 2, 3])]})
                codes[answer.status_code] += 1
                if answer.status_code == 200:
                    told.append(answer.headers["x-model-monitor-id"])
                else:
                    time.sleep(0.05)

    clients = [threading.Thread(target=ask) for _ in range(4)]
    for client in clients:
        client.start()
    _until_more(codes, 200, 200)
    for _ in range(2):
        upstream.kill()
        _until_more(codes, 502, 5)
        upstream.start()
        upstream.until_ready()
        _until_more(codes, 200, 200)
    is_over.set()
    for client in clients:
        client.join()
    assert set(codes) == {200, 502}
    proxy.stop()
    assert Counter(row["id"] for row in proxy.logged()) == Counter(told)


def test_payload_loggers_events_are_logged_beside(proxy: Server) -> None:
    halves = {
        "request": {"id": "q", "inputs": [tensor("X", "FP32", [1, 3], [1, 2, 3])]},
        "response": {"model_version": "4", "outputs": [tensor("p", "FP32", [1, 2], [0.25, 0.75])]},
    }
    for side, body in halves.items():
        attributes = {"id": "e", "type": f"org.kubeflow.serving.inference.{side}", "inferenceservicename": "flights"}
        headers = {f"ce-{name}": value for name, value in attributes.items()} | {"content-type": "application/json"}
        answer = httpx.post(f"{proxy.url}/v1/cloudevents", content=json.dumps(body), headers=headers)
        assert (answer.status_code, answer.json()) == (202, {"accepted": 1})
    proxy.stop()
    (row,) = proxy.logged()
    assert (row["id"], row["version"], row["prediction"]) == ("q", "4", "late")


def _until_more(codes: Counter[int], code: int, count: int) -> None:
    """Waits for so many more answers with that status."""
    before, deadline = codes[code], time.monotonic() + WITHIN_SECONDS
    while codes[code] < before + count:
        assert time.monotonic() < deadline, codes
        time.sleep(0.02)
