"""What was sent, record by record, as a file of JSON lines: all that the oracle is told."""

import base64
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

JSON = "application/json"
ARROW = "application/vnd.apache.arrow.stream"


@dataclass(frozen=True, slots=True)
class Sent:
    """One record, in the order of sending. `timestamp` is its arrival; `value` is None for a record without one (a tombstone)."""

    stream: str
    partition: int
    timestamp: int
    content_type: str | None
    value: bytes | None

    def to_line(self) -> str:
        value = None if self.value is None else base64.b64encode(self.value).decode()
        return json.dumps([self.stream, self.partition, self.timestamp, self.content_type, value])

    @classmethod
    def of_line(cls, line: str) -> "Sent":
        stream, partition, timestamp, content_type, value = json.loads(line)
        return cls(stream, partition, timestamp, content_type, None if value is None else base64.b64decode(value))


def write(path: Path, records: Iterable[Sent]) -> None:
    path.write_text("".join(f"{record.to_line()}\n" for record in records))


def read(path: Path) -> list[Sent]:
    return [Sent.of_line(line) for line in path.read_text().splitlines()]
