"""Ends the demo's children when the demo itself was killed and could not do it.

A process of its own in a session of its own, which reads `+PID` and `-PID` lines from the demo: the process groups that live. Its input
ends with the demo, however that ended; then it asks those groups to stop and, past a deadline, kills them. A pipe does on every
platform what PR_SET_PDEATHSIG does on Linux alone, and there only while the thread that forked lives. Imports nothing of the monitor.
"""

import os
import signal
import sys
import time
from collections.abc import Iterable

GRACE_SECONDS = 30.0
"""`watch` is promised this long to stop."""


def guard(lines: Iterable[str], grace_seconds: float = GRACE_SECONDS) -> None:
    """Follows the lines to their end, then ends what is left."""
    groups: set[int] = set()
    for line in lines:
        if line.startswith("+"):
            groups.add(int(line[1:]))
        else:
            groups.discard(int(line[1:]))
    deadline = time.monotonic() + grace_seconds
    groups = {group for group in groups if _signal(group, signal.SIGTERM)}
    while groups and time.monotonic() < deadline:
        time.sleep(0.05)
        groups = {group for group in groups if _signal(group, 0)}
    for group in groups:
        _signal(group, signal.SIGKILL)


def _signal(group: int, number: int) -> bool:
    """False where the group is gone (or is not ours any more)."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


if __name__ == "__main__":
    guard(sys.stdin)
