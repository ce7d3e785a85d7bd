"""Labels and predictions through the doors: all of a body or nothing, and durable before anything is said."""

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import orjson
import pyarrow as pa
import pytest

from monitor.clock import ManualClock
from monitor.codec.events_json import parse_labels_json, parse_predictions_json
from monitor.codec.identity import partitions_of
from monitor.errors import LogError, LogFull
from monitor.events import Stream
from monitor.log import JSON, Message
from monitor.serving.doors import PATIENCE_MS, WAITING_LIMIT, Door
from monitor.serving.refusals import BadRequest, Unavailable
from tests.unit.serving_models import NOON, ListLog, schema

SCHEMAS = (schema(),)


def label_door(log: ListLog, *, trusts: bool = False) -> Door:
    parse = partial(parse_labels_json, schemas=SCHEMAS, model_required=True)
    return Door(Stream.LABELS, parse, log, ThreadPoolExecutor(2), ManualClock(NOON), trusts_client_times=trusts)


def prediction_door(log: ListLog) -> Door:
    parse = partial(parse_predictions_json, schemas=SCHEMAS)
    return Door(Stream.PREDICTIONS, parse, log, ThreadPoolExecutor(2), ManualClock(NOON), trusts_client_times=False)


def accept(door: Door, body: object) -> int:
    return asyncio.run(door.accept(body if isinstance(body, bytes) else orjson.dumps(body)))


def refusal(door: Door, body: object) -> str:
    with pytest.raises(BadRequest) as refused:
        accept(door, body)
    return str(refused.value)


def events(log: ListLog) -> list[dict[str, Any]]:
    assert {message.content_type for _, message in log.messages} <= {JSON}
    return [event for _, message in log.messages for event in orjson.loads(message.value)]


def test_a_request_that_waited_too_long_for_its_turn_is_told_to_come_back() -> None:
    """The threads wait for a log that is away; the next refusal would take as long again."""
    log, clock = ListLog(), ManualClock(NOON)
    parse = partial(parse_labels_json, schemas=SCHEMAS, model_required=True)
    body = b'{"id": "a", "label": "late"}'

    async def accept_after(waited: int) -> int:
        with ThreadPoolExecutor(1) as threads:
            begun, go_on = threading.Event(), threading.Event()
            threads.submit(begun.set)
            threads.submit(go_on.wait, 60)
            door = Door(Stream.LABELS, parse, log, threads, clock, trusts_client_times=False)
            accepting = asyncio.create_task(door.accept(body))
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
        (b'{"id": "a", "label": "late"}\n{"id": ', "event 1 (one a line) is not JSON"),
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
    with pytest.raises(Unavailable, match=f"nothing was taken: {error}") as refused:
        accept(label_door(ListLog(error=error)), {"id": "a", "label": "late"})
    assert (refused.value.status, refused.value.headers) == (503, ((b"retry-after", b"5"),))


def test_a_trusted_time_far_ahead_is_refused() -> None:
    log = ListLog()
    told = refusal(label_door(log, trusts=True), [{"id": "a", "label": "late"}, {"id": "b", "label": "late", "time": NOON + 3_600_001}])
    assert told.startswith("event 1 arrived more than an hour ahead")
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
