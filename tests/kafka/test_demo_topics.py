"""The demo's topics on a real broker: made anew for each run; what others made under the same names is left as it was."""

import json
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.structs import OffsetAndMetadata

from monitor.commands.opening import names_of
from monitor.config import load
from monitor.config.log import KafkaLogSettings
from monitor.demo import topics
from monitor.demo.topics import make_topics
from monitor.demo.workspace import Workspace, opened
from monitor.errors import LogError, MonitorError
from monitor.log.kafka.connection import Connection
from monitor.log.kafka.names import Names
from monitor.log.kafka.provisioning import kept_for
from monitor.log.kafka.removing import remove, topic_ids
from monitor.log.kafka.topics import FOREVER

PARTITIONS = 4


class Demo:
    """A demo's folder with topics of this test's own; `ids` are those of the topics that exist."""

    def __init__(self, kafka: str, folder: Path, prefix: str) -> None:
        with opened(folder) as self.workspace:
            self.workspace.prepare(kafka)
        self.prefix = prefix
        configuration = self.workspace.configuration
        configuration.write_text(configuration.read_text().replace("topic_prefix: model-monitor-demo-", f"topic_prefix: {prefix}"))
        log = load(configuration, {}).log
        assert isinstance(log, KafkaLogSettings)
        self.log = log
        self.connection = Connection((kafka,))
        self.bootstrap = kafka

    @property
    def names(self) -> Names:
        return names_of(self.log)

    @property
    def ids(self) -> dict[str, str]:
        return dict(topic_ids(self.connection, self.names.topics))

    def make(self) -> None:
        make_topics(self.workspace, self.log, self.connection)

    def write_to(self, topic: str) -> None:
        with closing(KafkaProducer(bootstrap_servers=self.bootstrap)) as producer:
            producer.send(topic, b"last year").get(10)

    def end_of(self, topic: str) -> int:
        """Records that were ever in it."""
        places = [TopicPartition(topic, partition) for partition in range(PARTITIONS)]
        with closing(KafkaConsumer(bootstrap_servers=self.bootstrap)) as consumer:
            return sum(consumer.end_offsets(places).values())

    def remove(self, *topics: str) -> None:
        remove(self.connection, {topic: self.ids[topic] for topic in topics}, self.names.group_id, 0)

    def close(self) -> None:
        if self.ids:
            self.remove(*self.ids)


@pytest.fixture
def demo(kafka: str, tmp_path: Path) -> Iterator[Demo]:
    with closing(Demo(kafka, tmp_path / "demo", f"demo-{uuid.uuid4().hex[:12]}-")) as made:
        yield made


def test_the_first_run_makes_topics_that_keep_the_year_2013(demo: Demo) -> None:
    demo.make()
    assert demo.ids.keys() == set(demo.names.topics)
    assert kept_for(demo.connection, f"{demo.prefix}predictions") == FOREVER


def test_the_next_run_finds_them_empty_and_the_group_without_offsets(demo: Demo) -> None:
    demo.make()
    first, topic = demo.ids, f"{demo.prefix}predictions"
    demo.write_to(topic)
    place = TopicPartition(topic, 0)
    with closing(KafkaConsumer(bootstrap_servers=demo.bootstrap, group_id=demo.names.group_id)) as consumer:
        consumer.commit({place: OffsetAndMetadata(1, "", -1)})
    demo.make()
    assert demo.ids.keys() == first.keys()
    assert not set(demo.ids.values()) & set(first.values())
    assert demo.end_of(topic) == 0
    with closing(KafkaConsumer(bootstrap_servers=demo.bootstrap, group_id=demo.names.group_id)) as consumer:
        assert consumer.committed(place) is None


def test_topics_that_others_made_are_refused_and_left_as_they_were(demo: Demo, kafka: str, tmp_path: Path) -> None:
    demo.make()
    before = demo.ids
    other = Demo(kafka, tmp_path / "other", demo.prefix)
    with pytest.raises(MonitorError, match=f"no demo in this folder made the topics .*{demo.prefix}predictions"):
        other.make()
    assert demo.ids == before


def test_a_topic_that_somebody_made_anew_is_no_longer_the_demos(demo: Demo) -> None:
    demo.make()
    topic = f"{demo.prefix}labels"
    demo.remove(topic)
    with closing(demo.connection.admin()) as admin:
        admin.create_topics([topic], wait_for_metadata=True)
    before = demo.ids
    with pytest.raises(MonitorError, match=f"no demo in this folder made the topics {topic}, "):
        demo.make()
    assert demo.ids == before


@pytest.mark.parametrize("is_written_to", [False, True])
def test_a_run_that_was_killed_while_it_made_them_is_in_nobodys_way(demo: Demo, *, is_written_to: bool) -> None:
    """Nothing was written to them then; where something was, somebody else made them meanwhile."""
    demo.make()
    before = demo.ids
    demo.workspace.topics.write_text(json.dumps({"made": {}, "begun": demo.names.topics}))
    if is_written_to:
        demo.write_to(f"{demo.prefix}labels")
        with pytest.raises(MonitorError, match=f"made the topics {demo.prefix}labels, "):
            demo.make()
        assert demo.ids == before
    else:
        demo.make()
        assert not set(demo.ids.values()) & set(before.values())


def test_topics_that_a_daemon_works_on_are_left_alone(demo: Demo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topics, "MEMBERS_GONE_WITHIN_S", 0.2)
    demo.make()
    before = demo.ids
    with closing(KafkaConsumer(f"{demo.prefix}predictions", bootstrap_servers=demo.bootstrap, group_id=demo.names.group_id)) as daemon:
        while not daemon.assignment():
            daemon.poll(100)
        with pytest.raises(LogError, match="has members: stop the `watch`"):
            demo.make()
    assert demo.ids == before


def test_brokers_that_are_away_are_told_as_such_within_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topics, "BROKER_WITHIN_MS", 200)
    workspace = Workspace(tmp_path)
    workspace.prepare("127.0.0.1:1")
    log = load(workspace.configuration, {}).log
    assert isinstance(log, KafkaLogSettings)
    with pytest.raises(LogError, match=r"127\.0\.0\.1:1 did not answer within 0\.2 s: .*nothing listens on that port"):
        make_topics(workspace, log, Connection(("127.0.0.1:1",)))
