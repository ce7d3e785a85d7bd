"""Whoever writes snapshots of a partition, in whatever order and however long each takes: those of the two latest commits stay."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from monitor.snapshot import SnapshotStore
from tests.contract.snapshot_contract import RULES, Stopped, empty, offsets, unwanted

LATEST = 30


@dataclass(slots=True)
class Memory:
    """A place in a dict."""

    files: dict[str, bytes] = field(default_factory=dict)
    is_shared: bool = True
    remedy: str = ""

    def locate(self, name: str) -> str:
        return name

    def names(self) -> list[str]:
        return list(self.files)

    def write(self, name: str, pieces: Iterable[bytes]) -> None:
        content = b"".join(pieces)
        assert name not in self.files
        self.files[name] = content

    def read(self, name: str, size: int | None = None) -> memoryview:
        return memoryview(self.files[name])[:size]

    def remove(self, name: str) -> None:
        self.files.pop(name, None)


@dataclass(frozen=True, slots=True)
class Writing:
    """A snapshot as of an offset, in the middle of which its writer is stopped while others write theirs."""

    offset: int
    meanwhile: tuple["Writing", ...] = ()


class Partition:
    """What several writers make of one, each with a view of its own of what there is."""

    def __init__(self) -> None:
        self.memory = Memory()
        self.table = empty()
        self.written: list[int] = []

    def write(self, writing: Writing) -> None:
        def meanwhile() -> None:
            for other in writing.meanwhile:
                self.write(other)

        SnapshotStore(Stopped(self.memory, meanwhile), unwanted).write(3, offsets(writing.offset, writing.offset), self.table, RULES)
        self.written.append(writing.offset)
        assert self.latest() == sorted(self.written)[-2:]

    def latest(self) -> list[int]:
        return sorted(int(name.split("-")[3]) for name in self.memory.files)[-2:]


alone = st.builds(Writing, st.integers(0, LATEST))
writings = st.recursive(
    alone,
    lambda below: st.builds(Writing, st.integers(0, LATEST), st.lists(below, max_size=4).map(tuple)),
    max_leaves=12,
)


@given(st.lists(writings, max_size=6))
def test_those_of_the_two_latest_commits_are_never_removed(order: list[Writing]) -> None:
    partition = Partition()
    for writing in order:
        partition.write(writing)
    partition.write(Writing(LATEST + 1))
    partition.write(Writing(LATEST + 2))
    assert len(partition.memory.files) == 2, "two writes of an owner alone leave two"
