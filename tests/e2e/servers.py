"""`model-monitor serve` as a process of its own, for the tests of what it does on a real socket."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pyarrow as pa

from monitor.clock import WallClock
from monitor.events import Stream
from monitor.log.embedded import EmbeddedLog
from tests.unit.demo_ports import free_port
from tests.unit.serving_models import logistic, tensor

START_WITHIN_SECONDS = 60
STOP_WITHIN_SECONDS = 20
FLIGHT = {"inputs": [tensor("X", "FP32", [1, 3], [1, 2, 3])]}
CONFIG = """
log: {kind: embedded, path: data/log.db, partitions: %(partitions)d, max_bytes: %(max_bytes)s}
serving: {%(repository)s port: %(port)d, grpc_port: 0, request_timeout: 1s, max_body_bytes: 1MB%(serving)s}
models:
  - {name: flights, task: binary, classes: [on_time, late], positive_class: late, features: {a: numeric, b: numeric, c: numeric}}
"""


@dataclass
class Serve:
    """A running server and what it left behind."""

    folder: Path
    port: int
    process: subprocess.Popen[str]
    partitions: int
    stderr: str = field(default="")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=STOP_WITHIN_SECONDS)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        _, self.stderr = self.process.communicate(timeout=STOP_WITHIN_SECONDS)
        return self.process.returncode

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def logged(self, stream: Stream) -> list[dict[str, object]]:
        """Every event of the log, with its partition."""
        log = EmbeddedLog(self.folder / "data" / "log.db", partitions=self.partitions, clock=WallClock())
        rows: list[dict[str, object]] = []
        with closing(log):
            for partition in range(self.partitions):
                for record in log.read(stream, partition, 0, 100_000_000):
                    arrow = record.content_type.startswith("application/vnd.apache.arrow")
                    events = pa.ipc.open_stream(record.value).read_all().to_pylist() if arrow else json.loads(record.value)
                    rows += [event | {"partition": partition} for event in events]
        return rows


def launch(
    folder: Path,
    *,
    repository: bool = True,
    partitions: int = 1,
    max_bytes: str = "1GB",
    port: int | None = None,
    serving: str = "",
    log: Path | None = None,
) -> Serve:
    """Starts a server on a free port; `serving` are further keys of that section. What it says can be had at its end, or is in `log`."""
    logistic(folder / "models" / "flights" / "1" / "model.onnx")
    port = free_port() if port is None else port
    values = {
        "port": port,
        "repository": "repository: models/," if repository else "",
        "partitions": partitions,
        "max_bytes": max_bytes,
        "serving": serving and f", {serving}",
    }
    (folder / "monitor.yaml").write_text(CONFIG % values)
    (folder / "home").mkdir()
    # CI silences the runtime's telemetry by itself, so it must not be set.
    environment = {key: value for key, value in os.environ.items() if key not in ("CI", "ORT_DISABLE_TELEMETRY")}
    with nullcontext(subprocess.PIPE) if log is None else log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "monitor", "serve", "-c", str(folder / "monitor.yaml")],
            env=environment | {"HOME": str(folder / "home"), "XDG_CACHE_HOME": str(folder / "home")},
            stdout=output,
            stderr=output,
            text=True,
        )
    return Serve(folder, port, process, partitions)


def ready(serve: Serve) -> Serve:
    deadline = time.monotonic() + START_WITHIN_SECONDS
    while not answers(serve):
        assert serve.process.poll() is None, serve.process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return serve


def answers(serve: Serve) -> bool:
    try:
        return httpx.get(f"{serve.url}/v2/health/ready").status_code == 200
    except httpx.TransportError:
        return False


def received(connection: socket.socket) -> bytes:
    """Everything until the server closes."""
    parts = []
    with suppress(ConnectionResetError):
        while part := connection.recv(65_536):
            parts.append(part)
    return b"".join(parts)
