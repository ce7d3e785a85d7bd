"""The demo's topics on Kafka: empty when it starts, and no others touched.

The folder keeps the ids of the topics that were made for it. Those alone are removed; a topic with one of their names and another id
is somebody else's, perhaps of a demo in another folder.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from monitor.config.log import KafkaLogSettings
from monitor.demo.facts import appearing
from monitor.demo.processes import monitor_command, run_to_end
from monitor.demo.workspace import Workspace
from monitor.errors import MonitorError

if TYPE_CHECKING:
    from monitor.log.kafka.connection import Connection

BROKER_WITHIN_MS: Final = 10_000
"""A person waits for it."""
MEMBERS_GONE_WITHIN_S: Final = 20.0
"""Longer than the session of a daemon that was killed."""


@dataclass(frozen=True, slots=True)
class Record:
    """The topics that were made for a folder and not removed yet.

    `begun` holds the names that were free when the last run began to make topics: it may have been killed before it knew their ids.
    """

    made: Mapping[str, str] = field(default_factory=dict)
    """Names by id."""
    begun: Collection[str] = ()

    @classmethod
    def read(cls, path: Path) -> Self:
        """Empty where there is no file, or none that can be read: then nothing is the demo's own."""
        try:
            document = json.loads(path.read_bytes())
            return cls(dict(document["made"]), list(document["begun"]))
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return cls()

    def write(self, path: Path) -> None:
        with appearing(path) as partial:
            partial.write_text(json.dumps({"made": self.made, "begun": self.begun}, indent=2))


def make_topics(workspace: Workspace, log: KafkaLogSettings, connection: "Connection") -> None:
    """Removes the last run's topics and group, and makes them anew. Raises `MonitorError`, also where others have made topics so named."""
    from monitor.log.kafka.names import Names
    from monitor.log.kafka.removing import remove, topic_ids

    names, record = Names(log.topic_prefix, log.group), Record.read(workspace.topics)
    connection = replace(connection, bootstrap_timeout_ms=BROKER_WITHIN_MS)
    there = topic_ids(connection, names.topics)
    _check_own(connection, there, record, log)
    if there:
        remove(connection, there, names.group_id, MEMBERS_GONE_WITHIN_S)
    elsewhere = {topic_id: name for topic_id, name in record.made.items() if topic_id not in there.values()}
    Record(elsewhere, names.topics).write(workspace.topics)
    run_to_end("`topics create`", monitor_command("topics", "create", "-c", str(workspace.configuration)), workspace.log_of("topics"))
    made = {topic_id: name for name, topic_id in topic_ids(connection, names.topics).items()}
    Record(elsewhere | made).write(workspace.topics)


def _check_own(connection: "Connection", there: Mapping[str, str], record: Record, log: KafkaLogSettings) -> None:
    from monitor.log.kafka.removing import was_ever_written_to

    unknown = [name for name, topic_id in there.items() if topic_id not in record.made]
    foreign = [name for name in unknown if name not in record.begun or was_ever_written_to(connection, name)]
    if foreign:
        raise MonitorError(
            f"{log.place}: no demo in this folder made the topics {', '.join(foreign)}, so they are left as they are. Delete them if "
            "nobody needs them (kafka-topics.sh --delete --topic NAME), run the demo in the folder that they belong to (--dir), or have "
            f"others: MODEL_MONITOR_LOG__TOPIC_PREFIX={log.topic_prefix}2- model-monitor demo --kafka HOST:PORT"
        )
