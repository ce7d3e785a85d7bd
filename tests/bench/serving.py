"""Requests a second of `model-monitor serve`, tap on and off, beside a bare ASGI callable that runs the same model unchecked.

    python -m tests.bench.serving [--seconds 5] [--rounds 3] [--connections 32] [--kafka HOST:PORT]

One-row JSON requests on a gradient-boosting model with 24 features. The servers run one after the other, in turns, each pinned to the first
core; the client, in another process, has the second. Requests per second of the server's own CPU time tell what a core gives where others
use the machine too; the ratios are of those, each server's best round. With `--kafka` the tap also writes there, on topics that are removed
at the end, and to a broker that is away.
"""

import argparse
import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httptools
import numpy as np
import psutil

FEATURES = 24
PATH = "/v2/models/fraud/infer"
EMBEDDED = "{kind: embedded, path: data/log.db}"
AWAY = "127.0.0.1:1"
CONFIG = """
log: {log}
serving: {{repository: models/, port: {port}}}
models:
  - name: {name}
    task: binary
    classes: ["0", "1"]
    positive_class: "1"
    features: {{{features}}}
"""
BARE = """
import os, sys
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import numpy, onnxruntime, orjson, uvicorn
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
async def app(scope, receive, send):
    if scope["path"] != "/v2/health/ready":
        tensor = orjson.loads((await receive())["body"])["inputs"][0]
        label, scores = session.run(None, {"X": numpy.array(tensor["data"], dtype=numpy.float32).reshape(tensor["shape"])})
        body = orjson.dumps({"outputs": [{"data": label.tolist()}, {"data": scores.tolist()}]})
    else:
        body = b"{}"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})
uvicorn.run(app, port=int(sys.argv[2]), loop="uvloop", http="httptools", lifespan="off", access_log=False, log_level="error")
"""


class Client(asyncio.Protocol):
    """One keep-alive connection that asks again as soon as it is answered."""

    def __init__(self, request: bytes, latencies: list[float]) -> None:
        self._request = request
        self._latencies = latencies
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._asked = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._ask()

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        assert self._parser.get_status_code() == 200
        self._latencies.append(time.perf_counter() - self._asked)
        self._ask()

    def close(self) -> None:
        assert self._transport is not None
        self._transport.abort()

    def _ask(self) -> None:
        assert self._transport is not None
        self._asked = time.perf_counter()
        self._transport.write(self._request)


@dataclass(frozen=True)
class Round:
    """One warm measurement: the latency of each request, and the server's CPU seconds."""

    latencies: list[float]
    seconds: float
    cpu_seconds: float

    @property
    def per_cpu_second(self) -> float:
        return len(self.latencies) / self.cpu_seconds


def load(server: psutil.Process, port: int, connections: int, seconds: float) -> Round:
    body = json.dumps({"inputs": [{"name": "X", "datatype": "FP32", "shape": [1, FEATURES], "data": [0.125 * i for i in range(FEATURES)]}]})
    request = f"POST {PATH} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode()

    async def run() -> Round:
        latencies: list[float] = []
        loop = asyncio.get_running_loop()
        clients = [(await loop.create_connection(lambda: Client(request, latencies), "127.0.0.1", port))[1] for _ in range(connections)]
        await asyncio.sleep(seconds / 5)
        latencies.clear()
        started, used = time.perf_counter(), server.cpu_times()
        await asyncio.sleep(seconds)
        measured, elapsed, now = latencies.copy(), time.perf_counter() - started, server.cpu_times()
        for client in clients:
            client.close()
        return Round(measured, elapsed, now.user + now.system - used.user - used.system)

    return asyncio.run(run())


@contextmanager
def running(command: list[str], port: int) -> Iterator[psutil.Process]:
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(process.pid, {0})
    try:
        while True:
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=1) as probe:
                    probe.sendall(b"GET /v2/health/ready HTTP/1.1\r\nhost: x\r\n\r\n")
                    if probe.recv(100).startswith(b"HTTP/1.1 200"):
                        break
            except OSError:
                assert process.poll() is None, process.communicate()
                time.sleep(0.1)
        yield psutil.Process(process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def trained(path: Path) -> None:
    from skl2onnx import to_onnx
    from sklearn.ensemble import GradientBoostingClassifier

    random = np.random.default_rng(0)
    rows = random.normal(size=(2_000, FEATURES)).astype(np.float32)
    model = GradientBoostingClassifier(n_estimators=100, random_state=0).fit(rows, rows[:, 0] + rows[:, 1] * rows[:, 2] > 0)
    path.parent.mkdir(parents=True)
    path.write_bytes(to_onnx(model, rows[:1], options={"zipmap": False}).SerializeToString())


@contextmanager
def topics(bootstrap: str) -> Iterator[str]:
    """The `log` section of a configuration whose topics exist while the context is open."""
    from monitor.log.kafka.connection import Connection
    from tests.kafka.topics import made_topics, remove_topics

    connection = Connection((bootstrap,))
    names = made_topics(connection, 12)
    yield on_kafka(bootstrap, names.prefix)
    remove_topics(connection, names)


def on_kafka(bootstrap: str, prefix: str = "") -> str:
    return f"{{kind: kafka, bootstrap_servers: '{bootstrap}', topic_prefix: '{prefix}'}}"


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--seconds", type=float, default=5)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--connections", type=int, default=32)
    arguments.add_argument("--kafka", metavar="HOST:PORT")
    chosen = arguments.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as folder, ExitStack() as cleanup:
        model = Path(folder) / "models" / "fraud" / "1" / "model.onnx"
        trained(model)
        commands: dict[str, tuple[list[str], int]] = {}
        # A model that `models` does not name is served and not tapped.
        servers = [("tap on", "fraud", EMBEDDED), ("tap off", "another", EMBEDDED)]
        if chosen.kafka:
            servers += [("tap on Kafka", "fraud", cleanup.enter_context(topics(chosen.kafka))), ("Kafka away", "fraud", on_kafka(AWAY))]
        for label, name, log in servers:
            port = free_port()
            config = Path(folder) / f"{label}.yaml"
            config.write_text(CONFIG.format(log=log, port=port, name=name, features=", ".join(f"f{i}: numeric" for i in range(FEATURES))))
            commands[label] = ([sys.executable, "-m", "monitor", "serve", "-c", str(config)], port)
        port = free_port()
        commands["bare ASGI, nothing checked"] = ([sys.executable, "-c", BARE, str(model), str(port)], port)
        results: dict[str, list[Round]] = {label: [] for label in commands}
        for _ in range(chosen.rounds):
            for label, (command, port) in commands.items():
                with running(command, port) as server:
                    results[label].append(load(server, port, chosen.connections, chosen.seconds))
    best = {label: max(rounds, key=lambda each: each.per_cpu_second) for label, rounds in results.items()}
    bare, off = best["bare ASGI, nothing checked"].per_cpu_second, best["tap off"].per_cpu_second
    print(f"{'':28}{'requests/s':>12}{'per CPU s':>12}{'p50 ms':>9}{'p99 ms':>9}{'of bare':>9}{'of tap off':>12}")
    for label, each in best.items():
        p50, p99 = np.quantile(each.latencies, (0.5, 0.99)) * 1e3
        rate = len(each.latencies) / each.seconds
        ratios = f"{each.per_cpu_second / bare:9.2f}{each.per_cpu_second / off:12.2f}"
        print(f"{label:28}{rate:12,.0f}{each.per_cpu_second:12,.0f}{p50:9.2f}{p99:9.2f}{ratios}")


if __name__ == "__main__":
    main()
