"""What of an answered request reaches the log, and what happens when the log does not want it."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from monitor.clock import ManualClock
from monitor.codec import decode_predictions
from monitor.codec.identity import digest, partitions_of
from monitor.errors import FutureTimestamp, LogAway, LogFull
from monitor.events import FeatureKind, NumericColumn, Predictions, Schema, Stream
from monitor.join.sample import in_sample
from monitor.log import ARROW, Message, Record
from monitor.serving import batches, lane
from monitor.serving.accounts import Loss
from monitor.serving.batches import encode
from monitor.serving.parcels import Parcel
from monitor.serving.privacy import Privacy
from monitor.serving.refusals import BadRequest
from monitor.serving.row_parameters import NO_PARAMETERS
from monitor.serving.spool.slots import Spool
from monitor.serving.tap import Entry, Exchange, Tapped
from monitor.serving.tensors import Tensor
from tests.unit.serving_models import NOON, Bench, ListLog, bench, logistic, named_inputs, schema, tensor

LATER = NOON + 5_000


def flights(root: Path, log: ListLog | None = None, *, trust_client_times: bool = False, queue_bytes: int = 10_000_000) -> Bench:
    logistic(root / "flights" / "1" / "model.onnx")
    of = schema(dimensions=("carrier",))
    return bench(root, lambda _model, _version: of, log=log, trust_client_times=trust_client_times, queue_bytes=queue_bytes)


def rows(count: int, **parameters: object) -> dict[str, Any]:
    return {"inputs": [tensor("X", "FP32", [count, 3], [1, 2, 3] * count)], "parameters": parameters}


def decoded(messages: list[Message], of: Schema) -> Predictions:
    records = [Record(offset, message.timestamp, message.value, message.content_type) for offset, message in enumerate(messages)]
    assert {record.content_type for record in records} == {ARROW}
    return decode_predictions(records, (of,))


def stop_after(server: Bench, seconds: float) -> None:
    """Starts what is queued on its way, and gives it that long."""
    server.outbox.start()
    server.tap.start()
    server.tap.stop(5.0)
    server.outbox.stop(seconds)


def table(messages: list[Message]) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {}
    for message in messages:
        for name, values in pa.ipc.open_stream(message.value).read_all().to_pydict().items():
            columns.setdefault(name, []).extend(values)
    return columns


def test_the_daemon_reads_what_the_tap_wrote(tmp_path: Path) -> None:
    server = flights(tmp_path)
    server.infer("flights", rows(2, ids=["a", "b"], segments={"carrier": ["UA", None]}))
    server.clock.advance(5_000)
    server.infer("flights", {"id": "c", "inputs": [tensor("X", "FP32", [1, 3], [-1, None, 0])]})
    read = decoded(server.flush(), schema(dimensions=("carrier",)))
    assert read.rejected == ()
    assert read.unknown_keys == 0
    assert read.versions == ("1",)
    assert read.time.tolist() == read.arrival.tolist() == [NOON, NOON, LATER]
    (group,) = read.groups
    assert group.predicted.tolist() == [1, 1, 0]
    assert group.scores[:2, 0].tolist() == [pytest.approx(0.880797), pytest.approx(0.880797)]
    a, b = group.features["a"], group.features["b"]
    assert isinstance(a, NumericColumn)
    assert isinstance(b, NumericColumn)
    assert a.values.tolist() == [1, 1, -1]
    assert b.missing.tolist() == [False, False, True]
    carrier = group.segments["carrier"]
    assert [carrier.categories[code] if code >= 0 else code for code in carrier.codes.tolist()] == ["UA", -1, -1]


def test_requests_of_one_moment_share_a_message(tmp_path: Path) -> None:
    server = flights(tmp_path)
    for _ in range(10):
        server.infer("flights", rows(3))
    assert len(server.flush()) == 1
    assert server.tap.counts().written == 30


def test_clients_times_are_the_predictions_and_only_where_trusted_the_arrivals(tmp_path: Path) -> None:
    times = [NOON - 60_000, "2013-03-01T12:00:01Z"]
    honest = flights(tmp_path)
    honest.infer("flights", rows(2, times=times))
    read = decoded(honest.flush(), schema())
    assert (read.time.tolist(), read.arrival.tolist()) == ([NOON - 60_000, NOON + 1_000], [NOON, NOON])

    trusting = flights(tmp_path, trust_client_times=True)
    trusting.infer("flights", rows(2, times=times))
    trusting.infer("flights", rows(1))
    (message,) = trusting.flush()
    read = decoded([message], schema())
    assert read.time.tolist() == read.arrival.tolist() == [NOON - 60_000, NOON + 1_000, NOON]
    assert message.timestamp == NOON + 1_000


def test_a_trusted_time_far_ahead_is_refused_at_the_door(tmp_path: Path) -> None:
    request = rows(1, times=[NOON + 3_600_001])
    assert flights(tmp_path).infer("flights", request).status == 200
    refused = flights(tmp_path, trust_client_times=True).infer("flights", request)
    assert refused.status == 400
    assert "more than an hour ahead of the server's clock" in refused.error


def test_monitored_features_that_the_model_does_not_take_come_beside_it(tmp_path: Path) -> None:
    named_inputs(tmp_path / "flights" / "1" / "model.onnx")
    of = schema(distance=FeatureKind.NUMERIC, carrier=FeatureKind.CATEGORICAL, dest=FeatureKind.CATEGORICAL, crew=FeatureKind.NUMERIC)
    server = bench(tmp_path, lambda _model, _version: of)
    request = {"inputs": [tensor("distance", "FP32", [1, 1], [1400.5]), tensor("carrier", "BYTES", [1, 1], ["UA"])]}
    assert server.infer("flights", request | {"parameters": {"features": {"dest": ["IAH"], "crew": [7]}}}).status == 200
    assert server.infer("flights", request).status == 200
    for wrong, told in (
        ({"dest": [1]}, '"parameters.features.dest"[0] must be a string or null, not a number'),
        ({"crew": ["seven"]}, '"parameters.features.crew"[0] must be a number or null, not a string'),
        ({"crew": [True]}, '"parameters.features.crew"[0] must be a number or null, not a boolean'),
        ({"carrier": ["UA"]}, '"carrier" is not a monitored feature that the inputs leave out (dest, crew)'),
    ):
        refused = server.infer("flights", request | {"parameters": {"features": wrong}})
        assert (refused.status, told in refused.error) == (400, True), refused.error
    columns = table(server.flush())
    assert columns["feature.distance"] == [1400.5, 1400.5]
    assert columns["feature.carrier"] == ["UA", "UA"]
    assert columns["feature.dest"] == ["IAH", None]
    assert columns["feature.crew"] == [7, None]
    assert columns["score"] == [1.0, 1.0]


def test_each_row_goes_to_the_partition_of_its_id(tmp_path: Path) -> None:
    server = flights(tmp_path, ListLog(partitions=4))
    ids = [f"flight-{number}" for number in range(50)]
    server.infer("flights", rows(50, ids=ids))
    messages = server.flush()
    assert sorted(message.partition for message in messages) == [0, 1, 2, 3]
    for message in messages:
        kept = pa.array(table([message])["id"], pa.string())
        assert set(partitions_of(kept, 4).tolist()) == {message.partition}
        assert kept.to_pylist() == [row_id for row_id in ids if row_id in set(kept.to_pylist())]
    assert sorted(table(messages)["id"]) == sorted(ids)


def test_unmonitored_models_are_served_and_not_logged(tmp_path: Path) -> None:
    logistic(tmp_path / "flights" / "1" / "model.onnx")
    server = bench(tmp_path)
    assert server.infer("flights", rows(1)).status == 200
    assert server.flush() == []
    assert server.tap.counts().accepted == 0


def test_a_full_queue_loses_and_counts_and_never_fails_the_request(tmp_path: Path) -> None:
    server = flights(tmp_path, queue_bytes=3_000)
    for _ in range(10):
        assert server.infer("flights", rows(1)).status == 200
    counts = server.tap.counts()
    assert 0 < counts.queued_bytes <= 3_000
    kept = 10 - counts.lost[Loss.QUEUE_FULL]
    assert 0 < kept < 10
    assert len(table(server.flush())["id"]) == kept
    assert server.tap.counts().queued_bytes == 0


@pytest.mark.parametrize(
    ("error", "reason"), [(LogFull("full"), Loss.SHUTDOWN), (FutureTimestamp("ahead"), Loss.REFUSED), (RuntimeError("a bug"), Loss.REFUSED)]
)
def test_without_a_spool_what_the_log_refuses_to_the_end_is_counted_as_lost(error: Exception, reason: Loss, tmp_path: Path) -> None:
    server = flights(tmp_path, ListLog(error=error))
    server.infer("flights", rows(7))
    stop_after(server, 0.01)
    counts = server.tap.counts()
    assert (counts.accepted, counts.written, counts.lost[reason], sum(counts.lost.values())) == (7, 0, 7, 7)


def test_an_append_that_hangs_is_not_waited_for_when_the_time_is_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane, "LAST_TRY_SECONDS", 0.01)
    answered = threading.Event()

    class HangingLog(ListLog):
        def append(self, stream: Stream, messages: Sequence[Message]) -> list[int]:
            answered.wait(60.0)
            return super().append(stream, messages)

    server = flights(tmp_path, HangingLog())
    server.infer("flights", rows(7))
    stop_after(server, 0.01)
    assert (server.tap.counts().written, server.tap.counts().lost[Loss.SHUTDOWN]) == (0, 7)
    answered.set()


class RecoveringLog(ListLog):
    """Refuses once."""

    def append(self, stream: Stream, messages: Sequence[Message]) -> list[int]:
        refused, self.error = self.error, None
        if refused is not None:
            raise refused
        return super().append(stream, messages)


def test_a_log_that_recovers_gets_everything(tmp_path: Path) -> None:
    server = flights(tmp_path, RecoveringLog(error=LogFull("full")))
    server.infer("flights", rows(7))
    assert len(table(server.flush())["id"]) == 7
    assert server.tap.counts().written == 7


def test_a_batch_that_cannot_be_encoded_does_not_stop_the_others(tmp_path: Path, told: Callable[[], str]) -> None:
    server = flights(tmp_path)
    calls = iter([ValueError("unheard of")])

    def failing_once(entries: Sequence[Entry], trusts_client_times: bool) -> Sequence[Parcel]:
        for error in calls:
            raise error
        return encode(entries, trusts_client_times)

    server.tap._encode = failing_once
    server.infer("flights", rows(5_000))
    server.infer("flights", rows(2))
    assert len(table(server.flush())["id"]) == 2
    assert server.tap.counts().lost[Loss.UNENCODABLE] == 5_000
    # What the error says may hold what the request held.
    assert "unheard of" not in told()


@dataclass
class Bytes:
    """An exchange that `read` makes entries of, in whichever thread it is called."""

    read: Callable[[], Sequence[Entry]]
    cost: int = 1_000

    def decode(self) -> Sequence[Entry]:
        return self.read()


def tapped_in(server: Bench) -> Tapped:
    server.infer("flights", rows(1))
    (entry,) = server.tap._queue
    assert isinstance(entry, Entry)
    server.tap._queue.clear()
    return entry.tapped


def entry(of: Tapped, *ids: str, trace: str | None = None) -> Entry:
    count = len(ids)
    inputs = {"X": np.ones((count, 3), dtype=np.float32)}
    outputs: list[Tensor] = [np.zeros(count, dtype=np.int64), np.full((count, 2), 0.5, dtype=np.float32)]
    return Entry(of, count, inputs, outputs, list(ids), NOON, NO_PARAMETERS, 1_000, trace)


def test_exchanges_are_decoded_in_the_drain_and_logged_among_the_others(tmp_path: Path) -> None:
    server = flights(tmp_path)
    of = tapped_in(server)
    threads = []

    def read() -> Sequence[Entry]:
        threads.append(threading.current_thread().name)
        return [entry(of, "b", "c"), entry(of, "d")]

    exchange: Exchange = Bytes(read)
    server.tap.put(entry(of, "a"))
    server.tap.put_exchange(exchange)
    server.tap.put(entry(of, "e"))
    assert server.tap.counts().queued == 4  # the one that `tapped_in` took away counts
    assert threads == []
    assert table(server.flush())["id"] == ["a", "b", "c", "d", "e"]
    assert threads == ["tap"]
    counts = server.tap.counts()
    assert (counts.accepted - 1, counts.written) == (5, 5)


def test_a_request_of_no_rows_leaves_no_message_and_spoils_none(tmp_path: Path) -> None:
    for rules in (Privacy(), Privacy(sample=0.999_999)):
        server = encoding_with(flights(tmp_path), rules)
        of = tapped_in(server)
        for ids in ((), ("a", "b"), ()):
            server.tap.put(entry(of, *ids))
        assert table(server.flush())["id"] == ["a", "b"]
        empty = encoding_with(flights(tmp_path), rules)
        empty.tap.put(entry(of))
        assert empty.flush() == []
        assert empty.tap.counts().lost[Loss.UNENCODABLE] == 0


@pytest.mark.parametrize("error", [BadRequest("no prediction of Ada's"), ValueError("Ada")])
def test_an_exchange_that_cannot_be_decoded_is_counted_and_what_it_held_is_not_told(
    error: Exception, tmp_path: Path, told: Callable[[], str]
) -> None:
    server = flights(tmp_path)

    def read() -> Sequence[Entry]:
        raise error

    server.tap.put_exchange(Bytes(read))
    assert server.flush() == []
    counts = server.tap.counts()
    assert (counts.accepted, counts.lost[Loss.UNENCODABLE], counts.queued) == (1, 1, 0)
    assert "Ada" not in told()


def test_exchanges_share_the_bound_on_bytes(tmp_path: Path) -> None:
    server = flights(tmp_path, queue_bytes=2_500)
    for _ in range(4):
        server.tap.put_exchange(Bytes(lambda: (), 1_000))
    counts = server.tap.counts()
    assert (counts.accepted, counts.lost[Loss.QUEUE_FULL], counts.queued_bytes) == (4, 2, 2_000)


def test_rows_are_accounted_for_wherever_they_are(tmp_path: Path) -> None:
    log = ListLog(error=LogAway("nobody answers"))
    logistic(tmp_path / "models" / "flights" / "1" / "model.onnx")
    disk = Spool(tmp_path / "spool", slot=0, workers=1, bytes_limit=1_000_000, clock=ManualClock(NOON))
    server = bench(tmp_path / "models", lambda _model, _version: schema(), log=log, queue_bytes=6_000, spool=disk)
    for _ in range(10):
        server.infer("flights", rows(2))
    before = server.tap.counts()
    assert before.lost[Loss.QUEUE_FULL] > 0
    assert before.queued == 20 - before.lost[Loss.QUEUE_FULL]
    assert server.flush() == []
    after = server.tap.counts()
    assert (after.queued, after.spooled, after.written) == (0, before.queued, 0)
    assert after.lost == before.lost


def test_a_trace_is_kept_where_a_request_has_one_and_troubles_no_reader(tmp_path: Path) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    server = flights(tmp_path)
    of = tapped_in(server)
    server.tap.put(entry(of, "a", "b", trace=trace))
    server.tap.put(entry(of, "c"))
    (message,) = server.flush()
    assert table([message])["traceparent"] == [trace, trace, None]
    read = decoded([message], schema())
    assert (len(read), read.rejected) == (3, ())

    without = flights(tmp_path)
    without.tap.put(entry(tapped_in(without), "a"))
    assert "traceparent" not in table(without.flush())


def encoding_with(server: Bench, rules: Privacy) -> Bench:
    server.tap._encode = partial(encode, privacy={"flights": rules})
    return server


def test_a_sample_keeps_the_ids_that_the_join_keeps_and_counts_the_others(tmp_path: Path) -> None:
    server = encoding_with(flights(tmp_path, ListLog(partitions=4)), Privacy(sample=0.3))
    ids = [f"flight-{number}" for number in range(600)]
    for begin in range(0, 600, 3):
        server.infer("flights", rows(3, ids=ids[begin : begin + 3]))
    kept = table(server.flush())["id"]
    sampled = in_sample(digest(pa.array(ids, pa.string())), 0.3)
    assert sorted(kept) == sorted(row_id for row_id, keep in zip(ids, sampled.tolist(), strict=True) if keep)
    counts = server.tap.counts()
    assert (counts.written, counts.unsampled, counts.queued) == (len(kept), 600 - len(kept), 0)


def test_what_is_dropped_is_not_among_the_bytes_and_what_is_hashed_only_as_its_hash(tmp_path: Path) -> None:
    named_inputs(tmp_path / "flights" / "1" / "model.onnx")
    of = schema(
        dimensions=("carrier", "city", "plan"), distance=FeatureKind.NUMERIC, carrier=FeatureKind.CATEGORICAL, dest=FeatureKind.CATEGORICAL
    )
    rules = Privacy(drop=frozenset({"dest", "city"}), hashed=frozenset({"carrier"}), salt=b"0123456789abcdef")
    server = encoding_with(bench(tmp_path, lambda _model, _version: of), rules)
    request = {
        "inputs": [tensor("distance", "FP32", [2, 1], [1400.5, 3.0]), tensor("carrier", "BYTES", [2, 1], ["Ada's", "Bob's"])],
        "parameters": {
            "features": {"dest": ["Secret-1", None]},
            "segments": {"city": ["Secret-2", "Secret-3"], "carrier": ["Ada's", None], "plan": ["basic", "pro"]},
        },
    }
    assert server.infer("flights", request).status == 200
    (message,) = server.flush()
    for told in (b"Secret", b"Ada", b"Bob", b"dest", b"city", b"0123456789abcdef"):
        assert told not in message.value
    columns = table([message])
    ada, bob = columns["feature.carrier"]
    assert columns["segment.carrier"] == [ada, None]
    assert len({ada, bob}) == 2
    assert columns["segment.plan"] == ["basic", "pro"]
    assert columns["feature.distance"] == [1400.5, 3.0]
    assert decoded([message], of).rejected == ()


def test_a_great_batch_becomes_several_messages_that_any_topic_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "PARCEL_BYTES", 2_000)
    server = flights(tmp_path)
    ids = [f"flight-{number}" for number in range(200)]
    server.infer("flights", rows(200, ids=ids))
    messages = server.flush()
    assert len(messages) > 3
    assert max(len(message.value) for message in messages) < 4_000
    assert table(messages)["id"] == ids
