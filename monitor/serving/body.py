"""A request's body as it comes in: handed on in pieces, or collected whole with at most one copy.

A body of announced length is received straight into its place; the place is made in two steps, so that an announcement alone takes next to
nothing. Nothing is read from the client beyond its first chunk until somebody asks for it.
"""

import asyncio
from collections.abc import Callable
from typing import Final

import numpy as np

from monitor.serving.http import Disconnected, too_large

BELIEVED_BYTES: Final = 1024 * 1024
"""What an announcement gets at once, in memory that only writing to it takes; the rest once this much has come."""


class Body:
    """Between a connection, which adds what arrives, and a handler, which takes it. `ask` has the connection read on."""

    __slots__ = ("_ask", "_direct", "_filled", "_parts", "_size", "_waiter", "announced", "complete", "left", "lost", "taken")

    def __init__(self, announced: int | None, ask: Callable[[], None]) -> None:
        self.announced = announced
        self.complete = False
        self.taken = False
        """Whether a handler has all of it."""
        self.lost = False
        self.left = False
        self._ask = ask
        self._parts: list[bytes] = []
        self._size = 0
        self._direct: memoryview | None = None
        self._filled = 0
        self._waiter: asyncio.Future[None] | None = None

    # The connection's side.

    def add(self, data: bytes) -> None:
        """The next piece, as the parser gives it."""
        self._parts.append(data)
        self._size += len(data)
        if self._waiter is not None:
            self._wake()

    def end(self) -> None:
        """It is whole."""
        self.complete = True
        if self._waiter is not None:
            self._wake()

    def leave(self) -> None:
        """The client sends no more, and perhaps still waits for the answer."""
        self.left = True
        if self._waiter is not None:
            self._wake()

    def lose(self) -> None:
        """The rest will never come, and nobody waits for the answer."""
        self.lost = True
        if self._waiter is not None:
            self._wake()

    @property
    def place(self) -> memoryview | None:
        """Where to receive the next bytes; None where they go through the parser."""
        return None if self._direct is None else self._direct[self._filled :]

    @property
    def is_wanted(self) -> bool:
        """Whether a handler waits for more."""
        return self._waiter is not None

    def filled(self, count: int) -> None:
        """So many bytes were received there."""
        assert self._direct is not None
        assert self.announced is not None
        self._filled += count
        if self._filled == self.announced:
            self.end()
        elif self._filled == len(self._direct):
            self._move_to(self.announced)

    # The handler's side.

    async def piece(self) -> bytes:
        """What has come since the last time, b"" at most at the end. Raises `Disconnected`."""
        while not self._parts and not self.complete:
            await self._more()
        piece = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts.clear()
        self.taken = self.complete
        return piece

    async def whole(self, limit: int) -> bytes | memoryview:
        """All of it. Raises `TooLarge` as soon as it is known to be, `Disconnected` where the client is gone."""
        if self.announced is not None:
            if self.announced > limit:
                raise too_large(limit)
            if not self.complete:
                self._move_to(min(self.announced, max(BELIEVED_BYTES, 2 * self._size)))
        while not self.complete and self._size <= limit:
            await self._more()
        if self._size > limit:
            raise too_large(limit)
        self.taken = True
        if self._direct is not None:
            return self._direct
        return self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)

    async def gone(self) -> None:
        """Returns when the client has gone away, as far as anybody can tell; of a whole body only."""
        while not (self.lost or self.left):
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter

    def _move_to(self, size: int) -> None:
        """A place of that size, with what has come so far at its beginning."""
        came = b"".join(self._parts) if self._direct is None else self._direct
        self._parts.clear()
        self._direct = np.empty(size, np.uint8).data
        self._direct[: len(came)] = came
        self._filled = len(came)

    async def _more(self) -> None:
        if not self.lost:
            self._waiter = asyncio.get_running_loop().create_future()
            self._ask()
            await self._waiter
        if self.lost:
            raise Disconnected

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
