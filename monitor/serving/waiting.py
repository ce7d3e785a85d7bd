"""Threads that wait for the log so that the event loop need not, and that keep nobody: neither a server that stops nor the process.

Those of `concurrent.futures` are joined by the interpreter at its end, and an append to brokers that are away may take half a minute.
"""

import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, Final, ParamSpec, TypeVar

PATIENCE_SECONDS: Final = 1.0
"""For calls that are under way when it is shut down. Whoever waited for their outcome has gone by then."""

Parameters = ParamSpec("Parameters")
Outcome = TypeVar("Outcome")


class WaitingThreads(Executor):
    """As many calls at a time as there are threads, the others in their order."""

    def __init__(self, count: int, name: str) -> None:
        self._calls: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._threads = [Thread(target=self._work, name=f"{name}-{number}", daemon=True) for number in range(count)]
        for thread in self._threads:
            thread.start()

    def submit(self, fn: Callable[Parameters, Outcome], /, *args: Parameters.args, **kwargs: Parameters.kwargs) -> Future[Outcome]:
        future: Future[Outcome] = Future()
        self._calls.put((future, lambda: fn(*args, **kwargs)))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = True) -> None:
        """Cancels what has not begun, and waits a little for what has. Nothing may be submitted any more."""
        while cancel_futures:
            try:
                call = self._calls.get_nowait()
            except Empty:
                break
            if call is not None:
                call[0].cancel()
        for _ in self._threads:
            self._calls.put(None)
        until = time.monotonic() + (PATIENCE_SECONDS if wait else 0)
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            future, run = call
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(run())
            except BaseException as error:  # noqa: BLE001  # it is the caller's, whatever it is
                future.set_exception(error)
            # An outcome may be a model of gigabytes, which is not to be kept until the next call.
            del call, future, run
