"""Nothing leaves the process: ONNX Runtime's telemetry is off wherever ours imports it, and a read-only home is no obstacle.

With telemetry on, the import alone writes a device id under the home folder, and the vendor's host is looked up 4 to 9 seconds later
(measured on 1.31.1). A continuous-integration variable silences it too, so each child gets an environment of its own without one.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

pytest.importorskip("onnxruntime", reason="needs the extra serving")

ROOT = Path(__file__).parents[2]
WINDOW_SECONDS = 10
"""How long a child stays for a look-up to show."""

LOOKUPS = r"""
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>

/* Stands before the C library's: writes down who is looked up, and finds nobody. */
int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **found) {
    (void)service; (void)hints; (void)found;
    FILE *names = fopen(getenv("LOOKED_UP"), "a");
    if (names) { fprintf(names, "%s\n", node ? node : ""); fclose(names); }
    return EAI_NONAME;
}
"""


def run(program: str, env: Mapping[str, str]) -> str:
    """What a fresh interpreter prints that has nothing in its environment but `env`."""
    clean = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", **env}
    child = subprocess.run([sys.executable, "-c", program], env=clean, capture_output=True, text=True, timeout=120, check=False)
    assert child.returncode == 0, child.stderr
    return child.stdout


def files_under(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("imported", ["monitor.serving.model", "monitor.serving.server", "monitor.commands.serve", "monitor.demo.training"])
def test_importing_what_serving_and_the_demo_import_writes_nothing_at_home(tmp_path: Path, imported: str) -> None:
    run(f"import {imported}", {"HOME": str(tmp_path)})
    assert files_under(tmp_path) == []


def test_the_runtime_finds_telemetry_disabled_whatever_the_environment_said(tmp_path: Path) -> None:
    program = "import os, sys, monitor.serving.model; print('onnxruntime' in sys.modules, os.environ['ORT_DISABLE_TELEMETRY'])"
    assert run(program, {"HOME": str(tmp_path), "ORT_DISABLE_TELEMETRY": "0"}).split() == ["True", "1"]
    assert files_under(tmp_path) == []


def test_a_home_that_cannot_be_written_to_does_not_stop_the_start() -> None:
    run("import monitor.serving.model", {"HOME": "/proc/nowhere"})


@pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("cc") is None, reason="needs Linux and a C compiler, to stand before getaddrinfo"
)
def test_the_runtime_looks_nobody_up(tmp_path: Path) -> None:
    source, library, looked_up = tmp_path / "lookups.c", tmp_path / "lookups.so", tmp_path / "looked-up"
    source.write_text(LOOKUPS)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
    program = f"""
import socket, threading, monitor.serving.model
try:
    socket.getaddrinfo("control.invalid", 80)
except socket.gaierror:
    threading.Event().wait({WINDOW_SECONDS})
"""
    run(program, {"HOME": str(tmp_path / "home"), "LD_PRELOAD": str(library), "LOOKED_UP": str(looked_up)})
    assert looked_up.read_text().split() == ["control.invalid"]
