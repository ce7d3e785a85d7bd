"""Requests of one model version to runs: those that wait at the same time become one, in their order, within the configured bounds.

What arrives in one tick of the event loop is taken together at its end, what arrives while runs are under way when one of these ends; a
timer is involved only where `delay_seconds` asks for one. How several are one run, and who is refused for it: `shared_runs`.

The runtime adds up in another order for other numbers of rows: a score may differ in its last bit with the company it had. Whoever needs
the same bits again sets `max_rows` to 1.
"""

import asyncio
import contextlib
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Final

from monitor.serving.measured import RunMeter
from monitor.serving.refusals import DeadlineExceeded, TooBusy
from monitor.serving.requests import InferRequest
from monitor.serving.run_cost import RunCost
from monitor.serving.run_queue import RunQueue, Waiting
from monitor.serving.shared_runs import Ran, run_together
from monitor.serving.tensors import ANY, Tensor

if TYPE_CHECKING:
    from monitor.serving.model import Model

WAITING_SECONDS: Final = 4e-6
"""What it costs a request to wait for others instead of running at once: a future, one more step of its task, its rows copied in and out.
`tests/bench/serving_batching.py` measures it."""
SKIPS_LIMIT: Final = 8
"""To see how many requests a tick brings costs a callback, 0.8 µs. After a quiet one the next few requests are not watched; how few
changes, lest that be in step with the arrivals."""
RETRY_LIMIT_SECONDS: Final = 60
_NEWEST_RUN_WEIGHS: Final = 0.1
_NEVER: Final = sys.maxsize


@dataclass(frozen=True, slots=True)
class Batching:
    """How requests become runs. Rows are counted, not requests."""

    max_rows: int = 64
    """Of a run of several requests; one of more rows runs by itself, whole. 1: requests never share a run."""
    preferred_rows: tuple[int, ...] = ()
    """A batch is cut where it has exactly the greatest of these that it can have."""
    delay_seconds: float = 0.0
    """How long a request may wait for a batch that is not full, or of a preferred size."""
    queue_rows: int = 4_096
    """Rows that may wait; a request beyond them is refused."""
    concurrency: int = 1
    """Runs at a time."""


class Batcher:
    """For the event loop's thread. Runs that would hold it up, and those on a GPU, are handed to `threads`.

    As long as fewer than `concurrency` runs are under way, the next begins, in the order of the `RunQueue`.
    """

    def __init__(self, model: "Model", policy: Batching, threads: Executor, meter: RunMeter) -> None:
        shares = model.shares_runs and policy.max_rows > 1
        self._model = model
        self._threads = threads
        self._meter = meter
        max_rows = policy.max_rows if shares else 1
        self._queue = RunQueue(max_rows, policy.preferred_rows)
        self._delay = policy.delay_seconds if shares else 0.0
        self._queue_limit = policy.queue_rows
        self._concurrency = policy.concurrency
        self._inline_rows = model.inline_rows
        self._open_inputs = [spec.name for spec in model.inputs if ANY in spec.shape[1:]] if shares else []
        # A request of so many rows cannot take another along, or may not wait: while nothing else does, it need not for the tick's end.
        self._whole_rows = min(max_rows, policy.queue_rows)
        self._gains_from = 0 if self._delay else least_that_gain(model.cost) if shares else _NEVER
        self._gathers = self._gains_from == 0
        self._arrived = 0
        """Requests of this tick so far, where it is watched."""
        self._tick_ends = False
        """Whether a callback is due at this tick's end."""
        self._skips = _NEVER if self._gains_from == _NEVER else 0
        self._skips_next = 1

        self._timed: set[Waiting] = set()
        """Those of the queue that have a deadline."""
        self._shown_rows = 0
        self._running = 0
        self._delay_timer: asyncio.TimerHandle | None = None
        self._row_seconds = model.cost.per_row

    @property
    def queued_rows(self) -> int:
        """Rows of requests whose run has not begun."""
        return self._queue.rows

    async def run(self, request: InferRequest) -> Sequence[Tensor]:
        """All of the model's outputs. Raises `TooBusy`, `DeadlineExceeded`, `BadRequest` or `InferenceFailed`.

        Where nothing waits, a quick run is made here and now, which spares it a future and its task a step, unless the tick before brought
        so many requests at once that sharing their runs spares more.
        """
        if self._gathers or request.rows > self._inline_rows or self._queue.rows or self._running >= self._concurrency:
            return await self._outcome(request)
        if self._tick_ends:
            self._arrived += 1
        elif self._skips:
            self._skips -= 1
        else:
            self._watch_tick()
        started = time.perf_counter()
        try:
            return self._model.run(request.feeds)
        finally:
            self._meter.waited(0.0)
            self._meter.ran(1, request.rows, time.perf_counter() - started)

    async def _outcome(self, request: InferRequest) -> Sequence[Tensor]:
        widths = tuple([request.feeds[name].shape[1:] for name in self._open_inputs])
        waiting = Waiting(request, widths, asyncio.get_running_loop().create_future())
        if request.rows >= self._whole_rows and not self._queue and self._running < self._concurrency:
            self._start([waiting])
        else:
            self._enqueue(waiting)
        try:
            return await waiting.future
        except asyncio.CancelledError:
            # The client is gone. Where its run has begun already, nobody takes what comes of it.
            if waiting in self._queue:
                self._leave(waiting)
            raise

    def _enqueue(self, waiting: Waiting) -> None:
        request = waiting.request
        if self._queue.rows + request.rows > self._queue_limit:
            raise self._too_busy()
        if self._delay or request.timeout_seconds:
            loop = asyncio.get_running_loop()
            waiting.due = loop.time() + self._delay
            if request.timeout_seconds:
                waiting.deadline = loop.time() + request.timeout_seconds
                waiting.timer = loop.call_at(waiting.deadline, self._expire, waiting)
                self._timed.add(waiting)
        self._queue.add(waiting)
        if self._tick_ends:
            self._arrived += 1
        else:
            self._watch_tick()

    def _watch_tick(self) -> None:
        self._tick_ends = True
        self._arrived = 1
        asyncio.get_running_loop().call_soon(self._end_tick)

    def _end_tick(self) -> None:
        self._tick_ends = False
        self._gathers = self._arrived >= self._gains_from
        if not self._gathers and self._gains_from != _NEVER:
            self._skips = self._skips_next
            self._skips_next = self._skips_next % SKIPS_LIMIT + 1
        self._start_runs()

    def _start_runs(self) -> None:
        if self._timed:
            # A timer may be due as well and not have had its turn yet.
            now = asyncio.get_running_loop().time()
            for waiting in [waiting for waiting in self._timed if waiting.deadline <= now]:
                self._expire(waiting)
        while self._queue and self._running < self._concurrency:
            batch = self._queue.take(asyncio.get_running_loop().time() if self._delay else 0.0)
            if not batch:
                self._wait_for_more()
                break
            if self._timed:
                for waiting in batch:
                    self._stop_timing(waiting)
            self._start(batch)
        self._show_queue()

    def _wait_for_more(self) -> None:
        if self._delay_timer is None:
            self._delay_timer = asyncio.get_running_loop().call_at(self._queue.first_due(), self._end_delay)

    def _end_delay(self) -> None:
        self._delay_timer = None
        self._start_runs()

    def _start(self, batch: list[Waiting]) -> None:
        requests = [waiting.request for waiting in batch]
        rows = sum([request.rows for request in requests])
        now = time.perf_counter()
        for waiting in batch:
            self._meter.waited(now - waiting.arrived)
        if rows <= self._inline_rows:
            self._settle(batch, rows, run_together(self._model, requests))
            return
        self._running += 1
        self._meter.in_flight += len(batch)
        loop = asyncio.get_running_loop()

        def hand_over(ran: Future[Ran]) -> None:
            # Of a loop that is closed by then nobody waits any more.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._end_run, batch, rows, ran)

        self._threads.submit(run_together, self._model, requests).add_done_callback(hand_over)

    def _end_run(self, batch: list[Waiting], rows: int, ran: Future[Ran]) -> None:
        self._running -= 1
        self._meter.in_flight -= len(batch)
        self._settle(batch, rows, ran.result())
        self._start_runs()

    def _settle(self, batch: list[Waiting], rows: int, ran: Ran) -> None:
        self._meter.ran(len(batch), rows, ran.seconds)
        self._row_seconds += _NEWEST_RUN_WEIGHS * (ran.seconds / rows - self._row_seconds)
        for waiting, outcome in zip(batch, ran.outcomes, strict=True):
            if waiting.future.done():
                continue
            if isinstance(outcome, Exception):
                waiting.future.set_exception(outcome)
            else:
                waiting.future.set_result(outcome)

    def _expire(self, waiting: Waiting) -> None:
        self._leave(waiting)
        self._meter.refused["deadline"] += 1
        if not waiting.future.done():
            told = f"the request's timeout of {waiting.request.timeout_seconds:g} s passed before its run began"
            waiting.future.set_exception(DeadlineExceeded(f'model "{self._model.name}" version {self._model.version}: {told}'))

    def _leave(self, waiting: Waiting) -> None:
        self._queue.remove(waiting)
        self._stop_timing(waiting)
        self._show_queue()

    def _stop_timing(self, waiting: Waiting) -> None:
        if waiting.timer is not None:
            waiting.timer.cancel()
            self._timed.discard(waiting)

    def _show_queue(self) -> None:
        """The meter is shared with the batchers before and after this one, of the same version loaded again: each adds its own."""
        self._meter.queued_rows += self._queue.rows - self._shown_rows
        self._shown_rows = self._queue.rows

    def _too_busy(self) -> TooBusy:
        self._meter.refused["queue_full"] += 1
        seconds = min(max(ceil(self._queue.rows * self._row_seconds / self._concurrency), 1), RETRY_LIMIT_SECONDS)
        return TooBusy(
            f'model "{self._model.name}" version {self._model.version}: {self._queue.rows:,} rows wait for a run already, and '
            f"batching.queue_rows allows {self._queue_limit:,}: send this again in {seconds} s",
            seconds,
        )


def least_that_gain(cost: RunCost) -> int:
    """The least number of requests of one row that cost less in a run together than one after the other."""
    saved = cost.one - cost.per_row
    # n runs one after the other cost n·one; together they cost one + (n − 1)·per_row, and each of them waits.
    return int(saved / (saved - WAITING_SECONDS)) + 1 if saved > WAITING_SECONDS else _NEVER
