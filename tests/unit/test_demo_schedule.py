"""The schedule sends what happened when it happened, and life's accidents end in the truth."""

from collections import defaultdict
from typing import Any

import numpy as np
import orjson

from monitor.demo.flights import HOUR_MS
from monitor.demo.recipe import CLASSES
from monitor.demo.schedule import Request, label_events, requests
from monitor.events import Stream
from tests.unit.demo_flights import FIRST_MS, some_flights

MANY = some_flights(minutes=[number // 2 for number in range(4_000)], late=[number % 3 % 2 for number in range(4_000)])


def labels_of(sent: list[Request]) -> list[dict[str, Any]]:
    return [label for request in sent if request.stream is Stream.LABELS for label in orjson.loads(request.body)]


def test_flights_of_one_minute_share_a_request_with_one_input_a_feature() -> None:
    request = next(iter(requests(some_flights(minutes=[0, 0, 1], late=[None, None, None]))))
    body = orjson.loads(request.body)
    assert body["parameters"] == {
        "ids": ["flight-0", "flight-1"],
        "times": [FIRST_MS, FIRST_MS],
        "features": {"dest": ["dest-0", "dest-1"]},
    }
    temp, carrier = body["inputs"][3], body["inputs"][9]
    assert temp == {"name": "temp", "shape": [2, 1], "datatype": "FP32", "data": [40.5, 40.5]}
    assert carrier == {"name": "carrier", "shape": [2, 1], "datatype": "BYTES", "data": ["carrier-0", "carrier-1"]}
    assert (request.due, request.events) == (FIRST_MS, 2)


def test_a_missing_number_is_null() -> None:
    request = next(iter(requests(some_flights(minutes=[0], late=[None], temp=float("nan")))))
    assert orjson.loads(request.body)["inputs"][3]["data"] == [None]


def test_numbers_are_written_as_the_float32_that_the_model_sees() -> None:
    request = next(iter(requests(some_flights(minutes=[0], late=[None], temp=39.02))))
    assert orjson.loads(request.body)["inputs"][3]["data"] == [float(np.float32(39.02))]


def test_everything_is_sent_in_the_order_of_event_time() -> None:
    due = [request.due for request in requests(MANY)]
    assert due == sorted(due)


def test_a_label_follows_every_prediction_of_an_earlier_time() -> None:
    predicted_until = 0
    for request in requests(MANY):
        if request.stream is Stream.PREDICTIONS:
            predicted_until = request.due
        else:
            newest = max(label["time"] for label in orjson.loads(request.body))
            departures = MANY.scheduled[MANY.scheduled < newest]
            assert predicted_until >= departures.max(initial=0)


def test_at_one_moment_the_labels_of_the_past_come_before_the_departures() -> None:
    half_hour_over = some_flights(minutes=[0, 150], late=[1, None])  # the first one lands 120 minutes later, in [120, 150)
    assert [request.stream for request in requests(half_hour_over)] == [Stream.PREDICTIONS, Stream.LABELS, Stream.PREDICTIONS]


def test_labels_come_in_the_order_of_their_own_times() -> None:
    times = [label["time"] for label in labels_of(list(requests(MANY)))]
    assert times == sorted(times)


def test_the_last_label_of_every_flight_is_the_truth() -> None:
    said: dict[str, str] = {}
    for label in labels_of(list(requests(MANY))):
        said[label["id"]] = label["label"]
    assert said == {str(name): CLASSES[late] for name, late in zip(MANY.ids, MANY.late, strict=True)}


def test_a_cancelled_flight_never_gets_a_label() -> None:
    sent = list(requests(some_flights(minutes=[0, 1], late=[None, 1])))
    assert [label["id"] for label in labels_of(sent)] == ["flight-1"]


def test_three_in_a_thousand_are_first_wrong_and_corrected_within_a_day() -> None:
    said: dict[int, list[tuple[int, int]]] = defaultdict(list)
    events = label_events(MANY)
    for flight, time, late in zip(events.flight.tolist(), events.time.tolist(), events.late.tolist(), strict=True):
        said[flight].append((time, late))
    corrected = {flight: words for flight, words in said.items() if len(words) > 1}
    assert 4 <= len(corrected) <= 24  # of 4,000; chosen by a hash of the id, so this never changes
    for flight, ((first, wrong), (second, right)) in corrected.items():
        assert (first, wrong, right) == (MANY.landed[flight], 1 - MANY.late[flight], MANY.late[flight])
        assert HOUR_MS <= second - first <= 24 * HOUR_MS


def test_two_in_a_thousand_come_before_their_prediction_but_not_too_early() -> None:
    events = label_events(MANY)
    ahead = MANY.scheduled[events.flight] - events.time
    assert 2 <= np.sum(ahead > 0) <= 20  # of 4,000
    assert ahead.max() <= 6 * HOUR_MS
