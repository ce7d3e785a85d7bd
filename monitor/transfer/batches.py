"""What a file's reader hands over at a time."""

from collections.abc import Sequence
from dataclasses import dataclass

from monitor.log import Message


@dataclass(frozen=True, slots=True)
class Batch:
    """Messages to append together, the number of events in them, and how much of the file was read by then (bytes or rows)."""

    messages: Sequence[Message]
    events: int
    read: int
