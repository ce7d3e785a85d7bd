"""Appends a file's batches to the log, and says how far it came when it cannot go on."""

from collections.abc import Iterable

from monitor.errors import MonitorError
from monitor.events import Stream
from monitor.log import Log
from monitor.transfer.batches import Batch


def append_all(log: Log, stream: Stream, batches: Iterable[Batch]) -> int:
    """How many events were appended, all durable. Raises what the batches and the log raise, with the number appended before."""
    count = 0
    try:
        for batch in batches:
            log.append(stream, batch.messages)
            count += batch.events
    except MonitorError as error:
        if count == 0:
            raise
        raise type(error)(f"{error}. The {count:,} events before it are in the log; import the rest only") from error
    return count


def newest_in(log: Log, stream: Stream) -> int | None:
    """The greatest timestamp of the stream in milliseconds; None where it is empty."""
    newest = (log.newest_timestamp(stream, partition) for partition in range(log.partitions))
    return max((timestamp for timestamp in newest if timestamp is not None), default=None)
