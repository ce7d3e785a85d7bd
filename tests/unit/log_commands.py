"""What the tests of `model-monitor log` share: a small configuration, a way to run the commands, and a look into the log."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
from click.testing import CliRunner, Result

from monitor.app import cli
from monitor.clock import WallClock
from monitor.codec.identity import partitions_of
from monitor.events import Stream
from monitor.log import Record
from monitor.log.embedded import EmbeddedLog

PARTITIONS = 3
ALL = 1 << 40
MARCH_MS = 1_362_096_000_000
MARCH = "2013-03-01T00:00:00Z"
FUTURE_MS = 4_000_000_000_000
CONFIG = f"""
log: {{kind: embedded, path: data/log.db, partitions: {PARTITIONS}}}
models:
  - name: flights
    task: binary
    positive_class: late
    classes: [on_time, late]
    threshold: 0.5
    features: {{distance: numeric, carrier: categorical}}
"""

Run = Callable[..., Result]


def runner(folder: Path) -> Run:
    """Runs `model-monitor log …` on a configuration in this folder."""
    config = folder / "model-monitor.yaml"
    config.write_text(CONFIG)

    def invoke(verb: str, *arguments: object, stdin: str | None = None, exit_code: int = 0) -> Result:
        result = CliRunner().invoke(cli, ["log", verb, "-c", str(config), *map(str, arguments)], input=stdin)
        assert result.exit_code == exit_code, result.output
        return result

    return invoke


@contextmanager
def log_in(folder: Path) -> Iterator[EmbeddedLog]:
    log = EmbeddedLog(folder / "data" / "log.db", partitions=PARTITIONS, clock=WallClock())
    yield log
    log.close()


def records_in(folder: Path, stream: Stream) -> list[tuple[int, Record]]:
    with log_in(folder) as log:
        return [(partition, record) for partition in range(PARTITIONS) for record in log.read(stream, partition, 0, ALL)]


def events_in(folder: Path, stream: Stream) -> list[dict[str, object]]:
    """The JSON events of the log, each partition's in their order."""
    return [event for _, record in records_in(folder, stream) for event in json.loads(record.value)]


def partition_of(identity: str) -> int:
    return int(partitions_of(pa.array([identity]), PARTITIONS)[0])


def prediction(identity: str, **more: object) -> dict[str, object]:
    event: dict[str, object] = {
        "id": identity,
        "time": MARCH,
        "model": "flights",
        "version": "1",
        "features": {"distance": 1.5},
        "score": 0.25,
    }
    return event | more


def written(folder: Path, lines: Sequence[Mapping[str, object] | str], name: str = "events.jsonl") -> Path:
    path = folder / name
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    return path


def exported(result: Result) -> list[dict[str, object]]:
    return [json.loads(line) for line in result.stdout.splitlines()]
