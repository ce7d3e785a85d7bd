"""What the Kafka log keeps in memory, and how it shares: fetched records, turns to send, clients. No broker is needed."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.errors import LogAway, LogError
from monitor.log import Record
from monitor.log.kafka.buffer import RECORD_BYTES, Buffer
from monitor.log.kafka.shared import Shared
from monitor.log.kafka.turns import Turns

# Buffer


def fitting(sizes: list[int], limit: int) -> int:
    """How many of the first ones a read takes, told the slow way."""
    count = 0
    while count < len(sizes) and (count == 0 or sum(sizes[: count + 1]) <= limit):
        count += 1
    return count


@given(st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=5), max_size=6), st.lists(st.integers(0, 40), min_size=1, max_size=20))
def test_a_buffer_gives_what_fits_in_order_however_it_came_in(chunks: list[list[int]], limits: list[int]) -> None:
    buffer = Buffer()
    waiting: list[Record] = []
    for sizes in chunks:
        chunk = [Record(len(waiting) + position, 0, b"x" * size) for position, size in enumerate(sizes)]
        waiting += chunk
        buffer.add(chunk)
    for limit in limits:
        taken = buffer.take(limit)
        expected = fitting([len(record.value) for record in waiting], limit)
        assert taken == waiting[:expected]
        waiting = waiting[expected:]
        assert bool(buffer) == bool(waiting)
        assert buffer.value_bytes == sum(len(record.value) for record in waiting)
        assert buffer.held_bytes == buffer.value_bytes + RECORD_BYTES * len(waiting)


# Turns


def test_what_does_not_fit_waits_for_what_is_under_way() -> None:
    turns = Turns(100, wait_seconds=20)
    order: list[str] = []

    def large() -> None:
        with turns.taken(80):
            order.append("large")

    with ThreadPoolExecutor(1) as pool:
        with turns.taken(60), turns.taken(40):
            waiting = pool.submit(large)
            order.append("before")
        waiting.result(20)
    assert order == ["before", "large"]


def test_what_is_larger_than_the_bound_goes_alone() -> None:
    turns = Turns(100, wait_seconds=0.01)
    with (
        turns.taken(1_000),
        pytest.raises(LogError, match=r"1000 bytes are under way .* nothing of this call was appended"),
        turns.taken(1),
    ):
        pytest.fail("there was no room")
    with turns.taken(1):
        pass


# Shared clients


class Client:
    def __init__(self) -> None:
        self.is_closed = False

    def close(self) -> None:
        self.is_closed = True


def shared(make: Callable[[], Client] = Client) -> Shared[Client]:
    return Shared(make, Client.close)


def test_a_client_is_made_once_for_all_who_need_it_at_the_same_time() -> None:
    made: list[Client] = []
    all_wait = threading.Barrier(5)

    def make() -> Client:
        all_wait.wait(20)
        made.append(Client())
        return made[-1]

    clients = shared(make)

    def use(first: bool) -> Client:
        if not first:
            all_wait.wait(20)
        with clients.lent() as client:
            return client

    with ThreadPoolExecutor(5) as pool:
        assert set(pool.map(use, [True, False, False, False, False])) == set(made)
    assert len(made) == 1


def test_a_making_that_fails_is_tried_again_by_the_next() -> None:
    outcomes: Iterator[LogError | Client] = iter([LogError("no broker"), Client()])

    def make() -> Client:
        outcome = next(outcomes)
        if isinstance(outcome, LogError):
            raise outcome
        return outcome

    clients = shared(make)
    with pytest.raises(LogError, match="no broker"), clients.lent():
        pytest.fail("there was none")
    with clients.lent() as client:
        assert not client.is_closed


def test_whoever_waited_for_a_making_that_failed_hears_the_same() -> None:
    clients = shared(Client)
    clients._current = Future()
    clients._current.set_exception(LogAway("no broker"))
    with pytest.raises(LogAway, match="no broker"), clients.lent():
        pytest.fail("there was none")


def test_a_client_that_was_given_up_is_closed_by_its_last_user() -> None:
    clients = shared()
    with ExitStack() as first, ExitStack() as second:
        client = first.enter_context(clients.lent())
        assert second.enter_context(clients.lent()) is client
        clients.give_up(client)
        with clients.lent() as another:
            assert another is not client
            clients.give_up(client)  # long replaced
        first.close()
        assert not client.is_closed
        second.close()
        assert client.is_closed
        assert not another.is_closed


def test_closing_closes_the_client_once_it_is_out_of_use_and_lends_no_more() -> None:
    clients = shared()
    with clients.lent() as client:
        clients.close()
        assert not client.is_closed
    assert client.is_closed
    with pytest.raises(LogError, match="closed"), clients.lent():
        pytest.fail("it was closed")


def test_a_client_that_is_finished_after_the_closing_is_closed_too() -> None:
    made: list[Client] = []

    def make() -> Client:
        clients.close()
        made.append(Client())
        return made[-1]

    clients = shared(make)
    with pytest.raises(LogError, match="closed"), clients.lent():
        pytest.fail("it was closed")
    assert made[0].is_closed
