"""A bound on what many callers have under way at once, first come, first served."""

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from monitor.errors import LogError


class Turns:
    """What does not fit waits. Something larger than the bound has its turn once it is alone."""

    def __init__(self, bytes_limit: int, wait_seconds: float) -> None:
        self._bytes_limit = bytes_limit
        self._wait_seconds = wait_seconds
        self._taken = 0
        self._waiting: deque[object] = deque()
        self._changed = threading.Condition()

    @contextmanager
    def taken(self, size: int) -> Iterator[None]:
        """Room for so many bytes, while the block runs. Raises `LogError` where there is none for long."""
        self._take(size)
        try:
            yield
        finally:
            with self._changed:
                self._taken -= size
                self._changed.notify_all()

    def _take(self, size: int) -> None:
        me = object()
        until = time.monotonic() + self._wait_seconds
        with self._changed:
            self._waiting.append(me)
            try:
                while self._waiting[0] is not me or (self._taken and self._taken + size > self._bytes_limit):
                    if not self._changed.wait(until - time.monotonic()) and time.monotonic() >= until:
                        raise LogError(
                            f"{self._taken} bytes are under way to Kafka already and it has not taken them for {self._wait_seconds:.0f} s: "
                            "nothing of this call was appended. Send less at a time, or see whether the brokers keep up"
                        )
                self._taken += size
            finally:
                self._waiting.remove(me)
                self._changed.notify_all()
