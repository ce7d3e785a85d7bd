"""The demo's children: `serve` and `watch` as the separate processes that production would have.

Started in process groups of their own (Ctrl-C in a terminal reaches the demo alone), logging to files, restarted when a signal
killed them as any supervisor would, stopped in order, and watched over by `guard` in case the demo is killed itself.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from monitor.demo import guard
from monitor.errors import MonitorError

READY_WITHIN_SECONDS: Final = 60.0
STOP_WITHIN_SECONDS: Final = 30.0
RESTARTS_LIMIT: Final = 30
"""Killed more often than that, something kills it for a reason (memory, perhaps), and going on hides it."""
TAIL_LINES: Final = 15


@dataclass(slots=True)
class Child:
    """One subcommand of the monitor, running. `ready` asks it whether it can be used yet."""

    name: str
    command: Sequence[str]
    log: Path
    ready: Callable[[], bool]
    process: subprocess.Popen[bytes]
    restarts: int = field(default=0)

    def tail(self) -> str:
        """The last lines of its log, for an error message."""
        lines = self.log.read_text(errors="replace").splitlines()[-TAIL_LINES:]
        return f"The end of {self.log}:\n" + "\n".join(f"  {line}" for line in lines or ["(empty)"])


class Processes:
    """Starts children and answers for their end: leaving the context stops them in the order of their start."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._children: list[Child] = []
        self._guard: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self._guard = subprocess.Popen(
            [sys.executable, "-I", "-S", guard.__file__], stdin=subprocess.PIPE, text=True, start_new_session=True, cwd="/"
        )
        return self

    def __exit__(self, *_: object) -> None:
        for child in self._children:
            self._stop(child)
        assert self._guard is not None
        assert self._guard.stdin is not None
        self._guard.stdin.close()
        self._guard.wait()

    def start(self, name: str, command: Sequence[str], log: Path, ready: Callable[[], bool]) -> None:
        """Starts a child; `await_ready` waits for it."""
        log.write_bytes(b"")
        self._children.append(Child(name, command, log, ready, self._spawn(command, log)))

    def await_ready(self) -> None:
        """Returns when all are ready. Raises `MonitorError` with the end of the log of one that died or takes too long."""
        deadline = time.monotonic() + READY_WITHIN_SECONDS
        for child in self._children:
            while not child.ready():
                if child.process.poll() is not None:
                    raise MonitorError(f"`{child.name}` {_ending(child.process.returncode)} before it was ready. {child.tail()}")
                if time.monotonic() > deadline:
                    raise MonitorError(f"`{child.name}` is not ready after {READY_WITHIN_SECONDS:.0f} seconds. {child.tail()}")
                time.sleep(0.05)

    def attend(self) -> None:
        """Restarts what a signal killed. Raises `MonitorError` for a child that ended by itself, or is killed again and again."""
        for child in self._children:
            code = child.process.poll()
            if code is None:
                continue
            self._tell_guard("-", child.process.pid)
            if code >= 0 or child.restarts >= RESTARTS_LIMIT:
                raise MonitorError(f"`{child.name}` {_ending(code)} during the run. {child.tail()}")
            child.restarts += 1
            child.process = self._spawn(child.command, child.log)
            self._say(f"{child.name} {_ending(code)}; started again (pid {child.process.pid}), what it had written is kept.")

    def _spawn(self, command: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
        with log.open("ab") as output:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)
        self._tell_guard("+", process.pid)
        return process

    def _stop(self, child: Child) -> None:
        if child.process.poll() is None:
            child.process.terminate()
            try:
                child.process.wait(STOP_WITHIN_SECONDS)
            except subprocess.TimeoutExpired:
                self._say(f"{child.name} did not stop within {STOP_WITHIN_SECONDS:.0f} seconds; killed.")
        with suppress(ProcessLookupError, PermissionError):  # gone already, as it should be
            os.killpg(child.process.pid, signal.SIGKILL)
        child.process.wait()
        self._tell_guard("-", child.process.pid)

    def _tell_guard(self, sign: str, pid: int) -> None:
        assert self._guard is not None
        assert self._guard.stdin is not None
        with suppress(BrokenPipeError):  # the guard was killed; the demo still stops its children itself
            self._guard.stdin.write(f"{sign}{pid}\n")
            self._guard.stdin.flush()


def run_to_end(what: str, command: Sequence[str], log: Path) -> None:
    """Runs a step in a process of its own, its output in `log`. Raises `MonitorError` with the end of it when the step fails."""
    finish_step(what, begin_step(command, log), log)


def begin_step(command: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)


def finish_step(what: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Waits for a step that was begun. Raises `MonitorError` when it failed; stops it when the demo is interrupted meanwhile."""
    try:
        code = process.wait()
    except BaseException:
        process.kill()
        process.wait()
        raise
    if code != 0:
        raise MonitorError(f"{what} {_ending(code)}. The end of {log}:\n{log.read_text(errors='replace')[-2_000:]}")


def monitor_command(*arguments: str) -> list[str]:
    """The command line of this very installation."""
    return [sys.executable, "-m", "monitor", *arguments]


def _ending(code: int | None) -> str:
    if code is not None and code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"
