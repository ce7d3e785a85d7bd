"""Messages and records as Kafka carries them."""

from dataclasses import dataclass

import pytest

from monitor.log import ARROW, CLOUDEVENTS, JSON, TIME_MARK, Message, Record
from monitor.log.kafka.records import headers_of, records_of, timestamp_of


@dataclass
class Received:
    """What is read of the client's record."""

    offset: int
    timestamp: int
    value: bytes | None
    headers: list[tuple[str, bytes | None]]


def carried(message: Message) -> Received:
    return Received(3, timestamp_of(message), message.value, list(headers_of(message)))


@pytest.mark.parametrize("content_type", [JSON, ARROW, CLOUDEVENTS, TIME_MARK, "text/plain; charset=utf-8"])
@pytest.mark.parametrize("timestamp", [-(10**15), -1, 0, 1, 10**13])
@pytest.mark.parametrize("headers", [{}, {"a": "", "kéy": "värde ☃"}])
def test_a_message_comes_back_as_it_was(content_type: str, timestamp: int, headers: dict[str, str]) -> None:
    message = Message(0, timestamp, b"\x00\xff", content_type, headers)
    assert records_of([carried(message)]) == [Record(3, timestamp, b"\x00\xff", content_type, headers)]


def test_headers_are_what_any_producer_writes_too() -> None:
    assert headers_of(Message(0, 5, b"", ARROW, {"traceparent": "00-1"})) == [
        ("traceparent", b"00-1"),
        ("content-type", b"application/vnd.apache.arrow.stream"),
    ]


def test_without_a_content_type_it_is_json() -> None:
    assert records_of([Received(0, 1, b"{}", [])]) == [Record(0, 1, b"{}", JSON)]


def test_a_tombstone_and_headers_without_a_value_are_empty() -> None:
    assert records_of([Received(0, 1, None, [("x", None)])]) == [Record(0, 1, b"", JSON, {"x": ""})]


def test_a_header_of_ours_that_makes_no_sense_changes_nothing() -> None:
    (record,) = records_of([Received(0, 0, b"", [("model-monitor-timestamp", b"yesterday")])])
    assert record.timestamp == 0
