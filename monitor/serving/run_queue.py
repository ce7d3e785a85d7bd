"""Requests that wait for a run of their model, and which of them go together next. Knows neither the event loop nor the runtime."""

import asyncio
import time
from collections import deque
from collections.abc import Collection, Sequence

from monitor.serving.requests import InferRequest
from monitor.serving.tensors import Tensor

Widths = tuple[tuple[int, ...], ...]
"""What must be equal for requests to share a run: each input's shape but for its rows. Empty where the model leaves no width open."""


class Waiting:
    """A queued request. `deadline`, and `due`, until when it may wait for others, are the loop's time."""

    __slots__ = ("arrived", "deadline", "due", "future", "request", "timer", "widths")

    def __init__(self, request: InferRequest, widths: Widths, future: asyncio.Future[Sequence[Tensor]]) -> None:
        self.request = request
        self.widths = widths
        self.future = future
        self.arrived = time.perf_counter()
        self.due = self.deadline = 0.0
        self.timer: asyncio.TimerHandle | None = None


class RunQueue:
    """The next batch is that of the oldest request, which takes along those of its widths that came after it, in their order.

    A batch has at most `max_rows` rows, unless one request has more, and is cut where it has the greatest of the `preferred` sizes that it
    can have.
    """

    def __init__(self, max_rows: int, preferred: Collection[int]) -> None:
        self._max_rows = max_rows
        self._preferred = frozenset(preferred)
        self._lanes: dict[Widths, deque[Waiting]] = {}
        """By widths; none is empty."""
        self.rows = 0

    def __bool__(self) -> bool:
        return bool(self._lanes)

    def __contains__(self, waiting: Waiting) -> bool:
        return waiting in self._lanes.get(waiting.widths, ())

    def add(self, waiting: Waiting) -> None:
        lane = self._lanes.get(waiting.widths)
        if lane is None:
            lane = self._lanes[waiting.widths] = deque()
        lane.append(waiting)
        self.rows += waiting.request.rows

    def remove(self, waiting: Waiting) -> None:
        """One that will not be run."""
        lane = self._lanes[waiting.widths]
        lane.remove(waiting)
        if not lane:
            del self._lanes[waiting.widths]
        self.rows -= waiting.request.rows

    def take(self, now: float) -> list[Waiting]:
        """The next batch; empty where all that wait may wait for more."""
        for lane in self._by_age():
            count, is_full = self._batch_of(lane)
            if is_full or lane[0].due <= now:
                batch = [lane.popleft() for _ in range(count)]
                if not lane:
                    del self._lanes[batch[0].widths]
                self.rows -= sum([waiting.request.rows for waiting in batch])
                return batch
        return []

    def first_due(self) -> float:
        """When the oldest request must wait no longer."""
        return self._by_age()[0][0].due

    def _by_age(self) -> list[deque[Waiting]]:
        lanes = list(self._lanes.values())
        if len(lanes) > 1:
            lanes.sort(key=lambda lane: lane[0].arrived)
        return lanes

    def _batch_of(self, lane: deque[Waiting]) -> tuple[int, bool]:
        """How many of a lane's requests go together, and whether it would be in vain to wait for more."""
        rows = count = preferred = 0
        overflows = False
        for waiting in lane:
            if count and rows + waiting.request.rows > self._max_rows:
                overflows = True
                break
            rows += waiting.request.rows
            count += 1
            if rows in self._preferred:
                preferred = count
        return preferred or count, overflows or preferred > 0 or rows >= self._max_rows
