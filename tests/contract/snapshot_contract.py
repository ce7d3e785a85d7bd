"""What snapshots promise, once for every place that they may lie in: inherited by the test class of each, which provides `place`.

Only a whole file, of the same rules, at or below what was committed, is ever used; and nobody's writing takes the newest away.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import islice

import numpy as np
import pytest

from monitor.errors import SnapshotError
from monitor.events import Stream
from monitor.join import Corrections, JoinRules, JoinTable, LabelRows, PredictionRows
from monitor.snapshot import Place, SnapshotStore

RULES = "names-1"
EVERYTHING = 10**9


def offsets(predictions: int, labels: int) -> dict[Stream, int]:
    return {Stream.PREDICTIONS: predictions, Stream.LABELS: labels}


def empty(horizon: int = 1000) -> JoinTable:
    rules = (JoinRules(horizon, Corrections.LAST_WINS),)
    return JoinTable(rules, np.array([[0, 1]], dtype=np.int32), out_of_order=10, early=10, rows_limit=500_000)


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


def unwanted(where: str, reason: str) -> None:
    pytest.fail(f"passed over: {where}: {reason}")


class Stopped:
    """A place whose writer is stopped in the middle of a file, and goes on when something else has happened meanwhile."""

    def __init__(self, place: Place, meanwhile: Callable[[], object]) -> None:
        self._place = place
        self._meanwhile = meanwhile
        self.is_shared, self.remedy = place.is_shared, place.remedy
        self.locate, self.names, self.read, self.remove = place.locate, place.names, place.read, place.remove

    def __str__(self) -> str:
        return str(self._place)

    def write(self, name: str, pieces: Iterable[bytes]) -> None:
        self._place.write(name, self._interrupted(iter(pieces)))

    def _interrupted(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        yield from islice(pieces, 2)
        with ThreadPoolExecutor(1) as elsewhere:  # the client that drives these pieces is not to be used from inside
            elsewhere.submit(self._meanwhile).result()
        yield from pieces


class Kept:
    """A store on a place, and what it passed over."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.skipped: list[tuple[str, str]] = []
        self.store = SnapshotStore(place, lambda where, reason: self.skipped.append((where, reason)))

    def write(self, predictions: int, labels: int | None = None, partition: int = 3) -> str:
        return self.store.write(partition, offsets(predictions, predictions if labels is None else labels), filled(), RULES)

    def rewrite(self, name: str, change: Callable[[bytes], bytes]) -> None:
        content = change(bytes(self.place.read(name)))
        self.place.write(name, [content] if content else [])

    def newest(self, predictions: int = EVERYTHING, labels: int = EVERYTHING, *, partition: int = 3, rules: str = RULES) -> object:
        """The offsets of the snapshot that is used."""
        restored = self.store.newest(partition, offsets(predictions, labels), rules, empty)
        return None if restored is None else tuple(restored[0].values())

    def skipped_names(self) -> list[str]:
        return [where.rpartition("/")[2] for where, _ in self.skipped]


class SnapshotContract:
    @pytest.fixture
    def place(self) -> Place:
        raise NotImplementedError("the test class of each place makes an empty one, which need not exist yet")

    @pytest.fixture
    def kept(self, place: Place) -> Kept:
        return Kept(place)

    # What is written

    def test_a_table_comes_back_as_it_was_with_its_offsets(self, kept: Kept) -> None:
        table = filled()
        kept.store.write(3, offsets(20, 10), table, RULES)
        restored = kept.store.newest(3, offsets(20, 10), RULES, empty)
        assert restored is not None
        assert dict(restored[0]) == offsets(20, 10)
        assert restored[1].to_bytes() == table.to_bytes()
        assert kept.skipped == []

    def test_a_table_of_many_pieces_comes_back_as_it_was(self, kept: Kept) -> None:
        table = filled(350_000)
        kept.store.write(3, offsets(20, 10), table, RULES)
        restored = kept.store.newest(3, offsets(20, 10), RULES, empty)
        assert restored is not None
        assert restored[1].to_bytes() == table.to_bytes()

    def test_where_nothing_was_written_there_is_no_snapshot(self, kept: Kept) -> None:
        assert kept.newest() is None
        assert kept.skipped == []

    def test_partitions_do_not_see_one_another(self, kept: Kept) -> None:
        kept.write(20, 10, partition=3)
        kept.write(50, 50, partition=33)
        assert (kept.newest(partition=3), kept.newest(partition=1)) == ((20, 10), None)

    def test_the_two_newest_are_kept(self, kept: Kept) -> None:
        names = [kept.write(written) for written in range(1, 5)]
        assert sorted(kept.place.names()) == names[-2:]
        assert kept.newest() == (4, 4)

    def test_a_write_that_fails_half_way_leaves_nothing_of_it_and_takes_nothing_away(self, kept: Kept) -> None:
        def fail() -> None:
            raise OSError("the disk has come off")

        before = [kept.write(1), kept.write(2)]
        store = SnapshotStore(Stopped(kept.place, fail), unwanted)
        with pytest.raises(SnapshotError, match=r"cannot write a snapshot of partition 3 to .*the disk has come off"):
            store.write(3, offsets(3, 3), filled(), RULES)
        assert sorted(kept.place.names()) == before

    # What is used

    def test_one_ahead_of_what_was_committed_is_passed_over_for_an_older_one(self, kept: Kept) -> None:
        kept.write(10)
        ahead = kept.write(20, 30)
        assert kept.newest(20, 29) == (10, 10)
        [(where, reason)] = kept.skipped
        assert where == kept.place.locate(ahead)
        assert "labels 30 > 29" in reason

    @pytest.mark.parametrize("damage", DAMAGE)
    def test_a_damaged_file_is_passed_over_for_the_older_one(self, kept: Kept, damage: Callable[[bytes], bytes]) -> None:
        kept.write(10)
        damaged = kept.write(20)
        kept.rewrite(damaged, damage)
        assert kept.newest() == (10, 10)
        assert kept.skipped_names() == [damaged]

    def test_a_file_of_another_version_is_passed_over(self, kept: Kept) -> None:
        def of_version_2(data: bytes) -> bytes:
            header, rest = data.split(b"\n", 1)
            return json.dumps({**json.loads(header), "version": 2}).encode() + b"\n" + rest

        kept.rewrite(kept.write(10), of_version_2)
        assert kept.newest() is None
        assert "version 2, this program reads version 1" in kept.skipped[0][1]

    def test_a_file_of_something_else_is_passed_over(self, kept: Kept) -> None:
        name = kept.write(10)
        for content in (b"hello", b"[]\n", b'{"format": 1}\n', b"\xff" * 100_000):
            kept.rewrite(name, lambda _, content=content: content)  # type: ignore[misc]  # bound now, for this round
            assert kept.newest() is None
        assert kept.skipped_names() == [name] * 4

    def test_files_of_other_names_are_let_be(self, kept: Kept) -> None:
        kept.place.write("README.join", [b"not ours"])
        for written in range(1, 5):
            kept.write(written)
        assert kept.newest() == (4, 4)
        assert ("README.join" in kept.place.names(), kept.skipped) == (True, [])

    def test_a_file_renamed_to_another_partition_is_passed_over(self, kept: Kept) -> None:
        name = kept.write(10)
        kept.place.write(name.replace("partition-3-", "partition-4-"), [bytes(kept.place.read(name))])
        assert kept.newest(partition=4) is None
        assert "holds partition 3, not 4" in kept.skipped[0][1]

    def test_a_table_of_other_names_other_rules_or_another_log_is_passed_over(self, kept: Kept) -> None:
        kept.write(10)
        assert kept.newest(rules="names-2") is None
        assert kept.store.newest(3, offsets(10, 10), RULES, lambda: empty(horizon=2000)) is None
        assert all("other models, classes or join rules, or of another log" in reason for _, reason in kept.skipped)
        assert len(kept.skipped) == 2

    def test_one_that_is_removed_while_it_is_looked_for_is_passed_over(self, kept: Kept) -> None:
        kept.write(10)
        gone = kept.write(20)
        listed = kept.place.names()
        kept.place.remove(gone)
        stale = Stopped(kept.place, lambda: None)
        stale.names = lambda: listed
        skipped: list[str] = []
        restored = SnapshotStore(stale, lambda where, _: skipped.append(where)).newest(3, offsets(99, 99), RULES, empty)
        assert restored is not None
        assert (dict(restored[0]), skipped) == (offsets(10, 10), [kept.place.locate(gone)])

    def test_removing_what_is_not_there_does_nothing(self, kept: Kept) -> None:
        kept.write(10)
        kept.place.remove("partition-3-0000000009-1-1-00000000.join")
        assert kept.newest() == (10, 10)

    # More than one writer

    def test_a_former_owner_stopped_in_the_middle_of_a_file_takes_nothing_from_the_new_one(self, kept: Kept) -> None:
        kept.write(10)
        written: list[str] = []
        zombie = SnapshotStore(Stopped(kept.place, lambda: written.extend(kept.write(offset) for offset in (30, 40, 50))), unwanted)
        with suppress(SnapshotError):  # what it was writing may be taken for what a crash left
            zombie.write(3, offsets(20, 20), filled(), RULES)
        assert set(written[-2:]) <= set(kept.place.names())
        assert kept.newest() == (50, 50)

    def test_two_that_write_at_once_both_have_a_whole_file(self, kept: Kept) -> None:
        zombie = SnapshotStore(Stopped(kept.place, lambda: kept.write(30)), unwanted)
        zombie.write(3, offsets(20, 20), filled(), RULES)
        assert len(kept.place.names()) == 2
        assert (kept.newest(), kept.newest(29, 29)) == ((30, 30), (20, 20))

    def test_a_former_owner_that_goes_on_writing_never_removes_the_two_of_the_latest_commits(self, kept: Kept) -> None:
        latest = {kept.write(40), kept.write(50)}
        zombie = Kept(kept.place)
        for behind in (10, 20, 30):
            zombie.write(behind)
            assert latest < set(kept.place.names())
        assert {kept.write(60), kept.write(70)} == set(kept.place.names())

    def test_where_a_log_was_taken_back_the_history_that_is_gone_is_not_used(self, kept: Kept) -> None:
        kept.write(100)
        kept.write(200)
        kept.write(10)
        assert kept.newest(10, 10) == (10, 10)
        assert kept.newest(300, 300) == (10, 10)
        kept.write(20)
        kept.write(201)
        kept.write(202)
        assert len(kept.place.names()) == 2
