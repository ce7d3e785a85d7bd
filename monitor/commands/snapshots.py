"""The worker's `Snapshots` on a `SnapshotStore`: which rules they were written under, and what an empty table is."""

from collections.abc import Mapping
from pathlib import Path

import structlog

from monitor.events import Stream
from monitor.join import JoinTable
from monitor.pipeline import Pipeline
from monitor.snapshot import SnapshotStore

_logger = structlog.get_logger(__name__)


class JoinSnapshots:
    """Join tables of the partitions of these pipelines, in one folder."""

    def __init__(self, directory: Path, rules_digest: str, pipelines: Mapping[int, Pipeline]) -> None:
        self._store = SnapshotStore(directory, lambda path, reason: _logger.warning("snapshot passed over", path=str(path), reason=reason))
        self._rules_digest = rules_digest
        self._pipelines = pipelines

    def write(self, partition: int, offsets: Mapping[Stream, int], table: JoinTable) -> None:
        self._store.write(partition, offsets, table, self._rules_digest)

    def newest(self, partition: int, at_most: Mapping[Stream, int]) -> tuple[Mapping[Stream, int], JoinTable] | None:
        return self._store.newest(partition, at_most, self._rules_digest, self._pipelines[partition].empty_join)
