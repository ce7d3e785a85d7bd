"""The demo on a real Kafka: the same table and the same readings as on the embedded log, also when its daemon is killed on the way."""

import json
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from monitor.log.kafka.connection import Connection
from monitor.log.kafka.names import Names
from tests.e2e.demos import NO_SETTINGS, SENDING, Demo, copy_of, demo, monitor, until
from tests.e2e.exposed import openmetrics_series
from tests.e2e.played import events_of

pytestmark = pytest.mark.e2e

DAYS = ("--once", "--until", "2013-03-12")
PREFIX = "MODEL_MONITOR_LOG__TOPIC_PREFIX"


@dataclass(frozen=True)
class Ended:
    """What a demo printed, and what its log tells when everything has stopped; `events` by all their labels but the partition."""

    table: str
    readings: Mapping[str, object]
    events: Counter[frozenset[tuple[str, str]]]


def ended(running: Demo, settings: Mapping[str, str] = NO_SETTINGS) -> Ended:
    assert running.wait() == 0, running.stderr
    once = ("watch", "-c", running.configuration, "--once", "--format")
    events: Counter[frozenset[tuple[str, str]]] = Counter()
    for name, labels, value in openmetrics_series(monitor(*once, "openmetrics", settings=settings).stdout):
        if name == "events_total":
            events[frozenset((key, label) for key, label in labels.items() if key != "partition")] += int(value)
    return Ended(running.stdout, json.loads(monitor(*once, "json", settings=settings).stdout), events)


@pytest.fixture(scope="module")
def embedded(trained_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Ended:
    with demo(copy_of(trained_folder, tmp_path_factory.mktemp("embedded") / "demo"), *DAYS) as running:
        return ended(running)


@pytest.fixture(scope="module")
def settings(kafka: str) -> Iterator[Mapping[str, str]]:
    """Topics of these tests' own."""
    names = Names(f"demo-{uuid.uuid4().hex[:12]}-")
    yield {PREFIX: names.prefix}
    with closing(Connection((kafka,)).admin()) as admin:
        admin.delete_topics(list(names.topics), raise_errors=False)


@pytest.fixture(scope="module")
def folder(trained_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One demo's, which is run again and again."""
    return copy_of(trained_folder, tmp_path_factory.mktemp("kafka") / "demo")


def test_on_kafka_it_ends_with_the_same_table_and_readings(embedded: Ended, kafka: str, settings: Mapping[str, str], folder: Path) -> None:
    with demo(folder, "--kafka", kafka, *DAYS, settings=settings) as running:
        on_kafka = ended(running, settings)
    assert f"Its log is on Kafka at {kafka}, topics {settings[PREFIX]}*" in running.stderr
    assert on_kafka == embedded


def test_another_run_whose_daemon_is_killed_ends_with_them_too(
    embedded: Ended, kafka: str, settings: Mapping[str, str], folder: Path
) -> None:
    """It begins with empty topics; the next daemon has to wait for the session of the killed one."""
    with demo(folder, "--kafka", kafka, *DAYS, "--speed", "1", settings=settings) as running:
        running.await_said(SENDING)
        until(lambda: events_of(running.get("/metrics").text), "something is counted")
        daemon = running.child("watch")
        assert daemon is not None
        daemon.kill()
        assert ended(running, settings) == embedded
    assert "watch was killed by SIGKILL; started again" in running.stderr


def test_topics_of_others_stop_it_before_anything_is_done(kafka: str, settings: Mapping[str, str], tmp_path: Path) -> None:
    with demo(tmp_path / "other", "--kafka", kafka, *DAYS, settings=settings) as running:
        assert running.wait() == 1
    assert "no demo in this folder made the topics" in running.stderr
    assert not (tmp_path / "other" / "facts.json").exists()
