"""A client that many threads use: made when one first needs it, and made anew after it was given up."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

from monitor.errors import LogError

Client = TypeVar("Client")


@dataclass(slots=True, eq=False)
class _Lent(Generic[Client]):
    client: Client
    users: int = 0
    is_given_up: bool = False


class Shared(Generic[Client]):
    """One making at a time: whoever needs the client meanwhile waits for it, and is told what went wrong with it.

    A client that was given up is closed once its last user is done with it.
    """

    def __init__(self, make: Callable[[], Client], close: Callable[[Client], None]) -> None:
        self._make = make
        self._close = close
        self._lock = threading.Lock()
        self._current: Future[_Lent[Client]] | None = None
        self._is_closed = False

    @contextmanager
    def lent(self) -> Iterator[Client]:
        """The client, for as long as the block runs. Raises `LogError` where it cannot be made."""
        lent = self._borrow()
        try:
            yield lent.client
        finally:
            with self._lock:
                lent.users -= 1
                is_last = lent.is_given_up and lent.users == 0
            if is_last:
                self._close(lent.client)

    def give_up(self, client: Client) -> None:
        """The next user gets another one. To be called by one that has it lent."""
        with self._lock:
            lent = self._present()
            if lent is not None and lent.client is client:
                lent.is_given_up = True
                self._current = None

    def close(self, *, in_use: bool = False) -> None:
        """Closes the client, or lets its last user do so; with `in_use` under the hands of those who use it, who are told by the client."""
        with self._lock:
            self._is_closed = True
            lent, self._current = self._present(), None
            if lent is not None:
                lent.is_given_up = True
        if lent is not None and (in_use or lent.users == 0):
            self._close(lent.client)

    def _present(self) -> _Lent[Client] | None:
        current = self._current
        return current.result() if current is not None and current.done() and current.exception() is None else None

    def _borrow(self) -> _Lent[Client]:
        while True:
            with self._lock:
                if self._is_closed:
                    raise LogError("the log was closed")
                making, is_mine = self._current, self._current is None
                if making is None:
                    making = self._current = Future()
            if is_mine:
                self._fulfil(making)
            try:
                lent = making.result()
            except LogError as error:
                raise type(error)(str(error)) from error  # each of those that waited has its own
            with self._lock:
                if not lent.is_given_up:
                    lent.users += 1
                    return lent

    def _fulfil(self, making: "Future[_Lent[Client]]") -> None:
        try:
            client = self._make()
        except BaseException as error:
            with self._lock:
                self._current = None
            making.set_exception(error)
            raise
        with self._lock:
            making.set_result(_Lent(client, is_given_up=self._is_closed))
        if self._is_closed:
            self._close(client)
