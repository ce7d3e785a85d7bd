"""The SQLite log keeps the contract, also for what another handle on the same file sees."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from monitor.clock import ManualClock
from monitor.errors import OwnedElsewhere
from monitor.events import Stream
from monitor.log import Log
from monitor.log.embedded import EmbeddedLog
from tests.contract.dead_letter_contract import DeadLetterContract
from tests.contract.follow_contract import FollowContract
from tests.contract.log_contract import ALL, PARTITIONS, LogContract, MakeLog, commit, message, values
from tests.contract.retention_contract import RetentionContract


class TestEmbeddedLog(LogContract, FollowContract, DeadLetterContract, RetentionContract):
    @pytest.fixture
    def make_log(self, clock: ManualClock, tmp_path: Path) -> Iterator[MakeLog]:
        with ExitStack() as opened:

            def make(*, retention_ms: int | None = None, max_bytes: int | None = None) -> Log:
                log = EmbeddedLog(tmp_path / "log.db", partitions=PARTITIONS, clock=clock, retention_ms=retention_ms, max_bytes=max_bytes)
                opened.callback(log.close)
                return log

            yield make

    def test_a_live_owner_is_not_displaced_unasked_and_is_named(self, make_log: MakeLog) -> None:
        owner = make_log().acquire()
        with pytest.raises(OwnedElsewhere, match=r"log\.db\.owner: another daemon holds this log \(process \d+ on .+\)\. Stop it"):
            make_log().acquire()
        owner.commit([commit(state=b"still the owner")])
        owner.close()
        make_log().acquire().close()

    def test_what_one_handle_did_the_other_sees_and_a_later_one_too(self, make_log: MakeLog) -> None:
        log, other = make_log(), make_log()
        log.append(Stream.LABELS, [message(b"a")])
        other.append(Stream.LABELS, [message(b"b")])
        assert values(log.read(Stream.LABELS, 0, 0, ALL)) == [b"a", b"b"]
        owner = log.acquire()
        owner.commit([commit(0, labels=2, panes={b"k": b"v"}, state=b"s")])
        owner.close()
        log.close()
        other.close()
        owner = make_log().acquire()
        assert dict(owner.panes(0)) == {b"k": b"v"}
        assert owner.committed(0).state == b"s"
        owner.close()

    def test_its_identity_stays_with_the_file(self, make_log: MakeLog, tmp_path: Path, clock: ManualClock) -> None:
        first, again = make_log().identity, make_log().identity
        other = EmbeddedLog(tmp_path / "other.db", partitions=PARTITIONS, clock=clock)
        assert first == again != other.identity
        assert len(first) == 32
        other.close()
