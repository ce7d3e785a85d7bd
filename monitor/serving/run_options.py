"""How a model is run, as plain values: the session's threads, and the device. Knows neither the configuration nor the runtime.

The defaults are what measured best beside an event loop (`tests/bench/serving_sessions.py` has the table): a second thread gained a sixth
on 64 rows of a small network, cost a fifth more CPU and lost on single rows; spinning burnt a whole core between runs. The graph levels
did not differ, so theirs is the runtime's own.
"""

from dataclasses import dataclass, field
from typing import Final, Literal

DeviceKind = Literal["cpu", "cuda", "tensorrt"]
GraphLevel = Literal["disabled", "basic", "extended", "all"]


@dataclass(frozen=True, slots=True)
class Device:
    """What models run on. `memory_limit` is in bytes of the device's own memory, None for all of it."""

    kind: DeviceKind = "cpu"
    id: int = 0
    memory_limit: int | None = None
    require_gpu: bool = False
    """Whether a model that would run on the CPU instead, wholly or in part, is refused."""

    @property
    def is_gpu(self) -> bool:
        return self.kind != "cpu"


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Of a session. A model that runs for milliseconds on cores of its own may want more threads."""

    intra_op_threads: int = 1
    inter_op_threads: int = 1
    spinning: bool = False
    graph: GraphLevel = "all"
    device: Device = field(default_factory=Device)
    warm_rows: tuple[int, ...] = ()
    """Batch sizes that are run once before the model is ready, where the device is a GPU: it prepares itself for each size anew."""


CPU: Final = Device()
DEFAULTS: Final = RunOptions()
