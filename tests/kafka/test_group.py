"""`group remove`: a static member that is gone for good is let go before its session ends."""

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.kafka.kafka_yaml import Configured

JOINS_WITHIN_S = 30


@pytest.fixture
def configured(kafka: str, tmp_path: Path) -> Iterator[Configured]:
    made = Configured.on(kafka, tmp_path, "partitions: 2, session_timeout: 5m")
    assert made.run("topics", "create").exit_code == 0
    yield made
    made.remove()


def joined(configured: Configured, instance_id: str) -> Any:  # noqa: ANN401  # the client ships no types
    """A consumer that has its part of the group."""
    consumer = configured.connection.consumer(
        group_id=configured.names.group_id, group_instance_id=instance_id, session_timeout_ms=300_000, max_poll_interval_ms=300_000
    )
    consumer.subscribe([configured.names.panes])
    deadline = time.monotonic() + JOINS_WITHIN_S
    while not consumer.assignment() and time.monotonic() < deadline:
        consumer.poll(timeout_ms=50)
    assert consumer.assignment()
    return consumer


def members(configured: Configured) -> list[str]:
    with closing(configured.connection.admin()) as admin:
        group = admin.describe_groups([configured.names.group_id])[configured.names.group_id]
    return [member["group_instance_id"] for member in group["members"]]


def test_a_member_that_is_gone_is_removed_at_once(configured: Configured) -> None:
    joined(configured, "watch-1").close(autocommit=False)
    assert members(configured) == ["watch-1"], "a static member stays when it closes"
    removed = configured.run("group", "remove", "watch-1")
    assert (removed.exit_code, removed.stdout) == (0, "")
    assert removed.stderr.strip() == f"watch-1 removed from the group {configured.names.group_id}"
    assert members(configured) == []


def test_who_is_there_is_said_where_the_one_asked_for_is_not(configured: Configured) -> None:
    with closing(joined(configured, "watch-0")):
        refused = configured.run("group", "remove", "watch-1")
    assert refused.exit_code == 1
    assert "has no member with the instance id watch-1: its static members are watch-0." in refused.stderr
    assert configured.run("group", "remove", "watch-0").exit_code == 0
    again = configured.run("group", "remove", "watch-0")
    assert "it has no static members" in again.stderr


def test_a_group_that_nobody_joined_is_not_there(configured: Configured) -> None:
    refused = configured.run("group", "remove", "watch-0")
    assert refused.exit_code == 1
    assert f"there is no group {configured.names.group_id}: that is log.topic_prefix and log.group" in refused.stderr
