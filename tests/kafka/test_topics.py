"""`topics create` and `topics check` on a real broker, and imports of what a topic would not keep."""

import shlex
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from kafka.admin import ConfigResource

from tests.kafka.kafka_yaml import Configured

DAY_MS = 86_400_000


Configure = Callable[..., Configured]


@pytest.fixture
def configure(kafka: str, tmp_path: Path) -> Iterator[Configure]:
    """Makes configurations, all with the same names, by the keys of `log` given as YAML."""
    prefix = f"test-{uuid.uuid4().hex[:12]}-"

    def made(log: str) -> Configured:
        return Configured.on(kafka, tmp_path, log, prefix)

    yield made
    made("").remove()


def altered(configured: Configured, topic: str, **settings: str) -> None:
    with closing(configured.connection.admin()) as admin:
        admin.alter_configs([ConfigResource("TOPIC", topic, {key.replace("_", "."): value for key, value in settings.items()})])


def test_topics_are_created_once_and_then_have_nothing_wrong(configure: Configure) -> None:
    configured = configure("partitions: 3")
    before = configured.run("topics", "check")
    assert before.exit_code == 1
    assert before.stdout.splitlines() == [
        f"wrong  {name}: does not exist; `model-monitor topics create` makes it"
        for name in (f"{configured.names.prefix}{end}" for end in ("predictions", "labels", "panes", "dead-letters"))
    ]
    created, again, checked = (configured.run("topics", verb) for verb in ("create", "create", "check"))
    assert [run.exit_code for run in (created, again, checked)] == [0, 0, 0]
    assert created.stderr.count("created with 3 partitions") == 4
    assert "created" not in again.stderr
    assert checked.stdout == ""


def test_only_what_is_missing_is_made(configure: Configure) -> None:
    configured = configure("partitions: 2")
    assert configured.run("topics", "create").exit_code == 0
    with closing(configured.connection.admin()) as admin:
        admin.delete_topics([configured.names.panes])
    created = configured.run("topics", "create")
    assert created.exit_code == 0, created.output
    assert created.stderr.splitlines()[0] == f"{configured.names.panes}: created with 2 partitions"


def test_another_number_of_partitions_stops_and_makes_nothing(configure: Configure) -> None:
    configured = configure("partitions: 2")
    assert configured.run("topics", "create").exit_code == 0
    with closing(configured.connection.admin()) as admin:
        admin.delete_topics([configured.names.panes])
    refused = configure("partitions: 4").run("topics", "create")
    assert refused.exit_code == 1
    assert "Set log.partitions: 2, or move to new topics" in refused.stdout
    assert f"{configured.names.panes}: does not exist" in refused.stdout
    assert "created" not in refused.stderr


def test_a_retention_that_is_too_short_is_refused_with_the_arithmetic(configure: Configure) -> None:
    configured = configure("partitions: 1")
    assert configured.run("topics", "create").exit_code == 0
    labels = f"{configured.names.prefix}labels"
    altered(configured, labels, retention_ms=str(7 * DAY_MS))
    checked = configured.run("topics", "check")
    assert checked.exit_code == 1
    assert f"wrong  {labels}: retention.ms is 604800000 (7d), expected at least 1299600000 (361h)" in checked.stdout
    assert "14d horizon + 1d out_of_order + 1h = 361h" in checked.stdout


def test_what_dry_run_prints_makes_topics_that_have_nothing_wrong(configure: Configure, kafka_tool: Callable[..., str]) -> None:
    configured = configure("partitions: 2, replication_factor: 1")
    printed = configured.run("topics", "create", "--dry-run")
    assert printed.exit_code == 0
    for line in printed.stdout.splitlines():
        program, _, _, *arguments = shlex.split(line, comments=True) or ["", "", ""]
        if program == "kafka-topics.sh":
            kafka_tool("org.apache.kafka.tools.TopicCommand", *arguments)
    checked = configured.run("topics", "check")
    assert (checked.exit_code, checked.stdout) == (0, "")


@pytest.mark.parametrize(
    "arguments", [("topics", "create"), ("topics", "check"), ("topics", "create", "--dry-run"), ("group", "remove", "x")]
)
def test_an_embedded_log_has_none_and_says_so(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    configured = Configured.on("one:9092", tmp_path)
    configured.file.write_text("log: {path: log.db}\nmodels: [{name: m, task: binary, classes: [a, b], positive_class: b}]\n")
    refused = configured.run(*arguments)
    assert refused.exit_code == 2
    assert "is for a log on Kafka, and the configured one is embedded" in refused.stderr
    assert refused.stdout == ""


def test_events_that_the_topic_would_not_keep_are_not_imported(configure: Configure, tmp_path: Path) -> None:
    configured = configure("partitions: 1")
    assert configured.run("topics", "create").exit_code == 0
    events = tmp_path / "events.jsonl"
    events.write_text('{"id": "x", "label": "a", "time": "2013-01-01T00:00:00Z"}\n')
    refused = configured.run("log", "import", "labels", str(events))
    assert refused.exit_code == 1
    assert f"{configured.names.prefix}labels keeps records for 30 days" in refused.stderr
    altered(configured, f"{configured.names.prefix}labels", retention_ms="-1")
    imported = configured.run("log", "import", "labels", str(events))
    assert (imported.exit_code, imported.stderr.strip()) == (0, "1 labels appended")
