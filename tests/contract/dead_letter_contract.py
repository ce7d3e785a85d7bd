"""What every log promises about dead letters; inherited beside `LogContract`, whose fixtures it uses."""

from monitor.events import Stream
from monitor.log import Log
from tests.contract.log_contract import ALL, PARTITIONS, commit, letter, values


class DeadLetterContract:
    """Each test is one sentence of the protocol."""

    def test_a_dead_letter_is_kept_whole(self, log: Log) -> None:
        owner = log.acquire()
        owner.commit([commit(1, dead_letters=[letter()])])
        assert list(log.dead_letters([1])) == [(1, letter())]
        assert list(log.dead_letters([0])) == []
        owner.close()

    def test_dead_letters_come_oldest_first_and_each_partition_in_its_order(self, log: Log) -> None:
        owner = log.acquire()
        owner.commit([commit(0, dead_letters=[letter(10), letter(30)]), commit(1, dead_letters=[letter(20)])])
        owner.commit([commit(1, dead_letters=[letter(40), letter(25)])])
        read = [(partition, one.timestamp) for partition, one in log.dead_letters(range(PARTITIONS))]
        assert read == [(0, 10), (1, 20), (0, 30), (1, 40), (1, 25)]
        owner.close()

    def test_dead_letters_are_read_as_a_stream_too(self, log: Log) -> None:
        owner = log.acquire()
        owner.commit([commit(0, dead_letters=[letter(value=b"1"), letter(value=b"2")])])
        assert values(log.read(Stream.DEAD_LETTERS, 0, 0, ALL)) == [b"1", b"2"]
        assert log.end_offset(Stream.DEAD_LETTERS, 0) > log.begin_offset(Stream.DEAD_LETTERS, 0)
        owner.close()
