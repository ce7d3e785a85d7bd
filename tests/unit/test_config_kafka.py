"""The configuration of a log on Kafka: what is understood, what is refused and with which words, and where secrets may stand."""

import json
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner

from monitor.app import cli
from monitor.commands.opening import connection_of, names_of
from monitor.config import Settings, load
from monitor.config.loading import ENVIRONMENT_PREFIX
from monitor.config.log import EmbeddedLogSettings, KafkaLogSettings
from monitor.errors import ConfigError
from monitor.log.kafka.security import Password, SecretFile, SecretText, Tls

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "deploy/kafka.yaml"
DAY = 86_400_000
MODELS = "\nmodels: [{name: m, task: binary, classes: [a, b], positive_class: b}]\n"
SASL = "tls: {}, sasl: {mechanism: plain, username: u, password_file: p}"
PASSWORD_VARIABLE = "MODEL_MONITOR_LOG__SECURITY__SASL__PASSWORD"


def written(folder: Path, log: str, env: Mapping[str, str] | None = None) -> Settings:
    (folder / "kafka.yaml").write_text(f"log: {{kind: kafka, bootstrap_servers: [one:9092], {log}}}{MODELS}")
    return load(folder / "kafka.yaml", env or {})


def log_of(settings: Settings) -> KafkaLogSettings:
    assert isinstance(settings.log, KafkaLogSettings)
    return settings.log


def refusal(folder: Path, log: str, env: Mapping[str, str] | None = None) -> str:
    """What is said, without the file's name at the front of each line."""
    with pytest.raises(ConfigError) as refused:
        written(folder, log, env)
    return "\n".join(line.removeprefix(f"{folder / 'kafka.yaml'}: ") for line in str(refused.value).splitlines())


def test_the_example_spells_the_defaults_and_leaves_no_key_out(tmp_path: Path) -> None:
    example = log_of(load(EXAMPLE, {}))
    defaults = log_of(written(tmp_path, ""))
    assert example.model_dump(exclude={"bootstrap_servers"}) == defaults.model_dump(exclude={"bootstrap_servers"})
    keys = set(re.findall(r"^  (?:# )?(\w+):", EXAMPLE.read_text().partition("\nstate:")[0], re.MULTILINE))
    assert keys == KafkaLogSettings.model_fields.keys()


def test_the_example_s_security_is_understood_once_its_comment_signs_are_gone(tmp_path: Path) -> None:
    text = re.sub(r"^  # (?=security:| )", "  ", EXAMPLE.read_text(), flags=re.MULTILINE)
    (tmp_path / "kafka.yaml").write_text(text)
    security = log_of(load(tmp_path / "kafka.yaml", {})).security
    assert security.tls is not None
    assert security.tls.ca_file == tmp_path / "secrets/ca.pem"
    assert security.sasl is not None
    assert security.sasl.password_file == tmp_path / "secrets/kafka"
    named = set(re.findall(r"\b\w+\b", EXAMPLE.read_text()))
    for section in (security, security.tls, security.sasl):
        left_out = type(section).model_fields.keys() - named - {"password", "client_secret"}
        assert not left_out, f"{type(section).__name__} has keys that the example does not name: {left_out}"


def test_an_embedded_log_needs_no_kind(tmp_path: Path) -> None:
    (tmp_path / "kafka.yaml").write_text("log: {path: log.db}" + MODELS)
    assert isinstance(load(tmp_path / "kafka.yaml", {}).log, EmbeddedLogSettings)


def test_lists_in_the_environment_have_commas_and_so_have_kafka_s(tmp_path: Path) -> None:
    assert log_of(written(tmp_path, "", {"MODEL_MONITOR_LOG__BOOTSTRAP_SERVERS": "a:1, b:2"})).bootstrap_servers == ("a:1", "b:2")
    assert log_of(written(tmp_path, "", {"MODEL_MONITOR_LOG__BOOTSTRAP_SERVERS": '["a:1"]'})).bootstrap_servers == ("a:1",)
    assert log_of(written(tmp_path, "").model_copy()).bootstrap_servers == ("one:9092",)
    assert written(tmp_path, "", {"MODEL_MONITOR_EXPORTER__DRIFT_METHODS": "psi,ks"}).exporter.drift_methods == ("psi", "ks")


def test_what_is_left_to_the_brokers_is_said_in_words(tmp_path: Path) -> None:
    log = log_of(written(tmp_path, "replication_factor: broker's, instance_id: none, retention: forever"))
    assert (log.replication_factor, log.instance_id, log.retention) == (None, None, None)
    log = log_of(written(tmp_path, "replication_factor: 3, instance_id: watch-0", {"MODEL_MONITOR_LOG__RETENTION": "60d"}))
    assert (log.replication_factor, log.instance_id, log.retention) == (3, "watch-0", 60 * DAY)
    assert log_of(written(tmp_path, "", {"MODEL_MONITOR_LOG__INSTANCE_ID": ""})).instance_id is None


def test_a_place_is_named_for_people(tmp_path: Path) -> None:
    assert written(tmp_path, "").log.place == "Kafka at one:9092"
    assert written(tmp_path, "topic_prefix: team-a.").log.place == "Kafka at one:9092, topics team-a.*"


@pytest.mark.parametrize(
    ("log", "complaint"),
    [
        ("partitons: 3", 'log.partitons: unknown key; did you mean "partitions"?'),
        ("path: x", "log.path: is there only with `kind: embedded`; leave it out, or change kind"),
        ("max_bytes: 1GB", "log.max_bytes: is there only with `kind: embedded`; leave it out, or change kind"),
        ("security: {tsl: {}}", 'log.security.tsl: unknown key; did you mean "tls"?'),
        ("security: {tls: {ca: x}}", None),
        ("security: {tls: x}", 'log.security.tls: expected keys and values, not "x"'),
        ("security: {tls: {key_file: x}}", "log.security.tls.key_file: is of no use without cert_file; name the certificate too"),
        ("topic_prefix: 'a b'", None),
        ("partitions: 0", "log.partitions: expected at least 1, not 0"),
        ("replication_factor: 0", "log.replication_factor: expected at least 1, not 0"),
        ("session_timeout: 900ms", "log.session_timeout: 900ms is outside 1s to 30m; brokers accept 6s to 30m by default"),
        (
            "retention: 3d",
            (
                "log.retention: 3d is too short for the model m, which needs 14d horizon + 1d out_of_order + 1h = 361h; "
                "lengthen it, or shorten models[0].labels.horizon"
            ),
        ),
        (
            "security: {sasl: {mechanism: plain, username: u, password_file: p}}",
            (
                "log.security.tls: missing; without it whoever listens on the network learns what sasl sends: write `tls: {}`, or "
                "`unencrypted: true` where the network is trusted"
            ),
        ),
        ("security: {tls: {}, unencrypted: true}", "log.security.unencrypted: contradicts tls; leave one out"),
        (
            "security: {tls: {}, sasl: {mechanism: plain}}",
            (
                "log.security.sasl.username: missing; write for example `username: model-monitor`\n"
                f"log.security.sasl.password_file: missing; name the file that holds it, or set {PASSWORD_VARIABLE}"
            ),
        ),
        (
            "security: {tls: {}, sasl: {mechanism: gssapi}}",
            ("log.security.sasl.mechanism: expected one of 'plain', 'scram-sha-256', 'scram-sha-512' or 'oauthbearer', not \"gssapi\""),
        ),
        (
            "security: {tls: {}, sasl: {mechanism: oauthbearer}}",
            (
                "log.security.sasl.token_file: missing; name the file that holds the token, or a token_url with client_id and "
                "client_secret_file"
            ),
        ),
        (
            "security: {tls: {}, sasl: {mechanism: oauthbearer, token_url: 'http://idp.example.com', client_id: a, client_secret_file: s}}",
            (
                "log.security.sasl.token_url: expected an address such as https://login.example.com/oauth2/token: "
                "what is sent there is a secret"
            ),
        ),
        (
            "security: {tls: {}, sasl: {mechanism: oauthbearer, token_file: t, scope: kafka, username: u}}",
            (
                "log.security.sasl.username: oauthbearer goes by a token; leave it out\n"
                "log.security.sasl.scope: is only for a token_url; name that, or leave it out"
            ),
        ),
        (
            f"security: {{{SASL}}}, security2: 1",
            'log.security2: unknown key; did you mean "security"?',
        ),
        (
            "security: {tls: {}, sasl: {mechanism: plain, username: u, password_file: p, token_file: t}}",
            "log.security.sasl.token_file: plain goes by a user and a password; leave it out, or use oauthbearer",
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_place_and_remedy(tmp_path: Path, log: str, complaint: str | None) -> None:
    said = refusal(tmp_path, log)
    if complaint is None:
        assert said.startswith(f"log.{log.partition(':')[0]}")
    else:
        assert said == complaint


@pytest.mark.parametrize(
    ("servers", "complaint"),
    [
        ("[]", "log.bootstrap_servers: expected a list of at least 1, not an empty list"),
        ("[one]", 'log.bootstrap_servers[0]: expected host:port, not "one"; brokers mostly listen on 9092'),
        ("'one:9092,two'", 'log.bootstrap_servers[1]: expected host:port, not "two"; brokers mostly listen on 9092'),
        (
            "['ssl://one:9092']",
            (
                'log.bootstrap_servers[0]: "ssl://one:9092" has a scheme or a path in it; write host:port alone, and '
                "`security: {tls: {}}` for TLS"
            ),
        ),
    ],
)
def test_brokers_are_named_by_host_and_port(tmp_path: Path, servers: str, complaint: str) -> None:
    (tmp_path / "kafka.yaml").write_text(f"log: {{kind: kafka, bootstrap_servers: {servers}}}{MODELS}")
    with pytest.raises(ConfigError) as refused:
        load(tmp_path / "kafka.yaml", {})
    assert str(refused.value) == f"{tmp_path / 'kafka.yaml'}: {complaint}"


@pytest.mark.parametrize(
    ("log", "complaint"),
    [
        ("{kind: kafak}", 'log.kind: unknown kind "kafak"; did you mean "kafka"?'),
        ("{kind: 3}", 'log.kind: unknown kind "3"; expected one of embedded, kafka'),
        ("{kind: kafka}", "log.bootstrap_servers: missing; write for example `bootstrap_servers: [localhost:9092]`"),
        (
            "{path: x, bootstrap_servers: [a:1]}",
            "log.bootstrap_servers: is there only with `kind: kafka`; leave it out, or change kind",
        ),
        ("{path: 's3://bucket/log.db'}", None),
    ],
)
def test_kinds_are_told_apart(tmp_path: Path, log: str, complaint: str | None) -> None:
    (tmp_path / "kafka.yaml").write_text(f"log: {log}{MODELS}")
    with pytest.raises(ConfigError) as refused:
        load(tmp_path / "kafka.yaml", {})
    said = str(refused.value).removeprefix(f"{tmp_path / 'kafka.yaml'}: ")
    assert said == complaint if complaint else said.startswith('log.path: "s3://bucket/log.db" is no file')


@pytest.mark.parametrize(("key", "text"), [("password", "hunter2"), ("client_secret", "hunter2"), ("password", "4711")])
def test_a_secret_in_the_file_is_refused_and_never_shown(tmp_path: Path, key: str, text: str) -> None:
    said = refusal(tmp_path, f"security: {{tls: {{}}, sasl: {{mechanism: plain, username: u, {key}: {text}}}}}")
    variable = f"{ENVIRONMENT_PREFIX}LOG__SECURITY__SASL__{key.upper()}"
    assert f"log.security.sasl.{key}: a secret does not belong in this file; name a {key}_file, or set {variable}" in said
    assert text not in said


def test_a_secret_in_the_environment_is_shown_by_nothing(tmp_path: Path) -> None:
    settings = written(tmp_path, "security: {tls: {}, sasl: {mechanism: PLAIN, username: u}}", {PASSWORD_VARIABLE: "4711"})
    connection = connection_of(log_of(settings))
    assert isinstance(connection.security.sasl, Password)
    assert connection.security.sasl.secret.read() == "4711"
    for shown in (repr(settings), str(settings), repr(connection), str(connection), settings.model_dump_json()):
        assert "4711" not in shown


def test_what_is_misplaced_in_the_environment_is_not_shown(tmp_path: Path) -> None:
    said = refusal(tmp_path, "", {"MODEL_MONITOR_LOG__SECURITY__SASL": "hunter2"})
    assert said == "MODEL_MONITOR_LOG__SECURITY__SASL: expected keys and values, not what is there"


def test_no_misspelt_key_is_answered_with_one_that_the_file_must_not_have(tmp_path: Path) -> None:
    said = refusal(tmp_path, "security: {tls: {}, sasl: {mechanism: plain, username: u, passwrd: x, password_file: p}}")
    assert said == 'log.security.sasl.passwrd: unknown key; did you mean "password_file"?'


def test_what_is_configured_is_what_clients_are_made_with(tmp_path: Path) -> None:
    tls = "tls: {ca_file: ca.pem, cert_file: c.pem, key_file: c.key, key_password_file: k, check_hostname: false}"
    sasl = "sasl: {mechanism: SCRAM-SHA-512, username: u, password_file: secrets/p}"
    log = log_of(written(tmp_path, f"topic_prefix: a-, group: g, security: {{{tls}, {sasl}}}"))
    connection = connection_of(log)
    assert connection.bootstrap_servers == ("one:9092",)
    assert connection.security.tls == Tls(
        tmp_path / "ca.pem", tmp_path / "c.pem", tmp_path / "c.key", SecretFile(tmp_path / "k"), check_hostname=False
    )
    assert connection.security.sasl == Password("SCRAM-SHA-512", "u", SecretFile(tmp_path / "secrets/p"))
    assert connection.security.protocol == "SASL_SSL"
    assert (names_of(log).panes, names_of(log).group_id) == ("a-panes", "a-g")


def test_config_check_says_how_kafka_is_spoken_to(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("hunter2")
    written(tmp_path, f"topic_prefix: a-, retention: forever, security: {{{SASL}}}")
    checked = CliRunner().invoke(cli, ["config", "check", "-c", str(tmp_path / "kafka.yaml")])
    lines = checked.stdout.splitlines()
    assert (
        "log       Kafka at one:9092, topics a-* (TLS, plain as u), 12 partitions, forever, group a-model-monitor of up to 12 replicas"
        in lines
    )
    assert "  retention   14d horizon + 1d out_of_order + 1h = 361h, and log.retention is forever" in lines


def test_config_schema_has_both_kinds_and_marks_what_is_secret() -> None:
    schema = json.loads(CliRunner().invoke(cli, ["config", "schema"]).stdout)
    assert schema["properties"]["log"]["discriminator"]["propertyName"] == "kind"
    kafka = schema["$defs"]["KafkaLogSettings"]
    assert (kafka["properties"]["replication_factor"]["default"], kafka["properties"]["instance_id"]["default"]) == ("broker's", "none")
    assert kafka["required"] == ["kind", "bootstrap_servers"]
    password = next(kind for kind in schema["$defs"]["SaslSettings"]["properties"]["password"]["anyOf"] if "format" in kind)
    assert password["writeOnly"]


def test_secrets_are_read_from_files_without_the_end_of_their_line(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hunter2\n")
    assert SecretFile(tmp_path / "secret").read() == "hunter2"
    assert "hunter2" not in repr(SecretText("hunter2"))
