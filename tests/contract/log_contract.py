"""What every log promises (`monitor.log`), once: inherited by the test class of each implementation, which provides `make_log`."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import pytest

from monitor.clock import ManualClock
from monitor.errors import Fenced, FutureTimestamp, LogError
from monitor.events import Stream
from monitor.log import ARROW, JSON, TIME_MARK, Commit, DeadLetter, Log, Message, Record

NOW = 1_000_000_000
HOUR = 3_600_000
ALL = 1 << 40
PARTITIONS = 2
EVENTS = (Stream.PREDICTIONS, Stream.LABELS)


class MakeLog(Protocol):
    """Makes an empty log of `PARTITIONS` partitions on `clock`; it is closed when the test ends."""

    def __call__(self, *, retention_ms: int | None = None, max_bytes: int | None = None) -> Log: ...


def message(value: bytes = b"{}", partition: int = 0, timestamp: int = NOW) -> Message:
    return Message(partition, timestamp, value)


def values(records: Sequence[Record]) -> list[bytes]:
    return [record.value for record in records]


def commit(
    partition: int = 0,
    predictions: int = 0,
    labels: int = 0,
    panes: Mapping[bytes, bytes] | None = None,
    state: bytes = b"",
    dead_letters: Sequence[DeadLetter] = (),
) -> Commit:
    return Commit(partition, {Stream.PREDICTIONS: predictions, Stream.LABELS: labels}, panes or {}, state, dead_letters)


def letter(timestamp: int = NOW, value: bytes = b"\xff{not json", offset: int = 7) -> DeadLetter:
    return DeadLetter(Stream.LABELS, offset, timestamp, JSON, "undecodable", "not JSON at byte 0: ungültig", (0, 3), value)


class BreakingPanes(Mapping[bytes, bytes]):
    """Panes that can be read up to the first one: a commit that fails in its middle."""

    def __len__(self) -> int:
        return 2

    def __getitem__(self, key: bytes) -> bytes:
        return b"1"

    def __iter__(self) -> Iterator[bytes]:
        yield b"first"
        raise RuntimeError("broken in the middle")


class LogContract:
    """Each test is one sentence of the protocol."""

    @pytest.fixture
    def clock(self) -> ManualClock:
        return ManualClock(NOW)

    @pytest.fixture
    def make_log(self, clock: ManualClock) -> MakeLog:
        raise NotImplementedError("the test class of an implementation provides it")

    @pytest.fixture
    def log(self, make_log: MakeLog) -> Log:
        return make_log()

    # Appending and reading

    def test_an_empty_log_begins_and_ends_at_zero(self, log: Log) -> None:
        for stream in Stream:
            for partition in range(PARTITIONS):
                assert (log.begin_offset(stream, partition), log.end_offset(stream, partition)) == (0, 0)
                assert log.read(stream, partition, 0, ALL) == []
                assert log.newest_timestamp(stream, partition) is None
                assert log.offset_for_time(stream, partition, 0) == 0

    def test_it_tells_its_partitions(self, log: Log) -> None:
        assert log.partitions == PARTITIONS

    def test_offsets_grow_and_name_the_records(self, log: Log) -> None:
        first = log.append(Stream.LABELS, [message(b"a"), message(b"b")])
        second = log.append(Stream.LABELS, [message(b"c")])
        read = log.read(Stream.LABELS, 0, 0, ALL)
        assert first[0] >= 0
        assert sorted({*first, *second}) == first + second
        assert [record.offset for record in read] == first + second
        assert log.end_offset(Stream.LABELS, 0) > second[-1]

    def test_a_record_is_read_as_it_was_appended(self, log: Log) -> None:
        headers = {"traceparent": "00-1", "empty": "", "kéy": "värde ☃ \U0001f600"}
        (offset,) = log.append(Stream.PREDICTIONS, [Message(1, NOW - 5, b"\x00\xff", ARROW, headers)])
        (record,) = log.read(Stream.PREDICTIONS, 1, 0, ALL)
        assert record == Record(offset, NOW - 5, b"\x00\xff", ARROW, headers)

    @pytest.mark.parametrize("value", [b"", b"\x00", "näyttö".encode(), b"x" * 10_000_000], ids=["empty", "zero", "unicode", "10 MB"])
    def test_any_value_is_kept(self, log: Log, value: bytes) -> None:
        log.append(Stream.PREDICTIONS, [message(value), message(b"next")])
        assert values(log.read(Stream.PREDICTIONS, 0, 0, ALL)) == [value, b"next"]

    def test_streams_and_partitions_are_apart(self, log: Log) -> None:
        log.append(Stream.PREDICTIONS, [message(b"p0", 0), message(b"p1", 1), message(b"p0 again", 0)])
        log.append(Stream.LABELS, [message(b"l1", 1)])
        assert values(log.read(Stream.PREDICTIONS, 0, 0, ALL)) == [b"p0", b"p0 again"]
        assert values(log.read(Stream.PREDICTIONS, 1, 0, ALL)) == [b"p1"]
        assert values(log.read(Stream.LABELS, 0, 0, ALL)) == []
        assert values(log.read(Stream.LABELS, 1, 0, ALL)) == [b"l1"]

    def test_an_append_returns_the_offsets_in_the_order_of_its_messages(self, log: Log) -> None:
        sent = [message(f"{number}".encode(), number % PARTITIONS) for number in range(10)]
        offsets = log.append(Stream.PREDICTIONS, sent)
        for one, offset in zip(sent, offsets, strict=True):
            assert log.read(Stream.PREDICTIONS, one.partition, offset, 0)[0].value == one.value

    def test_appending_nothing_changes_nothing(self, log: Log) -> None:
        assert log.append(Stream.PREDICTIONS, []) == []
        assert log.end_offset(Stream.PREDICTIONS, 0) == 0

    def test_reading_takes_one_record_however_large_then_what_fits(self, log: Log) -> None:
        offsets = log.append(Stream.PREDICTIONS, [message(b"x" * 100) for _ in range(5)])
        assert len(log.read(Stream.PREDICTIONS, 0, 0, 1)) == 1
        assert len(log.read(Stream.PREDICTIONS, 0, 0, 299)) == 2
        assert len(log.read(Stream.PREDICTIONS, 0, 0, 300)) == 3
        assert [record.offset for record in log.read(Stream.PREDICTIONS, 0, offsets[3], ALL)] == offsets[3:]

    def test_reading_at_and_beyond_the_end_gives_nothing(self, log: Log) -> None:
        log.append(Stream.PREDICTIONS, [message()])
        end = log.end_offset(Stream.PREDICTIONS, 0)
        assert log.read(Stream.PREDICTIONS, 0, end, ALL) == []
        assert log.read(Stream.PREDICTIONS, 0, end + 1000, ALL) == []

    @pytest.mark.parametrize("partition", [-1, PARTITIONS])
    def test_a_partition_that_is_not_there_is_an_error_that_names_it(self, log: Log, partition: int) -> None:
        calls: list[Callable[[], object]] = [
            lambda: log.append(Stream.LABELS, [message(), message(partition=partition)]),
            lambda: log.read(Stream.LABELS, partition, 0, ALL),
            lambda: log.end_offset(Stream.LABELS, partition),
            lambda: log.begin_offset(Stream.LABELS, partition),
            lambda: log.offset_for_time(Stream.LABELS, partition, 0),
            lambda: log.newest_timestamp(Stream.LABELS, partition),
        ]
        for call in calls:
            with pytest.raises(LogError, match=f"partition {partition} does not exist"):
                call()
        assert log.end_offset(Stream.LABELS, 0) == 0

    def test_dead_letters_take_no_appends(self, log: Log) -> None:
        with pytest.raises(LogError, match="dead-letters cannot be appended to"):
            log.append(Stream.DEAD_LETTERS, [message()])

    def test_appends_of_many_threads_are_all_kept_each_in_its_order(self, log: Log) -> None:
        together = threading.Barrier(8)

        def append(thread: int) -> None:
            together.wait()
            for number in range(20):
                log.append(Stream.PREDICTIONS, [message(f"{thread} {number} {half}".encode()) for half in (0, 1)])

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(append, range(8)))
        read = values(log.read(Stream.PREDICTIONS, 0, 0, ALL))
        assert len(read) == len(set(read)) == 320
        for thread in range(8):
            assert [value for value in read if value.split()[0] == b"%d" % thread] == [
                f"{thread} {number} {half}".encode() for number in range(20) for half in (0, 1)
            ]

    # Times

    def test_an_hour_ahead_of_the_clock_is_accepted_and_more_is_refused_with_all_of_its_call(self, log: Log, clock: ManualClock) -> None:
        log.append(Stream.LABELS, [message(timestamp=NOW + HOUR)])
        late = [message(), message(timestamp=NOW + HOUR + 1)]
        with pytest.raises(FutureTimestamp, match=r"labels-0: message 1 of 2 .* 3600 s ahead of the clock"):
            log.append(Stream.LABELS, late)
        assert len(log.read(Stream.LABELS, 0, 0, ALL)) == 1
        clock.advance(1)
        log.append(Stream.LABELS, late)
        assert len(log.read(Stream.LABELS, 0, 0, ALL)) == 3

    def test_any_past_is_accepted(self, log: Log) -> None:
        log.append(Stream.LABELS, [message(timestamp=0), message(timestamp=-(10**15))])
        assert [record.timestamp for record in log.read(Stream.LABELS, 0, 0, ALL)] == [0, -(10**15)]

    def test_the_offset_for_a_time_is_the_first_at_or_after_it(self, log: Log) -> None:
        times = [10, 30, 20, 30, 50, 40]
        offsets = log.append(Stream.PREDICTIONS, [message(timestamp=time) for time in times])
        for wanted in range(60):
            expected = next(
                (offset for offset, time in zip(offsets, times, strict=True) if time >= wanted), log.end_offset(Stream.PREDICTIONS, 0)
            )
            assert log.offset_for_time(Stream.PREDICTIONS, 0, wanted) == expected

    def test_the_newest_timestamp_is_the_greatest_and_leaves_time_marks_out(self, log: Log) -> None:
        log.append(Stream.LABELS, [message(timestamp=30), message(timestamp=10), Message(0, 99, b"", TIME_MARK)])
        assert log.newest_timestamp(Stream.LABELS, 0) == 30
        assert log.newest_timestamp(Stream.LABELS, 1) is None
        assert log.read(Stream.LABELS, 0, 2, ALL)[0].content_type == TIME_MARK

    def test_a_time_mark_alone_is_not_the_newest_record(self, log: Log) -> None:
        log.append(Stream.LABELS, [Message(0, 99, b"", TIME_MARK)])
        assert log.newest_timestamp(Stream.LABELS, 0) is None

    # Committing

    def test_a_partition_that_never_committed_starts_at_zero_with_no_state(self, log: Log) -> None:
        owner = log.acquire()
        assert owner.partitions == tuple(range(PARTITIONS))
        for partition in owner.partitions:
            committed = owner.committed(partition)
            assert (committed.partition, dict(committed.offsets), committed.state) == (partition, dict.fromkeys(EVENTS, 0), b"")
            assert list(owner.panes(partition)) == []
        owner.close()

    def test_a_commit_is_there_for_the_next_owner(self, log: Log) -> None:
        log.append(Stream.PREDICTIONS, [message() for _ in range(3)])
        with_state = commit(1, predictions=3, labels=0, panes={b"a": b"1", b"b\x00": b"\x002"}, state=b"\x00state")
        former = log.acquire()
        former.commit([with_state])
        former.close()
        owner = log.acquire()
        assert dict(owner.panes(1)) == {b"a": b"1", b"b\x00": b"\x002"}
        assert dict(owner.panes(0)) == {}
        assert owner.committed(1).state == b"\x00state"
        assert dict(owner.committed(1).offsets) == {Stream.PREDICTIONS: 3, Stream.LABELS: 0}
        assert owner.committed(0).state == b""
        owner.close()

    def test_panes_are_absolute_and_an_empty_value_removes_one(self, log: Log) -> None:
        owner = log.acquire()
        owner.commit([commit(panes={b"kept": b"1", b"changed": b"1", b"gone": b"1"})])
        owner.commit([commit(panes={b"changed": b"2", b"gone": b"", b"never there": b""})])
        assert dict(owner.panes(0)) == {b"kept": b"1", b"changed": b"2"}
        owner.close()

    def test_one_commit_covers_several_partitions(self, log: Log) -> None:
        owner = log.acquire()
        owner.commit([commit(0, panes={b"k": b"zero"}, state=b"0"), commit(1, panes={b"k": b"one"}, state=b"1")])
        assert [dict(owner.panes(partition)) for partition in (0, 1)] == [{b"k": b"zero"}, {b"k": b"one"}]
        assert [owner.committed(partition).state for partition in (0, 1)] == [b"0", b"1"]
        owner.close()

    def test_a_commit_of_nothing_is_fine(self, log: Log) -> None:
        owner = log.acquire()
        owner.commit([])
        owner.close()

    @pytest.mark.parametrize(
        "failing",
        [commit(1, panes=BreakingPanes(), state=b"new"), commit(PARTITIONS, state=b"new")],
        ids=["panes that break", "no such partition"],
    )
    def test_a_commit_that_fails_in_its_middle_leaves_nothing(self, log: Log, failing: Commit) -> None:
        owner = log.acquire()
        owner.commit([commit(0, predictions=1, panes={b"k": b"old"}, state=b"old", dead_letters=[letter()])])
        with pytest.raises((RuntimeError, LogError)):
            owner.commit([commit(0, 2, 2, {b"k": b"new", b"more": b"new"}, b"new", [letter()]), failing])
        assert dict(owner.panes(0)) == {b"k": b"old"}
        assert dict(owner.panes(1)) == {}
        assert owner.committed(0).state == b"old"
        assert dict(owner.committed(0).offsets) == {Stream.PREDICTIONS: 1, Stream.LABELS: 0}
        assert len(list(log.dead_letters(range(PARTITIONS)))) == 1
        owner.commit([commit(0, panes={b"k": b"newer"})])
        assert dict(owner.panes(0)) == {b"k": b"newer"}
        owner.close()

    def test_panes_that_are_being_read_are_those_of_one_commit(self, log: Log) -> None:
        owner = log.acquire()
        owner.commit([commit(panes={b"%d" % number: b"old" for number in range(100)})])
        reading = owner.panes(0)
        first = next(reading)
        owner.commit([commit(panes={b"%d" % number: b"new" for number in range(200)})])
        assert {value for _, value in [first, *reading]} == {b"old"}
        owner.close()

    # Ownership

    def test_a_displaced_owner_is_fenced_and_changes_nothing(self, log: Log) -> None:
        former = log.acquire()
        former.commit([commit(panes={b"k": b"1"}, state=b"1")])
        owner = log.acquire(displace=True)
        owner.commit([commit(panes={b"k": b"2"}, state=b"2")])
        for attempt in range(2):
            with pytest.raises(Fenced):
                former.commit([commit(0, 9, 9, {b"k": b"3", b"mine": b"3"}, b"3", [letter(offset=attempt)])])
        assert dict(owner.panes(0)) == {b"k": b"2"}
        assert owner.committed(0).state == b"2"
        assert owner.committed(0).offsets[Stream.PREDICTIONS] == 0
        assert list(log.dead_letters([0, 1])) == []
        former.close()
        owner.close()

    def test_an_owner_that_closed_is_fenced(self, log: Log) -> None:
        owner = log.acquire()
        owner.close()
        with pytest.raises(Fenced):
            owner.commit([commit(state=b"1")])

    def test_closing_a_displaced_owner_does_not_disturb_the_next(self, log: Log) -> None:
        former = log.acquire()
        owner = log.acquire(displace=True)
        former.close()
        owner.commit([commit(state=b"2")])
        assert owner.committed(0).state == b"2"
        owner.close()
