"""Threads that wait for the log: outcomes come back, and a stop waits for none that hangs."""

from concurrent.futures import CancelledError
from threading import Event, get_ident

import pytest

from monitor.serving import waiting
from monitor.serving.waiting import WaitingThreads

PATIENCE_SECONDS = 10.0


def test_outcomes_and_errors_come_back_from_another_thread() -> None:
    with WaitingThreads(2, "door") as threads:
        assert threads.submit(divmod, 7, 2).result(PATIENCE_SECONDS) == (3, 1)
        assert threads.submit(get_ident).result(PATIENCE_SECONDS) != get_ident()
        with pytest.raises(ZeroDivisionError):
            threads.submit(divmod, 7, 0).result(PATIENCE_SECONDS)
        assert threads.submit(divmod, 9, 2).result(PATIENCE_SECONDS) == (4, 1)


def test_a_stop_waits_for_what_ends_soon() -> None:
    begun, go_on = Event(), Event()
    threads = WaitingThreads(1, "door")

    def append() -> str:
        begun.set()
        go_on.wait(PATIENCE_SECONDS)
        return "durable"

    outcome = threads.submit(append)
    begun.wait(PATIENCE_SECONDS)
    go_on.set()
    threads.shutdown()
    assert outcome.done()
    assert outcome.result() == "durable"


def test_a_stop_cancels_what_waits_and_leaves_what_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "PATIENCE_SECONDS", 0.01)
    begun, never = Event(), Event()
    threads = WaitingThreads(1, "door")

    def hang() -> None:
        begun.set()
        never.wait(PATIENCE_SECONDS)

    hanging, behind = threads.submit(hang), threads.submit(divmod, 7, 2)
    begun.wait(PATIENCE_SECONDS)
    threads.shutdown()
    assert not hanging.done()
    with pytest.raises(CancelledError):
        behind.result(0)
    never.set()
    assert hanging.result(PATIENCE_SECONDS) is None
