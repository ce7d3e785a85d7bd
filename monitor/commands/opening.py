"""From the configuration to the log that it names. Only `app` and the commands call this; everything else is handed a `Log`."""

from typing import TYPE_CHECKING

from monitor.clock import Clock
from monitor.config import Settings
from monitor.config.log import EmbeddedLogSettings, KafkaLogSettings
from monitor.errors import ConfigError
from monitor.log import Log

if TYPE_CHECKING:
    from monitor.config.security import SaslSettings, TlsSettings
    from monitor.log.kafka.connection import Connection
    from monitor.log.kafka.names import Names
    from monitor.log.kafka.security import Bearer, Password, Tls


def open_log(settings: Settings, clock: Clock) -> Log:
    """The log; an embedded one is made if it is not there, Kafka's topics are not. Raises `LogError`."""
    match settings.log:
        case EmbeddedLogSettings() as log:
            from monitor.log.embedded import EmbeddedLog

            return EmbeddedLog(log.path, partitions=log.partitions, clock=clock, retention_ms=log.retention, max_bytes=log.max_bytes)
        case KafkaLogSettings() as log:
            from monitor.log.kafka.log import KafkaLog

            return KafkaLog(
                connection_of(log),
                names_of(log),
                partitions=log.partitions,
                clock=clock,
                instance_id=log.instance_id,
                session_timeout_ms=log.session_timeout,
            )


def kafka_only(settings: Settings, command: str) -> KafkaLogSettings:
    """The settings of a log that is on Kafka, for a command that is of no use otherwise. Raises `ConfigError`."""
    if isinstance(settings.log, KafkaLogSettings):
        return settings.log
    raise ConfigError(
        f"`{command}` is for a log on Kafka, and the configured one is embedded ({settings.log.place}): it has no topics and no "
        "group, and is made when it is first used. For Kafka, write `log: {kind: kafka, bootstrap_servers: [host:9092]}`"
    )


def names_of(log: KafkaLogSettings) -> "Names":
    """What its topics and its group are called."""
    from monitor.log.kafka.names import Names

    return Names(log.topic_prefix, log.group)


def connection_of(log: KafkaLogSettings) -> "Connection":
    """How its clients are made. Nothing is read or connected to yet."""
    from monitor.log.kafka.connection import Connection
    from monitor.log.kafka.security import Security

    tls, sasl = log.security.tls, log.security.sasl
    return Connection(log.bootstrap_servers, security=Security(None if tls is None else _tls(tls), None if sasl is None else _sasl(sasl)))


def _tls(tls: "TlsSettings") -> "Tls":
    from monitor.log.kafka.security import SecretFile, Tls

    password = None if tls.key_password_file is None else SecretFile(tls.key_password_file)
    return Tls(tls.ca_file, tls.cert_file, tls.key_file, password, tls.check_hostname)


def _sasl(sasl: "SaslSettings") -> "Password | Bearer":
    """The sections' own checks have seen to it that what the mechanism needs is there."""
    from monitor.log.kafka.security import Bearer, Password, Secret, SecretFile, SecretText, TokenFile
    from monitor.log.kafka.tokens import ClientCredentials

    def secret(name: str) -> Secret:
        file, given = getattr(sasl, f"{name}_file"), getattr(sasl, name)
        return SecretFile(file) if file is not None else SecretText(given.get_secret_value())

    if sasl.mechanism != "oauthbearer":
        assert sasl.username is not None
        return Password(sasl.mechanism.upper(), sasl.username, secret("password"))
    if sasl.token_file is not None:
        return Bearer(TokenFile(SecretFile(sasl.token_file)))
    assert sasl.token_url is not None
    assert sasl.client_id is not None
    return Bearer(ClientCredentials(sasl.token_url, sasl.client_id, secret("client_secret"), sasl.scope, sasl.token_ca_file))
