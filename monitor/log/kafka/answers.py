"""What the brokers' answers to fetches say beside their records: where each partition ends.

The client keeps the high watermark alone, and that only as the records are taken. Up to where a partition can be read (its last stable
offset) decides which stream is behind, so the answers are looked at as they come in, inside the client.
"""

from typing import Protocol

from kafka import KafkaConsumer, TopicPartition

from monitor.log import Ends


class _Partition(Protocol):
    partition_index: int
    error_code: int
    last_stable_offset: int
    high_watermark: int


class _Topic(Protocol):
    topic: str
    partitions: list[_Partition]


class _Response(Protocol):
    """What is read of the client's `FetchResponse`."""

    error_code: int
    responses: list[_Topic]


class FetchAnswers:
    """Told by the client's own thread, read by any."""

    def __init__(self, ends: dict[TopicPartition, Ends]) -> None:
        self.ends = ends
        """As of the last answer about each."""
        self.count = 0

    def listen_to(self, consumer: KafkaConsumer) -> None:
        """To a new consumer, before it fetches anything."""
        fetcher = consumer._fetcher
        handle = fetcher._handle_fetch_response

        def handle_and_note(node: int, offsets: object, sent_at: float, response: _Response) -> None:
            self._note(response)
            handle(node, offsets, sent_at, response)

        fetcher._handle_fetch_response = handle_and_note

    def _note(self, response: _Response) -> None:
        if response.error_code == 0:
            self.count += 1
        for topic in response.responses:
            for partition in topic.partitions:
                if partition.error_code == 0:
                    self.ends[TopicPartition(topic.topic, partition.partition_index)] = Ends(
                        partition.last_stable_offset, partition.high_watermark
                    )
