"""Topics removed for good, each by the id that it was made with: one that somebody made anew under the same name is another and stays."""

import time
from collections.abc import Iterable, Mapping
from contextlib import closing
from typing import Final
from uuid import UUID

from kafka import KafkaAdminClient, TopicPartition
from kafka.errors import (
    CoordinatorLoadInProgressError,
    CoordinatorNotAvailableError,
    GroupIdNotFoundError,
    NoError,
    NonEmptyGroupError,
    NotCoordinatorError,
    UnknownTopicIdError,
    UnknownTopicOrPartitionError,
    for_code,
)
from kafka.protocol.consumer import OffsetSpec

from monitor.errors import LogError
from monitor.log.kafka.asking import Asking
from monitor.log.kafka.connection import Connection, explained
from monitor.log.kafka.refusals import reason_and_remedy

GONE_WITHIN_S: Final = 30.0
LOOK_EVERY_S: Final = 0.1
REMOVED: Final = "OK"
"""What the client says of a group, where it otherwise names the error."""
REMEDY: Final = "Whoever removes topics and groups needs Delete on them"
COORDINATOR_MOVES: Final = {error.__name__ for error in (CoordinatorLoadInProgressError, CoordinatorNotAvailableError, NotCoordinatorError)}
"""As it does in a cluster that has just started, or lost a broker."""


def topic_ids(connection: Connection, names: Iterable[str]) -> Mapping[str, str]:
    """Of those of the named topics that exist. Raises `LogError`."""
    with closing(connection.admin()) as admin:
        return _ids(admin, names)


def was_ever_written_to(connection: Connection, name: str) -> bool:
    """Whether the topic has, or had, a record. Raises `LogError`."""
    with closing(connection.admin()) as admin, explained(f"looking whether {name} is empty"):
        (topic,) = admin.describe_topics([name])
        places = [TopicPartition(name, partition["partition_index"]) for partition in topic["partitions"]]
        ends = admin.list_partition_offsets(dict.fromkeys(places, OffsetSpec.LATEST))
    return any(end.offset > 0 for end in ends.values())


def remove(connection: Connection, topics: Mapping[str, str], group_id: str, wait_seconds: float) -> None:
    """Removes the topics (ids by name) and the group that read them, and returns when they are gone.

    Members of the group that were killed are waited for. Raises `LogError`; a group that has members keeps its topics.
    """
    with closing(Asking(connection)) as asking:
        _remove_group(asking, group_id, wait_seconds)
    with closing(connection.admin()) as admin:
        with explained(f"removing the topics {', '.join(topics)}"):
            removed = admin.delete_topics([UUID(topic_id) for topic_id in topics.values()], raise_errors=False)["topics"]
        names = {topic_id: name for name, topic_id in topics.items()}
        for topic in removed:
            error = for_code(topic["error_code"])
            if error not in {NoError, UnknownTopicIdError, UnknownTopicOrPartitionError}:  # those were removed meanwhile
                raise LogError(f"the topic {names[topic['topic_id']]} cannot be removed: {error.__name__}. {REMEDY}") from error()
        _await_gone(admin, topics)


def _ids(admin: KafkaAdminClient, names: Iterable[str]) -> Mapping[str, str]:
    with explained("looking up the topics"):
        described = admin.describe_topics(list(names))
    ids = {}
    for topic in described:
        error = for_code(topic["error_code"])
        if error is NoError:
            ids[topic["name"]] = topic["topic_id"]
        elif error is not UnknownTopicOrPartitionError:
            raise LogError(f"the topic {topic['name']} cannot be looked up: {reason_and_remedy(error())}") from error()
    return ids


def _remove_group(asking: Asking, group_id: str, wait_seconds: float) -> None:
    until, moved_until = time.monotonic() + wait_seconds, time.monotonic() + GONE_WITHIN_S
    while True:
        error = asking.ask(f"removing the group {group_id}", lambda admin: admin.delete_groups([group_id])[group_id])
        if error in {REMOVED, GroupIdNotFoundError.__name__}:
            return
        if error in COORDINATOR_MOVES and time.monotonic() < moved_until:
            time.sleep(LOOK_EVERY_S)
            continue
        if error != NonEmptyGroupError.__name__:
            raise LogError(f"the group {group_id} cannot be removed: {error}. {REMEDY}")
        if time.monotonic() > until:
            raise LogError(f"the group {group_id} cannot be removed, as it has members: stop the `watch` that still works on its topics")
        time.sleep(LOOK_EVERY_S)


def _await_gone(admin: KafkaAdminClient, topics: Mapping[str, str]) -> None:
    until = time.monotonic() + GONE_WITHIN_S
    while left := [name for name, topic_id in _ids(admin, topics).items() if topic_id == topics[name]]:
        if time.monotonic() > until:
            raise LogError(f"the topics {', '.join(left)} were removed and are still there {GONE_WITHIN_S:.0f} s later: try again")
        time.sleep(LOOK_EVERY_S)
