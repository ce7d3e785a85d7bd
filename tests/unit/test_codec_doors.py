"""JSON at the doors: events as sent, or which of them are wrong and why."""

import orjson

from monitor.codec.events_json import parse_labels_json, parse_predictions_json
from tests.unit.codec_events import SCHEMAS, label, prediction


def test_a_good_body_is_its_events_as_they_were_sent() -> None:
    events = [prediction(id="a", note="kept"), prediction(id="b")]
    parsed = parse_predictions_json([orjson.dumps(events)], SCHEMAS)
    assert (parsed.events, parsed.errors) == (events, [])
    assert parse_predictions_json([orjson.dumps(events[0])], SCHEMAS).events == events[:1]
    assert parse_labels_json([orjson.dumps(label())], SCHEMAS, True).events == [label()]


def test_bad_events_are_named_by_their_positions() -> None:
    body = [label(), label(id=""), 7, label(label="never"), label(model=...)]
    assert parse_labels_json([orjson.dumps(body)], SCHEMAS, True).errors == [
        (1, "id is ''; expected a text of 1 to 512 bytes"),
        (2, "an event has to be a JSON object; this is a number"),
        (3, "label is 'never', no class of model 'flights'"),
        (4, "model is missing; several are configured, so a label has to say which it answers"),
    ]
    assert parse_predictions_json([orjson.dumps([prediction(), prediction(model="trains")])], SCHEMAS).errors == [
        (1, "no model named 'trains' is configured")
    ]


def test_a_body_that_holds_no_events_is_one_error() -> None:
    for body in (b"", b"[]", b"7", b"{"):
        for parsed in (parse_predictions_json([body], SCHEMAS), parse_labels_json([body], SCHEMAS, False)):
            assert parsed.events == []
            assert [position for position, _ in parsed.errors] == [0]


def test_bodies_of_one_event_each_are_counted_as_the_events_of_an_array_are() -> None:
    lines = [orjson.dumps(label(id="a")), b"{", orjson.dumps(label(id="")), orjson.dumps(label(id="b"))]
    parsed = parse_labels_json(lines, SCHEMAS, True)
    assert [event["id"] for event in parsed.events] == ["a", "", "b"]
    assert [position for position, _ in parsed.errors] == [1, 2]
