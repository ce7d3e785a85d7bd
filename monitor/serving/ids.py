"""Ids for rows that came without one: UUIDv7 (RFC 9562), minted from a pool of random bytes, about 0.5 µs each.

Python has `uuid.uuid7` from 3.14 on; this is the same layout, in order to the millisecond.
"""

import os

from monitor.clock import Milliseconds

_POOL_IDS = 512
_DIGITS = 19
"""Random hexadecimal digits an id takes: 74 bits and two to spare for the variant's."""


class Mint:
    """Mints ids. For one thread: the event loop's."""

    __slots__ = ("_at", "_pool")

    def __init__(self) -> None:
        self._pool = ""
        self._at = 0

    def ids(self, count: int, now: Milliseconds) -> list[str]:
        """`count` new ids that carry the time `now`."""
        stamp = f"{now & 0xFFFFFFFFFFFF:012x}"
        head = f"{stamp[:8]}-{stamp[8:]}-7"
        return [self._one(head) for _ in range(count)]

    def _one(self, head: str) -> str:
        if self._at + _DIGITS > len(self._pool):
            self._pool = os.urandom(_POOL_IDS * _DIGITS // 2).hex()
            self._at = 0
        digits = self._pool[self._at : self._at + _DIGITS]
        self._at += _DIGITS
        # The variant digit is one of 8, 9, a, b: binary 10, then two random bits.
        return f"{head}{digits[:3]}-{'89ab'[int(digits[3], 16) & 3]}{digits[4:7]}-{digits[7:]}"


def row_ids(identity: str, rows: int) -> list[str]:
    """What the rows of a request are called by its id: itself where there is one row, else `<id>/<row>`."""
    return [identity] if rows == 1 else [f"{identity}/{row}" for row in range(rows)]
