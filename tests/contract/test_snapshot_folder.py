"""Snapshots in a folder keep the contract; and what only a file system does to them."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from monitor.errors import SnapshotError
from monitor.snapshot import Folder
from tests.contract.snapshot_contract import Kept, SnapshotContract


@contextmanager
def files_limited_to(size: int) -> Iterator[None]:
    """The operating system refuses to write more than that into any file, as it does when the disk is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class TestSnapshotsInAFolder(SnapshotContract):
    @pytest.fixture
    def place(self, tmp_path: Path) -> Folder:
        return Folder(tmp_path / "state" / "snapshots")

    def test_it_is_shared_only_if_that_is_said(self, tmp_path: Path) -> None:
        assert not Kept(Folder(tmp_path)).store.is_shared
        assert Kept(Folder(tmp_path, is_shared=True)).store.is_shared

    def test_what_a_crash_left_unfinished_is_never_read_and_goes_with_the_next_but_one(self, kept: Kept) -> None:
        name = kept.write(10)
        left = name.replace("-0000000001-", "-0000000002-") + ".unfinished"
        kept.place.write(left, [bytes(kept.place.read(name))])
        assert kept.newest() == (10, 10)
        kept.write(20)
        assert left in kept.place.names(), "another may be writing it"
        kept.write(30)
        assert left not in kept.place.names()

    def test_a_full_disk_is_an_error_that_names_the_directory_and_leaves_the_older_one(self, kept: Kept) -> None:
        name = kept.write(10)
        with files_limited_to(10_000), pytest.raises(SnapshotError, match=rf"{kept.place}: File too large; make room"):
            kept.write(20)
        assert kept.place.names() == [name]
        assert kept.newest() == (10, 10)

    def test_a_directory_that_is_a_file_is_an_error_when_writing_and_holds_nothing_to_read(self, tmp_path: Path) -> None:
        (tmp_path / "snapshots").write_text("")
        kept = Kept(Folder(tmp_path / "snapshots"))
        assert kept.newest() is None
        assert kept.skipped == [(str(tmp_path / "snapshots"), "cannot be read: Not a directory; make room or correct the directory")]
        with pytest.raises(SnapshotError, match="cannot write a snapshot of partition 3"):
            kept.write(10)

    def test_an_old_file_that_cannot_be_removed_is_told_and_the_new_one_is_there(self, kept: Kept, tmp_path: Path) -> None:
        in_the_way = "partition-3-0000000001-1-1-00000000.join"
        (tmp_path / "state" / "snapshots" / in_the_way).mkdir(parents=True)
        kept.write(10)
        kept.write(20)
        assert kept.newest() == (20, 20)
        [(where, reason)] = kept.skipped
        assert where == kept.place.locate(in_the_way)
        assert reason.startswith("is no longer needed and cannot be removed: ")
