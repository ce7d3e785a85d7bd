"""The worker's `Snapshots` on a `SnapshotStore`: where the configuration wants them, and which rules they are written under."""

from collections.abc import Callable, Mapping
from pathlib import Path

import structlog

from monitor.events import Stream
from monitor.join import JoinTable
from monitor.snapshot import Folder, Place, SnapshotStore

_logger = structlog.get_logger(__name__)


class JoinSnapshots:
    """Join tables in a folder or under the URL of an object store.

    `shared` says that every replica sees the folder; an object store's objects they all see.
    """

    def __init__(self, where: Path | str, rules_digest: str, *, shared: bool = False) -> None:
        self._store = SnapshotStore(_place(where, shared=shared), _tell)
        self._rules_digest = rules_digest

    @property
    def is_shared(self) -> bool:
        """Whether a replica that takes a partition over finds what its former owner wrote, or has to replay a horizon of the log."""
        return self._store.is_shared

    def write(self, partition: int, offsets: Mapping[Stream, int], table: JoinTable) -> None:
        self._store.write(partition, offsets, table, self._rules_digest)

    def newest(
        self, partition: int, at_most: Mapping[Stream, int], empty: Callable[[], JoinTable]
    ) -> tuple[Mapping[Stream, int], JoinTable] | None:
        return self._store.newest(partition, at_most, self._rules_digest, empty)


def _place(where: Path | str, *, shared: bool) -> Place:
    if isinstance(where, Path):
        return Folder(where, is_shared=shared)
    from monitor.snapshot.bucket import Bucket

    return Bucket(where)


def _tell(where: str, reason: str) -> None:
    _logger.warning("snapshot passed over", path=where, reason=reason)
