"""Brokers as Java processes of this machine: their jars from Maven, once for all test runs, and what they write in a temporary folder.

Neither brokers nor that folder outlive the process that started them, however it ended: `monitor.demo.guard` sees to it.
"""

import fcntl
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Final

from tests.kafka.runtime import Unavailable

HERE: Final = Path(__file__).parent
POM: Final = HERE / "pom.xml"
JAVA_AT_LEAST: Final = 17
"""What Kafka 4's brokers are compiled for."""
INSTALL: Final = "install a Java runtime (17 or newer) and Maven, for example Debian's packages default-jre-headless and maven"
FETCHED_WITHIN_SECONDS: Final = 300.0
STOPS_WITHIN_SECONDS: Final = 30.0
QUICK: Final = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-XX:-UsePerfData")
"""Half the CPU time and two thirds of the wait until a broker or a tool is there (3.2 → 1.6 s, 1.9 → 1.2 s)."""
SMALL: Final = ("-Xmx384m",)

CLUSTER_ID: Final = "bW9uaXRvcidzIHRlc3RzIQ"
"""Any 16 bytes in base64: each cluster has ports of its own, so none meets another's brokers."""

RUN: Final = """
[ -e "$data/meta.properties" ] || "$@" -Xmx128m kafka.tools.StorageTool format --cluster-id "$cluster" --config "$config" || exit
exec "$@" $jvm kafka.Kafka "$config"
"""
GUARD: Final = """
import shutil, sys
from monitor.demo.guard import guard
guard(sys.stdin, grace_seconds=0)
shutil.rmtree(sys.argv[1], ignore_errors=True)
"""


@cache
def java() -> str:
    """The command. Raises `Unavailable` where it is missing or too old."""
    home = os.environ.get("JAVA_HOME")
    command = (shutil.which("java", path=str(Path(home, "bin"))) if home else None) or shutil.which("java")
    if command is None:
        raise Unavailable(f"there is no java: {INSTALL}")
    told = subprocess.run([command, "-version"], capture_output=True, text=True, check=False).stderr
    version = re.search(r'version "(\d+)', told)
    if version is None or int(version[1]) < JAVA_AT_LEAST:
        raise Unavailable(f"{command} is not Java {JAVA_AT_LEAST} or newer, but {told.partition(chr(10))[0]!r}: {INSTALL}")
    return command


@cache
def jars() -> Path:
    """The folder that holds what `pom.xml` lists, fetched if it is not there. Raises `Unavailable` where Maven is missing or fails."""
    java()
    folder = _kept()
    if folder.is_dir():
        return folder
    maven = _maven()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / "lock").open("w") as lock, tempfile.TemporaryDirectory(dir=folder.parent, prefix="fetching-") as partial:
        fcntl.flock(lock, fcntl.LOCK_EX)  # test runs side by side fetch once
        if not folder.is_dir():
            copying = [maven, "-q", "-B", "-f", str(POM), "dependency:copy-dependencies", f"-DoutputDirectory={partial}/jars"]
            done = subprocess.run(copying, capture_output=True, text=True, timeout=FETCHED_WITHIN_SECONDS, check=False)
            if done.returncode:
                raise Unavailable(f"Maven could not fetch what {POM} lists:\n{(done.stdout + done.stderr)[-2_000:]}")
            Path(partial, "jars").rename(folder)
    return folder


def foreseen() -> str:
    """Where the jars are or come from, without fetching them. Raises `Unavailable` like `jars`."""
    java()
    return f"jars in {_kept()}" if _kept().is_dir() else f"jars to be fetched by {_maven()}"


def _kept() -> Path:
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(caches, "model-monitor-tests", f"kafka-{hashlib.sha256(POM.read_bytes()).hexdigest()[:12]}")


def _maven() -> str:
    maven = shutil.which("mvn")
    if maven is None:
        raise Unavailable(f"there is no mvn: {INSTALL}")
    return maven


def tool(class_name: str, *arguments: str) -> str:
    """What a command-line class of Kafka's prints. Raises `RuntimeError` with all that it said where it fails."""
    done = subprocess.run([*_with_jars(), *QUICK, class_name, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{class_name} {' '.join(arguments)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def _with_jars() -> list[str]:
    return [java(), f"-Dlog4j2.configurationFile={HERE / 'log4j2.properties'}", "-cp", f"{jars()}/*"]


class JavaRuntime:
    """`jvm` overrides what is meant for small and short tests, such as the heap: `-Xmx1g`."""

    host = listens_on = "127.0.0.1"

    def __init__(self, jvm: Sequence[str] = ()) -> None:
        self._java = [*_with_jars(), *QUICK]
        self._jvm = [*SMALL, *jvm]
        self._folder = Path(tempfile.mkdtemp(prefix="model-monitor-kafka-"))
        self._brokers: list[JavaBroker] = []
        guard = [sys.executable, "-c", GUARD, str(self._folder)]
        self._guard = subprocess.Popen(guard, stdin=subprocess.PIPE, start_new_session=True, cwd=HERE.parents[1])

    def inner_host(self, node: int) -> str:
        return self.host

    def data_folder(self, node: int) -> str:
        return str(self._folder / f"data-{node}")

    def broker(self, node: int, properties: str, ports: Collection[int]) -> "JavaBroker":
        config = self._folder / f"{node}.properties"
        config.write_text(properties)
        settings = {"data": self.data_folder(node), "cluster": CLUSTER_ID, "config": str(config), "jvm": " ".join(self._jvm)}
        broker = JavaBroker(["sh", "-c", RUN, "sh", *self._java], settings, self._folder / f"{node}.log", self._tell_guard)
        self._brokers.append(broker)
        return broker

    def tool(self, class_name: str, *arguments: str) -> str:
        return tool(class_name, *arguments)

    def close(self) -> None:
        for broker in self._brokers:
            broker.kill()
        assert self._guard.stdin is not None
        with suppress(BrokenPipeError):
            self._guard.stdin.close()
        self._guard.wait()

    def _tell_guard(self, sign: str, group: int) -> None:
        assert self._guard.stdin is not None
        with suppress(BrokenPipeError):  # the guard was killed; closing still ends every broker
            self._guard.stdin.write(f"{sign}{group}\n".encode())
            self._guard.stdin.flush()


class JavaBroker:
    """A process group of its own, which Ctrl-C in a terminal does not reach: the tests end it when they have ended."""

    def __init__(self, command: Sequence[str], settings: Mapping[str, str], log: Path, tell_guard: Callable[[str, int], None]) -> None:
        self._command = command
        self._settings = settings
        self._log = log
        self._tell_guard = tell_guard
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        assert not self.running(), "this broker runs already"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, env=os.environ | self._settings, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self._tell_guard("+", self._process.pid)

    def stop(self) -> None:
        self._signal(signal.SIGCONT)
        self._signal(signal.SIGTERM)
        self._ended(STOPS_WITHIN_SECONDS)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)
        self._ended(None)

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def said(self) -> str:
        return self._log.read_text(errors="replace")

    def _signal(self, number: int) -> None:
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, number)

    def _ended(self, within_seconds: float | None) -> None:
        if self._process is not None:
            self._process.wait(within_seconds)
            self._tell_guard("-", self._process.pid)
            self._process = None
