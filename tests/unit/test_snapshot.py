"""Snapshots of the join table: only a whole file, of the same rules, at or below what was committed, is ever used."""

import json
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from monitor.errors import SnapshotError
from monitor.events import Stream
from monitor.join import Corrections, JoinRules, JoinTable, LabelRows, PredictionRows
from monitor.snapshot import SnapshotStore

RULES = "names-1"


def offsets(predictions: int, labels: int) -> dict[Stream, int]:
    return {Stream.PREDICTIONS: predictions, Stream.LABELS: labels}


def empty(horizon: int = 1000) -> JoinTable:
    rules = (JoinRules(horizon, Corrections.LAST_WINS),)
    return JoinTable(rules, np.array([[0, 1]], dtype=np.int32), out_of_order=10, early=10, rows_limit=5000)


def filled(rows: int = 2000) -> JoinTable:
    table = empty()
    numbers = np.arange(rows)
    ids = np.stack((numbers, numbers), axis=1).astype(np.uint64)
    table.add_predictions(
        PredictionRows(
            ids=ids,
            time=numbers,
            arrival=numbers,
            identity=np.zeros(rows, dtype=np.int32),
            model=np.zeros(rows, dtype=np.int16),
            predicted=np.ones(rows, dtype=np.int16),
            score=numbers / rows,
            scores=None,
            segment=np.zeros(rows, dtype=np.int32),
            content=numbers.astype(np.uint64),
        )
    )
    half = slice(0, rows // 2)
    arrival = np.full(rows // 2, rows)
    model = np.zeros(rows // 2, dtype=np.int16)
    table.add_labels(LabelRows(ids[half], arrival, arrival, model, (numbers[half] % 2).astype(np.int32)))
    return table


class Kept:
    """A store, and what it passed over."""

    def __init__(self, directory: Path) -> None:
        self.skipped: list[tuple[str, str]] = []
        self.store = SnapshotStore(directory, lambda path, reason: self.skipped.append((path.name, reason)))

    def offsets_of_newest(self, at_most: dict[Stream, int] | None = None, *, partition: int = 3, rules: str = RULES) -> object:
        restored = self.store.newest(partition, at_most or offsets(10**9, 10**9), rules, empty)
        return None if restored is None else tuple(restored[0].values())


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path / "snapshots")


def test_a_table_comes_back_as_it_was_with_its_offsets(kept: Kept) -> None:
    table = filled()
    kept.store.write(3, offsets(20, 10), table, RULES)
    restored = kept.store.newest(3, offsets(20, 10), RULES, empty)
    assert restored is not None
    assert dict(restored[0]) == offsets(20, 10)
    assert restored[1].to_bytes() == table.to_bytes()
    assert kept.skipped == []


def test_without_a_directory_there_is_no_snapshot(kept: Kept) -> None:
    assert kept.offsets_of_newest() is None


def test_partitions_do_not_see_one_another(kept: Kept) -> None:
    kept.store.write(3, offsets(20, 10), filled(), RULES)
    kept.store.write(33, offsets(50, 50), filled(), RULES)
    assert (kept.offsets_of_newest(partition=3), kept.offsets_of_newest(partition=1)) == ((20, 10), None)


def test_the_two_newest_are_kept(kept: Kept, tmp_path: Path) -> None:
    for written in range(1, 5):
        kept.store.write(3, offsets(written, written), filled(), RULES)
    names = sorted(path.name for path in (tmp_path / "snapshots").iterdir())
    assert names == ["partition-3-0000000003.join", "partition-3-0000000004.join"]
    assert kept.offsets_of_newest() == (4, 4)


def test_one_ahead_of_what_was_committed_is_passed_over_for_an_older_one(kept: Kept) -> None:
    kept.store.write(3, offsets(10, 10), filled(), RULES)
    kept.store.write(3, offsets(20, 30), filled(), RULES)
    assert kept.offsets_of_newest(offsets(20, 29)) == (10, 10)
    [(name, reason)] = kept.skipped
    assert (name, "labels 30 > 29" in reason) == ("partition-3-0000000002.join", True)


def cut_short(data: bytes) -> bytes:
    return data[:-1]


def cut_to_nothing(data: bytes) -> bytes:
    return data[:0]


def lengthened(data: bytes) -> bytes:
    return data + b"\0"


def flipped(place: float) -> Callable[[bytes], bytes]:
    """One bit, at a place given as a fraction of the file."""

    def flip(data: bytes) -> bytes:
        at = int(place * (len(data) - 1))
        return data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :]

    return flip


DAMAGE = [cut_short, cut_to_nothing, lengthened, *(flipped(place) for place in (0, 0.0005, 0.3, 0.7, 1))]


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_passed_over_for_the_older_one(kept: Kept, damage: Callable[[bytes], bytes]) -> None:
    kept.store.write(3, offsets(10, 10), filled(), RULES)
    path = kept.store.write(3, offsets(20, 20), filled(), RULES)
    path.write_bytes(damage(path.read_bytes()))
    assert kept.offsets_of_newest() == (10, 10)
    [(name, reason)] = kept.skipped
    assert (name, str(path) in reason) == (path.name, True)


def test_a_file_of_another_version_is_passed_over(kept: Kept) -> None:
    path = kept.store.write(3, offsets(10, 10), filled(), RULES)
    header, rest = path.read_bytes().split(b"\n", 1)
    path.write_bytes(json.dumps({**json.loads(header), "version": 2}).encode() + b"\n" + rest)
    assert kept.offsets_of_newest() is None
    assert "version 2, this program reads version 1" in kept.skipped[0][1]


def test_a_file_of_something_else_is_passed_over(kept: Kept) -> None:
    path = kept.store.write(3, offsets(10, 10), filled(), RULES)
    for content in (b"hello", b"[]\n", b'{"format": 1}\n', b"\xff" * 100_000):
        path.write_bytes(content)
        assert kept.offsets_of_newest() is None
    assert len(kept.skipped) == 4


def test_a_file_renamed_to_another_partition_is_passed_over(kept: Kept) -> None:
    path = kept.store.write(3, offsets(10, 10), filled(), RULES)
    path.rename(path.with_name("partition-4-0000000001.join"))
    assert kept.offsets_of_newest(partition=4) is None
    assert "holds partition 3, not 4" in kept.skipped[0][1]


def test_a_table_of_other_names_or_other_rules_is_passed_over(kept: Kept) -> None:
    kept.store.write(3, offsets(10, 10), filled(), RULES)
    assert kept.offsets_of_newest(rules="names-2") is None
    assert kept.store.newest(3, offsets(10, 10), RULES, lambda: empty(horizon=2000)) is None
    assert all("other models, classes or join rules" in reason for _, reason in kept.skipped)


def test_what_a_crash_left_unfinished_is_never_read_and_is_written_over(kept: Kept) -> None:
    path = kept.store.write(3, offsets(10, 10), filled(), RULES)
    left = path.with_name("partition-3-0000000002.unfinished")
    left.write_bytes(path.read_bytes())
    assert kept.offsets_of_newest() == (10, 10)
    kept.store.write(3, offsets(20, 20), filled(), RULES)
    assert not left.exists()


@contextmanager
def files_limited_to(size: int) -> Iterator[None]:
    """The operating system refuses to write more than that into any file, as it does when the disk is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_an_error_that_names_the_directory_and_leaves_the_older_one(kept: Kept, tmp_path: Path) -> None:
    kept.store.write(3, offsets(10, 10), filled(), RULES)
    with files_limited_to(10_000), pytest.raises(SnapshotError, match=str(tmp_path / "snapshots")):
        kept.store.write(3, offsets(20, 20), filled(), RULES)
    assert [path.name for path in (tmp_path / "snapshots").iterdir()] == ["partition-3-0000000001.join"]
    assert kept.offsets_of_newest() == (10, 10)


def test_a_directory_that_is_a_file_is_an_error_when_writing_and_holds_nothing_to_read(kept: Kept, tmp_path: Path) -> None:
    (tmp_path / "snapshots").write_text("")
    assert kept.offsets_of_newest() is None
    assert kept.skipped == [("snapshots", "Not a directory")]
    with pytest.raises(SnapshotError, match="cannot write a snapshot of partition 3"):
        kept.store.write(3, offsets(10, 10), filled(), RULES)
