"""How the topics of a cluster differ from what they have to be: every difference with what it leads to and the remedy."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from monitor.log.kafka.topics import TopicSpec

MIGRATION: Final = (
    "An id's partition follows from the number, so it is fixed once there are events: 1. choose a new log.topic_prefix and the number, and "
    "run `model-monitor topics create`; 2. stop `serve` and other producers; 3. `model-monitor log export` predictions and labels with the "
    "former configuration; 4. `model-monitor log import` them with the new one; 5. start everything with the new one. What the former "
    "topics no longer hold is not in the new readings"
)


@dataclass(frozen=True, slots=True)
class TopicFacts:
    """A topic as it is. `config` holds every setting, whoever chose it."""

    name: str
    partitions: int
    replication_factor: int
    config: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about a topic that is not as it has to be, or, where it `stops` nothing, worth knowing; with the remedy."""

    topic: str
    text: str
    stops: bool

    def __str__(self) -> str:
        return f"{self.topic}: {self.text}"


def findings(specs: Sequence[TopicSpec], facts: Mapping[str, TopicFacts], brokers: int) -> Iterator[Finding]:
    """All that is to be said about the topics in a cluster of so many brokers; `facts` lacks those that do not exist."""
    yield from _of_partitions(specs, facts)
    for spec in specs:
        if (found := facts.get(spec.name)) is None:
            yield Finding(spec.name, "does not exist; `model-monitor topics create` makes it", stops=True)
        else:
            yield from _of_settings(spec, found)
            yield from _of_copies(spec, found, brokers)


def _of_partitions(specs: Sequence[TopicSpec], facts: Mapping[str, TopicFacts]) -> Iterator[Finding]:
    expected = specs[0].partitions
    counts = {spec.name: facts[spec.name].partitions for spec in specs if spec.name in facts}
    others = {name: count for name, count in counts.items() if count != expected}
    if others:
        each = ", ".join(f"{name} {count}" for name, count in others.items())
        agreed = set(counts.values())
        remedy = f"Set log.partitions: {agreed.pop()}, or move" if len(agreed) == 1 else "All topics need the same number: move"
        text = f"other numbers of partitions than log.partitions ({expected}): {each}. {remedy} to new topics. {MIGRATION}"
        yield Finding(", ".join(others), text, stops=True)


def _of_settings(spec: TopicSpec, found: TopicFacts) -> Iterator[Finding]:
    complained: set[str] = set()
    for setting in spec.settings:
        value = found.config.get(setting.key)
        if value is None or setting.key in complained or setting.accepts(value):
            continue  # brokers before 3.6 do not know every one of them
        complained.add(setting.key)
        # One command sets it; it is the one that `topics create` would have made it with.
        change = f"kafka-configs.sh --alter --topic {spec.name} --add-config {setting.key}={_quoted(setting.value)}"
        yield Finding(
            spec.name,
            f"{setting.key} is {setting.spelled(value)}, expected {setting.expectation}: {setting.otherwise}. {change}",
            stops=setting.needed,
        )


def _quoted(value: str) -> str:
    return f"[{value}]" if "," in value else value


def _of_copies(spec: TopicSpec, found: TopicFacts, brokers: int) -> Iterator[Finding]:
    copies, in_sync = found.replication_factor, int(found.config.get("min.insync.replicas", 1))
    if spec.replication_factor is not None and copies != spec.replication_factor:
        yield Finding(
            spec.name,
            f"has {copies} copies of each partition and log.replication_factor is {spec.replication_factor}; move it with "
            "kafka-reassign-partitions.sh, or correct the number",
            stops=False,
        )
    if copies == 1 and brokers > 1:
        yield Finding(
            spec.name, f"has one copy of each partition among {brokers} brokers: with a broker's disk, events are lost", stops=False
        )
    if copies > 1 and in_sync == 1:
        change = f"kafka-configs.sh --alter --topic {spec.name} --add-config min.insync.replicas=2"
        yield Finding(
            spec.name, f"min.insync.replicas is 1: a record is acknowledged that only one of {copies} brokers has. {change}", stops=False
        )
    if in_sync > copies:
        yield Finding(
            spec.name,
            f"min.insync.replicas is {in_sync} and there are {copies} copies: nothing can be written to it. Lower the one",
            stops=True,
        )
    if found.config.get("unclean.leader.election.enable") == "true":
        change = f"kafka-configs.sh --alter --topic {spec.name} --add-config unclean.leader.election.enable=false"
        yield Finding(spec.name, f"unclean.leader.election.enable is true: acknowledged records may be lost. {change}", stops=False)
