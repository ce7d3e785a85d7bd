"""`model-monitor demo` as the process that a person would start, on ports of its own: what it says, whom it started, how it is ended.

Whatever a test does to it, no process is left: leaving the context kills the demo and all that ever was its child.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil
import pytest

from tests.unit.demo_ports import free_port

PATIENCE_SECONDS = 240.0
"""For anything that a demo does; a slow machine is no failure, a hang is."""
GLANCE_SECONDS = 0.02
STAYS_UP = "Everything stays up until Ctrl-C"
SENDING = "flights to http"
NO_SETTINGS: Mapping[str, str] = {}


def until(condition: Callable[[], object], what: str, seconds: float = PATIENCE_SECONDS) -> None:
    """Returns when the condition holds; fails, saying what was awaited, when it takes too long."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"in vain for {seconds:.0f} s: {what}"
        time.sleep(GLANCE_SECONDS)


def monitor_environment(**overrides: object) -> dict[str, str]:
    """Ours without any setting of the monitor, but with these."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("MODEL_MONITOR_")}
    return inherited | {key: str(value) for key, value in overrides.items()}


def monitor(*arguments: object, expect: int | None = 0, settings: Mapping[str, str] = NO_SETTINGS) -> subprocess.CompletedProcess[str]:
    """Runs one command of the monitor to its end, with these overrides of the configuration."""
    command = [sys.executable, "-m", "monitor", *map(str, arguments)]
    environment = monitor_environment(**settings)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)
    assert expect is None or done.returncode == expect, (command, done.returncode, done.stderr[-4_000:])
    return done


@dataclass
class Demo:
    """A running (or ended) demo. `folder` is its `--dir`; what it prints goes to files beside that."""

    folder: Path
    serving_port: int
    exporter_port: int
    process: subprocess.Popen[bytes]
    _ever: dict[int, psutil.Process] = field(default_factory=dict)

    @property
    def server(self) -> str:
        return f"http://127.0.0.1:{self.serving_port}"

    @property
    def daemon(self) -> str:
        return f"http://127.0.0.1:{self.exporter_port}"

    @property
    def configuration(self) -> Path:
        return self.folder / "model-monitor.yaml"

    @property
    def stdout(self) -> str:
        return output_of(self.folder, "stdout").read_text()

    @property
    def stderr(self) -> str:
        return output_of(self.folder, "stderr").read_text()

    def get(self, path: str, **parameters: str) -> httpx.Response:
        """What the daemon answers."""
        answer = httpx.get(f"{self.daemon}{path}", params=parameters or None, timeout=60)
        answer.raise_for_status()
        return answer

    def answers(self) -> bool:
        """Whether the daemon shows metrics."""
        try:
            return self.get("/metrics").is_success
        except httpx.HTTPError:
            return False

    def await_said(self, text: str) -> None:
        """Returns when it stands on stderr."""
        until(lambda: text in self.stderr or self.process.poll() is not None, f"{text!r} on the demo's stderr")
        assert text in self.stderr, (self.process.returncode, self.stderr)

    def await_children(self) -> None:
        """Returns when both the server and the daemon run."""
        until(lambda: self.child("serve") and self.child("watch"), "the demo's children")

    def child(self, name: str) -> psutil.Process | None:
        """The `serve` or the `watch` that runs now."""
        for process in self.descendants():
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                if name in process.cmdline()[3:4] and process.status() != psutil.STATUS_ZOMBIE:
                    return process
        return None

    def descendants(self) -> list[psutil.Process]:
        """The processes that it has started and that live; those seen are remembered, because orphans have no parent to ask."""
        with suppress(psutil.NoSuchProcess):
            for process in psutil.Process(self.process.pid).children(recursive=True):
                self._ever.setdefault(process.pid, process)
        return [process for process in self._ever.values() if process.is_running()]

    def interrupt(self) -> None:
        """Ctrl-C: a terminal sends the signal to the whole foreground group."""
        self.descendants()
        os.killpg(self.process.pid, signal.SIGINT)

    def kill(self) -> None:
        """SIGKILL, to the demo alone."""
        self.descendants()
        self.process.kill()

    def wait(self) -> int:
        """The exit code."""
        return self.process.wait(PATIENCE_SECONDS)

    def survivors(self, seconds: float) -> list[psutil.Process]:
        """Those of the processes seen that still run so long after."""
        _, alive = psutil.wait_procs(list(self._ever.values()), seconds)
        return alive


def output_of(folder: Path, stream: str) -> Path:
    return folder.with_name(f"{folder.name}.{stream}")


@contextmanager
def demo(
    folder: Path,
    *options: object,
    serving_port: int | None = None,
    exporter_port: int | None = None,
    settings: Mapping[str, str] = NO_SETTINGS,
) -> Iterator[Demo]:
    """Starts a demo in a folder, which another may have trained. `settings` override the configuration's, by the names of variables."""
    ports = serving_port or free_port(), exporter_port or free_port()
    names = ("MODEL_MONITOR_SERVING__PORT", "MODEL_MONITOR_EXPORTER__PORT", "MODEL_MONITOR_SERVING__GRPC_PORT")
    environment = monitor_environment(**dict(zip(names, (*ports, free_port()), strict=True)), **settings)
    command = [sys.executable, "-m", "monitor", "demo", "--dir", str(folder), *map(str, options)]
    with output_of(folder, "stdout").open("wb") as stdout, output_of(folder, "stderr").open("wb") as stderr:
        process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, start_new_session=True)
    running = Demo(folder, *ports, process)
    try:
        yield running
    finally:
        for left in (*running.descendants(), psutil.Process(process.pid)) if process.poll() is None else running.descendants():
            with suppress(psutil.NoSuchProcess):
                left.kill()
        process.wait()


def trained(factory: pytest.TempPathFactory) -> Path:
    """A folder in which the demo's model is trained, once a session; to be copied."""
    folder = factory.getbasetemp() / "trained-demo"
    if not folder.exists():
        partial = folder.with_suffix(".partial")
        partial.mkdir()
        model = partial / "models" / "flights" / "1" / "model.onnx"
        subprocess.run([sys.executable, "-m", "monitor.demo.training", str(partial), str(model)], env=monitor_environment(), check=True)
        partial.rename(folder)
    return folder


def copy_of(trained_folder: Path, folder: Path) -> Path:
    shutil.copytree(trained_folder, folder)
    return folder
