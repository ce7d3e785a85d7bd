"""`model-monitor serve` on a real broker that is killed and started again: inference goes on, labels are told, nothing is lost unseen."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import pyarrow as pa
import pytest
from kafka import KafkaConsumer, TopicPartition
from prometheus_client.parser import text_string_to_metric_families

from monitor.log.kafka.connection import Connection
from monitor.log.kafka.names import Names
from tests.faults.campaign.murmur2 import partition_of
from tests.kafka.brokers import Cluster
from tests.kafka.topics import made_topics
from tests.unit.demo_ports import free_port
from tests.unit.serving_models import logistic, tensor

PARTITIONS = 4
PATIENCE_SECONDS = 90.0
OUTAGE_SECONDS = 20.0
GLANCE_SECONDS = 0.05
STOP_WITHIN_SECONDS = 20.0
CONFIG = """
log: {kind: kafka, bootstrap_servers: "%s", topic_prefix: %s, partitions: %d}
serving: {repository: models/, port: %d, queue_bytes: %s, spool: {enabled: %s}}
models:
  - {name: flights, task: binary, classes: [on_time, late], positive_class: late, features: {a: numeric, b: numeric, c: numeric}}
"""


def until(condition: Callable[[], object], what: str) -> None:
    """Returns when the condition holds; fails, saying what was awaited, when it takes too long."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"in vain for {PATIENCE_SECONDS:.0f} s: {what}"
        time.sleep(GLANCE_SECONDS)


@dataclass
class Serve:
    """A running server, its client, and what it said when it ended."""

    process: subprocess.Popen[str]
    client: httpx.Client
    last_words: str = ""

    def infer(self, *ids: str) -> int:
        """The status."""
        inputs = [tensor("X", "FP32", [len(ids), 3], [1, 2, 3] * len(ids))]
        answer = self.client.post("/v2/models/flights/infer", json={"inputs": inputs, "parameters": {"ids": list(ids)}})
        return answer.status_code

    def label(self, *ids: str) -> httpx.Response:
        return self.client.post("/v1/labels", json=[{"id": row_id, "label": "late"} for row_id in ids])

    def is_ready(self) -> bool:
        with suppress(httpx.TransportError):
            return self.client.get("/v2/health/ready").is_success
        return False

    def tap(self, what: str) -> int:
        """A counter of the tap on /metrics, summed over its labels."""
        name = f"model_monitor_serving_tap_{what}"
        families = text_string_to_metric_families(self.client.get("/metrics").text)
        return int(sum(sample.value for family in families for sample in family.samples if sample.name == name))

    def stop(self) -> float:
        """SIGTERM; the seconds until it has ended, which it does by itself and well."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        _, self.last_words = self.process.communicate(timeout=2 * STOP_WITHIN_SECONDS)
        assert self.process.returncode == 0, self.last_words
        return time.monotonic() - began

    def said(self, event: str) -> dict[str, object]:
        """The log line of that name, after its end."""
        (line,) = [line for line in map(json.loads, self.last_words.splitlines()) if line["event"] == event]
        assert isinstance(line, dict)
        return line


Start = Callable[..., Serve]


@pytest.fixture(scope="module")
def broker(own_cluster: type[Cluster]) -> Iterator[Cluster]:
    """One, whose killers start it again."""
    with own_cluster() as cluster:
        yield cluster


@pytest.fixture
def names(broker: Cluster) -> Names:
    return made_topics(Connection((broker.bootstrap,)), PARTITIONS)


@pytest.fixture
def start(broker: Cluster, names: Names, tmp_path: Path) -> Iterator[Start]:
    """Starts a server that is ready; kills it at the end."""
    running: list[Serve] = []

    def started(queue_bytes: str = "64MB", *, spools: bool = False) -> Serve:
        logistic(tmp_path / "models" / "flights" / "1" / "model.onnx")
        port = free_port()
        config = tmp_path / "monitor.yaml"
        config.write_text(CONFIG % (broker.bootstrap, names.prefix, PARTITIONS, port, queue_bytes, str(spools).lower()))
        process = subprocess.Popen(
            [sys.executable, "-m", "monitor", "serve", "-c", str(config)],
            env={key: value for key, value in os.environ.items() if not key.startswith("MODEL_MONITOR_")},
            stderr=subprocess.PIPE,
            text=True,
        )
        serve = Serve(process, httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_SECONDS))
        running.append(serve)
        until(lambda: serve.is_ready() or process.poll() is not None, "the server is ready")
        assert process.poll() is None, process.communicate()
        return serve

    yield started
    for serve in running:
        serve.client.close()
        serve.process.kill()
        serve.process.communicate()


@dataclass(frozen=True)
class Sent:
    """One record as any consumer gets it."""

    partition: int
    content_type: str
    ids: list[str]


def sent(broker: Cluster, topic: str) -> list[Sent]:
    """All records of a topic, read by the client alone."""
    places = [TopicPartition(topic, partition) for partition in range(PARTITIONS)]
    found = []
    with closing(KafkaConsumer(bootstrap_servers=broker.bootstrap)) as consumer:
        consumer.assign(places)
        consumer.seek_to_beginning(*places)
        ends = consumer.end_offsets(places)
        while any(consumer.position(place) < end for place, end in ends.items()):
            for place, records in consumer.poll(1_000).items():
                for record in records:
                    content_type = dict(record.headers)["content-type"].decode()
                    is_arrow = content_type == "application/vnd.apache.arrow.stream"
                    events = pa.ipc.open_stream(record.value).read_all().to_pylist() if is_arrow else json.loads(record.value)
                    found.append(Sent(place.partition, content_type, [event["id"] for event in events]))
    return found


def ids_in(records: list[Sent]) -> list[str]:
    return sorted(row_id for record in records for row_id in record.ids)


def test_predictions_come_in_arrow_batches_and_meet_their_labels_in_the_partition_of_murmur2(
    start: Start, broker: Cluster, names: Names
) -> None:
    serve = start()
    ids = [f"flight-{number}" for number in range(200)]
    assert all(serve.infer(*ids[first : first + 10]) == 200 for first in range(0, 200, 10))
    assert serve.label(*ids).status_code == 202
    labels = sent(broker, f"{names.prefix}labels")  # 202 means that they are there
    assert serve.stop() < STOP_WITHIN_SECONDS
    predictions = sent(broker, f"{names.prefix}predictions")
    assert ids_in(predictions) == ids_in(labels) == sorted(ids)
    assert {record.content_type for record in predictions} == {"application/vnd.apache.arrow.stream"}
    assert len(predictions) < len(ids) / 4
    for record in (*predictions, *labels):
        assert {partition_of(row_id, PARTITIONS) for row_id in record.ids} == {record.partition}


def test_it_starts_without_a_broker_and_catches_up_when_there_is_one(start: Start, broker: Cluster, names: Names) -> None:
    broker.kill(1)
    serve = start()
    assert serve.infer("a", "b") == 200
    refused = serve.label("a")
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
    assert "not taken, send all of it again" in refused.json()["error"]
    prediction = {"id": "c", "time": int(time.time() * 1_000), "model": "flights", "version": "1", "features": {"a": 1}, "score": 0.9}
    assert serve.client.post("/v1/predictions", json=prediction).status_code == 503
    assert (serve.tap("accepted_rows_total"), serve.tap("written_rows_total"), serve.tap("lost_rows_total")) == (2, 0, 0)
    broker.start(1)
    until(lambda: serve.tap("written_rows_total") == 2, "the tap writes what waited")
    assert serve.label("a").status_code == 202
    assert serve.client.post("/v1/predictions", json=prediction).status_code == 202
    assert serve.stop() < STOP_WITHIN_SECONDS
    assert ids_in(sent(broker, f"{names.prefix}predictions")) == ["a", "b", "c"]
    assert ids_in(sent(broker, f"{names.prefix}labels")) == ["a"]


def test_a_broker_that_dies_and_comes_back_costs_what_the_full_queue_counted_and_no_inference(
    start: Start, broker: Cluster, names: Names
) -> None:
    serve = start(queue_bytes="20kB")
    assert serve.infer("before") == 200
    until(lambda: serve.tap("written_rows_total") == 1, "the first one is written")
    broker.kill(1)
    slowest = 0.0
    for number in range(200):
        began = time.monotonic()
        assert serve.infer(f"during-{number}") == 200
        slowest = max(slowest, time.monotonic() - began)
    lost = serve.tap("lost_rows_total")
    assert 0 < lost < 200
    assert slowest < 2.0  # a busy machine is slow now and then; a broker that is waited for is slow for far longer
    broker.start(1)
    until(lambda: serve.tap("written_rows_total") == 201 - lost, "what the queue held is written")
    assert serve.infer("after") == 200
    until(lambda: serve.label("before").status_code == 202, "labels are taken again")  # a 503 says that the sender has to come again
    assert serve.stop() < STOP_WITHIN_SECONDS
    assert serve.said("stopped")["predictions_lost"] == lost
    assert len(set(ids_in(sent(broker, f"{names.prefix}predictions")))) == 202 - lost


def test_an_outage_with_a_spool_costs_nothing_and_leaves_the_order_in_each_partition(start: Start, broker: Cluster, names: Names) -> None:
    serve = start(spools=True)
    sent_ids: list[str] = []

    def ask() -> None:
        sent_ids.append(f"flight-{len(sent_ids):05d}")
        assert serve.infer(sent_ids[-1]) == 200

    for _ in range(50):
        ask()
    until(lambda: serve.tap("written_rows_total") == 50, "what came before is written")
    broker.kill(1)
    end = time.monotonic() + OUTAGE_SECONDS
    while time.monotonic() < end:
        ask()
        time.sleep(0.02)
    assert serve.tap("written_rows_total") == 50
    broker.start(1)
    until(lambda: serve.tap("written_rows_total") > 50, "what waited is being written")
    for _ in range(50):
        ask()
    until(lambda: serve.tap("written_rows_total") == len(sent_ids), "all of it is")
    assert serve.stop() < STOP_WITHIN_SECONDS
    assert serve.said("stopped")["predictions_lost"] == 0
    records = sent(broker, f"{names.prefix}predictions")
    assert set(ids_in(records)) == set(sent_ids)
    for partition in range(PARTITIONS):
        logged = [row_id for record in records if record.partition == partition for row_id in record.ids]
        assert list(dict.fromkeys(logged)) == sorted(set(logged)), "what was sent twice apart"


def test_what_a_killed_server_had_spooled_is_sent_by_the_next_one(start: Start, broker: Cluster, names: Names) -> None:
    broker.kill(1)
    first = start(spools=True)
    ids = [f"flight-{number}" for number in range(100)]
    assert all(first.infer(*ids[begin : begin + 10]) == 200 for begin in range(0, 100, 10))
    until(lambda: first.tap("spooled_rows") == 100, "all of it is on disk")
    first.process.kill()
    first.process.wait()
    broker.start(1)
    second = start(spools=True)
    until(lambda: second.tap("written_rows_total") == 100, "it is sent")
    assert second.stop() < STOP_WITHIN_SECONDS
    assert ids_in(sent(broker, f"{names.prefix}predictions")) == sorted(ids)


@pytest.mark.parametrize("had_a_broker", [False, True])
def test_sigterm_ends_it_in_time_though_the_broker_is_away_and_clients_wait(start: Start, broker: Cluster, *, had_a_broker: bool) -> None:
    if had_a_broker:
        serve = start()
        assert serve.label("before").status_code == 202
        assert serve.infer("before") == 200
        until(lambda: serve.tap("written_rows_total") == 1, "the first one is written")
        broker.kill(1)
    else:
        broker.kill(1)
        serve = start()
    assert serve.infer("a", "b") == 200
    with ThreadPoolExecutor(40) as clients:
        waiting = [clients.submit(serve.label, f"waits-{number}") for number in range(40)]  # more than there are threads
        until(lambda: all(future.running() or future.done() for future in waiting), "the clients ask")
        elapsed = serve.stop()
        statuses = {future.result().status_code for future in waiting if future.exception() is None}
    broker.start(1)
    assert elapsed < STOP_WITHIN_SECONDS
    assert statuses <= {503}
    assert serve.said("stopped")["predictions_lost"] == 2
