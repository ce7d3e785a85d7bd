"""What every log promises about retention that it runs itself; inherited beside `LogContract`, whose fixtures it uses."""

from typing import Protocol

import pytest

from monitor.errors import LogFull
from monitor.events import Stream
from monitor.log import Log
from tests.contract.log_contract import ALL, EVENTS, NOW, PARTITIONS, commit, letter, message, values


class RetainingLog(Log, Protocol):
    """One that removes old records itself, as it goes and when it is told to."""

    def remove_retained(self) -> int: ...


class MakeRetainingLog(Protocol):
    """See `MakeLog`."""

    def __call__(self, *, retention_ms: int | None = None, max_bytes: int | None = None) -> RetainingLog: ...


class RetentionContract:
    """Each test is one sentence of the protocol."""

    def test_the_age_limit_counts_from_the_newest_record_of_its_partition(self, make_log: MakeRetainingLog) -> None:
        log = make_log(retention_ms=100)
        for stream in EVENTS:
            log.append(stream, [message(f"{time}".encode(), 0, time) for time in (0, 99, 100, 200)] + [message(b"old", 1, 0)])
        owner = log.acquire()
        owner.commit([commit(0, 4, 4), commit(1, 1, 1)])
        log.remove_retained()
        for stream in EVENTS:
            assert values(log.read(stream, 0, 0, ALL)) == [b"100", b"200"]
            assert values(log.read(stream, 1, 0, ALL)) == [b"old"]
        owner.close()

    def test_what_is_not_committed_is_never_removed(self, make_log: MakeRetainingLog) -> None:
        log = make_log(retention_ms=100)
        log.append(Stream.LABELS, [message(b"%d" % number, timestamp=number) for number in range(3)] + [message(b"new", timestamp=1000)])
        assert log.remove_retained() == 0
        owner = log.acquire()
        owner.commit([commit(0, predictions=4, labels=2)])
        log.remove_retained()
        assert values(log.read(Stream.LABELS, 0, 0, ALL)) == [b"2", b"new"]
        owner.close()

    def test_retention_tells_how_many_records_went(self, make_log: MakeRetainingLog) -> None:
        log = make_log(retention_ms=100)
        owner = log.acquire()
        owner.commit([commit(0, predictions=3, labels=3)])
        log.append(Stream.LABELS, [message(timestamp=0), message(timestamp=0), message(timestamp=1000)])
        assert log.remove_retained() == 2
        assert log.remove_retained() == 0
        owner.close()

    def test_only_the_oldest_go_a_late_record_behind_a_newer_one_stays(self, make_log: MakeRetainingLog) -> None:
        log = make_log(retention_ms=100)
        log.append(Stream.LABELS, [message(b"%d" % time, timestamp=time) for time in (0, 950, 1, 1000)])
        owner = log.acquire()
        owner.commit([commit(0, labels=4)])
        log.remove_retained()
        assert values(log.read(Stream.LABELS, 0, 0, ALL)) == [b"950", b"1", b"1000"]
        owner.close()

    def test_reading_from_an_offset_that_is_gone_starts_at_the_oldest_there(self, make_log: MakeRetainingLog) -> None:
        log = make_log(retention_ms=100)
        offsets = log.append(Stream.LABELS, [message(timestamp=0), message(timestamp=0), message(b"first left", timestamp=1000)])
        owner = log.acquire()
        owner.commit([commit(0, labels=3)])
        log.remove_retained()
        (record,) = log.read(Stream.LABELS, 0, 0, ALL)
        assert (record.offset, record.value) == (offsets[2], b"first left")
        assert log.begin_offset(Stream.LABELS, 0) == offsets[2]
        assert log.offset_for_time(Stream.LABELS, 0, 0) == offsets[2]
        owner.close()

    def test_offsets_and_the_newest_timestamp_survive_the_removal_of_everything(self, make_log: MakeRetainingLog) -> None:
        log = make_log(retention_ms=100, max_bytes=1_000_000)
        owner = log.acquire()
        log.append(Stream.LABELS, [message(b"x" * 700_000, timestamp=NOW)])
        owner.commit([commit(0, labels=1)])
        log.append(Stream.PREDICTIONS, [message(b"y" * 700_000, timestamp=NOW)])  # takes the room of the label
        assert log.read(Stream.LABELS, 0, 0, ALL) == []
        assert log.begin_offset(Stream.LABELS, 0) == log.end_offset(Stream.LABELS, 0) == 1
        assert log.newest_timestamp(Stream.LABELS, 0) == NOW
        assert log.offset_for_time(Stream.LABELS, 0, 0) == 1
        assert log.append(Stream.LABELS, [message(b"next", timestamp=5)]) == [1]
        assert log.offset_for_time(Stream.LABELS, 0, 5) == 1
        assert log.offset_for_time(Stream.LABELS, 0, 6) == 2  # although a record that is gone was newer
        owner.close()

    def test_a_full_log_removes_what_is_committed_and_else_refuses_all_of_an_append(self, make_log: MakeRetainingLog) -> None:
        log = make_log(max_bytes=2_000_000)

        def append_much() -> None:
            for number in range(100):
                log.append(Stream.PREDICTIONS, [message(b"x" * 100_000, timestamp=number)])

        with pytest.raises(LogFull, match="refused"):
            append_much()
        full_at = log.end_offset(Stream.PREDICTIONS, 0)
        assert 10 <= full_at <= 20
        with pytest.raises(LogFull):
            log.append(Stream.LABELS, [message(b"small"), message(b"y" * 1_500_000)])
        assert log.end_offset(Stream.LABELS, 0) == 0
        owner = log.acquire()
        owner.commit([commit(0, predictions=full_at)])
        log.append(Stream.PREDICTIONS, [message(b"newest")] + [message(b"x" * 100_000) for _ in range(3)])
        left = log.read(Stream.PREDICTIONS, 0, 0, ALL)
        assert 0 < left[0].timestamp < full_at  # the oldest went, and no more than was needed
        assert left[-4].value == b"newest"
        owner.close()

    def test_a_message_larger_than_the_log_is_refused(self, make_log: MakeRetainingLog) -> None:
        log = make_log(max_bytes=1_000_000)
        with pytest.raises(LogFull):
            log.append(Stream.PREDICTIONS, [message(b"x" * 1_500_000)])
        assert log.end_offset(Stream.PREDICTIONS, 0) == 0

    def test_a_full_log_takes_commits(self, make_log: MakeRetainingLog) -> None:
        log = make_log(max_bytes=1_000_000)
        log.append(Stream.PREDICTIONS, [message(b"x" * 800_000)])
        owner = log.acquire()
        owner.commit([commit(panes={b"k": b"v" * 500_000}, state=b"s")])
        assert owner.committed(0).state == b"s"
        owner.close()

    def test_dead_letters_are_bounded_in_age_and_size_and_the_newest_stays(self, make_log: MakeRetainingLog) -> None:
        log = make_log(retention_ms=100, max_bytes=10_000_000)
        owner = log.acquire()
        owner.commit([commit(0, dead_letters=[letter(0, b"old"), letter(1000, b"new")])])
        log.remove_retained()
        assert [one.value for _, one in log.dead_letters([0])] == [b"new"]
        owner.commit([commit(0, dead_letters=[letter(1000, b"x" * 100_000) for _ in range(30)])])
        held = list(log.dead_letters([0]))
        share = 10_000_000 // 10 // PARTITIONS
        assert share - 100_000 < sum(len(one.value) for _, one in held) <= share
        owner.commit([commit(0, dead_letters=[letter(1000, b"y" * 3_000_000)])])
        assert [one.value[:1] for _, one in log.dead_letters([0])] == [b"y"]
        owner.close()
