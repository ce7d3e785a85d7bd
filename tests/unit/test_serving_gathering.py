"""Single events that wait at the same time go together, and what becomes of one is nothing to the others."""

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import orjson
import pytest

from monitor.clock import ManualClock
from monitor.errors import LogFull
from monitor.events import Stream
from monitor.log import Message
from monitor.serving.gathering import Gathering
from monitor.serving.rates import Rates
from monitor.serving.refusals import Forbidden, TooBusy, Unavailable
from monitor.serving.taking import ANYBODY, PATIENCE_MS, Sender, Single
from monitor.serving.tokens import Grant
from tests.unit.door_parts import events, label_door, label_taking
from tests.unit.serving_models import NOON, ListLog

PATIENCE_SECONDS = 10.0


@dataclass
class Calls:
    """What was called together; calls wait until they may go on."""

    made: list[list[int]] = field(default_factory=list)
    go_on: threading.Event = field(default_factory=threading.Event)

    def __call__(self, items: Sequence[int]) -> list[int | Exception]:
        self.go_on.wait(PATIENCE_SECONDS)
        self.made.append(list(items))
        if 13 in items:
            raise ZeroDivisionError
        return [ValueError(item) if item < 0 else 10 * item for item in items]


def gathered(calls: Calls, items: Sequence[int], *, together: int = 100) -> list[object]:
    async def run() -> list[object]:
        with ThreadPoolExecutor(1) as threads:
            gathering = Gathering[int, int](calls, threads, under_way=1, together=together)
            waiting = [asyncio.create_task(gathering.call(item)) for item in items]
            await asyncio.sleep(0)
            calls.go_on.set()
            return list(await asyncio.gather(*waiting, return_exceptions=True))

    return asyncio.run(run())


def test_the_first_goes_at_once_and_those_that_come_meanwhile_go_together() -> None:
    calls = Calls()
    assert gathered(calls, [1, 2, 3, 4]) == [10, 20, 30, 40]
    assert calls.made == [[1], [2, 3, 4]]


def test_no_more_go_together_than_may() -> None:
    calls = Calls()
    assert gathered(calls, range(6), together=2) == [0, 10, 20, 30, 40, 50]
    assert calls.made == [[0], [1, 2], [3, 4], [5]]


def test_an_error_is_the_one_callers_and_a_failure_all_of_theirs() -> None:
    first, second, third = gathered(Calls(), [1, -2, 3])
    assert (first, repr(second), third) == (10, "ValueError(-2)", 30)
    outcomes = gathered(Calls(), [1, 2, 13, 4])
    assert outcomes[0] == 10
    assert [type(outcome) for outcome in outcomes[1:]] == [ZeroDivisionError] * 3


def test_callers_that_go_away_and_threads_that_stop_leave_nobody_waiting() -> None:
    calls = Calls()
    errors: list[dict[str, object]] = []

    async def run() -> list[object]:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
        with ThreadPoolExecutor(1) as threads:
            gathering = Gathering[int, int](calls, threads, under_way=2, together=1)
            gone, cut_off = (asyncio.create_task(gathering.call(item)) for item in (1, 2))
            await asyncio.sleep(0)
            gone.cancel()
            threads.shutdown(wait=False, cancel_futures=True)
            calls.go_on.set()
            return list(await asyncio.wait_for(asyncio.gather(gone, cut_off, return_exceptions=True), PATIENCE_SECONDS))

    assert [type(outcome) for outcome in asyncio.run(run())] == [asyncio.CancelledError] * 2
    assert calls.made == [[1]]
    assert errors == []


GOOD = b'{"id": "%b", "label": "late", "model": "flights"}'
FLIGHTS, TRAINS = (Sender(Grant(frozenset({model}), model), model) for model in ("flights", "trains"))


def single(body: bytes, sender: Sender = ANYBODY, arrived: int = NOON) -> Single:
    return Single(body, sender, arrived)


def told(outcome: int | Exception) -> str:
    assert isinstance(outcome, Exception)
    return f"{type(outcome).__name__}: {outcome}"


def test_good_ones_become_one_record() -> None:
    log = ListLog()
    assert label_taking(log).each([single(GOOD % b"a"), single(GOOD % b"b"), single(GOOD % b"c")]) == [1, 1, 1]
    assert len(log.messages) == 1
    assert [event["id"] for event in events(log)] == ["a", "b", "c"]


@pytest.mark.parametrize("bad", [b"{", b'{"id": ""}', b'{"id": "b", "label": "lost"}', b'{"id": "b", "label": "late"}, {}'])
def test_a_bad_one_is_refused_by_itself(bad: bytes) -> None:
    log = ListLog()
    first, second, third = label_taking(log).each([single(GOOD % b"a"), single(bad), single(GOOD % b"c")])
    assert (first, third) == (1, 1)
    assert told(second).startswith("BadRequest: nothing was taken, since 1 of the labels cannot be used: event 0: ")
    assert [event["id"] for event in events(log)] == ["a", "c"]


def test_each_ones_token_rate_and_patience_are_its_own() -> None:
    log = ListLog()
    clock = ManualClock(NOON)
    taking = label_taking(log, clock=clock, rates=Rates(0.1, lambda: 0.0))
    outcomes = taking.each(
        [
            single(GOOD % b"a", FLIGHTS),
            single(GOOD % b"b", TRAINS),
            single(GOOD % b"c", FLIGHTS),
            single(GOOD % b"d", arrived=NOON - PATIENCE_MS - 1),
            single(GOOD % b"e"),
        ]
    )
    assert [type(outcome) for outcome in outcomes] == [int, Forbidden, TooBusy, Unavailable, int]
    assert [event["id"] for event in events(log)] == ["a", "e"]
    assert taking.each([single(GOOD % b"f", FLIGHTS), single(GOOD % b"g", TRAINS)])[0] != 1


def test_each_is_stamped_with_its_own_arrival() -> None:
    log = ListLog()
    label_taking(log, clock=ManualClock(NOON + 9)).each([single(GOOD % b"a", arrived=NOON + 5), single(GOOD % b"b", arrived=NOON + 7)])
    assert [event["arrival"] for event in events(log)] == [NOON + 5, NOON + 7]
    trusting = ListLog()
    ahead, own = b'{"id": "x", "label": "late", "time": %d}' % (NOON + 4_000_000), b'{"id": "y", "label": "late", "time": %d}' % (NOON - 3)
    outcomes = label_taking(trusting, trusts=True).each([single(ahead), single(own)])
    assert "event 0 arrived more than an hour ahead" in told(outcomes[0])
    assert [(event["id"], event["arrival"]) for event in events(trusting)] == [("y", NOON - 3)]


def test_one_that_no_record_can_hold_is_refused_by_itself() -> None:
    log = ListLog()
    deep = b'{"id": "b", "label": "late", "deep": ' + b"[" * 1_000 + b"]" * 1_000 + b"}"
    outcomes = label_taking(log).each([single(GOOD % b"a"), single(deep), single(GOOD % b"c")])
    assert (outcomes[0], outcomes[2]) == (1, 1)
    assert "nest it less" in told(outcomes[1])
    assert [event["id"] for event in events(log)] == ["a", "c"]


def test_a_log_that_refuses_refuses_all_of_them() -> None:
    outcomes = label_taking(ListLog(error=LogFull("the log is full"))).each([single(GOOD % b"a"), single(GOOD % b"b")])
    assert [told(outcome) for outcome in outcomes] == ["Unavailable: not taken, send all of it again: the log is full"] * 2


@dataclass
class StuckLog(ListLog):
    """Appends wait until `go` is set."""

    go: threading.Event = field(default_factory=threading.Event)

    def append(self, stream: Stream, messages: Sequence[Message]) -> list[int]:
        self.go.wait(PATIENCE_SECONDS)
        return super().append(stream, messages)


def test_a_door_takes_those_together_that_wait_for_the_log() -> None:
    log = StuckLog()
    door = label_door(log)

    async def run() -> list[int]:
        waiting = [asyncio.create_task(door.accept(GOOD % b"%d" % number)) for number in range(50)]
        await asyncio.sleep(0)
        log.go.set()
        return list(await asyncio.gather(*waiting))

    assert asyncio.run(run()) == [1] * 50
    assert sorted(len(orjson.loads(message.value)) for _, message in log.messages) == [1, 1, 48]
