"""Fuzzes a running `model-monitor serve` by its own OpenAPI document, for as long as is wanted.

    python -m tests.e2e.fuzzed [--seconds 600]

The test runs it for a few examples an operation. A long run repeats itself with new seeds until its time is up; what it finds is printed,
with a `curl` that shows it again.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.unit.demo_ports import free_port
from tests.unit.serving_models import logistic

ROOT = Path(__file__).parents[2]
SETTINGS = Path(__file__).parent / "schemathesis.toml"
TOKEN = "a-token-that-is-good-for-all-models"
START_WITHIN_SECONDS = 60
CONFIG = """
log: {{kind: embedded, path: data/log.db}}
serving:
  repository: models/
  port: {port}
  grpc_port: null
  max_body_bytes: 1MB
  doors: {{tokens: [{{file: token}}]}}
  cloudevents: {{}}
models:
  - {{name: flights, task: binary, classes: [on_time, late], positive_class: late, features: {{a: numeric, b: numeric, c: numeric}}}}
"""


@dataclass(frozen=True)
class Fuzzed:
    """A server with one model, and tokens on its doors."""

    url: str
    process: subprocess.Popen[str]
    folder: Path

    def fuzz(self, *options: str) -> subprocess.CompletedProcess[str]:
        """One run of schemathesis with all its checks; it exits with 0 where nothing was found."""
        schemathesis = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(SETTINGS), "run", f"{self.url}/openapi.json"]
        return subprocess.run(
            [*schemathesis, "--header", f"Authorization: Bearer {TOKEN}", "--no-color", "--continue-on-failure", *options],
            cwd=self.folder,  # it keeps what it found there
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )


@contextmanager
def serving(folder: Path) -> Iterator[Fuzzed]:
    """A server that is ready, as a process of its own; killed at the end."""
    logistic(folder / "models" / "flights" / "1" / "model.onnx", classes=("on_time", "late"))
    (folder / "token").write_text(TOKEN)
    (folder / "token").chmod(0o600)
    port = free_port()
    (folder / "monitor.yaml").write_text(CONFIG.format(port=port))
    with (folder / "stderr").open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "monitor", "serve", "-c", str(folder / "monitor.yaml")], cwd=ROOT, stderr=stderr, text=True
        )
        try:
            url = f"http://127.0.0.1:{port}"
            _await_ready(url, process, folder / "stderr")
            yield Fuzzed(url, process, folder)
        finally:
            process.kill()
            process.wait()


def _await_ready(url: str, process: subprocess.Popen[str], stderr: Path) -> None:
    deadline = time.monotonic() + START_WITHIN_SECONDS
    while True:
        try:
            if httpx.get(f"{url}/v2/health/ready").status_code == 200:
                return
        except httpx.TransportError:
            pass
        assert process.poll() is None, stderr.read_text()
        assert time.monotonic() < deadline, stderr.read_text()
        time.sleep(0.05)


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--seconds", type=int, default=600)
    chosen = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as server:
        run = server.fuzz("--max-time", str(chosen.seconds))
        print(run.stdout)
        assert server.process.poll() is None, (Path(folder) / "stderr").read_text()
        print((Path(folder) / "stderr").read_text()[-2_000:])
    sys.exit(run.returncode)


if __name__ == "__main__":
    main()
