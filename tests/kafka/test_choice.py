"""Which Kafka the environment asks for."""

import pytest

from tests.kafka.choice import VARIABLE, described, given, required


def test_a_broker_that_runs_already_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "somewhere:9092")
    assert given() == "somewhere:9092"
    assert described() == "the broker at somewhere:9092"
    assert not required()


@pytest.mark.parametrize("asked", ["", None])
def test_nothing_asked_is_nothing_required(monkeypatch: pytest.MonkeyPatch, asked: str | None) -> None:
    monkeypatch.setenv(VARIABLE, asked) if asked is not None else monkeypatch.delenv(VARIABLE, raising=False)
    assert given() is None
    assert not required()


def test_required_names_no_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "required")
    assert given() is None
    assert required()
