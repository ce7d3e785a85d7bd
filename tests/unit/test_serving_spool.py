"""The spool as a queue on disk: what comes back after a restart, after a torn write, after damage, and what does not fit."""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from monitor.clock import ManualClock
from monitor.errors import LogError, LogFull
from monitor.events import Stream
from monitor.log import JSON
from monitor.serving.parcels import Parcel
from monitor.serving.spool.disk import Disk
from monitor.serving.spool.queue import DiskQueue
from monitor.serving.spool.slots import Backlog, Spool

MEGABYTE = 1_000_000
NOON = 1_362_139_200_000


def parcel(name: object, size: int = 0) -> Parcel:
    payload = b'[{"id": "%s"}]' % str(name).encode()
    return Parcel(JSON, payload.ljust(size), 1, NOON)


def name_of(given: Parcel) -> str:
    return given.payload.decode().split('"')[3]


def queue(folder: Path, bytes_limit: int = MEGABYTE) -> DiskQueue:
    root = folder / "spool"
    root.mkdir(exist_ok=True)
    return DiskQueue(root / "0" / "labels", Disk(root, bytes_limit), ManualClock(NOON))


def filled(folder: Path, count: int, **options: int) -> DiskQueue:
    made = queue(folder, **options)
    for number in range(count):
        made.sync(made.append(parcel(number)))
    return made


def taken(source: DiskQueue, bytes_limit: int = 100) -> list[str]:
    """Everything, portion by portion."""
    names: list[str] = []
    while (portion := source.read(bytes_limit)) is not None:
        names += map(name_of, portion.parcels)
        source.remove(portion.mark, portion.rows, portion.damaged_rows)
    return names


def segments(folder: Path) -> list[Path]:
    return sorted(folder.glob("spool/*/*/*.seg"))


def numbers(*ranges: range) -> list[str]:
    return [str(number) for each in ranges for number in each]


def test_what_goes_in_comes_out_in_order_and_leaves_nothing_behind(tmp_path: Path) -> None:
    waiting = filled(tmp_path, 50)
    assert (waiting.rows, waiting.oldest, waiting.is_empty) == (50, NOON, False)
    assert waiting.bytes == sum(path.stat().st_size for path in segments(tmp_path))
    assert taken(waiting) == numbers(range(50))
    assert (waiting.rows, waiting.bytes, waiting.oldest, waiting.is_empty) == (0, 0, None, True)
    assert segments(tmp_path) == []


def test_what_is_read_stays_until_it_is_removed(tmp_path: Path) -> None:
    waiting = filled(tmp_path, 3)
    first, again = waiting.read(1), waiting.read(1)
    assert first == again
    assert first is not None
    assert list(map(name_of, first.parcels)) == ["0"]


def test_a_restart_goes_on_where_the_last_one_had_sent_to(tmp_path: Path) -> None:
    before = filled(tmp_path, 10)
    for _ in range(4):
        portion = before.read(1)
        assert portion is not None
        before.remove(portion.mark, portion.rows)
    after = queue(tmp_path)  # without closing the one before, as after kill -9
    assert after.rows == 6
    after.append(parcel("new"))
    assert taken(after) == [*numbers(range(4, 10)), "new"]


def test_numbers_of_segments_go_on_after_all_were_sent(tmp_path: Path) -> None:
    """Else the note of what was sent would hide a new segment of the same number."""
    first = filled(tmp_path, 3)
    assert taken(first) == numbers(range(3))
    second = queue(tmp_path)
    second.append(parcel("kept"))
    assert taken(queue(tmp_path)) == ["kept"]


def test_segments_are_removed_as_they_are_sent(tmp_path: Path) -> None:
    waiting = queue(tmp_path, bytes_limit=64 * 4_096)
    for number in range(40):
        waiting.append(parcel(number, 1_000))
    at_first = len(segments(tmp_path))
    assert at_first > 5
    sizes = [path.stat().st_size for path in segments(tmp_path)]
    assert max(sizes) <= 4_096
    left = []
    while (portion := waiting.read(2_000)) is not None:
        waiting.remove(portion.mark, portion.rows)
        left.append(len(segments(tmp_path)))
    assert left == sorted(left, reverse=True)
    assert left[-1] == 0


def test_a_record_larger_than_a_segment_or_than_what_is_read_at_a_time_comes_out_whole(tmp_path: Path) -> None:
    waiting = queue(tmp_path)
    for number, size in enumerate((10, 100_000, 10)):
        waiting.append(parcel(number, size))
    assert taken(waiting, bytes_limit=1_000) == numbers(range(3))


def test_wherever_a_write_was_cut_the_whole_records_before_it_come_back(tmp_path: Path) -> None:
    filled(tmp_path, 3).close()
    (file,) = segments(tmp_path)
    whole = file.read_bytes()
    size = len(whole) // 3
    for length in range(len(whole) + 1):
        file.write_bytes(whole[:length])
        (tmp_path / "spool" / "0" / "labels" / "sent").unlink()
        after = queue(tmp_path)
        assert after.rows == length // size
        after.append(parcel("new"))
        assert taken(after) == [*numbers(range(length // size)), "new"], length
        assert segments(tmp_path) == []


def test_zeros_at_the_end_as_a_power_failure_leaves_them_are_cut_off(tmp_path: Path) -> None:
    filled(tmp_path, 3).close()
    (file,) = segments(tmp_path)
    size = file.stat().st_size
    with file.open("ab") as end:
        end.write(bytes(5_000))
    after = queue(tmp_path)
    assert file.stat().st_size == size
    assert taken(after) == numbers(range(3))


@pytest.mark.parametrize("place", range(36 + 30))
def test_a_damaged_byte_costs_its_record_and_no_other(place: int, tmp_path: Path) -> None:
    filled(tmp_path, 5).close()
    (file,) = segments(tmp_path)
    damaged = bytearray(file.read_bytes())
    size = len(damaged) // 5
    damaged[2 * size + min(place, size - 1)] ^= 0x41
    file.write_bytes(damaged)
    after = queue(tmp_path)
    found: list[str] = []
    lost = 0
    while (portion := after.read(1 if place % 2 else 10_000)) is not None:
        found += map(name_of, portion.parcels)
        lost += after.remove(portion.mark, portion.rows, portion.damaged_rows)
    assert found == numbers(range(2), range(3, 5))
    # Where the head is sound it tells how many rows there were.
    assert lost == (1 if place >= 36 else 0)
    assert after.rows == 0


def test_rows_whose_head_is_damaged_while_the_process_runs_are_counted_at_the_end_of_their_segment(tmp_path: Path) -> None:
    waiting = filled(tmp_path, 5)
    (file,) = segments(tmp_path)
    size = file.stat().st_size // 5
    with file.open("r+b") as damaged:
        damaged.seek(2 * size)
        damaged.write(bytes(10))
    lost = 0
    while (portion := waiting.read(1)) is not None:
        lost += waiting.remove(portion.mark, portion.rows, portion.damaged_rows)
    assert (lost, waiting.rows) == (1, 0)


def test_a_file_that_vanished_is_passed_over_and_counted(tmp_path: Path) -> None:
    waiting = queue(tmp_path, bytes_limit=64 * 4_096)
    for number in range(8):
        waiting.append(parcel(number, 1_000))
    segments(tmp_path)[0].unlink()
    portion = waiting.read(1)
    assert portion is not None
    assert portion.damaged_rows == 3
    assert waiting.remove(portion.mark, portion.rows, portion.damaged_rows) == 3
    assert taken(waiting) == numbers(range(3, 8))


def test_a_full_spool_takes_nothing_until_a_segment_was_sent(tmp_path: Path) -> None:
    limit = 64 * 4_096
    waiting = queue(tmp_path, bytes_limit=limit)
    count = 0
    with suppress(LogFull):
        while True:
            waiting.append(parcel(count, 1_000))
            count += 1
    with pytest.raises(LogFull, match=r"spool has .* bytes of at most 262144: .* Raise serving\.spool\.max_bytes"):
        waiting.append(parcel(count, 1_000))
    used = sum(path.stat().st_size for path in segments(tmp_path))
    assert limit - 2 * 4_096 < used <= limit
    portion = waiting.read(4_096)
    assert portion is not None
    waiting.remove(portion.mark, portion.rows)
    waiting.append(parcel(count, 1_000))
    assert len(taken(waiting)) == count + 1 - portion.rows


def test_all_slots_together_keep_to_the_limit(tmp_path: Path) -> None:
    """Also those that have begun a segment, which they may fill without asking again."""
    limit = 64 * 4_096
    backlogs = [
        Backlog(Spool(tmp_path, slot=slot, workers=4, bytes_limit=limit, clock=ManualClock(NOON)), Stream.LABELS) for slot in range(4)
    ]
    for backlog in backlogs:
        backlog.append(parcel("first", 1_000))
    for backlog in backlogs:
        with suppress(LogFull):
            while True:
                backlog.append(parcel("more", 1_000))
    used = sum(path.stat().st_size for path in tmp_path.glob("*/*/*.seg"))
    assert limit / 2 < used <= limit


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """As on a disk that is full: a write ends in the middle."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_write_that_finds_no_space_leaves_no_half_record(tmp_path: Path) -> None:
    waiting = filled(tmp_path, 5)
    (file,) = segments(tmp_path)
    size = file.stat().st_size
    with files_of_at_most(size + 50), pytest.raises(LogError, match=r"the spool cannot be used \(File too large\)"):
        waiting.append(parcel("lost", 500))
    assert file.stat().st_size == size
    waiting.append(parcel("later", 500))
    assert taken(waiting) == [*numbers(range(5)), "later"]


def test_after_a_failed_sync_nothing_follows_in_that_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether what it held is on the disk cannot be told any more: a second sync may succeed without having written it."""
    waiting = filled(tmp_path, 2)
    unsynced, also_unsynced = waiting.append(parcel("a")), waiting.append(parcel("b"))

    def failing(_descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", failing)
        with pytest.raises(LogError, match="Input/output error"):
            waiting.sync(unsynced)
    with pytest.raises(LogError, match="could not be synced"):
        waiting.sync(also_unsynced)
    waiting.sync(waiting.append(parcel("c")))
    assert len(segments(tmp_path)) == 2
    assert taken(waiting) == ["0", "1", "a", "b", "c"]


def test_one_sync_covers_all_that_was_appended_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = queue(tmp_path)
    marks = [waiting.append(parcel(number)) for number in range(100)]
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    waiting.sync(marks[-1])
    waiting.append(parcel("later"))
    for mark in marks:
        waiting.sync(mark)
    assert len(synced) == 1


def spool(root: Path, slot: int, workers: int) -> Spool:
    return Spool(root, slot=slot, workers=workers, bytes_limit=MEGABYTE, clock=ManualClock(NOON))


def drained(of: Spool, stream: Stream = Stream.LABELS) -> list[str]:
    backlog = Backlog(of, stream)
    names: list[str] = []
    while (portion := backlog.read(1)) is not None:
        names += map(name_of, portion.parcels)
        backlog.remove(portion.mark, portion.rows)
    return names


def test_a_slot_that_is_in_use_is_refused_and_free_again_when_its_process_ends(tmp_path: Path) -> None:
    first, second = spool(tmp_path, 0, 1), spool(tmp_path, 0, 1)
    Backlog(first, Stream.LABELS).append(parcel("a"))
    with pytest.raises(LogError, match="0 is another server's spool: give each server a serving"):
        second.open()
    first.close()
    second.open()
    assert second.recovered[Stream.LABELS] == 1
    assert drained(second) == ["a"]


def test_fewer_workers_take_over_what_more_have_left_and_send_it_first(tmp_path: Path) -> None:
    for slot in range(3):
        of = spool(tmp_path, slot, 3)
        for stream in (Stream.LABELS, Stream.PREDICTIONS):
            Backlog(of, stream).append(parcel(f"{stream}-{slot}"))
        of.close()
    alone = spool(tmp_path, 0, 1)
    alone.open()
    assert alone.recovered == {Stream.LABELS: 3, Stream.PREDICTIONS: 3}
    Backlog(alone, Stream.LABELS).append(parcel("new"))
    assert drained(alone) == ["labels-1", "labels-2", "labels-0", "new"]
    assert len(alone.queues(Stream.LABELS)) == 3, "their predictions still wait"
    assert drained(alone, Stream.PREDICTIONS) == ["predictions-1", "predictions-2", "predictions-0"]
    assert len(alone.queues(Stream.LABELS)) == 1
    spool(tmp_path, 1, 2).open()  # it is free again


def test_folders_of_workers_that_are_still_to_start_are_not_taken(tmp_path: Path) -> None:
    late = spool(tmp_path, 1, 2)
    Backlog(late, Stream.LABELS).append(parcel("theirs"))
    late.close()
    early = spool(tmp_path, 0, 2)
    early.open()
    assert drained(early) == []
    assert drained_after_opening(late) == ["theirs"]


def drained_after_opening(of: Spool) -> list[str]:
    of.open()
    return drained(of)


def test_what_is_kept_is_for_its_owner_alone(tmp_path: Path) -> None:
    Backlog(spool(tmp_path, 0, 1), Stream.LABELS).append(parcel("a"))
    assert {oct(path.stat().st_mode & 0o077) for path in tmp_path.rglob("*")} == {"0o0"}


def test_a_place_that_is_no_folder_is_told_and_tried_again(tmp_path: Path) -> None:
    place = tmp_path / "file"
    place.touch()
    backlog = Backlog(spool(place, 0, 1), Stream.LABELS)
    with pytest.raises(LogError, match=r"the spool cannot be made there \(.*\). Make the folder writable, choose another"):
        backlog.append(parcel("a"))
    assert (backlog.is_empty, backlog.rows, backlog.read(1)) == (True, 0, None)
    place.unlink()
    backlog.append(parcel("a"))
    assert backlog.rows == 1
