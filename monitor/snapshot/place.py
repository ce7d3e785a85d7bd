"""What a snapshot store asks of the place where its files lie. It knows names and bytes, nothing of partitions or join tables."""

from collections.abc import Iterable
from typing import Final, Protocol

UNFINISHED: Final = ".unfinished"
"""At the end of a name under which a place keeps what is being written, if it has such names: a crash may leave one."""


class Place(Protocol):
    """Files side by side, each written once.

    A file appears under its name whole and durable, or not at all, whatever interrupts its writer; of two writers at a time each keeps
    its own files whole. Every method raises OSError where the place refuses, or does not answer within a time of its own.
    """

    @property
    def is_shared(self) -> bool:
        """Whether every replica is known to see what this one writes."""
        ...

    @property
    def remedy(self) -> str:
        """What whoever runs the daemon can do where the place refuses, to follow `; `."""
        ...

    def locate(self, name: str) -> str:
        """Where the file is, for people: never with anything secret in it."""
        ...

    def names(self) -> list[str]:
        """Of all files, in any order; those that end in `UNFINISHED` are not whole."""
        ...

    def write(self, name: str, pieces: Iterable[bytes]) -> None:
        """Makes the place if it is not there yet. Also raises what the pieces raise; there is no such file then."""
        ...

    def read(self, name: str, size: int | None = None) -> memoryview:
        """The file's first `size` bytes, fewer if it has no more; None: all of it."""
        ...

    def remove(self, name: str) -> None:
        """Does nothing where there is no such file."""
        ...
