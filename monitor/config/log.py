"""Where the durable log is: one SQLite file, or topics of a Kafka cluster. `kind` tells which."""

import re
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, field_validator

from monitor.config.security import SecuritySettings
from monitor.strict_yaml.quantities import AgeLimit, Bytes, Duration, Lenient, Text, duration_text, shown
from monitor.strict_yaml.section import Section

KAFKA_NAME: Final = r"[a-zA-Z0-9._-]*"
"""What Kafka takes in the name of a topic, and of a static member."""
PREFIX_CHARACTERS: Final = 249 - len("dead-letters")
SHORTEST_SESSION_MS: Final = 1_000
LONGEST_SESSION_MS: Final = 1_800_000
"""Brokers have bounds of their own, by default 6 s and 30 min: `group.min.session.timeout.ms` and `group.max.session.timeout.ms`."""


def _local_file(value: object) -> object:
    if isinstance(value, str) and "://" in value:
        raise ValueError(f"{shown(value)} is no file: the embedded log is one on a local disk, such as data/log.db")
    return value


def _listed(value: object) -> object:
    """`a:9092,b:9092` is how Kafka's own configuration spells a list."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(","))
    return tuple(value) if isinstance(value, list) else value


def _server(text: str) -> str:
    host, colon, port = text.rpartition(":")
    if "/" in text:
        raise ValueError(f"{shown(text)} has a scheme or a path in it; write host:port alone, and `security: {{tls: {{}}}}` for TLS")
    if not colon or not host or not (port.isdecimal() and port.isascii() and 0 < int(port) <= 65_535):
        raise ValueError(f"expected host:port, not {shown(text)}; brokers mostly listen on 9092")
    return text


def _kafka_name(text: str) -> str:
    if not re.fullmatch(KAFKA_NAME, text, re.ASCII):
        raise ValueError(f"{shown(text)} has a character that Kafka does not take: letters, digits, dots, _ and - are allowed")
    return text


def _none_in_words(value: object) -> object:
    """An empty one is a variable that somebody set to nothing."""
    return None if value in {"none", ""} else value


def _broker_s(value: object) -> object:
    return None if value == "broker's" else value


Server = Annotated[str, AfterValidator(_server)]
KafkaName = Annotated[str, AfterValidator(_kafka_name)]


class EmbeddedLogSettings(Section):
    """The durable log in one SQLite file: one server, one daemon, one machine."""

    kind: Literal["embedded"] = "embedded"
    path: Annotated[Path, Lenient, BeforeValidator(_local_file)] = Field(examples=["data/log.db"])
    partitions: int = Field(default=1, ge=1, le=1_024)
    retention: AgeLimit = Field(default="30d", validate_default=True)
    """Records older than the newest one by more than this may go."""
    max_bytes: Bytes = Field(default="10GB", validate_default=True)
    out_of_order: Duration = Field(default="24h", validate_default=True)
    """D: how far behind its log's watermark an event may arrive."""
    idle_after: Duration = Field(default="1h", validate_default=True)
    """A log that got nothing for this long is told the time, so that silence frees memory too."""

    @property
    def place(self) -> str:
        """Where it is, for people."""
        return str(self.path)

    def relative_to(self, folder: Path) -> Self:
        return self.model_copy(update={"path": folder / self.path})


class KafkaLogSettings(Section):
    """The durable log in topics of an Apache Kafka cluster: any number of servers, as many daemons as partitions."""

    kind: Literal["kafka"]
    bootstrap_servers: Annotated[tuple[Server, ...], Lenient, BeforeValidator(_listed), Field(min_length=1, examples=["[localhost:9092]"])]
    security: SecuritySettings = Field(default_factory=SecuritySettings)
    topic_prefix: Annotated[KafkaName, Field(max_length=PREFIX_CHARACTERS)] = ""
    """Stands before the names of topics, group and transactions, nothing between."""
    group: Text = "model-monitor"
    """Its members, one a daemon, share the partitions out among themselves."""
    partitions: int = Field(default=12, ge=1, le=1_024)
    """Of each topic: what a daemon can be alone with, and so the most daemons that have work. Fixed for good once the topics exist."""
    replication_factor: Annotated[
        Annotated[int, Field(ge=1, le=32_767)] | None,
        BeforeValidator(_broker_s),
        WithJsonSchema({"anyOf": [{"const": "broker's"}, {"type": "integer", "minimum": 1}]}),
    ] = Field(default="broker's", validate_default=True)
    """Copies of each partition, for `topics create`; None: what the brokers give a topic by default."""
    session_timeout: Duration = Field(default="45s", validate_default=True)
    """A daemon that was not heard of for this long has lost its partitions to the others."""
    instance_id: Annotated[
        Annotated[KafkaName, Field(max_length=249)] | None,
        BeforeValidator(_none_in_words),
        WithJsonSchema({"anyOf": [{"const": "none"}, {"type": "string"}]}),
    ] = Field(default="none", validate_default=True)
    """A name that outlives the process, so that a restart within the session moves no partition; each daemon has its own."""
    retention: AgeLimit = Field(default="30d", validate_default=True)
    """What `topics create` gives the topics, and the least that `topics check` accepts."""
    out_of_order: Duration = Field(default="24h", validate_default=True)
    """D: how far behind its log's watermark an event may arrive."""
    idle_after: Duration = Field(default="1h", validate_default=True)
    """A log that got nothing for this long is told the time, so that silence frees memory too."""

    @property
    def place(self) -> str:
        """Where it is, for people."""
        servers = ", ".join(self.bootstrap_servers)
        return f"Kafka at {servers}, topics {self.topic_prefix}*" if self.topic_prefix else f"Kafka at {servers}"

    def relative_to(self, folder: Path) -> Self:
        return self.model_copy(update={"security": self.security.relative_to(folder)})

    @field_validator("session_timeout")
    @classmethod
    def _brokers_accept(cls, milliseconds: int) -> int:
        if not SHORTEST_SESSION_MS <= milliseconds <= LONGEST_SESSION_MS:
            shortest, longest = duration_text(SHORTEST_SESSION_MS), duration_text(LONGEST_SESSION_MS)
            raise ValueError(f"{duration_text(milliseconds)} is outside {shortest} to {longest}; brokers accept 6s to 30m by default")
        return milliseconds


def _embedded_where_nothing_is_said(value: object) -> object:
    return {"kind": "embedded", **value} if isinstance(value, dict) else value


LogSettings = Annotated[
    EmbeddedLogSettings | KafkaLogSettings, Field(discriminator="kind"), BeforeValidator(_embedded_where_nothing_is_said)
]
