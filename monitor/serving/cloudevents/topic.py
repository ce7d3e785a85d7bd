"""From a topic of CloudEvents to predictions in the log, in a thread of its own: at least once, for a repeated prediction changes nothing.

Exchanges go to the log by no queue that a crash could empty. What has been read is committed only then, and never beyond the oldest event
that waits for its other half: whoever reads on finds that one again. While the log refuses, nothing more is read.
"""

import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final, Protocol

import structlog

from monitor.errors import LogError
from monitor.events import Stream
from monitor.serving.cloudevents.events import KAFKA_PREFIX
from monitor.serving.cloudevents.intake import Intake
from monitor.serving.delivery import Appender, deliver, origin_of
from monitor.serving.exchanges.reading import Unread
from monitor.serving.parcels import Parcel
from monitor.serving.refusals import BadRequest
from monitor.serving.tap import Encode, Entry, Tapped

POLL_SECONDS: Final = 0.5
RETRY_FIRST_SECONDS: Final = 0.5
RETRY_LAST_SECONDS: Final = 15.0

_logger = structlog.get_logger(__name__)


class Fetched(Protocol):
    """A record of the topic. Names of headers are in lower case."""

    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def headers(self) -> list[tuple[str, str]]: ...
    @property
    def value(self) -> bytes: ...


class Source(Protocol):
    """A topic that is read as a member of a group; `monitor.log.kafka.source` says what each call means. All may raise `LogError`."""

    @property
    def partitions(self) -> frozenset[int]: ...

    def poll(self, seconds: float) -> Sequence[Fetched]: ...

    def commit(self, offsets: Mapping[int, int]) -> bool: ...

    def close(self) -> None: ...


class TopicReader:
    """`start` and `stop` belong to the one that made it, all else to its thread. `lost` counts rows that cannot be logged, ever."""

    def __init__(self, source: Source, intake: Intake, encode: Encode, log: Appender, *, trusts_client_times: bool) -> None:
        self.written = 0
        self.lost = 0
        self._source = source
        self._intake = intake
        self._encode = encode
        self._log = log
        self._trusts = trusts_client_times
        self._next: dict[int, int] = {}
        self._committed: dict[int, int] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="cloudevents", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_seconds: float) -> None:
        """Waits for so long at most; what is under way then is read again by whoever comes next."""
        self._stopping.set()
        self._thread.join(timeout_seconds)

    def turn(self, seconds: float = POLL_SECONDS) -> None:
        """Reads what there is, brings it to the log, commits. Raises `LogError`; nothing is skipped by that."""
        fetched = self._source.poll(seconds)
        self._give_up_what_is_not_ours()
        found: list[Unread] = []
        for record in fetched:
            place = (record.partition, record.offset)
            with suppress(BadRequest):  # it is counted
                found += self._intake.take(self._intake.read(record.headers, record.value, KAFKA_PREFIX), place)
            self._next[record.partition] = record.offset + 1
        self._keep(found)
        self._commit()

    def _keep(self, found: Sequence[Unread]) -> None:
        """Returns when it is in the log, or the process is to stop: raises `LogError` then."""
        by_version: dict[Tapped, list[Entry]] = {}
        for unread in found:
            for entry in self._decoded(unread):
                by_version.setdefault(entry.tapped, []).append(entry)
        parcels = [parcel for entries in by_version.values() for parcel in self._encoded(entries)]
        wait = RETRY_FIRST_SECONDS
        while True:
            try:
                delivered = deliver(self._log, Stream.PREDICTIONS, parcels)
            except LogError as error:
                if wait == RETRY_FIRST_SECONDS:
                    _logger.warning("CloudEvents wait in their topic: the log refuses predictions for now", reason=str(error))
                if self._stopping.wait(wait):
                    raise
                wait = min(2 * wait, RETRY_LAST_SECONDS)
            else:
                self.written += delivered.written
                self.lost += delivered.refused
                return

    def _decoded(self, unread: Unread) -> Sequence[Entry]:
        try:
            return unread.decode()
        except BadRequest:
            self.lost += 1
        except Exception as error:  # noqa: BLE001  told by `origin_of`
            self.lost += 1
            _logger.error("an exchange could not be decoded", **origin_of(error))  # noqa: TRY400  its text is not for the log
        return ()

    def _encoded(self, entries: Sequence[Entry]) -> Sequence[Parcel]:
        try:
            return self._encode(entries, self._trusts)
        except Exception as error:  # noqa: BLE001  told by `origin_of`
            self.lost += sum(entry.rows for entry in entries)
            _logger.error("predictions could not be encoded", **origin_of(error))  # noqa: TRY400  its text is not for the log
            return ()

    def _commit(self) -> None:
        self._intake.expire()  # or it would hold the group back
        due = {}
        for partition, after in self._next.items():
            oldest = self._intake.pairing.oldest(partition)
            offset = after if oldest is None else oldest
            if self._committed.get(partition) != offset:
                due[partition] = offset
        if due and self._source.commit(due):
            self._committed.update(due)

    def _give_up_what_is_not_ours(self) -> None:
        ours = self._source.partitions
        if self._next.keys() <= ours:
            return
        self._intake.pairing.forget(lambda partition: partition not in ours)
        for partition in self._next.keys() - ours:
            del self._next[partition]
            self._committed.pop(partition, None)

    def _run(self) -> None:
        wait = 0.0
        while not self._stopping.wait(wait):
            try:
                self.turn()
                wait = 0.0
            except LogError as error:
                if not wait:
                    _logger.warning("CloudEvents are not read for now", reason=str(error))
                wait = min(2 * wait or RETRY_FIRST_SECONDS, RETRY_LAST_SECONDS)
        try:
            self._source.close()
        except LogError as error:
            _logger.info("the topic was not left in order", reason=str(error))
