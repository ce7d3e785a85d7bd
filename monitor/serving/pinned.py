"""Host memory that a GPU reads without a detour: page-locked buffers, kept for the next run of about the same size.

Not run on a GPU yet: what is tested is the pool, and the registration against a stand-in for CUDA's runtime library. Where pages cannot be
locked, the buffers are ordinary memory and everything works as well, only slower.
"""

import ctypes
import weakref
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]

SMALLEST_BYTES: Final = 4_096
"""A page: less cannot be locked by itself."""
_PORTABLE: Final = 1
"""cudaHostRegisterPortable: locked for every context of the process."""


class PageLock(Protocol):
    """Locks the pages of a buffer for as long as it lives."""

    def __call__(self, buffer: Bytes, /) -> None: ...


class CudaPageLock:
    """Through CUDA's runtime library, e.g. libcudart.so.13. Raises `OSError` where it cannot be loaded."""

    def __init__(self, library: str) -> None:
        self._cuda = ctypes.CDLL(library)

    def __call__(self, buffer: Bytes, /) -> None:
        address = ctypes.c_void_p(buffer.ctypes.data)
        if self._cuda.cudaHostRegister(address, ctypes.c_size_t(buffer.nbytes), ctypes.c_uint(_PORTABLE)) == 0:
            # Not at the interpreter's end, when CUDA may be gone before the buffers are.
            weakref.finalize(buffer, self._cuda.cudaHostUnregister, address).atexit = False


def leave_pageable(_buffer: Bytes, /) -> None:
    """For devices that read ordinary memory, such as the CPU."""


class Pool:
    """Buffers by size, doubling from a page on. Threads may borrow at once: as many buffers of a size come to be as are used at a time."""

    def __init__(self, lock: PageLock) -> None:
        self._lock = lock
        self._free: defaultdict[int, deque[Bytes]] = defaultdict(deque)

    @contextmanager
    def borrowed(self, size: int) -> Iterator[Bytes]:
        """(size,) bytes with whatever they held before; they are another's once the block ends."""
        capacity = max(SMALLEST_BYTES, 1 << (size - 1).bit_length())
        free = self._free[capacity]
        try:
            buffer = free.pop()
        except IndexError:
            buffer = np.empty(capacity, dtype=np.uint8)
            self._lock(buffer)
        try:
            yield buffer[:size]
        finally:
            free.append(buffer)
