"""The ACLs that `topics create --dry-run` prints are enough for each role, on a broker that denies everything else."""

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Final

import pytest
from kafka.admin import ACL, ACLOperation, ACLPermissionType, ACLResourcePatternType, ResourcePattern, ResourceType
from kafka.errors import TopicAuthorizationFailedError

from monitor.clock import WallClock
from monitor.errors import LogError
from monitor.events import Stream
from monitor.log import TIME_MARK, Commit, DeadLetter, Message
from monitor.log.kafka.acls import Grant, Resource, roles
from monitor.log.kafka.connection import Connection
from monitor.log.kafka.log import KafkaLog
from monitor.log.kafka.members import remove_static_member
from monitor.log.kafka.names import Names
from monitor.log.kafka.provisioning import compared, create_missing, kept_for
from monitor.log.kafka.security import Password, SecretText, Security, Tls
from monitor.log.kafka.topics import Retention, TopicSpec, required
from tests.kafka.brokers import Cluster
from tests.kafka.security import SASL
from tests.kafka.security import Security as Secured

USERS: Final = ("producers", "serve", "watch", "operator", "nobody")
PATIENCE_S: Final = 30.0
AUTHORIZED: Final = {
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "super.users": "User:ANONYMOUS",
    "listener.name.sasl.plain.sasl.jaas.config": "org.apache.kafka.common.security.plain.PlainLoginModule required "
    + " ".join(f'user_{user}="{user}"' for user in USERS)
    + ";",
}
RESOURCES: Final = {
    Resource.TOPIC: ResourceType.TOPIC,
    Resource.GROUP: ResourceType.GROUP,
    Resource.TRANSACTIONAL_ID: ResourceType.TRANSACTIONAL_ID,
}
OPERATIONS: Final = {
    "Read": ACLOperation.READ,
    "Write": ACLOperation.WRITE,
    "Create": ACLOperation.CREATE,
    "Describe": ACLOperation.DESCRIBE,
    "DescribeConfigs": ACLOperation.DESCRIBE_CONFIGS,
}

As = Callable[[str], Connection]
LogAs = Callable[[str], KafkaLog]


def acls_of(user: str, grant: Grant) -> list[ACL]:
    pattern = ACLResourcePatternType.PREFIXED if grant.is_prefix else ACLResourcePatternType.LITERAL
    resource = ResourcePattern(RESOURCES[grant.resource], grant.name, pattern)
    return [ACL(f"User:{user}", "*", OPERATIONS[operation], ACLPermissionType.ALLOW, resource) for operation in grant.operations]


@pytest.fixture(scope="module")
def names() -> Names:
    return Names(f"test-{uuid.uuid4().hex[:12]}-")


@pytest.fixture(scope="module")
def specs(names: Names) -> tuple[TopicSpec, ...]:
    return required(names, 2, None, Retention(None, 1, "nothing"))


@pytest.fixture(scope="module")
def connected_as(
    own_cluster: type[Cluster], names: Names, specs: tuple[TopicSpec, ...], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[As]:
    """Every role has the ACLs that are printed for it; with them, the operator has made the topics."""
    security = Secured(tmp_path_factory.mktemp("certificates"))
    with own_cluster(security=security, properties=AUTHORIZED) as cluster:

        def made(user: str) -> Connection:
            proof = Password("PLAIN", user, SecretText(user))
            return Connection((cluster.address(listener=SASL),), security=Security(Tls(security.ca_file), proof))

        with closing(Connection((cluster.bootstrap,)).admin()) as admin:
            granted = admin.create_acls([acl for role in roles(names) for grant in role.grants for acl in acls_of(role.name, grant)])
        assert not granted["failed"]
        assert create_missing(made("operator"), specs) == tuple(spec.name for spec in specs)
        yield made


@pytest.fixture
def log_as(connected_as: As, names: Names) -> Iterator[LogAs]:
    with ExitStack() as closing_all:

        def made(user: str) -> KafkaLog:
            log = KafkaLog(connected_as(user), names, partitions=2, clock=WallClock())
            closing_all.callback(log.close)
            return log

        yield made


def event(partition: int = 0) -> Message:
    return Message(partition, WallClock().now(), b"{}")


def test_an_operator_checks_topics_and_the_group_and_reads_what_was_refused(
    connected_as: As, log_as: LogAs, names: Names, specs: tuple[TopicSpec, ...]
) -> None:
    operator = connected_as("operator")
    assert compared(operator, specs) == []
    assert kept_for(operator, names.topic(Stream.LABELS)) == -1
    with pytest.raises(LogError, match="there is no group"):
        remove_static_member(operator, f"{names.group_id}", "watch-0")
    assert log_as("operator").append(Stream.LABELS, [event(1)]) == [0]
    assert len(log_as("operator").read(Stream.LABELS, 1, 0, 1_000)) == 1
    assert list(log_as("operator").dead_letters([0, 1])) == []


def test_producers_write_events_and_read_none(connected_as: As, names: Names) -> None:
    with closing(connected_as("producers").producer()) as producer:
        for stream in (Stream.PREDICTIONS, Stream.LABELS):
            producer.send(names.topic(stream), b"{}").get(timeout=PATIENCE_S)
        with pytest.raises(TopicAuthorizationFailedError):
            producer.send(names.panes, b"{}").get(timeout=PATIENCE_S)


def test_a_server_writes_events(log_as: LogAs) -> None:
    log = log_as("serve")
    for stream in (Stream.PREDICTIONS, Stream.LABELS):
        assert log.append(stream, [event()])


def test_a_daemon_reads_commits_and_marks_silent_logs(log_as: LogAs) -> None:
    log = log_as("watch")
    with closing(log.acquire()) as ownership:
        deadline = time.monotonic() + PATIENCE_S
        while ownership.refresh() >= 0 and not ownership.partitions and time.monotonic() < deadline:
            pass
        assert ownership.partitions == (0, 1)
        letter = DeadLetter(Stream.PREDICTIONS, 0, 1_000, "application/json", "undecodable", "no JSON", (0,), b"x")
        ownership.commit([Commit(0, {Stream.PREDICTIONS: 0, Stream.LABELS: 0}, {b"key": b"pane"}, b"state", [letter])])
        assert log.append(Stream.LABELS, [Message(0, WallClock().now(), b"", TIME_MARK)])
        with closing(log.follow()) as follower:
            follower.place(Stream.LABELS, 0, 0)
            while not (records := follower.read(Stream.LABELS, 0, 1_000)) and time.monotonic() < deadline:
                follower.wait(1)
        assert records
    assert [reason.reason for _, reason in log.dead_letters([0])] == ["no JSON"]


def test_whoever_has_no_acl_is_told_which_command_prints_them(log_as: LogAs, connected_as: As, specs: tuple[TopicSpec, ...]) -> None:
    for refused in (
        lambda: log_as("nobody").append(Stream.PREDICTIONS, [event()]),
        lambda: log_as("producers").acquire(),
        lambda: compared(connected_as("nobody"), specs),
        lambda: create_missing(connected_as("nobody"), specs),
    ):
        with pytest.raises(LogError, match="`model-monitor topics create --dry-run` prints the ACLs"):
            refused()
