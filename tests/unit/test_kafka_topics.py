"""What topics have to be, how differences are told, and the commands that do the same by hand. No cluster is asked."""

import shlex
from collections.abc import Mapping

import pytest

from monitor.errors import LogError
from monitor.log.kafka.acls import roles
from monitor.log.kafka.differences import Finding, TopicFacts, findings
from monitor.log.kafka.names import Names
from monitor.log.kafka.shell import commands
from monitor.log.kafka.topics import DAY_MS, MESSAGE_BYTES, Retention, TopicSpec, check_retention_reaches, largest_pane, required

NAMES = Names("a-", "group")
RETENTION = Retention(30 * DAY_MS, 16 * DAY_MS, "14d horizon + 1d out_of_order + 1d = 16d")
SPECS = required(NAMES, 3, None, RETENTION)
NOW = 1_700_000_000_000


UNCHANGED: Mapping[str, str] = {}


def as_specified(spec: TopicSpec, changed: Mapping[str, str] = UNCHANGED, *, partitions: int = 3, copies: int = 1) -> TopicFacts:
    """The topic as `topics create` makes it, but for what is changed."""
    return TopicFacts(spec.name, partitions, copies, {"min.insync.replicas": "1", **spec.config, **changed})


def found(facts: Mapping[str, TopicFacts], brokers: int = 1, specs: tuple[TopicSpec, ...] = SPECS) -> list[Finding]:
    return list(findings(specs, facts, brokers))


def found_in(
    name: str, changed: Mapping[str, str] = UNCHANGED, *, copies: int = 1, brokers: int = 1, specs: tuple[TopicSpec, ...] = SPECS
) -> list[Finding]:
    """Findings where one topic is other than specified."""
    facts = {spec.name: as_specified(spec, changed if spec.name == name else UNCHANGED, copies=copies) for spec in specs}
    return found(facts, brokers, specs)


def test_topics_as_we_make_them_have_nothing_wrong() -> None:
    assert found_in("") == []


def test_all_topics_of_a_deployment_have_the_same_number_of_partitions() -> None:
    assert {spec.name for spec in SPECS} == set(NAMES.topics)
    assert {spec.partitions for spec in SPECS} == {3}


def test_a_topic_that_is_missing_is_made_by_topics_create() -> None:
    facts = {spec.name: as_specified(spec) for spec in SPECS[1:]}
    assert found(facts) == [Finding("a-predictions", "does not exist; `model-monitor topics create` makes it", stops=True)]


def test_another_number_of_partitions_stops_with_the_way_to_move() -> None:
    (finding,) = found({spec.name: as_specified(spec, partitions=6) for spec in SPECS})
    assert finding.stops
    assert "other numbers of partitions than log.partitions (3): a-predictions 6" in finding.text
    assert "Set log.partitions: 6, or move to new topics." in finding.text
    assert "1. choose a new log.topic_prefix" in finding.text


def test_topics_that_differ_among_themselves_cannot_be_followed_by_the_configuration() -> None:
    (finding,) = found({spec.name: as_specified(spec, partitions=6 if spec.name == "a-labels" else 3) for spec in SPECS})
    assert finding.topic == "a-labels"
    assert "All topics need the same number: move to new topics." in finding.text


def test_retention_below_what_joining_needs_stops_with_the_arithmetic() -> None:
    (finding,) = found_in("a-predictions", {"retention.ms": str(7 * DAY_MS)})
    assert finding == Finding(
        "a-predictions",
        "retention.ms is 604800000 (7d), expected at least 1382400000 (16d): a restart without a snapshot has to find every row that may "
        "still join: 14d horizon + 1d out_of_order + 1d = 16d. kafka-configs.sh --alter --topic a-predictions --add-config "
        "retention.ms=2592000000",
        stops=True,
    )


def test_retention_below_what_the_configuration_promises_is_worth_knowing() -> None:
    (finding,) = found_in("a-labels", {"retention.ms": str(20 * DAY_MS)})
    assert not finding.stops
    assert "log.retention promises more than the topic keeps" in finding.text


def test_a_topic_that_keeps_records_for_ever_is_never_too_short() -> None:
    assert found_in("a-labels", {"retention.ms": "-1"}) == []
    forever = required(NAMES, 3, None, Retention(None, 16 * DAY_MS, "sum"))
    assert forever[0].config["retention.ms"] == "-1"
    assert not any(finding.stops for finding in found_in("a-labels", {"retention.ms": str(16 * DAY_MS)}, specs=forever))


@pytest.mark.parametrize(
    ("topic", "setting", "value", "stops", "said"),
    [
        ("a-predictions", "cleanup.policy", "compact", True, "cleanup.policy is compact, expected delete"),
        ("a-predictions", "retention.bytes", "1000", True, "a limit in bytes removes records at any age"),
        ("a-labels", "message.timestamp.type", "LogAppendTime", True, "expected CreateTime"),
        ("a-labels", "message.timestamp.after.max.ms", "60000", True, "60000 (60s), expected at least 3600000 (1h)"),
        ("a-labels", "message.timestamp.before.max.ms", "3600000", True, "events that waited in a spool"),
        ("a-labels", "max.message.bytes", "1048588", False, "expected at least 16777216"),
        ("a-panes", "cleanup.policy", "delete", True, "expected compact"),
        ("a-panes", "cleanup.policy", "compact,delete", True, "panes would vanish"),
        ("a-panes", "segment.ms", str(7 * DAY_MS), False, "expected at most 3600000 (1h)"),
        ("a-panes", "delete.retention.ms", "60000", True, "would not hear that a pane was removed"),
        ("a-panes", "max.message.bytes", "1048588", True, "a commit with a larger pane would be refused"),
        ("a-panes", "max.message.bytes", "8388608", False, "a commit with a larger pane would be refused"),
        ("a-dead-letters", "cleanup.policy", "compact", True, "expected delete"),
        ("a-dead-letters", "max.message.bytes", "1048588", True, "larger dead letter"),
        ("a-labels", "unclean.leader.election.enable", "true", False, "acknowledged records may be lost"),
    ],
)
def test_a_setting_that_is_not_as_it_has_to_be_is_told_with_its_reason(
    topic: str, setting: str, value: str, stops: bool, said: str
) -> None:
    (finding,) = found_in(topic, {setting: value})
    assert (finding.topic, finding.stops) == (topic, stops)
    assert said in finding.text
    assert f"kafka-configs.sh --alter --topic {topic} --add-config {setting}=" in finding.text


def test_a_setting_that_the_brokers_do_not_know_is_passed_over() -> None:
    facts = {spec.name: TopicFacts(spec.name, 3, 1, {}) for spec in SPECS}
    assert found(facts) == []


def test_the_order_of_cleanup_policies_does_not_matter() -> None:
    setting = SPECS[0].settings[0]
    assert setting.accepts("delete")
    assert not setting.accepts("delete,compact")


def test_copies_are_looked_at_where_there_is_more_than_one_broker() -> None:
    assert ["one copy of each partition among 3 brokers" in finding.text for finding in found_in("", brokers=3)] == [True] * 4
    assert ["min.insync.replicas is 1" in finding.text for finding in found_in("", copies=3, brokers=3)] == [True] * 4
    assert not any(finding.stops for finding in found_in("", copies=3, brokers=3))


def test_more_copies_in_sync_than_there_are_let_nothing_be_written() -> None:
    (finding,) = found_in("a-panes", {"min.insync.replicas": "2"})
    assert finding.stops
    assert "nothing can be written" in finding.text


def test_another_replication_factor_than_configured_is_worth_knowing() -> None:
    specs = required(NAMES, 3, 3, RETENTION)
    assert {finding.text.partition(";")[0] for finding in found_in("", specs=specs)} == {
        "has 1 copies of each partition and log.replication_factor is 3"
    }


def test_panes_may_be_as_large_as_the_largest_model_s() -> None:
    assert required(NAMES, 3, None, RETENTION, largest_pane(1_000))[2].config["max.message.bytes"] == str(MESSAGE_BYTES)
    assert int(required(NAMES, 3, None, RETENTION, largest_pane(2_000_000))[2].config["max.message.bytes"]) > largest_pane(2_000_000)


def test_records_older_than_the_topic_keeps_any_are_refused_with_the_reason() -> None:
    check_retention_reaches("labels", 30 * DAY_MS, NOW - 30 * DAY_MS, NOW)
    check_retention_reaches("labels", -1, 0, NOW)
    with pytest.raises(
        LogError, match=r"labels keeps records for 30 days, and these reach back 31 days: .*retention\.ms=-1.*--arrival now"
    ):
        check_retention_reaches("labels", 30 * DAY_MS, NOW - 31 * DAY_MS, NOW)


def test_commands_that_do_the_same_name_everything_that_topics_create_sets() -> None:
    lines = list(commands(["one:9092", "two:9092"], is_secured=True, specs=required(NAMES, 3, 2, RETENTION), roles=()))
    words = shlex.split(lines[1])
    assert words[:3] == ["kafka-topics.sh", "--bootstrap-server", "one:9092,two:9092"]
    assert words[3:5] == ["--command-config", "admin.properties"]
    assert words[words.index("--topic") : words.index("--config")] == [
        "--topic", "a-predictions", "--partitions", "3", "--replication-factor", "2",
    ]  # fmt: skip
    assert set(words[words.index("--config") + 1 :: 2]) == {f"{key}={value}" for key, value in SPECS[0].config.items()}


def test_acls_name_what_each_role_needs() -> None:
    lines = list(commands(["one:9092"], is_secured=False, specs=(), roles=roles(NAMES)))
    assert "kafka-acls.sh --bootstrap-server one:9092 --add --allow-principal User:producers --operation Write --topic a-labels" in lines
    assert (
        "kafka-acls.sh --bootstrap-server one:9092 --add --allow-principal User:watch --operation Write --operation Describe "
        "--transactional-id a-group- --resource-pattern-type prefixed"
    ) in lines
    assert "kafka-acls.sh --bootstrap-server one:9092 --add --allow-principal User:watch --operation Read --group a-group" in lines
    watch = [line for line in lines if "User:watch " in line and "a-predictions" in line]
    assert len(watch) == 1
    assert "--operation Read --operation Write" in watch[0], "it writes time marks"
