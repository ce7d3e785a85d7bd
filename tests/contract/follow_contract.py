"""What every log promises to whoever follows it; inherited beside `LogContract`, whose fixtures it uses."""

import threading
import time
from collections.abc import Iterator

import pytest

from monitor.errors import LogDamaged, LogError
from monitor.events import Stream
from monitor.log import Follower, Log, Message, Record
from tests.contract.log_contract import ALL, NOW, PARTITIONS, message, values

LONG_S = 20.0
"""More than any of these takes; a wait that is ended by what it waits for ends long before."""


def read_all(follower: Follower, stream: Stream, partition: int, count: int) -> list[Record]:
    """So many records, as soon as they are there."""
    records: list[Record] = []
    until = time.monotonic() + LONG_S
    while len(records) < count:
        read = follower.read(stream, partition, ALL)
        records += read
        if not read:
            assert time.monotonic() < until, f"{len(records)} of {count} records after {LONG_S} s"
            follower.wait(0.1)
    return records


class FollowContract:
    """Each test is one sentence of the protocol."""

    @pytest.fixture
    def follower(self, log: Log) -> Iterator[Follower]:
        follower = log.follow()
        yield follower
        follower.close()

    def test_a_follower_reads_on_from_where_it_was_placed(self, log: Log, follower: Follower) -> None:
        offsets = log.append(Stream.LABELS, [message(b"a"), message(b"b"), message(b"c")])
        follower.place(Stream.LABELS, 0, offsets[1])
        assert values(read_all(follower, Stream.LABELS, 0, 2)) == [b"b", b"c"]
        assert follower.read(Stream.LABELS, 0, ALL) == []

    def test_records_come_as_they_were_appended(self, log: Log, follower: Follower) -> None:
        headers = {"traceparent": "00-1", "kéy": "värde"}
        (offset,) = log.append(Stream.LABELS, [Message(1, NOW - 5, b"\x00\xff", "text/x", headers)])
        follower.place(Stream.LABELS, 1, 0)
        assert read_all(follower, Stream.LABELS, 1, 1) == [Record(offset, NOW - 5, b"\x00\xff", "text/x", headers)]

    def test_what_is_appended_later_is_read_too(self, log: Log, follower: Follower) -> None:
        follower.place(Stream.LABELS, 0, 0)
        assert follower.read(Stream.LABELS, 0, ALL) == []
        for value in (b"a", b"b"):
            log.append(Stream.LABELS, [message(value)])
            assert values(read_all(follower, Stream.LABELS, 0, 1)) == [value]

    def test_a_read_takes_one_record_however_large_then_what_fits(self, log: Log, follower: Follower) -> None:
        log.append(Stream.LABELS, [message(b"x" * 100) for _ in range(6)])
        follower.place(Stream.LABELS, 0, 0)
        follower.wait(LONG_S)
        assert [len(follower.read(Stream.LABELS, 0, limit)) for limit in (1, 299, 300)] == [1, 2, 3]

    def test_the_position_is_the_offset_of_the_next_record(self, log: Log, follower: Follower) -> None:
        offsets = log.append(Stream.LABELS, [message() for _ in range(3)])
        follower.place(Stream.LABELS, 0, offsets[1])
        assert follower.position(Stream.LABELS, 0) == offsets[1]
        follower.wait(LONG_S)
        assert follower.position(Stream.LABELS, 0) == offsets[1]
        follower.read(Stream.LABELS, 0, 1)
        assert follower.position(Stream.LABELS, 0) == offsets[2]
        read_all(follower, Stream.LABELS, 0, 1)
        assert follower.position(Stream.LABELS, 0) == log.end_offset(Stream.LABELS, 0)

    def test_streams_and_partitions_are_followed_apart(self, log: Log, follower: Follower) -> None:
        log.append(Stream.PREDICTIONS, [message(b"p0", 0), message(b"p1", 1)])
        log.append(Stream.LABELS, [message(b"l1", 1), message(b"l1 again", 1)])
        for stream in (Stream.PREDICTIONS, Stream.LABELS):
            for partition in range(PARTITIONS):
                follower.place(stream, partition, 0)
        assert values(read_all(follower, Stream.LABELS, 1, 2)) == [b"l1", b"l1 again"]
        assert values(read_all(follower, Stream.PREDICTIONS, 1, 1)) == [b"p1"]
        assert follower.read(Stream.LABELS, 0, ALL) == []
        assert values(read_all(follower, Stream.PREDICTIONS, 0, 1)) == [b"p0"]

    def test_the_ends_are_those_of_the_log(self, log: Log, follower: Follower) -> None:
        follower.place(Stream.LABELS, 0, 0)
        assert follower.ends(Stream.LABELS, 0).readable == 0
        log.append(Stream.LABELS, [message() for _ in range(3)])
        read_all(follower, Stream.LABELS, 0, 3)
        ends = follower.ends(Stream.LABELS, 0)
        assert ends.readable == ends.appended == log.end_offset(Stream.LABELS, 0)

    def test_the_ends_are_known_before_anything_is_read(self, log: Log, follower: Follower) -> None:
        log.append(Stream.LABELS, [message() for _ in range(3)])
        follower.place(Stream.LABELS, 0, 0)
        assert follower.ends(Stream.LABELS, 0).readable == log.end_offset(Stream.LABELS, 0)

    def test_it_can_be_placed_anew_backwards_and_forwards(self, log: Log, follower: Follower) -> None:
        offsets = log.append(Stream.LABELS, [message(b"a"), message(b"b"), message(b"c")])
        follower.place(Stream.LABELS, 0, 0)
        read_all(follower, Stream.LABELS, 0, 3)
        for start, expected in ((0, [b"a", b"b", b"c"]), (offsets[2], [b"c"])):
            follower.place(Stream.LABELS, 0, start)
            assert follower.position(Stream.LABELS, 0) == start
            assert values(read_all(follower, Stream.LABELS, 0, len(expected))) == expected

    def test_placed_beyond_the_end_it_says_that_records_are_gone(self, log: Log, follower: Follower) -> None:
        log.append(Stream.LABELS, [message()])
        end = log.end_offset(Stream.LABELS, 0)
        follower.place(Stream.LABELS, 0, end)
        with pytest.raises(LogDamaged, match=rf"labels-0 ends at the offset {end}, but was read up to {end + 1} before"):
            follower.place(Stream.LABELS, 0, end + 1)

    def test_being_placed_where_no_partition_is_names_it(self, follower: Follower) -> None:
        with pytest.raises(LogError, match=f"partition {PARTITIONS} does not exist"):
            follower.place(Stream.LABELS, PARTITIONS, 0)

    def test_a_partition_that_was_left_can_be_taken_up_again(self, log: Log, follower: Follower) -> None:
        log.append(Stream.LABELS, [message(b"0", 0), message(b"1", 1)])
        for partition in range(PARTITIONS):
            follower.place(Stream.LABELS, partition, 0)
        follower.leave(0)
        assert values(read_all(follower, Stream.LABELS, 1, 1)) == [b"1"]
        follower.leave(1)
        follower.place(Stream.LABELS, 0, 0)
        assert values(read_all(follower, Stream.LABELS, 0, 1)) == [b"0"]

    def test_followers_do_not_disturb_one_another(self, log: Log, follower: Follower) -> None:
        log.append(Stream.LABELS, [message(b"a")])
        other = log.follow()
        for one in (follower, other):
            one.place(Stream.LABELS, 0, 0)
        assert values(read_all(follower, Stream.LABELS, 0, 1)) == [b"a"]
        assert values(read_all(other, Stream.LABELS, 0, 1)) == [b"a"]
        other.close()

    def test_a_wait_ends_at_once_where_there_is_something(self, log: Log, follower: Follower) -> None:
        log.append(Stream.LABELS, [message()])
        follower.place(Stream.LABELS, 0, 0)
        began = time.monotonic()
        follower.wait(LONG_S)
        follower.wait(LONG_S)
        assert time.monotonic() - began < LONG_S
        assert len(follower.read(Stream.LABELS, 0, ALL)) == 1

    def test_a_wait_for_one_place_does_not_end_for_another(self, log: Log, follower: Follower) -> None:
        log.append(Stream.LABELS, [message()])
        follower.place(Stream.LABELS, 0, 0)
        follower.place(Stream.PREDICTIONS, 0, 0)
        follower.wait(LONG_S)
        began = time.monotonic()
        follower.wait(0.3, [(Stream.PREDICTIONS, 0)])
        assert time.monotonic() - began >= 0.29
        follower.wait(LONG_S, [(Stream.PREDICTIONS, 0), (Stream.LABELS, 0)])
        assert time.monotonic() - began < LONG_S

    def test_a_wait_ends_with_an_append_and_else_with_its_time(self, log: Log, follower: Follower) -> None:
        follower.place(Stream.LABELS, 0, 0)
        follower.wait(0.01)
        appending = threading.Timer(0.05, log.append, (Stream.LABELS, [message()]))
        appending.start()
        began = time.monotonic()
        follower.wait(LONG_S)
        appending.join()
        assert time.monotonic() - began < LONG_S
        assert len(follower.read(Stream.LABELS, 0, ALL)) == 1
