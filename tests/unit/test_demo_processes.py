"""Children are restarted when a signal kills them, stopped at the end, and never outlive the demo, however it ends."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from monitor.demo import guard
from monitor.demo.processes import Child, Processes, begin_step, finish_step
from monitor.errors import MonitorError

WAITS = [sys.executable, "-c", "import sys; print('up', flush=True); sys.stdin.read(); import signal; signal.pause()"]
FAILS = [sys.executable, "-c", "import sys; sys.exit('no such model')"]


def only_child(processes: Processes) -> Child:
    (child,) = processes._children
    return child


@pytest.fixture
def said() -> list[str]:
    return []


def test_leaving_stops_the_children(tmp_path: Path, said: list[str]) -> None:
    with Processes(said.append) as processes:
        processes.start("watch", WAITS, tmp_path / "watch.log", ready=lambda: True)
        process = only_child(processes).process
        assert process.poll() is None
    assert process.returncode == -signal.SIGTERM
    assert said == []


def test_a_child_that_a_signal_killed_is_started_again(tmp_path: Path, said: list[str]) -> None:
    with Processes(said.append) as processes:
        processes.start("watch", WAITS, tmp_path / "watch.log", ready=lambda: True)
        killed = only_child(processes).process
        killed.kill()
        killed.wait()
        processes.attend()
        assert only_child(processes).process.poll() is None
        assert only_child(processes).process.pid != killed.pid
    assert said[0].startswith("watch was killed by SIGKILL; started again")


def test_a_child_that_ends_by_itself_ends_the_run_with_the_end_of_its_log(tmp_path: Path, said: list[str]) -> None:
    with Processes(said.append) as processes:
        processes.start("serve", FAILS, tmp_path / "serve.log", ready=lambda: True)
        only_child(processes).process.wait()
        with pytest.raises(MonitorError, match=r"(?s)`serve` ended with exit code 1 .*no such model"):
            processes.attend()


def test_a_child_that_dies_before_it_is_ready_is_explained(tmp_path: Path, said: list[str]) -> None:
    with Processes(said.append) as processes:
        processes.start("serve", FAILS, tmp_path / "serve.log", ready=lambda: False)
        with pytest.raises(MonitorError, match=r"(?s)before it was ready.*no such model"):
            processes.await_ready()


def test_a_step_that_fails_is_explained(tmp_path: Path) -> None:
    log = tmp_path / "training.log"
    with pytest.raises(MonitorError, match=r"(?s)Training ended with exit code 1\. .*no such model"):
        finish_step("Training", begin_step(FAILS, log), log)


KILLED_DEMO = """
import os, signal, sys
from pathlib import Path
from monitor.demo.processes import Processes
log = Path(sys.argv[1])
with Processes(print) as processes:
    child = "import signal; print('up', flush=True); signal.pause()"
    processes.start("watch", [sys.executable, "-c", child], log, ready=lambda: bool(log.read_bytes()))
    processes.await_ready()
    print(processes._children[0].process.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_demo_leaves_no_orphan(tmp_path: Path) -> None:
    demo = subprocess.run([sys.executable, "-c", KILLED_DEMO, str(tmp_path / "log")], stdout=subprocess.PIPE, check=False)
    assert demo.returncode == -signal.SIGKILL
    with suppress(psutil.NoSuchProcess):
        psutil.Process(int(demo.stdout)).wait(20)


def test_the_guard_leaves_alone_what_the_demo_stopped_itself() -> None:
    child = subprocess.Popen(WAITS, stdin=subprocess.PIPE, start_new_session=True)
    guard.guard([f"+{child.pid}\n", f"-{child.pid}\n"])
    assert child.poll() is None
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def test_the_guard_kills_what_does_not_stop_when_asked() -> None:
    stubborn = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); signal.pause()"
    child = subprocess.Popen([sys.executable, "-c", stubborn], stdout=subprocess.PIPE, start_new_session=True)
    assert child.stdout is not None
    child.stdout.readline()
    guard.guard([f"+{child.pid}\n"], grace_seconds=0.1)
    assert child.wait(20) == -signal.SIGKILL
    child.stdout.close()
