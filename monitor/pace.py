"""How often a worker does what, and what it last got done."""

from dataclasses import dataclass
from typing import Final

from monitor.clock import Milliseconds

SHORTEST_TICK_SHARE: Final = 16
"""A tick becomes no shorter than this part of the configured one."""
LONGEST_TICK_MS: Final = 15_000
"""A tick becomes no longer than this, or than the configured one: what was committed is shown that late."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How much is read at a time, and how often what happens."""

    poll_bytes: int
    tick: Milliseconds
    """Between two commits."""
    snapshot_every: Milliseconds
    idle_after: Milliseconds | None
    """After so long a silence a log is told the time; None: never."""
    sign_of_life: Milliseconds | None = None
    """After so long without one a partition gets a commit though it has nothing new, so that others see it is worked on; None: never."""
    longest_commit: Milliseconds | None = None
    """Commits come more often while they take longer than half of this; None: whatever they take."""
    commit_bytes_a_second: int | None = None
    """Of each partition: commits come less often while they would write more, up to `LONGEST_TICK_MS`; None: whatever they write."""

    def tick_after(self, tick: Milliseconds, *, took: Milliseconds, size: int, partitions: int) -> Milliseconds:
        """The time to the next commit, after a tick of this length whose commit took so long and wrote `size` bytes.

        A shorter tick has less to commit; over a longer one fewer bytes are written, because most of what changes changes again.
        """
        if self.longest_commit is not None and took > self.longest_commit // 2:
            return max(tick // 2, self.tick // SHORTEST_TICK_SHARE)
        wanted = self.tick
        if self.commit_bytes_a_second and partitions:
            wanted = max(wanted, min(size * 1_000 // (self.commit_bytes_a_second * partitions), LONGEST_TICK_MS))
        may_grow = self.longest_commit is None or took < self.longest_commit // 8
        return min(wanted, tick * 2 if may_grow else tick)


@dataclass(slots=True)
class Progress:
    """What a replica last got done, by its clock; None: nothing yet."""

    committed_at: Milliseconds | None = None
    """When everything taken in was durable."""
    commit_took: Milliseconds | None = None
    """The latest commit that held anything."""
    snapshots_at: Milliseconds | None = None
    """When the snapshots held all that was committed."""
    unsaved_partitions: int = 0
    """Those whose last snapshot could not be written."""
