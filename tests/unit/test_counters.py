"""What a partition remembers beside panes and join: to bytes and back, and without a model that is gone."""

import json

import pytest

from monitor.counters import Counters, Seen
from monitor.errors import LogError
from monitor.events import Outcome, Stream


def filled() -> Counters:
    counters = Counters()
    counters.events[Stream.PREDICTIONS, "late", Outcome.ACCEPTED] = 7
    counters.events[Stream.PREDICTIONS, "", Outcome.UNDECODABLE] = 2
    counters.events[Stream.LABELS, "other", Outcome.OUT_OF_ORDER] = 1
    counters.unknown_keys[Stream.LABELS] = 3
    counters.predictions = {("late", "1"): Seen(10, 20), ("other", "1"): Seen(5, 5)}
    counters.labels = {"late": Seen(11, 30), "": Seen(1, 2)}
    counters.newest = {Stream.PREDICTIONS: 20, Stream.LABELS: 30}
    counters.watermarks = {Stream.PREDICTIONS: 25}
    counters.segments = {"late": {"carrier": ["UA", 'a"<b>,=\\']}, "other": {}}
    counters.versions = [("late", "1"), ("other", "1"), ("late", "2")]
    counters.pairs = {"late": {"joined": 4}, "": {"orphaned": 1}}
    return counters


def test_a_round_trip_is_lossless() -> None:
    assert Counters.from_bytes(filled().to_bytes()) == filled()


def test_a_partition_that_never_committed_has_counted_nothing() -> None:
    assert Counters.from_bytes(b"") == Counters()


def test_equal_counters_are_equal_bytes_whatever_order_events_came_in() -> None:
    forth, back = Counters(), Counters()
    keys = [(Stream.PREDICTIONS, "a", Outcome.ACCEPTED), (Stream.LABELS, "b", Outcome.INVALID)]
    for counters, order in ((forth, keys), (back, keys[::-1])):
        for key in order:
            counters.events[key] += 1
    assert forth.to_bytes() == back.to_bytes()


@pytest.mark.parametrize(
    "damage",
    [
        b"{",
        b"[]",
        b"null",
        b"\xff",
        b'{"format": 1}',
        filled().to_bytes().replace(b"accepted", b"approved"),
        filled().to_bytes().replace(b'"unknown_keys": {"labels": 3}', b'"unknown_keys": [3]'),
        filled().to_bytes().replace(b'"labels": {"late": [11, 30]', b'"labels": {"late": [11]'),
    ],
)
def test_what_is_corrupt_is_refused_with_the_remedy(damage: bytes) -> None:
    with pytest.raises(LogError, match="restore the log from a copy, or start a new one"):
        Counters.from_bytes(damage)


def test_the_state_of_another_version_names_both() -> None:
    state = json.dumps({**json.loads(filled().to_bytes()), "format": 2}).encode()
    with pytest.raises(LogError, match="format 2, expected 1"):
        Counters.from_bytes(state)


def test_a_span_reaches_both_ways() -> None:
    seen = Seen(10, 20)
    seen.reach(15, 30)
    seen.reach(5, 6)
    assert seen == Seen(5, 30)


def test_forgetting_a_model_leaves_the_others_and_the_codes_of_versions() -> None:
    counters = filled()
    counters.forget("late")
    assert counters.events == {(Stream.PREDICTIONS, "", Outcome.UNDECODABLE): 2, (Stream.LABELS, "other", Outcome.OUT_OF_ORDER): 1}
    assert set(counters.predictions) == {("other", "1")}
    assert (set(counters.labels), set(counters.segments), set(counters.pairs)) == ({""}, {"other"}, {""})
    assert counters.versions == filled().versions
    assert counters.watermarks == filled().watermarks
