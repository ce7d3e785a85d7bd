"""CloudEvents of a payload logger to predictions: what KServe sends, what others may, and what none should."""

import asyncio
import base64
import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pytest

from monitor.clock import ManualClock
from monitor.events import Schema
from monitor.serving.cloudevents.door import CloudEventsDoor
from monitor.serving.cloudevents.intake import OUTCOMES, Intake
from monitor.serving.cloudevents.pairing import HALF_BYTES, Patience
from monitor.serving.exchanges.reading import Unread
from monitor.serving.http import Event, Response
from monitor.serving.refusals import BadRequest, TooLarge
from monitor.serving.tap import Entry
from tests.unit.serving_models import NOON, schema, tensor

REQUEST, RESPONSE = "org.kubeflow.serving.inference.request", "org.kubeflow.serving.inference.response"
ASKED: dict[str, object] = {"inputs": [tensor("X", "FP32", [1, 3], [1, 2, 3])]}
ANSWERED: dict[str, object] = {"model_name": "flights", "model_version": "7", "outputs": [tensor("p", "FP32", [1, 2], [0.25, 0.75])]}
BODY_LIMIT = 50_000


@dataclass
class Bench:
    """The door on a manual clock, called without a socket, and what it put into the tap."""

    door: CloudEventsDoor
    intake: Intake
    tapped: list[Unread]
    clock: ManualClock

    def post(self, body: bytes, headers: Mapping[str, str]) -> Response:
        async def receive() -> Event:
            return {"type": "http.request", "body": body, "more_body": False}

        scope = {"headers": [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]}
        return asyncio.run(self.door.handle(scope, receive))

    def log(self, kind: str, data: Mapping[str, object] | bytes, **attributes: str) -> int:
        """One event as KServe's logger sends it; how many were accepted."""
        named = {"id": "e1", "type": kind, "source": "http://localhost:9081/", "specversion": "1.0", "inferenceservicename": "flights"}
        headers = {f"ce-{name}": value for name, value in (named | attributes).items()}
        body = data if isinstance(data, bytes) else json.dumps(data).encode()
        return accepted(self.post(body, headers | {"content-type": "application/json"}))

    def entries(self) -> list[Entry]:
        return [entry for unread in self.tapped for entry in unread.decode()]

    @property
    def outcomes(self) -> dict[str, int]:
        """Those that are not 0, now."""
        self.intake.expire()
        return {outcome: count for outcome, count in self.intake.counts().outcomes.items() if count}


@pytest.fixture
def logged() -> Bench:
    return bench()


def bench(within_ms: int = 60_000, waiting: int = 100, bytes_limit: int = 10_000_000) -> Bench:
    clock, tapped = ManualClock(NOON), list[Unread]()
    patience = Patience(within_ms, waiting, bytes_limit)
    intake = Intake(["flights"], schema_of, patience, clock, body_limit=BODY_LIMIT, trusts_client_times=False)
    return Bench(CloudEventsDoor(intake, tapped.append, BODY_LIMIT), intake, tapped, clock)


def schema_of(_model: str, _version: str) -> Schema:
    return schema()


def accepted(response: Response) -> int:
    assert response.status == 202
    count = json.loads(response.body)["accepted"]
    assert isinstance(count, int)
    return count


def structured(kind: str, data: object, identity: str = "e1") -> dict[str, object]:
    return {"specversion": "1.0", "id": identity, "type": kind, "source": "s", "inferenceservicename": "flights", "data": data}


def scores(entry: Entry) -> list[list[float]]:
    monitored = entry.tapped.monitored
    assert monitored.score is not None
    found: list[list[float]] = monitored.scores(entry.outputs[monitored.score.output]).tolist()
    return found


@pytest.mark.parametrize("order", [1, -1])
def test_a_request_and_its_answer_become_one_prediction_in_either_order(logged: Bench, order: int) -> None:
    halves: Sequence[tuple[str, Mapping[str, object]]] = [(REQUEST, ASKED | {"id": "q"}), (RESPONSE, ANSWERED)]
    for kind, data in halves[::order]:
        assert logged.log(kind, data, time="2013-03-01T11:59:58.123456789Z", namespace="ns", component="predictor", endpoint="default") == 1
    (entry,) = logged.entries()
    assert (entry.ids, entry.tapped.version, scores(entry)) == (["q"], "7", [[0.75]])
    assert (entry.arrival, entry.parameters.times) == (NOON, [NOON - 1_877])
    assert logged.outcomes == {"paired": 2}


def test_the_id_is_the_requests_else_the_answers_else_the_events(logged: Bench) -> None:
    for asked, answered in (({"id": "q"}, {"id": "a"}), ({}, {"id": "a"}), ({}, {})):
        logged.log(REQUEST, ASKED | asked)
        logged.log(RESPONSE, ANSWERED | answered)
    assert [entry.ids for entry in logged.entries()] == [["q"], ["a"], ["e1"]]


def test_v1_messages_are_read_and_have_no_version(logged: Bench) -> None:
    logged.log(REQUEST, {"instances": [[1, 2, 3], [4, 5, 6]]})
    logged.log(RESPONSE, b'{"predictions": [0.5, NaN]}')
    (entry,) = logged.entries()
    assert (entry.ids, entry.tapped.version, str(scores(entry))) == (["e1/0", "e1/1"], "", "[[0.5], [nan]]")
    assert entry.parameters.times is None


def test_structured_events_and_batches_are_read(logged: Bench) -> None:
    single = "application/cloudevents+json; charset=utf-8"
    raw = structured(RESPONSE, None) | {"data_base64": base64.b64encode(json.dumps(ANSWERED).encode()).decode()}
    assert accepted(logged.post(json.dumps(structured(REQUEST, ASKED)).encode(), {"content-type": single})) == 1
    assert accepted(logged.post(json.dumps(raw).encode(), {"content-type": single})) == 1
    batch = [structured(RESPONSE, json.dumps(ANSWERED), "e2"), structured(REQUEST, ASKED, "e2"), structured("other", {}, "e3")]
    assert accepted(logged.post(json.dumps(batch).encode(), {"content-type": "application/cloudevents-batch+json"})) == 3
    assert [entry.ids for entry in logged.entries()] == [["e1"], ["e2"]]
    assert logged.outcomes == {"paired": 4, "ignored": 1}


@pytest.mark.parametrize("kind", [REQUEST, "org.kubeflow.serving.inference", "io.seldon.serving.inference"])
def test_an_event_may_hold_both(logged: Bench, kind: str) -> None:
    logged.log(kind, {"request": ASKED, "response": ANSWERED})
    assert [entry.ids for entry in logged.entries()] == [["e1"]]
    assert logged.outcomes == {"paired": 1}


def test_seldons_events_name_the_model_and_the_exchange_their_own_way(logged: Bench) -> None:
    for number, (kind, data) in enumerate((("request", ASKED), ("response", ANSWERED))):
        attributes = {"id": f"event-{number}", "requestid": "r1", "inferenceservicename": "graph", "modelid": "flights"}
        logged.log(f"io.seldon.serving.inference.{kind}", data, **attributes)
    assert [entry.ids for entry in logged.entries()] == [["r1"]]


def test_binary_tensors_are_read_wherever_the_logger_says_or_not_that_their_json_ends(logged: Bench) -> None:
    import numpy as np

    raw = np.array([1, 2, 3], "<f4").tobytes()
    head = json.dumps({"inputs": [{"name": "X", "datatype": "FP32", "shape": [1, 3], "parameters": {"binary_data_size": 12}}]}).encode()
    for metadata in ({}, {"metadata": json.dumps({"Inference-Header-Content-Length": [str(len(head))]})}, {"metadata": "null"}):
        logged.log(REQUEST, b"".join([head, raw]), **metadata)
        logged.log(RESPONSE, ANSWERED)
    assert [entry.inputs["X"].tolist() for entry in logged.entries()] == [[[1, 2, 3]]] * 3


def test_a_body_that_was_compressed_is_told_by_its_first_bytes(logged: Bench) -> None:
    logged.log(REQUEST, gzip.compress(json.dumps(ASKED | {"id": "q"}).encode()))
    logged.log(RESPONSE, gzip.compress(json.dumps(ANSWERED).encode()))
    assert [entry.ids for entry in logged.entries()] == [["q"]]


@pytest.mark.parametrize(
    ("attributes", "outcome"),
    [
        ({"type": "com.example.other"}, "ignored"),
        ({"type": "org.kubeflow.serving.inference.else"}, "ignored"),
        ({"component": "explainer"}, "ignored"),
        ({"id": ""}, "no_id"),
        ({"inferenceservicename": "other"}, "unknown_model"),
        ({"inferenceservicename": ""}, "unknown_model"),
    ],
)
def test_what_is_of_no_concern_is_accepted_and_counted(logged: Bench, attributes: dict[str, str], outcome: str) -> None:
    kind = attributes.pop("type", REQUEST)
    assert logged.log(kind, ASKED, **attributes) == 1
    assert (logged.outcomes, logged.tapped, logged.intake.counts().waiting) == ({outcome: 1}, [], 0)


@pytest.mark.parametrize(
    ("headers", "body", "told"),
    [
        ({}, b"{}", "its content type is missing, and there is no header ce-type"),
        ({"content-type": "application/json"}, b"{}", "no CloudEvent: its content type is application/json"),
        ({"content-type": "application/cloudevents+json"}, b"{", "not JSON"),
        ({"content-type": "application/cloudevents+json"}, b"[]", "must be an object, not an array"),
        ({"content-type": "application/cloudevents+json"}, b'{"data_base64": "?"}', "not base64"),
        ({"content-type": "application/cloudevents+json"}, b'{"data_base64": 5}', "not base64"),
        ({"content-type": "application/cloudevents+avro"}, b"", r"application/cloudevents\+avro are not known here"),
        ({"content-type": "application/cloudevents-batch+json"}, b"{}", "must be an array, not an object"),
        ({"content-type": "application/cloudevents-batch+json"}, b"[5]", "must be an object, not a number"),
    ],
)
def test_what_is_no_event_is_a_400_and_counted(logged: Bench, headers: dict[str, str], body: bytes, told: str) -> None:
    with pytest.raises(BadRequest, match=told):
        logged.post(body, headers)
    assert logged.outcomes == {"undecodable": 1}


def test_what_is_too_large_is_a_413(logged: Bench) -> None:
    with pytest.raises(TooLarge):
        logged.log(REQUEST, b" " * (BODY_LIMIT + 1))


def test_data_that_nobody_can_read_are_found_out_in_the_tap(logged: Bench) -> None:
    for asked in (b"\xff", b"", b'{"request": 1, "response": 2}', b'{"request", "response"', b"[1]"):
        logged.log(REQUEST, asked)
        logged.log(RESPONSE, ANSWERED)
    for unread in logged.tapped:
        with pytest.raises(BadRequest):
            unread.decode()
    assert len(logged.tapped) == 5


def test_halves_of_different_exchanges_do_not_meet(logged: Bench) -> None:
    logged.log(REQUEST, ASKED)
    for differing in ({"id": "e2"}, {"endpoint": "canary"}, {"component": "transformer"}):
        logged.log(RESPONSE, ANSWERED, **differing)
    assert (logged.tapped, logged.outcomes, logged.intake.counts().waiting) == ([], {}, 4)


def test_a_half_that_waits_too_long_is_let_go_and_counted_by_its_side() -> None:
    logged = bench(within_ms=1_000)
    logged.log(REQUEST, ASKED, id="a")
    logged.log(RESPONSE, ANSWERED, id="b")
    logged.clock.advance(1_000)
    logged.log(RESPONSE, ANSWERED, id="a")
    assert logged.outcomes == {"paired": 2}
    logged.log(REQUEST, ASKED, id="c")
    logged.clock.advance(1)
    assert logged.outcomes == {"paired": 2, "unasked": 1}
    logged.clock.advance(1_000)
    assert (logged.outcomes, logged.intake.counts().waiting) == ({"paired": 2, "unasked": 1, "unanswered": 1}, 0)


def test_a_half_that_comes_too_late_does_not_meet_the_other() -> None:
    logged = bench(within_ms=1_000)
    logged.log(REQUEST, ASKED)
    logged.clock.advance(1_001)
    logged.log(RESPONSE, ANSWERED)
    assert (logged.tapped, logged.intake.counts().waiting, logged.outcomes) == ([], 1, {"unanswered": 1})


def test_too_many_that_wait_crowd_the_oldest_out() -> None:
    size = len(json.dumps(ASKED))
    for logged in (bench(waiting=2), bench(bytes_limit=2 * (HALF_BYTES + size))):
        for number in range(3):
            logged.log(REQUEST, ASKED, id=str(number))
        for number in (1, 2, 0):
            logged.log(RESPONSE, ANSWERED, id=str(number))
        assert [entry.ids for entry in logged.entries()] == [["1"], ["2"]]
        assert logged.outcomes == {"crowded_out": 1, "paired": 4}
        assert logged.intake.counts().waiting == 1


def test_a_half_that_comes_twice_is_taken_once(logged: Bench) -> None:
    for _ in range(2):
        logged.log(REQUEST, ASKED | {"id": "q"})
    logged.log(RESPONSE, ANSWERED)
    assert (len(logged.tapped), logged.outcomes) == (1, {"paired": 2, "repeated": 1})


def test_every_event_is_in_exactly_one_count(logged: Bench) -> None:
    sent = 0
    for number in range(30):
        kind = (REQUEST, RESPONSE, "other")[number % 3]
        sent += logged.log(kind, ASKED if kind == REQUEST else ANSWERED, id=str(number // 7))
    counts = logged.intake.counts()
    assert set(counts.outcomes) == set(OUTCOMES)
    assert sum(counts.outcomes.values()) + counts.waiting == sent
