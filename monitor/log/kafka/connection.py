"""How clients of a Kafka cluster are made, all in the same way, and how their errors are told."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.errors import KafkaError, RetriableError

from monitor import __version__
from monitor.errors import LogAway, LogError
from monitor.log.kafka.reaching import await_broker
from monitor.log.kafka.refusals import is_hopeless, reason_and_remedy
from monitor.log.kafka.security import Security

REQUEST_TIMEOUT_MS: Final = 20_000
"""A request that has no answer by then is sent anew."""
RECONNECT_MAX_MS: Final = 5_000
"""The longest pause between two tries to reach a broker; the first is 50 ms, each next one twice as long."""


@dataclass(frozen=True, slots=True)
class Connection:
    """Where a cluster is, and how it is spoken to; makes clients of it. Each is the caller's to close."""

    bootstrap_servers: tuple[str, ...]
    bootstrap_timeout_ms: int = 10_000
    """How long a client that is being made looks for a broker."""
    security: Security = field(default_factory=Security)

    def consumer(self, **settings: object) -> KafkaConsumer:
        """A consumer that reads what is committed, and commits nothing by itself. Raises `LogError`."""
        common = self._admitted()
        with explained(f"connecting to {self}"):
            return KafkaConsumer(
                **common,
                metrics_enabled=False,
                enable_auto_commit=False,
                isolation_level="read_committed",
                allow_auto_create_topics=False,
                **settings,
            )

    def producer(self, **settings: object) -> KafkaProducer:
        """An idempotent producer, whose records are durable on all in-sync replicas once they are acknowledged. Raises `LogError`."""
        common = self._admitted()
        with explained(f"connecting to {self}"):
            return KafkaProducer(
                **common, metrics_enabled=False, acks="all", enable_idempotence=True, allow_auto_create_topics=False, **settings
            )

    def admin(self) -> KafkaAdminClient:
        """Raises `LogError`."""
        common = self._admitted()
        with explained(f"connecting to {self}"):
            return KafkaAdminClient(**common)

    def _admitted(self) -> dict[str, Any]:
        """What every client is given, once a broker has let one in."""
        settings = {
            "bootstrap_servers": list(self.bootstrap_servers),
            "client_id": f"model-monitor-{__version__}",
            "request_timeout_ms": REQUEST_TIMEOUT_MS,
            "reconnect_backoff_max_ms": RECONNECT_MAX_MS,
            "bootstrap_timeout_ms": self.bootstrap_timeout_ms,
            **self.security.settings(),
        }
        await_broker(str(self), settings, self.bootstrap_timeout_ms)
        return settings

    def __str__(self) -> str:
        return f"Kafka at {', '.join(self.bootstrap_servers)}"


def close_at_once(producer: KafkaProducer, wait_seconds: float = 0) -> None:
    """Closes a producer whatever it has under way, of which its senders are told.

    Its own `close` gives up half-way where that does not end in time (kafka-python 3.0.12), and its thread and sockets stay for good.
    """
    with suppress(KafkaError):
        producer.close(timeout=wait_seconds)
    if not producer._closed:
        producer._sender.force_close()


@contextmanager
def explained(doing: str) -> Iterator[None]:
    """Raises the client's errors as `LogError`s that say what was being done, why it failed and what to do; `__cause__` is the client's.

    Those that may pass by themselves are `LogAway`.
    """
    try:
        yield
    except KafkaError as error:
        found = LogAway if isinstance(error, RetriableError) and not is_hopeless(error) else LogError
        raise found(f"{doing} failed: {reason_and_remedy(error)}") from error
