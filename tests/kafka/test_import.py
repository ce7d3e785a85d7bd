"""`log import`, `export` and `tail` on a real broker: what goes in comes out, by time too; and what is told where it goes wrong."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner
from kafka import KafkaConsumer, TopicPartition

from monitor.app import cli
from tests.faults.campaign.murmur2 import partition_of
from tests.kafka.brokers import Cluster
from tests.kafka.kafka_yaml import Configured

PARTITIONS = 3
PATIENCE_SECONDS = 90.0
GLANCE_SECONDS = 0.05
HOUR_MS = 3_600_000
MARCH_MS = 1_362_096_000_000
"""2013-03-01T00:00Z."""
FOREVER = f"partitions: {PARTITIONS}, retention: forever"
LINES_A_BATCH = 5_000


@pytest.fixture
def configured(kafka: str, tmp_path: Path) -> Iterator[Configured]:
    made = Configured.on(kafka, tmp_path, FOREVER)
    assert made.run("topics", "create").exit_code == 0
    yield made
    made.remove()


def label(number: int, **more: object) -> str:
    """One an hour."""
    return json.dumps({"id": f"id-{number}", "label": "a", "time": MARCH_MS + number * HOUR_MS} | more)


def written(folder: Path, *lines: str) -> str:
    path = folder / "events.jsonl"
    path.write_text("\n".join(lines))
    return str(path)


def exported(configured: Configured, *arguments: str) -> list[dict[str, object]]:
    result = configured.run("log", "export", *arguments)
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def command(configured: Configured, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "monitor", "log", *arguments, "-c", str(configured.file)]


def test_what_is_imported_is_exported_with_its_arrivals_from_the_partitions_of_its_ids(configured: Configured, tmp_path: Path) -> None:
    imported = configured.run("log", "import", "labels", written(tmp_path, *map(label, range(1_200))))
    assert (imported.exit_code, imported.stderr) == (0, "1,200 labels appended\n")
    events = exported(configured, "labels")
    assert {event["id"]: event["arrival"] for event in events} == {f"id-{n}": MARCH_MS + n * HOUR_MS for n in range(1_200)}
    assert all(event["partition"] == partition_of(str(event["id"]), PARTITIONS) for event in events)


def test_parquet_brings_everything_to_another_log(configured: Configured, kafka: str, tmp_path: Path) -> None:
    assert configured.run("log", "import", "labels", written(tmp_path, *map(label, range(100)))).exit_code == 0
    file = str(tmp_path / "labels.parquet")
    assert configured.run("log", "export", "labels", file).stderr == "100 labels exported\n"
    (tmp_path / "other").mkdir()
    other = Configured.on(kafka, tmp_path / "other", FOREVER.replace(str(PARTITIONS), "2"))
    assert other.run("topics", "create").exit_code == 0
    assert other.run("log", "import", "labels", file).stderr == "100 labels appended\n"
    places = ("partition", "offset")
    here, there = ({str(event["id"]): event for event in exported(log, "labels")} for log in (configured, other))
    other.remove()
    assert {key: event | dict.fromkeys(places) for key, event in here.items()} == {
        key: event | dict.fromkeys(places) for key, event in there.items()
    }


def test_a_span_of_time_is_exported_without_what_lies_around_it(configured: Configured, tmp_path: Path) -> None:
    for first in range(0, 2_000, 500):  # several records a partition
        assert configured.run("log", "import", "labels", written(tmp_path, *map(label, range(first, first + 500)))).exit_code == 0
    since, until = MARCH_MS + 700 * HOUR_MS, MARCH_MS + 1_300 * HOUR_MS
    found = exported(configured, "labels", "--since", str(since), "--until", str(until))
    assert sorted(str(event["id"]) for event in found) == sorted(f"id-{n}" for n in range(700, 1_300))
    assert exported(configured, "labels", "--since", str(MARCH_MS + 5_000 * HOUR_MS)) == []
    assert len(exported(configured, "labels", "--until", str(MARCH_MS))) == 0


def test_an_event_older_than_the_topic_keeps_any_stops_the_import_before_its_batch(kafka: str, tmp_path: Path) -> None:
    configured = Configured.on(kafka, tmp_path, f"partitions: {PARTITIONS}, retention: 30d")
    assert configured.run("topics", "create").exit_code == 0
    now = int(time.time() * 1_000)
    fresh = [label(n, time=now - 60_000 + n) for n in range(LINES_A_BATCH)]
    path = written(tmp_path, *fresh, label(0))
    refused = configured.run("log", "import", "labels", path)
    assert refused.exit_code == 1
    topic = f"{configured.names.prefix}labels"
    assert f"{topic} keeps records for 30 days, and these reach back" in refused.stderr
    assert f"kafka-configs.sh --alter --topic {topic} --add-config retention.ms=-1" in refused.stderr
    assert f"The {LINES_A_BATCH:,} events before it are in the log; import the rest only" in refused.stderr
    assert len(exported(configured, "labels")) == LINES_A_BATCH
    imported = CliRunner().invoke(cli, ["log", "import", "-c", str(configured.file), "--arrival", "now", "labels", "-"], input=label(0))
    configured.remove()
    assert (imported.exit_code, imported.stderr) == (0, "1 labels appended\n")


def end_of(bootstrap: str, topic: str) -> int:
    places = [TopicPartition(topic, partition) for partition in range(PARTITIONS)]
    with closing(KafkaConsumer(bootstrap_servers=bootstrap)) as consumer:
        return sum(consumer.end_offsets(places).values())


def test_a_broker_that_dies_leaves_an_import_that_says_what_to_import_again(own_cluster: type[Cluster], tmp_path: Path) -> None:
    lines = [f"{label(number)}\n" for number in range(2 * LINES_A_BATCH)]
    with own_cluster() as cluster:
        configured = Configured.on(cluster.bootstrap, tmp_path, FOREVER)
        assert configured.run("topics", "create").exit_code == 0
        topic = f"{configured.names.prefix}labels"
        pipes = {"stdin": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        with subprocess.Popen(command(configured, "import", "labels", "-"), **pipes) as importing:  # type: ignore[call-overload]
            importing.stdin.writelines(lines[:LINES_A_BATCH])
            importing.stdin.flush()
            until = time.monotonic() + PATIENCE_SECONDS
            while end_of(cluster.bootstrap, topic) < 12:  # 10 records of 500 events, as full as they come in 3 partitions
                assert time.monotonic() < until
                time.sleep(GLANCE_SECONDS)
            time.sleep(1)  # seen here is not yet acknowledged there
            cluster.kill(1)
            _, said = importing.communicate("".join(lines[LINES_A_BATCH:]), timeout=PATIENCE_SECONDS)
        assert importing.returncode == 1
        assert "some may be in the log all the same" in said
        assert f"The {LINES_A_BATCH:,} events before it are in the log; import the rest only" in said
        assert "Traceback" not in said
        cluster.start(1)
        (tmp_path / "rest.jsonl").write_text("".join(lines[LINES_A_BATCH:]))
        assert configured.run("log", "import", "labels", str(tmp_path / "rest.jsonl")).exit_code == 0
        assert {event["id"] for event in exported(configured, "labels")} == {f"id-{number}" for number in range(2 * LINES_A_BATCH)}


def test_dead_letters_are_followed_as_the_daemon_refuses_events(configured: Configured, tmp_path: Path) -> None:
    shown = tmp_path / "shown"
    with shown.open("wb") as output:
        tailing = subprocess.Popen(command(configured, "tail", "-f", "dead-letters"), stdout=output)
    try:
        for number in range(1, 3):
            unknown_class = json.dumps({"id": "x", "label": "c", "time": MARCH_MS})
            path = written(tmp_path, label(number), "{not JSON", unknown_class)
            assert configured.run("log", "import", "labels", path).exit_code == 0
            assert configured.run("watch", "--once").exit_code == 0
            until = time.monotonic() + PATIENCE_SECONDS
            while len(shown.read_bytes().splitlines()) < 2 * number:
                assert time.monotonic() < until
                time.sleep(GLANCE_SECONDS)
    finally:
        tailing.terminate()
        tailing.wait()
    letters = [json.loads(line) for line in shown.read_bytes().splitlines()]
    assert sorted(letter["outcome"] for letter in letters) == ["invalid", "invalid", "undecodable", "undecodable"]
    for letter in letters:
        of_id = partition_of("x", PARTITIONS) if letter["outcome"] == "invalid" else 0  # what has no id goes to the first
        assert (letter["origin"]["stream"], letter["origin"]["partition"]) == ("labels", of_id)
    assert [letter["value"] for letter in letters if letter["outcome"] == "undecodable"] == ["{not JSON"] * 2
    assert len(configured.run("log", "tail", "-n", "3", "dead-letters").stdout.splitlines()) == 3
