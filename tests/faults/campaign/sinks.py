"""Where a round's records go: a topic of Kafka, as any producer would write it, or the embedded log. And how fast."""

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from tests.faults.campaign.sent import Sent

UNKEYED = b"-"
"""A record without a value needs a key: the client refuses one that has neither."""
BROKER_AWAY_MS = 120_000
"""How long a producer waits for a broker that was killed."""
STROKE_SECONDS = 0.02


class Sink(Protocol):
    """Takes records in order."""

    def send(self, record: Sent) -> None: ...

    def close(self) -> None:
        """Returns when all of it is durable; raises where some is not."""
        ...


class KafkaSink:
    """A plain producer, idempotent, so that a retry neither repeats nor reorders; partition and timestamp are the record's own."""

    def __init__(self, bootstrap: str, prefix: str) -> None:
        from kafka import KafkaProducer

        self._prefix = prefix
        self._futures: list[Any] = []
        self._producer = KafkaProducer(
            bootstrap_servers=bootstrap.split(","),
            acks="all",
            enable_idempotence=True,
            linger_ms=5,
            max_block_ms=BROKER_AWAY_MS,
            delivery_timeout_ms=BROKER_AWAY_MS,
        )

    def send(self, record: Sent) -> None:
        headers = [] if record.content_type is None else [("content-type", record.content_type.encode())]
        key = UNKEYED if record.value is None else None
        topic = f"{self._prefix}{record.stream}"
        sending = self._producer.send(
            topic, record.value, key=key, headers=headers, partition=record.partition, timestamp_ms=record.timestamp
        )
        self._futures.append(sending)

    def close(self) -> None:
        self._producer.flush(BROKER_AWAY_MS / 1_000)
        for future in self._futures:
            future.get(0)
        self._producer.close()


class EmbeddedSink:
    """The embedded log's own append, as a server in another process makes it."""

    def __init__(self, path: Path, partitions: int) -> None:
        from monitor.clock import WallClock
        from monitor.log.embedded import EmbeddedLog

        self._log = EmbeddedLog(path, partitions=partitions, clock=WallClock())

    def send(self, record: Sent) -> None:
        from monitor.events import Stream
        from monitor.log import JSON, Message

        message = Message(record.partition, record.timestamp, record.value or b"", record.content_type or JSON)
        self._log.append(Stream(record.stream), [message])

    def close(self) -> None:
        self._log.close()


class Feeding(threading.Thread):
    """Sends everything, spread evenly over some seconds. `error` is what went wrong, once it has ended."""

    def __init__(self, sink: Sink, records: Sequence[Sent], seconds: float) -> None:
        super().__init__(name="feeding", daemon=True)
        self._sink = sink
        self._records = records
        self._seconds = seconds
        self.error: Exception | None = None

    def run(self) -> None:
        began = time.monotonic()
        sent = 0
        try:
            while sent < len(self._records):
                due = int((time.monotonic() - began) / self._seconds * len(self._records)) + 1
                for record in self._records[sent:due]:
                    self._sink.send(record)
                sent = max(sent, min(due, len(self._records)))
                time.sleep(STROKE_SECONDS)
            self._sink.close()
        except Exception as error:  # noqa: BLE001  whatever it is, the round's report tells it
            self.error = error
