"""The demo's folder: what lies where, whose it is, and which of it survives to the next run.

The trained model is kept. The log and the daemon's state start empty each time, since a year that was already sent would be refused as
out of order; only what the demo made itself is ever removed. (Topics on Kafka: see `monitor.demo.topics`.)
"""

import errno
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from monitor.demo import recipe
from monitor.demo.facts import REFERENCE_ROWS
from monitor.errors import MonitorError

SIGNATURE: Final = "# Written by `model-monitor demo`"
DISK_NEEDED_BYTES: Final = 500_000_000
"""The year's log and panes take 110 MB (measured); SQLite may need as much again while it tidies up."""
_DISK_FULL: Final = {errno.ENOSPC, errno.EDQUOT}
_NOT_WRITABLE: Final = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG}

EMBEDDED_LOG: Final = """\
log:
  kind: embedded
  path: data/log.db
  out_of_order: 24h
  retention: 400d            # by the flights' own time: the whole year stays readable
"""
KAFKA_LOG: Final = """\
log:
  kind: kafka
  bootstrap_servers: {servers}
  topic_prefix: model-monitor-demo-
  partitions: 4
  session_timeout: 10s       # a daemon that was killed is replaced that much later
  out_of_order: 24h
  retention: forever         # Kafka counts a record's age from the flight's own time, and the year is 2013
"""
HEAD: Final = f"""\
{SIGNATURE}, anew with each run: copy it elsewhere to keep changes.
"""
REST: Final = f"""\
state: {{path: data/state}}
serving:
  repository: models/
  trust_client_times: true   # the year is 2013: what a client says the time is, it is
  batching: {{max_rows: 1}}    # a shared run may round a score otherwise in its last bit, and two runs of the year are to end alike
exporter: {{tick: 1s}}         # a second is a week of flights at full speed
worker: {{tick: 1s}}
clock: watermark             # and "now" is the newest flight
models:
  - name: {recipe.MODEL}
    task: binary
    classes: [{", ".join(recipe.CLASSES)}]
    positive_class: {recipe.POSITIVE_CLASS}
    threshold: {recipe.THRESHOLD}
    features:
{"".join(f"      {name}: numeric{chr(10)}" for name in recipe.NUMERIC)}\
{"".join(f"      {name}: categorical{chr(10)}" for name in (*recipe.CATEGORICAL, *recipe.MONITORED))}\
    reference: {recipe.MODEL}-{{version}}.reference
    windows: [1d, 7d, 28d, 365d]
    labels: {{horizon: 3d}}    # the latest flight of the year lands 33 hours after its scheduled departure
    segments: [origin]
    objectives:
      recall-page: {{metric: recall, class: {recipe.POSITIVE_CLASS}, min: 0.5, window: 7d, severity: page}}
      precision-ticket: {{metric: precision, class: {recipe.POSITIVE_CLASS}, min: 0.25, window: 7d, severity: ticket}}
      inputs: {{metric: drift, max_features: 0, window: 28d, severity: ticket}}   # a week of weather is never like a season
"""


@dataclass(frozen=True, slots=True)
class Workspace:
    """The paths in the demo's folder, absolute."""

    folder: Path

    @property
    def configuration(self) -> Path:
        return self.folder / "model-monitor.yaml"

    @property
    def model(self) -> Path:
        return self.folder / "models" / recipe.MODEL / recipe.MODEL_VERSION / "model.onnx"

    @property
    def reference(self) -> Path:
        return self.folder / f"{recipe.MODEL}-{recipe.MODEL_VERSION}.reference"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def reference_rows(self) -> Path:
        return self.folder / REFERENCE_ROWS

    @property
    def topics(self) -> Path:
        """The record of the topics on Kafka that were made for this folder."""
        return self.folder / "kafka-topics.json"

    def log_of(self, process: str) -> Path:
        return self.folder / f"{process}.log"

    def prepare(self, kafka: str | None = None) -> None:
        """Writes the configuration and clears the last run's log and state. `kafka`: the brokers that are to hold the log, `host:port`."""
        with explained(self.folder):
            self.configuration.write_text(HEAD + (EMBEDDED_LOG if kafka is None else KAFKA_LOG.format(servers=json.dumps(kafka))) + REST)
            if self.data.exists():
                shutil.rmtree(self.data)
            self.data.mkdir()


@contextmanager
def opened(folder: Path) -> Iterator[Workspace]:
    """The folder, made where it is missing, for this process alone until the end. Raises `MonitorError` where it cannot be used."""
    workspace = Workspace(folder.absolute())
    with explained(workspace.folder):
        workspace.folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(workspace.folder / ".demo.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        _lock(descriptor, workspace.folder)
        _check_owner(workspace)
        _check_space(workspace.folder)
        yield workspace
    finally:
        os.close(descriptor)


@contextmanager
def explained(folder: Path) -> Iterator[None]:
    """Turns what the file system says of a folder into what a person can do; other errors pass."""
    try:
        yield
    except OSError as error:
        if error.errno in _DISK_FULL:
            remedy = f"Free {DISK_NEEDED_BYTES / 1e9:.1f} GB, or name a folder on another disk with --dir."
        elif error.errno in _NOT_WRITABLE:
            remedy = "Name a folder that can be written to with --dir."
        else:
            raise
        raise MonitorError(f"{error.filename or folder}: {error.strerror}. {remedy}") from error


def _lock(descriptor: int, folder: Path) -> None:
    # The kernel lets go of it when the process ends, however it ends.
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise MonitorError(f"{folder}: another demo runs in this folder. Stop it, or name another folder with --dir.") from error


def _check_owner(workspace: Workspace) -> None:
    foreign = workspace.data.exists()
    if workspace.configuration.exists():
        foreign = not workspace.configuration.read_text(errors="replace").startswith(SIGNATURE)
    if foreign:
        raise MonitorError(
            f"{workspace.folder}: holds a model-monitor.yaml or data/ that the demo did not write, and it would overwrite them. "
            "Name an empty folder with --dir."
        )


def _check_space(folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if free < DISK_NEEDED_BYTES:
        raise MonitorError(
            f"{folder}: {free / 1e9:.1f} GB are free on this disk and the demo may need {DISK_NEEDED_BYTES / 1e9:.1f} GB. "
            "Make room, or name a folder on another disk with --dir."
        )
