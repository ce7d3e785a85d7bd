"""What became of rows on their way to the log, as plain numbers."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from monitor.clock import Milliseconds


class Loss(StrEnum):
    """Why a row never reached the log."""

    QUEUE_FULL = "queue_full"
    REFUSED = "refused"
    SHUTDOWN = "shutdown"
    UNENCODABLE = "unencodable"
    SPOOL_FULL = "spool_full"
    SPOOL_FAILED = "spool_failed"
    SPOOL_DAMAGED = "spool_damaged"


class SpoolState(StrEnum):
    """`FULL` and `FAILED` last until the disk takes something again."""

    OFF = "off"
    EMPTY = "empty"
    HOLDING = "holding"
    FULL = "full"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class LaneCounts:
    """Rows since the start, of one moment: `accepted` + `recovered` = `written` + the lost + `waiting` (in memory) + `spooled`.

    `recovered` are those that earlier processes had spooled, `appended` those among the accepted that doors brought.
    """

    accepted: int
    appended: int
    recovered: int
    written: int
    lost: Mapping[str, int]
    waiting: int
    spooled: int
    spooled_bytes: int
    spool_bytes_limit: int
    oldest_spooled: Milliseconds | None
    spool_state: SpoolState
