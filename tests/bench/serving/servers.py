"""The servers of the comparison: what each is installed from, how it is started, and how it is asked for one row."""

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import venv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psutil

from tests.bench.serving import fraud_model
from tests.unit.demo_ports import free_port

PEERS: Final = Path(__file__).parent / "peers"
START_SECONDS: Final = 90.0


@dataclass(frozen=True)
class Peer:
    """`command` has `{python}`, `{port}`, `{folder}` to fill in; `folder` is one of its own, which `files` are written to."""

    name: str
    requires: tuple[str, ...]
    command: tuple[str, ...]
    ready: str
    infer: str
    body: bytes
    files: Mapping[str, str] = field(default_factory=dict)


ALL: Final = (
    Peer(
        "MLServer",
        ("mlserver==1.7.1", "onnxruntime==1.31.1"),
        ("{bin}/mlserver", "start", "{folder}"),
        "/v2/health/ready",
        "/v2/models/fraud/infer",
        fraud_model.v2_body(),
        {
            "settings.json": json.dumps(
                {"http_port": "{port}", "grpc_port": "{other}", "metrics_port": "{third}", "parallel_workers": 0, "debug": False}
            ),
            "model-settings.json": json.dumps({"name": "fraud", "implementation": "mlserver_model.Fraud"}),
        },
    ),
    Peer(
        "KServe",
        ("kserve==0.21.0", "onnxruntime==1.31.1"),
        ("{bin}/python", f"{PEERS}/kserve_model.py", "{port}"),
        "/v2/health/ready",
        "/v2/models/fraud/infer",
        fraud_model.v2_body(),
    ),
    Peer(
        "LitServe",
        ("litserve==0.2.19", "onnxruntime==1.31.1"),
        ("{bin}/python", f"{PEERS}/litserve_server.py", "{port}"),
        "/health",
        "/predict",
        fraud_model.plain_body(),
    ),
    Peer(
        "BentoML",
        ("bentoml==1.4.40", "onnxruntime==1.31.1"),
        ("{bin}/bentoml", "serve", "bentoml_service:Fraud", "--working-dir", str(PEERS), "--port", "{port}", "--host", "127.0.0.1"),
        "/readyz",
        "/predict",
        fraud_model.plain_body(),
    ),
)


def environment(peer: Peer, root: Path) -> Path:
    """The folder of programs of an environment that holds the peer; it is made the first time, and again when `requires` changes."""
    folder = root / f"{peer.name.lower()}-{hashlib.sha256(' '.join(peer.requires).encode()).hexdigest()[:8]}"
    if not (folder / "whole").exists():
        print(f"installing {' '.join(peer.requires)} into {folder}", file=sys.stderr)
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([folder / "bin/python", "-m", "pip", "install", "-q", "--disable-pip-version-check", *peer.requires], check=True)
        (folder / "whole").touch()
    return folder / "bin"


@contextmanager
def peer_running(peer: Peer, programs: Path, model: Path, folder: Path, core: int) -> Iterator[tuple[psutil.Process, int]]:
    """The peer's process, and its port."""
    folder.mkdir(parents=True, exist_ok=True)
    ports = dict(zip(('"{port}"', '"{other}"', '"{third}"'), (free_port(), free_port(), free_port()), strict=True))
    for name, text in peer.files.items():
        filled = text
        for place, number in ports.items():
            filled = filled.replace(place, str(number))
        (folder / name).write_text(filled)
    port = ports['"{port}"']
    command = [part.format(bin=programs, port=port, folder=folder) for part in peer.command]
    own = {
        "BENCH_MODEL": str(model),
        "PYTHONPATH": str(PEERS),
        "PATH": f"{programs}:{os.environ['PATH']}",
        "HOME": str(folder),
        # One thread for each library that would take one a core: the comparison is of one core.
        "OMP_NUM_THREADS": "1",
        "ORT_DISABLE_TELEMETRY": "1",
        "BENTOML_DO_NOT_TRACK": "True",
    }
    with running(command, port, peer.ready, core, own, folder) as process:
        yield process, port


@contextmanager
def running(
    command: Sequence[str], port: int, ready: str, core: int, environment: Mapping[str, str] | None = None, folder: Path | None = None
) -> Iterator[psutil.Process]:
    """A server's process once it is ready, pinned to a core from its start on; it and its children are gone afterwards."""
    # No pipe: nobody reads it, and a server that says much would wait for it.
    with (Path(folder or Path.cwd()) / f"server-{port}.log").open("w+b") as said:
        process = subprocess.Popen(
            command,
            stdout=said,
            stderr=subprocess.STDOUT,
            env=None if environment is None else dict(environment),
            cwd=folder,
            start_new_session=True,
        )
        try:
            if hasattr(os, "sched_setaffinity"):
                os.sched_setaffinity(process.pid, {core})
            _await(process, port, ready, Path(said.name))
            yield psutil.Process(process.pid)
        finally:
            process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(20)
            _kill_group(process.pid)
            process.wait()


def processor_seconds(process: psutil.Process) -> float:
    """Of the process and everything under it."""
    total = 0.0
    for each in (process, *process.children(recursive=True)):
        times = each.cpu_times()
        total += times.user + times.system
    return total


def _await(process: subprocess.Popen[bytes], port: int, ready: str, said: Path) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1) as probe:
                probe.sendall(b"GET %s HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n" % ready.encode())
                if probe.recv(100).startswith(b"HTTP/1.1 200"):
                    return
        except OSError:
            pass
        if process.poll() is not None:
            break
        time.sleep(0.1)
    sys.exit(f"{process.args!r} is not ready:\n{said.read_text(errors='replace')[-3_000:]}")


def _kill_group(group: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
