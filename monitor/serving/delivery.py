"""Handing parcels to the log, and telling what it refuses for now from what it refuses for good."""

import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import structlog

from monitor.errors import LogError, MessageRefused
from monitor.events import Stream
from monitor.log import Message
from monitor.serving.parcels import Parcel

_logger = structlog.get_logger(__name__)


class Appender(Protocol):
    """What serving asks of a log: messages made durable, in order within a partition, or `LogFull`, `LogError`."""

    @property
    def partitions(self) -> int: ...

    def append(self, stream: Stream, messages: Sequence[Message]) -> list[int]: ...


class Delivered(NamedTuple):
    """Rows that the log has, and rows that it refuses for good."""

    written: int
    refused: int


def deliver(log: Appender, stream: Stream, parcels: Sequence[Parcel]) -> Delivered:
    """Raises `LogError` where trying again may help; some of the parcels may be in the log then.

    What is refused for good is found by sending each parcel by itself.
    """
    rows = sum(parcel.rows for parcel in parcels)
    try:
        log.append(stream, [message for parcel in parcels for message in parcel.messages(log.partitions)])
    except LogError as error:
        if not isinstance(error, MessageRefused):
            raise
        if len(parcels) == 1:
            _logger.warning("events lost: the log refuses them for good", stream=str(stream), reason=str(error), rows=rows)
    except Exception as error:  # noqa: BLE001  told by `origin_of`
        # Whatever else a log raises is a bug there; it must not end the thread, or all that comes later would be lost unseen.
        if len(parcels) == 1:
            _logger.error("events lost: the log failed", stream=str(stream), rows=rows, **origin_of(error))  # noqa: TRY400  its text is not for the log
    else:
        return Delivered(rows, 0)
    if len(parcels) == 1:
        return Delivered(0, rows)
    each = [deliver(log, stream, [parcel]) for parcel in parcels]
    return Delivered(sum(one.written for one in each), sum(one.refused for one in each))


def origin_of(error: Exception) -> dict[str, str]:
    """What is told of an unforeseen error: its type and where it was raised. Its text may hold values of features."""
    frames = reversed(traceback.extract_tb(error.__traceback__))
    return {"error": type(error).__name__, "at": " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames)}
