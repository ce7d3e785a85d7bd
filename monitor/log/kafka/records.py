"""Messages and records as the client takes and gives them.

The content type travels in the header `content-type`, as the codecs promise to every producer. Kafka has no timestamps before 1970: there
the record carries 0, and the true one in a header of ours.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Protocol

from monitor.clock import Milliseconds
from monitor.log import ARROW, CLOUDEVENTS, JSON, NO_HEADERS, Message, Record

CONTENT_TYPE: Final = "content-type"
TRUE_TIMESTAMP: Final = "model-monitor-timestamp"

_USUAL: Final[Mapping[tuple[str, bytes | None], str]] = {(CONTENT_TYPE, name.encode()): name for name in (JSON, ARROW, CLOUDEVENTS)}


class Received(Protocol):
    """What is read of the client's `ConsumerRecord`. A tombstone's value is None, and so may be that of a header."""

    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> Milliseconds: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Sequence[tuple[str, bytes | None]]: ...


def headers_of(message: Message) -> list[tuple[str, bytes]]:
    headers = [(name, value.encode()) for name, value in message.headers.items()]
    if message.timestamp < 0:
        headers.append((TRUE_TIMESTAMP, str(message.timestamp).encode()))
    headers.append((CONTENT_TYPE, message.content_type.encode()))
    return headers


def timestamp_of(message: Message) -> Milliseconds:
    return max(message.timestamp, 0)


def records_of(received: Iterable[Received]) -> list[Record]:
    """The inverse. This is where every record that is followed passes: no header or a usual content type alone costs next to nothing."""
    records = []
    for one in received:
        headers = one.headers
        if not headers:
            records.append(Record(one.offset, one.timestamp, one.value or b"", JSON, NO_HEADERS))
        elif len(headers) == 1 and (content_type := _USUAL.get(headers[0])) is not None:
            records.append(Record(one.offset, one.timestamp, one.value or b"", content_type, NO_HEADERS))
        else:
            records.append(_record_of(one))
    return records


def _record_of(received: Received) -> Record:
    headers = {name: (value or b"").decode(errors="replace") for name, value in received.headers}
    content_type = headers.pop(CONTENT_TYPE, JSON)
    timestamp = received.timestamp
    if timestamp == 0 and (true := headers.pop(TRUE_TIMESTAMP, "")).removeprefix("-").isdecimal():
        timestamp = int(true)
    return Record(received.offset, timestamp, received.value or b"", content_type, headers)
