"""What a replica keeps of one partition that it works on, beside the pipeline: how far its commits and snapshots are."""

from collections.abc import Mapping
from dataclasses import dataclass

from monitor.clock import Milliseconds
from monitor.events import Stream
from monitor.log import Commit
from monitor.pipeline import Pipeline


@dataclass(slots=True)
class Share:
    """One partition that this replica works on."""

    pipeline: Pipeline
    committed: dict[Stream, int]
    """The offsets of the last commit that is durable."""
    grew_at: dict[Stream, Milliseconds]
    committed_at: Milliseconds
    snapshot_offsets: Mapping[Stream, int]
    snapshot_at: Milliseconds
    """When its snapshot was last looked after."""
    is_saved: bool = True
    """Whether the last snapshot that was to be written was."""
    has_changed: bool = False
    unsent: Commit | None = None
    """A commit that was handed over by the pipeline and is not known to be durable."""
    is_sound: bool = False
    """Whether the pipeline stands exactly at the follower's positions: not before it is restored, nor once a step failed half-way."""
