"""Who has to be allowed what, where a cluster asks: one role for each kind of process that talks to it."""

from dataclasses import dataclass
from enum import StrEnum

from monitor.events import SOURCES, Stream
from monitor.log.kafka.names import Names


class Resource(StrEnum):
    """As `kafka-acls.sh` spells it."""

    TOPIC = "topic"
    GROUP = "group"
    TRANSACTIONAL_ID = "transactional-id"


@dataclass(frozen=True, slots=True)
class Grant:
    """Operations, in Kafka's words, on one resource, or on all whose names begin so."""

    resource: Resource
    name: str
    operations: tuple[str, ...]
    is_prefix: bool = False


@dataclass(frozen=True, slots=True)
class Role:
    """What one kind of process does, for people, and what it has to be granted. Read and Write imply Describe."""

    name: str
    does: str
    grants: tuple[Grant, ...]


def roles(names: Names) -> tuple[Role, ...]:
    """All roles of one deployment. Creating topics is its operator's; nobody else needs that."""
    predictions, labels = (names.topic(stream) for stream in SOURCES)
    dead_letters = names.topic(Stream.DEAD_LETTERS)

    def topic(name: str, *operations: str) -> Grant:
        return Grant(Resource.TOPIC, name, operations)

    return (
        Role(
            "producers",
            "your own producers of predictions and labels",
            (topic(predictions, "Write"), topic(labels, "Write")),
        ),
        Role(
            "serve",
            "`model-monitor serve`: writes predictions and labels (an idempotent producer needs no more)",
            (topic(predictions, "Write"), topic(labels, "Write"), topic(names.panes, "Describe"), topic(dead_letters, "Describe")),
        ),
        Role(
            "watch",
            "`model-monitor watch`: reads predictions and labels, and writes a time mark to one that is silent; panes, dead letters and "
            "offsets in one transaction",
            (
                topic(predictions, "Read", "Write", "DescribeConfigs"),
                topic(labels, "Read", "Write", "DescribeConfigs"),
                topic(names.panes, "Read", "Write", "DescribeConfigs"),
                topic(dead_letters, "Read", "Write", "DescribeConfigs"),
                Grant(Resource.GROUP, names.group_id, ("Read",)),
                Grant(Resource.TRANSACTIONAL_ID, f"{names.group_id}-", ("Write", "Describe"), is_prefix=True),
            ),
        ),
        Role(
            "operator",
            "whoever runs `topics create`, `topics check`, `group remove` and `log`",
            (
                topic(predictions, "Create", "DescribeConfigs", "Read", "Write"),
                topic(labels, "Create", "DescribeConfigs", "Read", "Write"),
                topic(names.panes, "Create", "DescribeConfigs", "Describe"),
                topic(dead_letters, "Create", "DescribeConfigs", "Read"),
                Grant(Resource.GROUP, names.group_id, ("Read",)),
            ),
        ),
    )
