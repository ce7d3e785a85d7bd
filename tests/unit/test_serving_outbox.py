"""The way to the log: straight, by way of the disk while the log is away or hangs, and what is lost where neither takes anything."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import orjson
import pytest

from monitor.clock import ManualClock
from monitor.codec.identity import partition_of
from monitor.errors import FutureTimestamp, LogAway, LogError, LogFull
from monitor.events import Stream
from monitor.log import JSON, Message
from monitor.serving import lane
from monitor.serving.accounts import LaneCounts, Loss, SpoolState
from monitor.serving.outbox import Outbox
from monitor.serving.parcels import Parcel
from monitor.serving.spool import queue as spool_queue
from monitor.serving.spool.slots import Spool

PATIENCE = 30.0
"""For another thread to do what it does at once."""

NOON = 1_362_139_200_000


@dataclass
class GatedLog:
    """Keeps the ids of events. Refuses with `error` while it is set; hangs while its gate is shut."""

    partitions: int = 1
    error: Exception | None = None
    ids: list[str] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    refused: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    entered: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    gate: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.gate.set()

    def append(self, stream: Stream, messages: Sequence[Message]) -> list[int]:
        self.entered.release()
        assert self.gate.wait(PATIENCE)
        if self.error is not None:
            error = self.error
            self.refused.release()
            raise error
        self.messages += messages
        self.ids += [event["id"] for message in messages for event in orjson.loads(message.value)]
        return list(range(len(messages)))


def parcel(*names: object, size: int = 0) -> Parcel:
    payload = orjson.dumps([{"id": str(name), "arrival": NOON} for name in names])
    return Parcel(JSON, payload.ljust(size), len(names), NOON)


def spool(root: Path, bytes_limit: int = 10_000_000) -> Spool:
    return Spool(root, slot=0, workers=1, bytes_limit=bytes_limit, clock=ManualClock(NOON))


@contextmanager
def sending(log: GatedLog, disk: Spool | None) -> Iterator[Outbox]:
    outbox = Outbox(log, disk)
    outbox.start()
    try:
        yield outbox
    finally:
        log.gate.set()
        outbox.stop(0.0)


def predictions(outbox: Outbox) -> LaneCounts:
    """Their counts, which add up whenever they are looked at."""
    counts = outbox.counts(Stream.PREDICTIONS)
    assert counts.accepted + counts.recovered == counts.written + sum(counts.lost.values()) + counts.waiting + counts.spooled
    return counts


def until(condition: Callable[[], object]) -> None:
    deadline = threading.Event()
    for _ in range(int(PATIENCE / 0.005)):
        if condition():
            return
        deadline.wait(0.005)
    pytest.fail("in vain")


def state_when_looked_after(outbox: Outbox) -> SpoolState:
    outbox.post(Stream.PREDICTIONS, ())
    return predictions(outbox).spool_state


def label(outbox: Outbox, *names: object) -> None:
    given = parcel(*names)
    outbox.append(Stream.LABELS, given.content_type, given.payload, given.rows, given.arrival)


@pytest.fixture(autouse=True)
def soon_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane, "RETRY_FIRST_SECONDS", 0.001)
    monkeypatch.setattr(lane, "RETRY_LAST_SECONDS", 0.005)


def test_while_the_log_takes_everything_nothing_touches_the_disk(tmp_path: Path) -> None:
    log = GatedLog()
    with sending(log, spool(tmp_path)) as outbox:
        for number in range(100):
            outbox.post(Stream.PREDICTIONS, [parcel(number)])
        label(outbox, "a")
        until(lambda: len(log.ids) == 101)
        assert list(tmp_path.rglob("*.seg")) == []
        assert predictions(outbox).spool_state is SpoolState.EMPTY
        assert [name for name in log.ids if name != "a"] == [str(number) for number in range(100)]
    assert predictions(outbox).written == 100


def test_while_the_log_is_away_everything_waits_on_disk_and_then_comes_in_order(tmp_path: Path) -> None:
    log = GatedLog(error=LogAway("nobody answers"))
    with sending(log, spool(tmp_path)) as outbox:
        for number in range(50):
            outbox.post(Stream.PREDICTIONS, [parcel(number, "too", size=1_000)])
        assert log.refused.acquire(timeout=PATIENCE)
        until(lambda: predictions(outbox).spooled == 100)
        counts = predictions(outbox)
        assert (counts.spool_state, counts.waiting, counts.written) == (SpoolState.HOLDING, 0, 0)
        assert counts.spooled_bytes > 50_000
        assert counts.oldest_spooled == NOON
        log.error = None
        until(lambda: predictions(outbox).written == 100)
        outbox.post(Stream.PREDICTIONS, [parcel("straight")])
        until(lambda: "straight" in log.ids)
        assert predictions(outbox).spool_state is SpoolState.EMPTY
    assert log.ids == [name for number in range(50) for name in (str(number), "too")] + ["straight"]


def test_what_comes_while_the_disk_is_being_emptied_goes_behind_it(tmp_path: Path) -> None:
    log = GatedLog(error=LogAway("nobody answers"))
    with sending(log, spool(tmp_path)) as outbox:
        outbox.post(Stream.PREDICTIONS, [parcel("first")])
        until(lambda: predictions(outbox).spooled == 1)
        log.gate.clear()
        log.error = None
        while log.entered.acquire(blocking=False):
            pass
        assert log.entered.acquire(timeout=PATIENCE), "the first one is under way"
        for number in range(5):
            outbox.post(Stream.PREDICTIONS, [parcel(number)])
        assert predictions(outbox).spooled == 6
        log.gate.set()
        until(lambda: predictions(outbox).written == 6)
    assert log.ids == ["first", "0", "1", "2", "3", "4"]


def test_an_append_that_hangs_holds_up_nobody_and_what_it_has_moves_to_disk_at_the_front(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane, "SPILL_SECONDS", 0.0)
    log = GatedLog()
    log.gate.clear()
    with sending(log, spool(tmp_path)) as outbox:
        outbox.post(Stream.PREDICTIONS, [parcel("hangs")])
        assert log.entered.acquire(timeout=PATIENCE)
        for number in range(5):
            outbox.post(Stream.PREDICTIONS, [parcel(number)])
        assert predictions(outbox).spooled == 6
        log.gate.set()
        until(lambda: predictions(outbox).written == 6)
        assert predictions(outbox).spooled == 0
    assert log.ids == ["hangs", "0", "1", "2", "3", "4"], "each once"


def test_what_waits_too_long_moves_to_disk_though_nothing_new_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = GatedLog()
    log.gate.clear()
    with sending(log, spool(tmp_path)) as outbox:
        outbox.post(Stream.PREDICTIONS, [parcel("hangs")])
        outbox.post(Stream.PREDICTIONS, ())
        assert predictions(outbox).waiting == 1
        monkeypatch.setattr(lane, "SPILL_SECONDS", 0.0)
        outbox.post(Stream.PREDICTIONS, ())
        assert predictions(outbox).spooled == 1


def test_the_next_process_sends_what_the_last_one_could_not(tmp_path: Path) -> None:
    away = GatedLog(error=LogAway("nobody answers"))
    with sending(away, spool(tmp_path)) as outbox:
        outbox.post(Stream.PREDICTIONS, [parcel(1, 2)])
        outbox.post(Stream.PREDICTIONS, [parcel(3)])
    counts = predictions(outbox)
    assert (counts.accepted, counts.written, sum(counts.lost.values())) == (3, 0, 0)
    log = GatedLog()
    with sending(log, spool(tmp_path)) as outbox:
        outbox.post(Stream.PREDICTIONS, [parcel("new")])
        until(lambda: len(log.ids) == 4)
        until(lambda: predictions(outbox).spooled == 0)
    counts = predictions(outbox)
    assert (counts.recovered, counts.accepted, counts.written) == (3, 1, 4)
    assert log.ids == ["1", "2", "3", "new"]


def test_rows_on_disk_go_to_the_partitions_there_are_when_they_are_sent(tmp_path: Path) -> None:
    names = [f"flight-{number}" for number in range(40)]
    with sending(GatedLog(partitions=1, error=LogAway("nobody answers")), spool(tmp_path)) as outbox:
        outbox.post(Stream.PREDICTIONS, [parcel(*names)])
    log = GatedLog(partitions=4)
    with sending(log, spool(tmp_path)):
        until(lambda: len(log.ids) == 40)
    assert len(log.messages) == 4
    for message in log.messages:
        of_message = [event["id"] for event in orjson.loads(message.value)]
        assert {partition_of(name, 4) for name in of_message} == {message.partition}
        assert of_message == [name for name in names if name in of_message]


def test_a_full_spool_and_a_full_memory_lose_the_newest_and_count_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane, "WAITING_BYTES", 20_000)
    log = GatedLog(error=LogAway("nobody answers"))
    with sending(log, spool(tmp_path, bytes_limit=64 * 4_096)) as outbox:
        for number in range(400):
            outbox.post(Stream.PREDICTIONS, [parcel(number, size=1_000)])
        counts = predictions(outbox)
        assert counts.spool_state is SpoolState.FULL
        kept = 400 - counts.lost[Loss.SPOOL_FULL]
        assert 200 < kept < 300
        assert counts.waiting == 20
        assert counts.spooled_bytes <= 64 * 4_096
        log.error = None
        until(lambda: predictions(outbox).written == kept)
        outbox.post(Stream.PREDICTIONS, [parcel("after")])
        until(lambda: "after" in log.ids)
        until(lambda: state_when_looked_after(outbox) is SpoolState.EMPTY)
    assert log.ids == [*(str(number) for number in range(kept)), "after"]


def test_what_waits_in_memory_does_not_overtake_what_has_just_moved_to_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It moves between the sender's look at the disk and its look at the memory."""
    monkeypatch.setattr(lane, "SPILL_SECONDS", 0.0)
    log = GatedLog()
    outbox = Outbox(log, spool(tmp_path, bytes_limit=64 * 4_096))
    for number in range(400):
        outbox.post(Stream.PREDICTIONS, [parcel(number, size=1_000)])
    counts = predictions(outbox)
    assert counts.spooled > 0
    assert counts.waiting > 0
    outbox._lanes[Stream.PREDICTIONS]._send_waiting()
    assert log.ids == []


def test_a_disk_that_fails_costs_what_memory_cannot_hold_and_is_used_again_when_it_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane, "WAITING_BYTES", 20_000)
    place = tmp_path / "spool"
    place.touch()
    log = GatedLog(error=LogAway("nobody answers"))
    with sending(log, spool(place)) as outbox:
        assert predictions(outbox).spool_state is SpoolState.FAILED
        for number in range(50):
            outbox.post(Stream.PREDICTIONS, [parcel(number, size=1_000)])
        counts = predictions(outbox)
        assert (counts.waiting, counts.lost[Loss.SPOOL_FAILED], counts.spool_state) == (20, 30, SpoolState.FAILED)
        place.unlink()
        outbox.post(Stream.PREDICTIONS, [parcel("again")])
        counts = predictions(outbox)
        assert (counts.waiting, counts.spooled, counts.spool_state) == (0, 21, SpoolState.HOLDING)
        log.error = None
        until(lambda: len(log.ids) == 21)
    assert log.ids == [*(str(number) for number in range(20)), "again"]


def test_a_disk_that_works_again_is_known_to_though_nothing_needs_it(tmp_path: Path) -> None:
    place = tmp_path / "spool"
    place.touch()
    with sending(GatedLog(), spool(place)) as outbox:
        assert state_when_looked_after(outbox) is SpoolState.FAILED
        place.unlink()
        until(lambda: state_when_looked_after(outbox) is SpoolState.EMPTY)
        assert [path for path in place.rglob("*/*/*") if path.name != "sent"] == []


def test_a_damaged_record_is_counted_and_the_others_are_sent(tmp_path: Path) -> None:
    with sending(GatedLog(error=LogAway("nobody answers")), spool(tmp_path)) as outbox:
        for number in range(5):
            outbox.post(Stream.PREDICTIONS, [parcel(number, f"{number}-too")])
    (file,) = tmp_path.rglob("*.seg")
    data = file.read_bytes()
    file.write_bytes(data.replace(b'"2-too"', b'"2-two"'))
    log = GatedLog()
    with sending(log, spool(tmp_path)) as outbox:
        until(lambda: predictions(outbox).spooled == 0)
    counts = predictions(outbox)
    assert (counts.recovered, counts.written, counts.lost[Loss.SPOOL_DAMAGED]) == (10, 8, 2)
    assert [name for name in log.ids if "-" not in name] == ["0", "1", "3", "4"]


def test_what_the_log_refuses_for_good_does_not_hold_up_what_comes_after_it(tmp_path: Path) -> None:
    class ChoosyLog(GatedLog):
        def append(self, stream: Stream, messages: Sequence[Message]) -> list[int]:
            if any(b"ahead" in message.value for message in messages):
                raise FutureTimestamp("more than an hour ahead")
            if any(b"bug" in message.value for message in messages):
                raise RuntimeError("a bug")
            return super().append(stream, messages)

    with sending(GatedLog(error=LogAway("nobody answers")), spool(tmp_path)) as outbox:
        outbox.post(Stream.PREDICTIONS, [parcel(name) for name in (1, "ahead", 2, "bug", 3)])
    log = ChoosyLog()
    with sending(log, spool(tmp_path)) as outbox:
        until(lambda: predictions(outbox).spooled == 0)
    assert log.ids == ["1", "2", "3"]
    assert predictions(outbox).lost[Loss.REFUSED] == 2


def test_without_a_spool_the_drain_has_to_wait_until_the_log_has_taken_what_waits() -> None:
    log = GatedLog(error=LogFull("full"))
    with sending(log, None) as outbox:
        assert outbox.has_room(Stream.PREDICTIONS)
        outbox.post(Stream.PREDICTIONS, [parcel(1), parcel(2)])
        assert not outbox.has_room(Stream.PREDICTIONS)
        assert predictions(outbox).spool_state is SpoolState.OFF
        log.error = None
        until(lambda: outbox.has_room(Stream.PREDICTIONS))
        until(lambda: log.ids == ["1", "2"])


def test_stopping_waits_for_a_log_that_is_about_to_take_what_is_left() -> None:
    log = GatedLog(error=LogFull("full"))
    outbox = Outbox(log)
    outbox.start()
    outbox.post(Stream.PREDICTIONS, [parcel(1)])
    assert log.refused.acquire(timeout=PATIENCE)
    threading.Timer(0.05, lambda: setattr(log, "error", None)).start()
    outbox.stop(PATIENCE)
    assert log.ids == ["1"]
    assert predictions(outbox).written == 1


def test_stopping_leaves_the_rest_on_disk_at_once_where_the_log_refuses_it(tmp_path: Path) -> None:
    log = GatedLog(error=LogAway("nobody answers"))
    outbox = Outbox(log, spool(tmp_path))
    outbox.start()
    outbox.post(Stream.PREDICTIONS, [parcel(1)])
    assert log.refused.acquire(timeout=PATIENCE)
    outbox.stop(10 * PATIENCE)
    assert predictions(outbox).spooled == 1


def test_what_is_in_a_hanging_append_when_it_is_stopped_is_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane, "LAST_TRY_SECONDS", 0.01)
    log = GatedLog()
    log.gate.clear()
    outbox = Outbox(log, spool(tmp_path))
    outbox.start()
    outbox.post(Stream.PREDICTIONS, [parcel(1), parcel(2)])
    assert log.entered.acquire(timeout=PATIENCE)
    outbox.stop(0.01)
    counts = predictions(outbox)
    log.gate.set()
    assert (counts.written, sum(counts.lost.values())) == (0, 0)
    later = GatedLog()
    with sending(later, spool(tmp_path)):
        until(lambda: later.ids == ["1", "2"])


class TestAppend:
    """What doors do: durable before it returns."""

    def test_a_log_that_answers_has_it(self, tmp_path: Path) -> None:
        log = GatedLog()
        with sending(log, spool(tmp_path)) as outbox:
            label(outbox, "a", "b")
            assert log.ids == ["a", "b"]
            assert outbox.counts(Stream.LABELS).written == 2

    @pytest.mark.parametrize("hangs", [False, True])
    def test_else_it_is_on_disk_before_it_returns_and_the_next_ones_do_not_ask_the_log(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, hangs: bool
    ) -> None:
        monkeypatch.setattr(lane, "PATIENCE_SECONDS", 0.01)
        monkeypatch.setattr(lane, "RETRY_FIRST_SECONDS", 1_000.0)
        synced = []
        monkeypatch.setattr(spool_queue.DiskQueue, "sync", lambda _queue, mark: synced.append(mark))
        log = GatedLog(error=None if hangs else LogAway("nobody answers"))
        if hangs:
            log.gate.clear()
        with sending(log, spool(tmp_path)) as outbox:
            for number in range(10):
                label(outbox, number)
                assert len(synced) == number + 1
            assert outbox.counts(Stream.LABELS).spooled == 10
            assert log.entered.acquire(timeout=PATIENCE)
            assert not log.entered.acquire(blocking=False), "one try in all"

    def test_labels_on_disk_are_sent_in_their_order(self, tmp_path: Path) -> None:
        log = GatedLog(error=LogAway("nobody answers"))
        with sending(log, spool(tmp_path)) as outbox:
            for number in range(20):
                label(outbox, number)
            log.error = None
            until(lambda: outbox.counts(Stream.LABELS).spooled == 0)
            label(outbox, "straight")
        assert log.ids == [*map(str, range(20)), "straight"]

    def test_while_any_wait_on_disk_the_next_ones_go_behind_them(self, tmp_path: Path) -> None:
        log = GatedLog(error=LogAway("nobody answers"))
        with sending(log, spool(tmp_path)) as outbox:
            label(outbox, 1)
            log.gate.clear()
            log.error = None
            while log.entered.acquire(blocking=False):
                pass
            assert log.entered.acquire(timeout=PATIENCE), "the first one is under way"
            label(outbox, 2)
            assert not log.entered.acquire(blocking=False), "the second one is not"
            log.gate.set()
            until(lambda: log.ids == ["1", "2"])

    def test_none_overtakes_what_waits_for_room_on_disk(self, tmp_path: Path) -> None:
        log = GatedLog(error=LogAway("nobody answers"))
        with sending(log, spool(tmp_path, bytes_limit=64 * 4_096)) as outbox:
            while predictions(outbox).spool_state is not SpoolState.FULL:
                outbox.post(Stream.PREDICTIONS, [parcel("large", size=1_000)])
            small = parcel("small")
            with pytest.raises(LogFull):
                outbox.append(Stream.PREDICTIONS, small.content_type, small.payload, small.rows, small.arrival)

    def test_where_neither_takes_it_that_is_told(self, tmp_path: Path) -> None:
        place = tmp_path / "spool"
        place.touch()
        log = GatedLog(error=LogAway("nobody answers"))
        with sending(log, spool(place)) as outbox:
            with pytest.raises(LogError, match="the spool cannot be made there"):
                label(outbox, "refused")
            log.error = None
            until(lambda: taken(outbox, "later"))
        assert log.ids == ["later"]
        assert outbox.counts(Stream.LABELS).accepted == 1

    def test_a_failed_sync_is_told(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def failing(_queue: object, _mark: object) -> None:
            raise LogError("cannot be synced")

        with sending(GatedLog(error=LogAway("nobody answers")), spool(tmp_path)) as outbox, monkeypatch.context() as broken:
            broken.setattr(spool_queue.DiskQueue, "sync", failing)
            with pytest.raises(LogError, match="cannot be synced"):
                label(outbox, "a")

    def test_what_the_log_never_takes_is_told(self, tmp_path: Path) -> None:
        with sending(GatedLog(error=FutureTimestamp("ahead")), spool(tmp_path)) as outbox:
            with pytest.raises(FutureTimestamp):
                label(outbox, "a")
            assert outbox.counts(Stream.LABELS).spooled == 0

    def test_without_a_spool_the_log_alone_decides(self) -> None:
        log = GatedLog(error=LogAway("nobody answers"))
        with sending(log, None) as outbox:
            with pytest.raises(LogAway):
                label(outbox, "a")
            log.error = None
            label(outbox, "b")
        assert log.ids == ["b"]


def taken(outbox: Outbox, name: str) -> bool:
    try:
        label(outbox, name)
    except LogError:
        return False
    return True
