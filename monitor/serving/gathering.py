"""Calls that wait at the same time, made as one: what a batch costs, however small it is, is then paid once for all of them.

Nothing waits for company: a call goes at once while few are under way, and those that come meanwhile go together once one of these is back.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import Generic, TypeVar

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


class Gathering(Generic[Item, Outcome]):
    """`make` runs in `threads` and has one outcome for each item, in their order. For the event loop's thread."""

    def __init__(
        self, make: Callable[[Sequence[Item]], Sequence[Outcome | Exception]], threads: Executor, *, under_way: int, together: int
    ) -> None:
        self._make = make
        self._threads = threads
        self._under_way_limit = under_way
        self._together_limit = together
        self._under_way = 0
        self._waiting: deque[tuple[Item, asyncio.Future[Outcome]]] = deque()

    async def call(self, item: Item) -> Outcome:
        """The item's outcome; raises it where it is an exception."""
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        self._begin()
        return await future

    def _begin(self) -> None:
        if not self._waiting or self._under_way >= self._under_way_limit:
            return
        batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), self._together_limit))]
        self._under_way += 1
        made = asyncio.get_running_loop().run_in_executor(self._threads, self._make, [item for item, _ in batch])
        made.add_done_callback(partial(self._end, [future for _, future in batch]))

    def _end(self, futures: Sequence[asyncio.Future[Outcome]], made: asyncio.Future[Sequence[Outcome | Exception]]) -> None:
        self._under_way -= 1
        self._begin()
        failure = asyncio.CancelledError() if made.cancelled() else made.exception()
        outcomes = [failure] * len(futures) if failure is not None else made.result()
        for future, outcome in zip(futures, outcomes, strict=True):
            if future.done():
                continue  # its caller has gone
            if isinstance(outcome, asyncio.CancelledError):
                future.cancel()
            elif isinstance(outcome, BaseException):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)
