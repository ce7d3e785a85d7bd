"""A parcel: events of one stream that travel to the log together. It knows ids, not partitions, so that it may wait on disk for long.

The partition of each event is settled when the parcel is sent, by the murmur2 of its id, all ids of a parcel at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from monitor.clock import Milliseconds
from monitor.codec.arrow import message_of
from monitor.codec.identity import partitions_of
from monitor.events import Int32s, Int64s
from monitor.log import ARROW, Message


@dataclass(frozen=True, slots=True)
class Parcel:
    """`payload` is an Arrow stream or a JSON array of so many events, which have an `id` each; `arrival` is the latest of them."""

    content_type: str
    payload: bytes
    rows: int
    arrival: Milliseconds

    def messages(self, partitions: int) -> list[Message]:
        """One a partition, the events in their order, each at the latest arrival among its events."""
        if partitions == 1:
            return [Message(0, self.arrival, self.payload, self.content_type)]
        if self.content_type == ARROW:
            return self._arrow_messages(partitions)
        events: list[dict[str, Any]] = orjson.loads(self.payload)
        of_event = partitions_of(pa.array([event["id"] for event in events], pa.string()), partitions)
        arrivals = np.array([event.get("arrival", self.arrival) for event in events], dtype=np.int64)
        messages = []
        for partition in np.unique(of_event).tolist():
            rows = np.flatnonzero(of_event == partition)
            value = orjson.dumps([events[row] for row in rows.tolist()])
            messages.append(Message(partition, int(arrivals[rows].max()), value, self.content_type))
        return messages

    def _arrow_messages(self, partitions: int) -> list[Message]:
        columns: pa.RecordBatch = pa.ipc.open_stream(self.payload).read_all().combine_chunks().to_batches()[0]
        of_row = partitions_of(columns.column("id"), partitions)
        if "arrival" in columns.schema.names:
            arrival: Int64s = columns.column("arrival").cast(pa.int64()).to_numpy()
        else:
            arrival = np.full(self.rows, self.arrival, dtype=np.int64)
        return list(_by_partition(columns, arrival, of_row))


def arrow_parcels(columns: pa.RecordBatch, arrival: Int64s, bytes_limit: int) -> list[Parcel]:
    """The rows in their order, in as many parcels as keep each to about that many bytes. `arrival` is (n,) milliseconds."""
    count = min(len(arrival), -(-columns.nbytes // bytes_limit))
    edges = np.linspace(0, len(arrival), max(count, 1) + 1).astype(int).tolist()
    return [
        Parcel(ARROW, message_of(columns.slice(begin, end - begin)), end - begin, int(arrival[begin:end].max()))
        for begin, end in pairwise(edges)
    ]


def _by_partition(columns: pa.RecordBatch, arrival: Int64s, of_row: Int32s) -> Sequence[Message]:
    """The rows in order of their partitions at once, then a slice for each.

    Each call into Arrow lets go of the interpreter and has to get it back from the event loop: one call a column and partition, some 700
    for 24 columns, halved what the server could answer.
    """
    order = np.argsort(of_row, kind="stable")
    together, arrival = columns.take(pa.array(order)), arrival[order]
    partitions, begins = np.unique(of_row[order], return_index=True)
    edges = [*begins.tolist(), len(order)]
    return [
        Message(partition, int(arrival[begin:end].max()), message_of(together.slice(begin, end - begin)), ARROW)
        for partition, (begin, end) in zip(partitions.tolist(), pairwise(edges), strict=True)
    ]
