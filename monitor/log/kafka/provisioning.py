"""Topics as a cluster has them: read, compared, and made where they are missing. What they have to be, `monitor.log.kafka.topics` says."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from typing import Final

from kafka import KafkaAdminClient
from kafka.admin import ConfigResource
from kafka.errors import NoError, TopicAlreadyExistsError, TopicAuthorizationFailedError, UnknownTopicOrPartitionError, for_code

from monitor.clock import Milliseconds
from monitor.errors import LogError
from monitor.log.kafka.connection import Connection, explained
from monitor.log.kafka.differences import Finding, TopicFacts, findings
from monitor.log.kafka.refusals import ACLS, reason_and_remedy
from monitor.log.kafka.topics import TopicSpec

VISIBLE_WITHIN_MS: Final = 30_000
"""A cluster may take a while to elect the leaders of many partitions."""


def compared(connection: Connection, specs: Sequence[TopicSpec]) -> list[Finding]:
    """How the cluster's topics differ from what they have to be. Raises `LogError`."""
    with closing(connection.admin()) as admin:
        with explained("looking up the brokers"):
            brokers = len(admin.describe_cluster()["brokers"])
        return list(findings(specs, _read(admin, [spec.name for spec in specs]), brokers))


def create_missing(connection: Connection, specs: Sequence[TopicSpec]) -> tuple[str, ...]:
    """Makes the topics that do not exist, and returns their names when they can be used. Raises `LogError`.

    None is made beside one that has another number of partitions: it would be in the way of whoever puts that right.
    """
    with closing(connection.admin()) as admin:
        there = _read(admin, [spec.name for spec in specs])
        missing = [spec for spec in specs if spec.name not in there]
        if not missing or any(there[spec.name].partitions != spec.partitions for spec in specs if spec.name in there):
            return ()
        _create(admin, missing)
    return tuple(spec.name for spec in missing)


def kept_for(connection: Connection, topic: str) -> Milliseconds | None:
    """How long the topic keeps a record, -1 for ever; None where there is no such topic. Raises `LogError`."""
    with closing(connection.admin()) as admin:
        facts = _read(admin, [topic]).get(topic)
    return None if facts is None else int(facts.config["retention.ms"])


def _read(admin: KafkaAdminClient, names: Iterable[str]) -> Mapping[str, TopicFacts]:
    """Those of the named topics that exist."""
    with explained("looking up the topics"):
        described = admin.describe_topics(list(names))
    existing = {}
    for topic in described:
        error = for_code(topic["error_code"])
        if error is NoError:
            existing[topic["name"]] = topic["partitions"]
        elif error is not UnknownTopicOrPartitionError:
            raise LogError(f"the topic {topic['name']} cannot be looked up: {reason_and_remedy(error())}") from error()
    if not existing:
        return {}
    with explained("looking up the settings of the topics"):
        configs = admin.describe_configs([ConfigResource("TOPIC", name) for name in existing], config_filter="all")["topic"]
    return {
        name: TopicFacts(
            name,
            len(partitions),
            min(len(partition["replica_nodes"]) for partition in partitions),
            {key: str(entry["value"]) for key, entry in configs[name].items()},
        )
        for name, partitions in existing.items()
    }


def _create(admin: KafkaAdminClient, specs: Sequence[TopicSpec]) -> None:
    """One that came into being meanwhile is left as it is."""
    wanted = {
        spec.name: {
            "num_partitions": spec.partitions,
            "replication_factor": -1 if spec.replication_factor is None else spec.replication_factor,
            "configs": dict(spec.config),
        }
        for spec in specs
    }
    with explained(f"creating the topics {', '.join(wanted)}"):
        made = admin.create_topics(wanted, raise_errors=False)["topics"]
    for topic in made:
        error = for_code(topic["error_code"])
        if error is TopicAuthorizationFailedError:
            raise LogError(
                f"the topic {topic['name']} cannot be made: this client needs Create on it ({ACLS}, and the commands for others)"
            )
        if error not in {NoError, TopicAlreadyExistsError}:
            raise LogError(f"the topic {topic['name']} cannot be made: {reason_and_remedy(error(topic['error_message']))}") from error()
    with explained(f"waiting for the topics {', '.join(wanted)}"):
        admin.wait_for_topics(list(wanted), VISIBLE_WITHIN_MS)
