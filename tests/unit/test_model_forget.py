"""`model forget`: what it removes, what it leaves, and when it refuses."""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from monitor.app import cli
from monitor.clock import WallClock
from monitor.counters import Counters
from monitor.events import Stream
from monitor.log import Message
from monitor.log.embedded import EmbeddedLog
from monitor.panes import parse_key
from tests.worlds import HOUR, record

CONFIG = """
log: {kind: embedded, path: log.db, partitions: 2}
labels_without_model: true
models:
"""
MODELS = {name: f"  - {{name: {name}, task: binary, classes: [no, yes], positive_class: yes, features: {{x: numeric}}}}\n" for name in "ab"}


class Folder:
    """A configuration, its log, and commands run on them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.configure("a", "b")

    def configure(self, *names: str) -> None:
        (self.path / "model-monitor.yaml").write_text(CONFIG + "".join(MODELS[name] for name in names))

    def run(self, *arguments: str, answer: str | None = None) -> Result:
        command, *rest = arguments
        subcommand = [rest.pop(0)] if command == "model" else []
        return CliRunner().invoke(cli, [command, *subcommand, "-c", str(self.path / "model-monitor.yaml"), *rest], input=answer)

    def log(self) -> EmbeddedLog:
        return EmbeddedLog(self.path / "log.db", partitions=2, clock=WallClock())

    def panes(self) -> list[str]:
        """The models of all panes."""
        with closing(self.log()) as log, closing(log.acquire()) as owner:
            return sorted({parse_key(key)[0].model for partition in owner.partitions for key, _ in owner.panes(partition)})

    def counted(self) -> dict[str, int]:
        """Accepted events by model, over all partitions."""
        counts: dict[str, int] = {}
        with closing(self.log()) as log, closing(log.acquire()) as owner:
            for partition in owner.partitions:
                for (_, model, outcome), count in Counters.from_bytes(owner.committed(partition).state).events.items():
                    if outcome == "accepted":
                        counts[model] = counts.get(model, 0) + count
        return counts


def events(models: Sequence[str], now: int) -> list[Message]:
    return [
        Message(
            partition,
            now,
            record(0, {"id": f"{model}{number}", "time": now, "model": model, "version": "1", "features": {"x": 1}, "score": 0.5}).value,
        )
        for model in models
        for number in range(8)
        for partition in range(2)
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """Two models whose events a daemon has taken in."""
    folder = Folder(tmp_path)
    with closing(folder.log()) as log:
        log.append(Stream.PREDICTIONS, events("ab", WallClock().now() - HOUR))
    watched = folder.run("watch", "--once")
    assert watched.exit_code == 0, watched.output
    assert folder.panes() == ["a", "b"]
    return folder


def test_a_model_that_is_gone_is_forgotten_and_the_others_are_left(folder: Folder) -> None:
    folder.configure("b")
    forgotten = folder.run("model", "forget", "a", "--yes")
    assert forgotten.exit_code == 0, forgotten.output
    assert "panes of a removed" in forgotten.stderr
    assert (folder.panes(), folder.counted()) == (["b"], {"b": 8})
    again = folder.run("watch", "--once", "--format", "json")
    assert again.exit_code == 0, again.output
    assert (folder.panes(), folder.counted()) == (["b"], {"b": 8})


def test_a_model_that_is_still_configured_is_refused(folder: Folder) -> None:
    refused = folder.run("model", "forget", "a", "--yes")
    assert refused.exit_code == 2
    assert "take it out of models first" in refused.stderr
    assert folder.panes() == ["a", "b"]


def test_without_a_yes_it_asks(folder: Folder) -> None:
    folder.configure("b")
    assert folder.run("model", "forget", "a", answer="n\n").exit_code == 1
    assert folder.panes() == ["a", "b"]
    assert folder.run("model", "forget", "a", answer="y\n").exit_code == 0
    assert folder.panes() == ["b"]


def test_beside_a_daemon_it_is_refused(folder: Folder) -> None:
    folder.configure("b")
    with closing(folder.log()) as log, closing(log.acquire()):
        refused = folder.run("model", "forget", "a", "--yes")
    assert refused.exit_code == 1
    assert "another daemon holds this log" in refused.stderr
    assert folder.panes() == ["a", "b"]


def test_a_model_that_nobody_knows_removes_nothing(folder: Folder) -> None:
    forgotten = folder.run("model", "forget", "nobody", "--yes")
    assert forgotten.exit_code == 0
    assert "0 panes of nobody removed" in forgotten.stderr
    assert (folder.panes(), folder.counted()) == (["a", "b"], {"a": 8, "b": 8})
