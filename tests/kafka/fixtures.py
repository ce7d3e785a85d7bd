"""A pytest plugin: the Kafka that tests share, for all of `tests/`, and a line in the header that says which one it is.

A test that kills brokers has its own: `with own_cluster(brokers=3) as cluster`.
"""

import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.kafka.choice import VARIABLE, chosen, described, given, required
from tests.kafka.runtime import Unavailable

if TYPE_CHECKING:  # every test run loads this plugin, few need what takes a while to import
    from tests.kafka.brokers import Cluster
    from tests.kafka.security import SecuredKafka


def pytest_report_header() -> str:
    return f"kafka: {described()}"


@dataclass(frozen=True, slots=True)
class SharedKafka:
    """One broker for many tests, which must not disturb one another: each has topics and groups of its own names."""

    bootstrap: str
    tool: Callable[..., str]


@pytest.fixture(scope="session")
def own_cluster() -> "type[Cluster]":
    """For brokers of a test's own. Skips it where none can be run, or fails it where Kafka is required."""
    try:
        chosen()
    except Unavailable as unavailable:
        reason = f"no Kafka: {unavailable}; or start a Docker engine, or name a broker that runs already: {VARIABLE}=host:port"
    else:
        from tests.kafka.brokers import Cluster

        return Cluster
    if required():
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def shared_kafka(request: pytest.FixtureRequest) -> Iterator[SharedKafka]:
    """The one that was named, else one that is started for this test run."""
    if address := given():
        _check(address)
        from tests.kafka.java import tool

        yield SharedKafka(address, lambda class_name, *arguments: tool(class_name, "--bootstrap-server", address, *arguments))
        return
    own_cluster: type[Cluster] = request.getfixturevalue("own_cluster")
    with own_cluster() as cluster:
        yield SharedKafka(cluster.bootstrap, cluster.tool)


@pytest.fixture(scope="session")
def kafka(shared_kafka: SharedKafka) -> str:
    """Its bootstrap address."""
    return shared_kafka.bootstrap


@pytest.fixture(scope="session")
def kafka_tool(shared_kafka: SharedKafka) -> Callable[..., str]:
    """Runs a command-line class of Kafka's against it: `kafka_tool(class_name, *arguments)` is what that prints."""
    return shared_kafka.tool


@pytest.fixture(scope="session")
def secured_kafka(own_cluster: "type[Cluster]", tmp_path_factory: pytest.TempPathFactory) -> "Iterator[SecuredKafka]":
    """One broker with every way of proving who one is."""
    from tests.kafka.security import MECHANISMS, MUTUAL_TLS, SASL, TLS, SecuredKafka, Security

    security = Security(tmp_path_factory.mktemp("certificates"))
    with own_cluster(security=security) as cluster:
        tls = {listener: cluster.address(listener=listener) for listener in (TLS, MUTUAL_TLS)}
        yield SecuredKafka(tls | dict.fromkeys(MECHANISMS, cluster.address(listener=SASL)), security)


def _check(address: str) -> None:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, ValueError) as error:
        reason = str(error)
    else:
        return
    pytest.fail(f"{VARIABLE}={address}: no broker answers there ({reason}). Expected host:port of one that runs.", pytrace=False)
