"""What this process takes of the machine: CPU time, memory, open files. What the platform does not tell is left out."""

import os
import resource
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from monitor.serving import series
from monitor.serving.tally import Tally

_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_FILES: Final = Path("/proc/self/fd" if sys.platform == "linux" else "/dev/fd")


class ProcessUse:
    """`worker` is what tells this process from its siblings. It is made as the process begins, which is taken for its start."""

    def __init__(self, worker: str) -> None:
        self._labels = (worker,)
        self._started = time.time()

    def __call__(self, tally: Tally) -> None:
        """Adds what is taken now."""
        labels = self._labels
        used = os.times()
        tally.add(series.CPU_SECONDS, labels, used.user + used.system)
        tally.add(series.STARTED, labels, self._started)
        tally.add(series.OPEN_FILES_LIMIT, labels, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        with suppress(OSError):
            tally.add(series.OPEN_FILES, labels, sum(1 for _ in _FILES.iterdir()))
        with suppress(OSError):
            tally.add(series.RESIDENT_BYTES, labels, int(Path("/proc/self/statm").read_bytes().split()[1]) * _PAGE_BYTES)
