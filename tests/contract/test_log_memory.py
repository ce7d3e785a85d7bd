"""The log in memory keeps the contract."""

import pytest

from monitor.clock import ManualClock
from monitor.log import Log
from monitor.log.memory import MemoryLog
from tests.contract.dead_letter_contract import DeadLetterContract
from tests.contract.follow_contract import FollowContract
from tests.contract.log_contract import PARTITIONS, LogContract, MakeLog
from tests.contract.retention_contract import RetentionContract


class TestMemoryLog(LogContract, FollowContract, DeadLetterContract, RetentionContract):
    @pytest.fixture
    def make_log(self, clock: ManualClock) -> MakeLog:
        def make(*, retention_ms: int | None = None, max_bytes: int | None = None) -> Log:
            return MemoryLog(partitions=PARTITIONS, clock=clock, retention_ms=retention_ms, max_bytes=max_bytes)

        return make

    def test_acquiring_displaces_as_if_the_former_owner_had_been_killed(self, log: Log) -> None:
        former = log.acquire()
        assert log.acquire().partitions == former.partitions
