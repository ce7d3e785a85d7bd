"""The rate of each sender, on a clock that is moved by hand."""

from dataclasses import dataclass

import pytest

from monitor.serving.rates import Rates
from monitor.serving.refusals import TooBusy


@dataclass
class Seconds:
    now: float = 1_000.0

    def __call__(self) -> float:
        return self.now


def refused_for(rates: Rates, events: int, sender: str = "a") -> int:
    """The seconds that the sender is told to wait."""
    with pytest.raises(TooBusy) as refused:
        rates.take(sender, events)
    [(name, value)] = refused.value.headers
    assert name == b"retry-after"
    assert f"send this again in {value.decode()} s" in str(refused.value)
    return int(value)


def test_ten_seconds_worth_pass_at_once_and_then_the_rate() -> None:
    clock = Seconds()
    rates = Rates(5, clock)
    rates.take("a", 30)
    rates.take("a", 20)
    assert refused_for(rates, 1) == 1
    clock.now += 1
    rates.take("a", 5)
    assert refused_for(rates, 12) == 3
    clock.now += 3
    rates.take("a", 12)


def test_a_wait_of_as_long_as_was_told_is_enough() -> None:
    clock = Seconds(0.1)
    rates = Rates(3, clock)
    rates.take("a", 30)
    for events in (1, 7, 13, 30, 29):
        clock.now += refused_for(rates, events)
        rates.take("a", events)


def test_more_than_a_burst_passes_a_full_bucket_and_is_paid_off_afterwards() -> None:
    clock = Seconds()
    rates = Rates(1, clock)
    rates.take("a", 100)
    assert refused_for(rates, 1) == 91
    clock.now += 91
    rates.take("a", 1)
    assert refused_for(rates, 100) == 10


def test_a_long_silence_saves_up_no_more_than_a_burst() -> None:
    clock = Seconds()
    rates = Rates(1, clock)
    rates.take("a", 1)
    clock.now += 10_000
    rates.take("a", 10)
    assert refused_for(rates, 10) == 10


def test_a_refused_request_takes_nothing() -> None:
    rates = Rates(1, Seconds())
    rates.take("a", 5)
    for _ in range(3):
        assert refused_for(rates, 8) == 3
    rates.take("a", 5)


def test_senders_have_buckets_of_their_own() -> None:
    rates = Rates(1, Seconds())
    rates.take("a", 10)
    rates.take("b", 10)
    assert refused_for(rates, 1, "b") == 1


def test_whoever_is_over_the_rate_is_refused_before_any_work() -> None:
    clock = Seconds()
    rates = Rates(2, clock)
    rates.check("a")
    rates.take("a", 20)
    with pytest.raises(TooBusy, match=r"more than 2 events a second \(serving.doors.events_per_second\) came from this sender"):
        rates.check("a")
    clock.now += 0.5
    rates.check("a")
    rates.take("a", 1)


def test_a_rate_below_one_event_in_ten_seconds_holds_too() -> None:
    clock = Seconds()
    rates = Rates(0.01, clock)
    rates.take("a", 1)
    assert refused_for(rates, 1) == 100
    clock.now += 100
    rates.take("a", 1)


def test_the_number_of_buckets_is_bounded_and_the_idlest_goes_first() -> None:
    rates = Rates(1, Seconds(), senders_limit=2)
    for sender in ("a", "b"):
        rates.take(sender, 9)
    rates.take("a", 1)
    rates.take("c", 1)
    assert refused_for(rates, 1, "a") == 1
    rates.take("b", 10)
