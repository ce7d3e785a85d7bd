"""Labels and predictions through the doors: all of a body or nothing, and durable before anything is said."""

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import orjson
import pyarrow as pa
import pytest

from monitor.clock import ManualClock, Milliseconds
from monitor.codec import decode_labels
from monitor.codec.identity import partitions_of
from monitor.errors import LogError, LogFull
from monitor.events import LabelValues, Stream
from monitor.log import JSON, Message, Record
from monitor.serving.doors import WAITING_LIMIT, Door
from monitor.serving.durable import RECORD_BYTES_LIMIT, InSpool
from monitor.serving.refusals import BadRequest, Forbidden, Unavailable
from monitor.serving.taking import PATIENCE_MS, Sender
from monitor.serving.tokens import Grant
from tests.unit.door_parts import SCHEMAS, events, label_door, prediction_door
from tests.unit.serving_models import NOON, ListLog
from tests.worlds import model_of, pipeline, prediction, record


def accept(door: Door, body: object) -> int:
    return asyncio.run(door.accept(body if isinstance(body, bytes) else orjson.dumps(body)))


def refusal(door: Door, body: object) -> str:
    with pytest.raises(BadRequest) as refused:
        accept(door, body)
    return str(refused.value)


def test_a_request_that_waited_too_long_for_its_turn_is_told_to_come_back() -> None:
    """The threads wait for a log that is away; the next refusal would take as long again."""
    log, clock = ListLog(), ManualClock(NOON)
    body = b'{"id": "a", "label": "late"}'

    async def accept_after(waited: int) -> int:
        with ThreadPoolExecutor(1) as threads:
            begun, go_on = threading.Event(), threading.Event()
            threads.submit(begun.set)
            threads.submit(go_on.wait, 60)
            accepting = asyncio.create_task(label_door(log, threads=threads, clock=clock).accept(body))
            await asyncio.to_thread(begun.wait, 60)
            clock.advance(waited)
            go_on.set()
            return await accepting

    assert asyncio.run(accept_after(PATIENCE_MS)) == 1
    with pytest.raises(Unavailable, match="nothing was taken: this request waited 6 s behind others"):
        asyncio.run(accept_after(PATIENCE_MS + 1_000))
    assert len(events(log)) == 1


@pytest.mark.parametrize(
    ("body", "count"),
    [
        (b'{"id": "a", "label": "late"}', 1),
        (b'{\n  "id": "a",\n  "label": "late"\n}\n', 1),
        (b'[{"id": "a", "label": "late"}, {"id": "b", "label": 0}]', 2),
        (b'{"id": "a", "label": "late"}\n\n{"id": "b", "label": "on_time"}\n', 2),
        (b'{"id": "a", "label": "late"}\r\n{"id": "b", "label": "on_time"}', 2),
    ],
)
def test_one_event_an_array_or_one_a_line_are_taken(body: bytes, count: int) -> None:
    log = ListLog()
    assert accept(label_door(log), body) == count
    assert [event["id"] for event in events(log)] == ["a", "b"][:count]


def test_the_servers_clock_stamps_unless_clients_are_trusted() -> None:
    body = [
        {"id": "a", "label": "late", "time": NOON - 5, "arrival": NOON - 2},
        {"id": "b", "label": "late", "time": "2013-03-01T11:59:59Z"},
        {"id": "c", "label": "late"},
    ]
    honest, trusting = ListLog(), ListLog()
    accept(label_door(honest), body)
    accept(label_door(trusting, trusts=True), body)
    assert [event["arrival"] for event in events(honest)] == [NOON, NOON, NOON]
    assert [event["arrival"] for event in events(trusting)] == [NOON - 2, NOON - 1_000, NOON]
    assert [event.get("time") for event in events(honest)] == [NOON - 5, "2013-03-01T11:59:59Z", None]
    assert [message.timestamp for _, message in trusting.messages] == [NOON]


def test_one_bad_event_refuses_the_whole_body_and_is_named() -> None:
    log = ListLog()
    good = {"id": "a", "label": "late"}
    told = refusal(label_door(log), [good, {"label": "late"}, good, good | {"label": "lost"}, 7, good | {"time": "yesterday"}])
    assert told.startswith("nothing was taken, since 4 of the labels cannot be used: event 1: id is nothing; ")
    assert "event 3: label is 'lost', no class of model 'flights'" in told
    assert "event 4: an event has to be a JSON object; this is a number" in told
    assert "event 5: time is 'yesterday'" in told
    assert log.messages == []


def test_of_many_bad_events_ten_are_told() -> None:
    told = refusal(label_door(ListLog()), [{"label": "late"}] * 5_000)
    assert "5000 of the labels" in told
    assert "event 9: " in told
    assert "event 10: " not in told
    assert told.endswith("; and 4990 more")


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "empty"),
        (b"{", "not JSON"),
        (b"[]", "holds no event"),
        (b"null", "expected an event"),
        (b'{"id": "a", "label": NaN}', "not JSON"),
        (b'{"id": "a", "label": "late"}\n{"id": ', "event 1: not JSON"),
        (b'{"id": "a", "label": "late", "deep": ' + b"[" * 1_000 + b"]" * 1_000 + b"}", "nest it less"),
        (b"[" * 100_000, "not JSON"),
        (b'{"id": "' + b"x" * 10_000_000 + b'", "label": "late"}', "expected a text of 1 to 512 bytes"),
    ],
)
def test_a_body_that_holds_no_events_is_the_clients_error(body: bytes, told: str) -> None:
    log = ListLog()
    message = refusal(label_door(log), body)
    assert told in message
    assert len(message) < 1_000
    assert log.messages == []


def test_predictions_of_other_servers_are_kept_as_they_came() -> None:
    log = ListLog()
    event = {"id": "a", "time": NOON - 1, "model": "flights", "version": "2", "features": {"a": 1.5, "z": "?"}, "score": 0.25}
    assert accept(prediction_door(log), event) == 1
    assert events(log) == [event | {"arrival": NOON}]
    assert log.messages[0][0] is Stream.PREDICTIONS
    assert "version is nothing" in refusal(prediction_door(log), {key: value for key, value in event.items() if key != "version"})


def test_events_go_to_the_partitions_of_their_ids_in_their_order() -> None:
    log = ListLog(partitions=3)
    ids = [f"flight-{number}" for number in range(30)]
    accept(label_door(log), [{"id": row_id, "label": "late"} for row_id in ids])
    expected = dict(zip(ids, partitions_of(pa.array(ids), 3).tolist(), strict=True))
    assert sorted(message.partition for _, message in log.messages) == [0, 1, 2]
    for _, message in log.messages:
        kept = [event["id"] for event in orjson.loads(message.value)]
        assert kept == [row_id for row_id in ids if expected[row_id] == message.partition]


@pytest.mark.parametrize("error", [LogFull("the log is full"), LogError("no space left on device")])
def test_a_log_that_refuses_is_a_503_to_come_back_after(error: LogError) -> None:
    with pytest.raises(Unavailable, match=f"not taken, send all of it again: {error}") as refused:
        accept(label_door(ListLog(error=error)), {"id": "a", "label": "late"})
    assert (refused.value.status, refused.value.headers) == (503, ((b"retry-after", b"5"),))


def test_a_trusted_time_far_ahead_is_refused() -> None:
    log = ListLog()
    told = refusal(label_door(log, trusts=True), [{"id": "a", "label": "late"}, {"id": "b", "label": "late", "time": NOON + 3_600_001}])
    assert told.startswith("nothing was taken: event 1 arrived more than an hour ahead")
    assert log.messages == []


@dataclass
class StuckLog(ListLog):
    """Appends wait until `go` is set."""

    go: threading.Event = field(default_factory=threading.Event)

    def append(self, stream: Stream, messages: Sequence[Message]) -> list[int]:
        self.go.wait()
        return super().append(stream, messages)


def test_waiting_requests_are_bounded_and_the_loop_goes_on() -> None:
    log = StuckLog()
    door = label_door(log)
    body = orjson.dumps({"id": "a", "label": "late"})

    async def crowd() -> list[int]:
        waiting = [asyncio.create_task(door.accept(body)) for _ in range(WAITING_LIMIT)]
        await asyncio.sleep(0)
        one_more = asyncio.create_task(door.accept(body))
        await asyncio.sleep(0)
        log.go.set()
        with pytest.raises(Unavailable, match="256 requests wait for the log already"):
            await one_more
        return list(await asyncio.gather(*waiting))

    assert asyncio.run(crowd()) == [1] * WAITING_LIMIT
    assert accept(door, body) == 1


def test_lines_of_a_longer_body_are_told_by_their_place_in_all_of_it() -> None:
    log = ListLog()
    door = label_door(log)
    piece = b'{"id": "c", "label": "late"}\n\n{"id": "d", "label": "lost"}\n{"id": \n'
    with pytest.raises(BadRequest) as refused:
        asyncio.run(door.accept_lines(piece, 4_000))
    assert str(refused.value).startswith("nothing was taken, since 2 of the labels cannot be used: event 4001: label is 'lost', no class")
    assert "; event 4002: not JSON" in str(refused.value)
    assert log.messages == []
    assert asyncio.run(door.accept_lines(b"\n \r\n", 4_000)) == 0


def test_an_array_on_a_line_among_others_is_refused() -> None:
    """Its events have no place of their own, so that a sender could not tell where to go on."""
    log = ListLog()
    told = refusal(label_door(log), b'{"id": "a", "label": "late"}\n[{"id": "b", "label": "late"}, {"id": "c", "label": "late"}]')
    assert "a line holds an array; expected one event a line" in told
    assert log.messages == []


def test_a_line_cannot_close_another_ones_brackets() -> None:
    told = refusal(label_door(ListLog()), b'{"id": "a", "label": "late"}\n{"id": "b", "label": "late"}, {"id": "c", "label": "late"}\n')
    assert "event 1: not JSON" in told


def test_the_same_labels_again_count_once() -> None:
    """Whatever was answered or got lost on the way, a sender may send again: no key has to come with it."""
    log = ListLog()
    worker = pipeline(model_of(SCHEMAS[0]))
    worker.take(Stream.PREDICTIONS, [record(0, prediction(1, NOON, model="flights", prediction="late", features={}))])
    body = [{"id": "id-1", "label": "late"}]
    door = label_door(log)
    seen = []
    for _ in range(2):
        accept(door, body)
        worker.take(Stream.LABELS, [Record(len(log.messages), NOON, log.messages[-1][1].value, JSON)])
        seen.append(worker.commit({Stream.PREDICTIONS: 1, Stream.LABELS: len(log.messages)}).panes)
    assert seen[0]
    assert not seen[1]
    assert len(log.messages) == 2


@pytest.mark.parametrize("partitions", [1, 3])
def test_events_that_are_more_than_a_broker_takes_in_one_record_come_in_several(partitions: int) -> None:
    log = ListLog(partitions=partitions)
    body = [{"id": f"flight-{number}", "label": "late", "note": "x" * 1_000} for number in range(4_000)]
    accept(label_door(log), body)
    assert all(len(message.value) <= RECORD_BYTES_LIMIT for _, message in log.messages)
    assert len(log.messages) > 3
    for partition in range(partitions):
        kept = [event["id"] for _, message in log.messages if message.partition == partition for event in orjson.loads(message.value)]
        assert kept == [f"flight-{number}" for number in range(4_000) if f"flight-{number}" in set(kept)]
    assert {event["id"] for event in events(log)} == {event["id"] for event in body}


def test_an_event_that_no_record_can_hold_is_refused() -> None:
    log = ListLog()
    many_keys = {f"key-{number}": number for number in range(1_000_000)}
    told = refusal(label_door(log), [{"id": "a", "label": "late"}, {"id": "b", "label": "late"} | many_keys])
    assert 'the event with the id "b" takes 19,' in told
    assert log.messages == []


@pytest.mark.parametrize(
    ("event", "told"),
    [
        (b'{"id": "\\ud800", "label": "late"}', "not JSON: no low surrogate"),
        (b'{"id": "\xff", "label": "late"}', "not JSON"),
        (b'{"id": "%s", "label": "late"}' % (b"x" * 100_000), "id is 'xxx"),
        (b'{"id": 7, "label": "late"}', "id is 7; expected a text"),
        (b'{"id": "a", "label": "late", "time": 9223372036854775807}', "time is 9223372036854775807; expected RFC 3339"),
        (b'{"id": "a", "label": "late", "time": -9223372036854775808}', "time is -9223372036854775808; expected RFC 3339"),
        (b'{"id": "a", "label": "late", "time": 18446744073709551616}', "expected RFC 3339"),
        (b'{"id": "a", "label": "late", "arrival": 9223372036854775807}', "arrival is 9223372036854775807"),
        (b'{"id": "a", "label": 1%s}' % (b"0" * 5_000), "not JSON: number is infinity"),
        (b'{"id": "a", "label": 123456789012345678901234567890}', "no class of model"),
        (b'{"id": "a", "label": "late", "model": [[]]}', "model is an object or array"),
        (b'{"id": "a", "label": {"late": 1}}', "label is an object or array"),
    ],
)
def test_what_json_can_hold_and_no_event_does_is_told_clearly(event: bytes, told: str) -> None:
    log = ListLog()
    for body in (event, b"[" + event + b"]"):
        message = refusal(label_door(log, trusts=True), body)
        assert told in message
        assert len(message) < 500
    assert log.messages == []


def test_of_a_repeated_key_the_last_one_counts() -> None:
    log = ListLog()
    accept(label_door(log), b'{"id": "a", "id": "b", "label": "lost", "label": "late"}')
    assert events(log) == [{"id": "b", "label": "late", "arrival": NOON}]


TRAINS_ONLY = Sender(Grant(frozenset({"trains"}), "trains"), "trains")


@pytest.mark.parametrize(
    ("event", "told"),
    [
        ({"id": "a", "label": "late", "model": "flights"}, 'event 1 is for model "flights", and this token is good for trains only'),
        ({"id": "a", "label": "late"}, "event 1 names no model, and this token is good for trains only"),
        ({"id": "a", "label": "late", "model": "x" * 1_000}, 'event 1 is for model "xxx'),
        ({"id": "a", "label": "lost", "model": "flights"}, 'event 1 is for model "flights"'),
    ],
)
def test_a_token_is_good_for_its_models_only(event: dict[str, str], told: str) -> None:
    log = ListLog()
    door = label_door(log, two_models=True)
    good = {"id": "b", "label": "late", "model": "trains"}
    with pytest.raises(Forbidden) as refused:
        asyncio.run(door.accept(orjson.dumps([good, event]), TRAINS_ONLY))
    assert told in str(refused.value)
    assert len(str(refused.value)) < 300
    assert log.messages == []
    assert asyncio.run(door.accept(orjson.dumps(good), TRAINS_ONLY)) == 1


@dataclass
class KeptOutbox:
    """What was appended, as the spool gets it."""

    parcels: list[tuple[Stream, str, bytes, int, Milliseconds]] = field(default_factory=list)
    error: LogError | None = None

    def append(self, stream: Stream, content_type: str, payload: bytes, rows: int, arrival: Milliseconds) -> None:
        if self.error is not None:
            raise self.error
        self.parcels.append((stream, content_type, payload, rows, arrival))


def test_where_the_spool_is_durable_enough_events_go_there_whatever_their_partitions() -> None:
    outbox = KeptOutbox()
    door = label_door(InSpool(outbox), trusts=True)
    assert accept(door, [{"id": "a", "label": "late", "time": NOON - 7}, {"id": "b", "label": "late", "time": NOON - 9}]) == 2
    [(stream, content_type, payload, rows, arrival)] = outbox.parcels
    assert (stream, content_type, rows, arrival) == (Stream.LABELS, JSON, 2, NOON - 7)
    decoded = decode_labels([Record(0, arrival, payload, content_type)], SCHEMAS, LabelValues.of(SCHEMAS), model_required=True)
    assert decoded.arrival.tolist() == [NOON - 7, NOON - 9]
    outbox.error = LogFull("the spool is full")
    with pytest.raises(Unavailable, match="not taken, send all of it again: the spool is full"):
        accept(door, {"id": "c", "label": "late"})
