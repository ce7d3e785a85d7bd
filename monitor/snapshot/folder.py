"""Snapshots in a folder. What is read of them is the file itself, mapped into memory, which takes none of its own."""

import mmap
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from monitor.snapshot.place import UNFINISHED
from monitor.whole_files import write_whole


@dataclass(frozen=True, slots=True)
class Folder:
    """A `Place` on a file system; nothing about a path tells whether other replicas see it, so whoever configured it says so."""

    path: Path
    is_shared: bool = False

    @property
    def remedy(self) -> str:
        return "make room or correct the directory"

    def __str__(self) -> str:
        return str(self.path)

    def locate(self, name: str) -> str:
        return str(self.path / name)

    def names(self) -> list[str]:
        with suppress(FileNotFoundError):
            return [path.name for path in self.path.iterdir()]
        return []

    def write(self, name: str, pieces: Iterable[bytes]) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        write_whole(self.path / name, self.path / f"{name}{UNFINISHED}", pieces)

    def read(self, name: str, size: int | None = None) -> memoryview:
        with (self.path / name).open("rb") as file:
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size is None else file.read(size))

    def remove(self, name: str) -> None:
        (self.path / name).unlink(missing_ok=True)
