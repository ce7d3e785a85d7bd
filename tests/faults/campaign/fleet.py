"""The daemons of a round: `watch` processes with one configuration, each with a port of its own, started, signalled and watched over.

A process that ends without having been told to is remembered: no fault of a round excuses it.
"""

import resource
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from tests.e2e.demos import monitor_environment
from tests.kafka.brokers import free_ports

STOPS_WITHIN_SECONDS = 30.0
"""What is promised of `watch` and SIGTERM."""
TINY_FILE_BYTES = 1_024


@dataclass(slots=True, eq=False)
class Member:
    """One `watch` at a time under one name. `state` is where it keeps its snapshots, alone or with all others."""

    name: str
    port: int
    state: Path
    folder: Path
    process: subprocess.Popen[bytes]
    writing: threading.Thread
    said_before: int
    """Bytes that those before it had said."""
    is_expected_to_end: bool = False
    is_stopped: bool = False
    """By SIGSTOP."""

    @property
    def said_at(self) -> Path:
        return self.folder / f"{self.name}.log"

    @property
    def is_running(self) -> bool:
        return self.process.poll() is None

    @property
    def is_silent(self) -> bool:
        """It has not come as far as to listen to signals: it says what it does from then on."""
        return self.said_at.stat().st_size == self.said_before

    def kill(self) -> None:
        self.is_expected_to_end = True
        self.process.kill()
        self._ended()

    def terminate(self) -> None:
        """SIGTERM, without waiting."""
        self.is_expected_to_end = True
        self.process.terminate()

    def await_end(self) -> int:
        """The exit code; raises `subprocess.TimeoutExpired`."""
        code = self.process.wait(STOPS_WITHIN_SECONDS)
        self._ended()
        return code

    def pause(self) -> None:
        self.is_stopped = True
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.is_stopped = False
        self.process.send_signal(signal.SIGCONT)

    def limit_files(self, limited: bool) -> None:
        """No file of its own can grow any more, or can again: what a full disk does to it."""
        _, hard = resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (TINY_FILE_BYTES if limited else hard, hard))

    def _ended(self) -> None:
        self.process.wait()
        self.writing.join()


@dataclass(slots=True)
class Fleet:
    """The members of a round by name. `shares_state` gives all of them one folder for snapshots;
    `is_static` gives each an id that outlives its process."""

    folder: Path
    configuration: Path
    shares_state: bool
    is_static: bool
    members: dict[str, Member] = field(default_factory=dict)
    troubles: list[str] = field(default_factory=list)
    """Ends that nobody asked for, and exit codes other than 0 after SIGTERM."""
    _count: int = 0

    def running(self) -> list[Member]:
        return [member for member in list(self.members.values()) if member.is_running]

    def add(self) -> Member:
        """Starts a new one."""
        name = f"watch-{self._count}"
        self._count += 1
        return self._start(name, free_ports(1)[0], self.folder / "state" / ("all" if self.shares_state else name))

    def restart(self, member: Member) -> Member:
        """Starts one that has ended, with the same port and state."""
        return self._start(member.name, member.port, member.state)

    def remove(self, member: Member) -> None:
        """Asks it to end, and waits."""
        member.terminate()
        self.reap(member)

    def reap(self, member: Member) -> None:
        """Waits for one that was asked to end."""
        try:
            code = member.await_end()
        except subprocess.TimeoutExpired:
            self.troubles.append(f"{member.name} did not end within {STOPS_WITHIN_SECONDS:.0f} s of SIGTERM")
            member.kill()
        else:
            if code and not (code == -signal.SIGTERM and member.is_silent):
                self.troubles.append(f"{member.name} ended with {code} after SIGTERM; see {member.said_at}")

    def look_after(self) -> None:
        """Notes whoever ended without being told, and starts it again."""
        for member in list(self.members.values()):
            if not member.is_running and not member.is_expected_to_end:
                self.troubles.append(f"{member.name} ended by itself with {member.process.returncode}; see {member.said_at}")
                self.restart(member)

    def close(self) -> None:
        """Kills whoever is left."""
        for member in self.members.values():
            if member.is_running:
                member.kill()

    def _start(self, name: str, port: int, state: Path) -> Member:
        settings = {"MODEL_MONITOR_EXPORTER__PORT": str(port), "MODEL_MONITOR_STATE__PATH": str(state)}
        if self.is_static:
            settings["MODEL_MONITOR_LOG__INSTANCE_ID"] = name
        process = subprocess.Popen(
            [sys.executable, "-m", "monitor", "watch", "-c", str(self.configuration)],
            env=monitor_environment(**settings) | {"OMP_NUM_THREADS": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert process.stdout is not None
        path = self.folder / f"{name}.log"
        path.touch()
        said_before = path.stat().st_size
        writing = threading.Thread(target=_write_lines, args=(process.stdout, path), daemon=True)
        writing.start()
        member = self.members[name] = Member(name, port, state, self.folder, process, writing, said_before)
        return member


def _write_lines(lines: IO[bytes], path: Path) -> None:
    """Writes what a process says to a file, for it: with files limited it could not."""
    with lines, path.open("ab", buffering=0) as file:
        for line in lines:
            file.write(line)
