"""What of an answered request reaches the log, and what happens when the log does not want it."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from monitor.codec import decode_predictions
from monitor.codec.identity import partitions_of
from monitor.errors import FutureTimestamp, LogFull
from monitor.events import FeatureKind, NumericColumn, Predictions, Schema, Stream
from monitor.log import ARROW, Message, Record
from monitor.serving import tap
from monitor.serving.batches import encode
from monitor.serving.tap import QUEUE_FULL, REFUSED, SHUTDOWN, UNENCODABLE, Entry
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
    kept = 10 - counts.lost[QUEUE_FULL]
    assert 0 < kept < 10
    assert len(table(server.flush())["id"]) == kept
    assert server.tap.counts().queued_bytes == 0


@pytest.mark.parametrize(
    ("error", "reason"), [(LogFull("full"), SHUTDOWN), (FutureTimestamp("ahead"), REFUSED), (RuntimeError("a bug"), REFUSED)]
)
def test_what_the_log_refuses_to_the_end_is_counted_as_lost(error: Exception, reason: str, tmp_path: Path) -> None:
    server = flights(tmp_path, ListLog(error=error))
    server.infer("flights", rows(7))
    server.tap.start()
    server.tap.stop(0.01)
    counts = server.tap.counts()
    assert (counts.accepted, counts.written, counts.lost[reason], sum(counts.lost.values())) == (7, 0, 7, 7)


def test_an_append_that_hangs_is_not_waited_for_when_the_time_is_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tap, "LAST_TRY_SECONDS", 0.01)
    answered = threading.Event()

    class HangingLog(ListLog):
        def append(self, stream: Stream, messages: Sequence[Message]) -> list[int]:
            answered.wait(60.0)
            return super().append(stream, messages)

    server = flights(tmp_path, HangingLog())
    server.infer("flights", rows(7))
    server.tap.start()
    server.tap.stop(0.01)
    assert server.tap.counts().written == 0
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


def test_a_batch_that_cannot_be_encoded_does_not_stop_the_others(tmp_path: Path) -> None:
    server = flights(tmp_path)
    calls = iter([ValueError("unheard of")])

    def failing_once(entries: Sequence[Entry], trusts_client_times: bool, partitions: int) -> Sequence[Message]:
        for error in calls:
            raise error
        return encode(entries, trusts_client_times, partitions)

    server.tap._encode = failing_once
    server.infer("flights", rows(5_000))
    server.infer("flights", rows(2))
    assert len(table(server.flush())["id"]) == 2
    assert server.tap.counts().lost[UNENCODABLE] == 5_000
