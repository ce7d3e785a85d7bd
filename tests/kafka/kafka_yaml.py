"""A configuration on a broker, with topics and a group of a test's own, and the command line run on it."""

import uuid
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from click.testing import CliRunner, Result

from monitor.app import cli
from monitor.commands.opening import connection_of
from monitor.config import load
from monitor.config.log import KafkaLogSettings
from monitor.log.kafka.connection import Connection
from monitor.log.kafka.names import Names

MODELS = "models: [{name: m, task: binary, classes: [a, b], positive_class: b}]"


@dataclass(frozen=True, slots=True)
class Configured:
    """`log`: further keys of its section, as YAML."""

    file: Path
    names: Names

    @classmethod
    def on(cls, bootstrap: str, folder: Path, log: str = "", prefix: str = "") -> "Configured":
        names = Names(prefix or f"test-{uuid.uuid4().hex[:12]}-")
        file = folder / "kafka.yaml"
        file.write_text(f"log: {{kind: kafka, bootstrap_servers: '{bootstrap}', topic_prefix: {names.prefix}, {log}}}\n{MODELS}\n")
        return cls(file, names)

    @property
    def connection(self) -> Connection:
        log = load(self.file, {}).log
        assert isinstance(log, KafkaLogSettings)
        return connection_of(log)

    def remove(self) -> None:
        """Its topics, as far as there are any."""
        with closing(self.connection.admin()) as admin:
            admin.delete_topics(list(self.names.topics), raise_errors=False)

    def run(self, *arguments: str) -> Result:
        """What `model-monitor ARGUMENTS -c FILE` says and exits with."""
        return CliRunner(catch_exceptions=False).invoke(cli, [*arguments, "-c", str(self.file)])
