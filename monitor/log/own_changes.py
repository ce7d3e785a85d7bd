"""The changes of a log that has one owner at a time: what it found there, then what it commits itself."""

from collections.abc import Iterable, Sequence

from monitor.log import Commit, Committed, PaneKey


class OwnChanges:
    """Keeps what became durable until `take`; see `monitor.log.Ownership.changes`."""

    def __init__(self) -> None:
        self._offsets_and_states: dict[int, Commit] = {}
        self._panes: dict[int, dict[PaneKey, bytes]] = {}

    def found(self, committed: Committed, panes: Iterable[tuple[PaneKey, bytes]]) -> None:
        """What a partition had when it was acquired."""
        self._keep(Commit(committed.partition, committed.offsets, dict(panes), committed.state))

    def committed(self, commits: Iterable[Commit]) -> None:
        """Commits that are durable now."""
        for commit in commits:
            self._keep(commit)

    def _keep(self, commit: Commit) -> None:
        self._panes.setdefault(commit.partition, {}).update(commit.panes)
        self._offsets_and_states[commit.partition] = commit

    def take(self) -> Sequence[Commit]:
        """One commit a partition that has changed since the last call."""
        taken = [
            Commit(partition, last.offsets, self._panes[partition], last.state) for partition, last in self._offsets_and_states.items()
        ]
        self._offsets_and_states, self._panes = {}, {}
        return taken
