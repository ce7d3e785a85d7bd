"""A small world without the demo: a configuration, events to import, and its daemon, which tests stop, kill and starve.

The daemon commits often and reads little at a time, so that whenever it is killed it is in the middle of something.
"""

import json
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import IO, Any

import httpx

from tests.e2e.demos import PATIENCE_SECONDS, monitor, monitor_environment, until
from tests.e2e.exposed import text_series
from tests.unit.demo_ports import free_port

HOUR = 3_600_000
START = 1_700_000_000_000 // (24 * HOUR) * 24 * HOUR
CLASSES = ("no", "yes")
EVENTS_A_RECORD = 20
"""A file, and so a record of the log, holds few, so that there is much to be in the middle of."""
CONFIGURATION = """
log: {kind: embedded, path: data/log.db, partitions: 2}
state: {path: %(state)s}
clock: watermark
worker: {tick: 10ms, poll_bytes: 4kB}
exporter: {port: %(port)d, tick: 200ms}
serving: {port: %(serving)d}
models:
  - name: churn
    task: binary
    classes: [no, yes]
    positive_class: yes
    features: {age: numeric, plan: categorical}
    segments: [plan]
    windows: [1d, 7d]
    labels: {horizon: 3d}
"""

Event = dict[str, Any]


@dataclass(frozen=True)
class World:
    """A folder with a configuration, and its ports."""

    folder: Path
    exporter: int
    serving: int

    @classmethod
    def make(cls, folder: Path, state: str = "data/state") -> "World":
        folder.mkdir(parents=True, exist_ok=True)
        world = cls(folder, free_port(), free_port())
        text = CONFIGURATION % {"state": state, "port": world.exporter, "serving": world.serving}
        world.configuration.write_text(text)
        return world

    @property
    def configuration(self) -> Path:
        return self.folder / "model-monitor.yaml"

    @property
    def state(self) -> Path:
        return self.folder / "data" / "state"

    def take(self, first: int, count: int) -> None:
        """Imports the predictions and labels of so many customers, as a person would: returns when they are durable."""
        for stream, events in (("predictions", predictions(first, count)), ("labels", labels(first, count))):
            paths = []
            for place in range(0, len(events), EVENTS_A_RECORD):
                paths.append(self.folder / f"{stream}-{first}-{place}.jsonl")
                paths[-1].write_text("".join(json.dumps(event) + "\n" for event in events[place : place + EVENTS_A_RECORD]))
            monitor("log", "import", "-c", self.configuration, stream, *paths)

    def once(self, form: str = "json") -> str:
        """What `watch --once` prints."""
        return monitor("watch", "-c", self.configuration, "--once", "--format", form).stdout

    def exported(self, stream: str) -> list[Event]:
        return [json.loads(line) for line in monitor("log", "export", "-c", self.configuration, stream).stdout.splitlines()]


@dataclass
class Process:
    """A `watch` or `serve` of a world; what it says goes to a file."""

    process: subprocess.Popen[bytes]
    url: str
    said_at: Path

    @property
    def said(self) -> str:
        return self.said_at.read_text()

    def answers(self, path: str) -> bool:
        try:
            return httpx.get(f"{self.url}{path}").status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def await_ready(self, path: str) -> None:
        until(lambda: self.answers(path) or self.process.poll() is not None, f"{self.url}{path}")
        assert self.process.poll() is None, self.said

    def counted(self) -> float:
        """Events that the daemon has committed and shows."""
        return self._sum_of("events_total")

    def lag(self) -> float:
        """Records of the log that it has not."""
        return self._sum_of("lag_records")

    def _sum_of(self, name: str) -> float:
        return sum(series.value for series in text_series(httpx.get(f"{self.url}/metrics").text) if series.name == name)

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_SECONDS)


@contextmanager
def running(world: World, command: str = "watch") -> Iterator[Process]:
    """A process that may not be ready yet; killed at the end if it still runs."""
    port = world.exporter if command == "watch" else world.serving
    said_at = world.folder / f"{command}.log"
    arguments = [sys.executable, "-m", "monitor", command, "-c", str(world.configuration)]
    process = subprocess.Popen(
        arguments, env=monitor_environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert process.stdout is not None
    writing = Thread(target=_write_lines, args=(process.stdout, said_at))
    writing.start()
    try:
        yield Process(process, f"http://127.0.0.1:{port}", said_at)
    finally:
        process.kill()
        process.wait()
        writing.join()


def _write_lines(lines: IO[bytes], path: Path) -> None:
    """Writes what a process says to a file, for it: a process whose files must not grow could not tell of it otherwise."""
    with lines, path.open("ab", buffering=0) as file:
        for line in lines:
            file.write(line)


def predictions(first: int, count: int) -> list[Event]:
    """One a minute, some without a feature, a few that are no events of the model."""
    return [_prediction(number, random.Random(number)) for number in range(first, first + count)]


def _prediction(number: int, draw: random.Random) -> Event:
    event: Event = {
        "id": f"customer-{number}",
        "time": START + number * 60_000,
        "model": "churn",
        "version": draw.choice("12"),
        "features": {"age": round(draw.gauss(40, 12), 1), "plan": draw.choice(["basic", "plus", "pro", None])},
        "score": round(draw.random(), 6),
    }
    if draw.random() < 0.01:
        event["model"] = "unknown"
    if draw.random() < 0.01:
        del event["score"]
    return event


def labels(first: int, count: int) -> list[Event]:
    """Hours after their prediction, in order of arrival: some never, some twice, some for nobody."""
    events = []
    for number in range(first, first + count):
        draw = random.Random(-number - 1)
        arrival = START + number * 60_000 + draw.randrange(10 * HOUR)
        for later in (0, 2 * HOUR)[: draw.choice((0, 1, 1, 1, 1, 2))]:
            name = f"customer-{number}" if draw.random() < 0.98 else f"nobody-{number}"
            events.append({"id": name, "label": draw.choice(CLASSES), "time": arrival + later, "model": "churn"})
    return sorted(events, key=lambda event: int(event["time"]))
