"""Paths, methods, ids and counts of the application, without a socket."""

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from uuid import UUID

import numpy as np
import pytest

from monitor.export.serving_metrics import render
from monitor.serving.http import Event
from monitor.serving.ids import Mint
from monitor.serving.inference import Inference
from tests.unit.serving_models import NOON, Bench, bench, logistic, tensor

ONE = {"inputs": [tensor("X", "FP32", [1, 3], [1, 2, 3])]}
TWO = {"inputs": [tensor("X", "FP32", [2, 3], [1, 2, 3, 4, 5, 6])]}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    root = tmp_path_factory.mktemp("models")
    for version in ("9", "10"):
        logistic(root / "flights" / version / "model.onnx")
    return bench(root)


def test_a_path_without_a_version_is_the_newest_ones(server: Bench) -> None:
    assert server.infer("flights", ONE).json["model_version"] == "10"
    assert server.infer("flights/versions/9", ONE).json["model_version"] == "9"


def test_metadata_is_as_the_protocol_has_it(server: Bench) -> None:
    assert server.call("GET", "/v2").json["name"] == "model-monitor"
    described = {
        "name": "flights",
        "versions": ["9", "10"],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": "X", "datatype": "FP32", "shape": [-1, 3]}],
        "outputs": [{"name": "label", "datatype": "INT64", "shape": [-1]}, {"name": "probabilities", "datatype": "FP32", "shape": [-1, 2]}],
    }
    assert server.call("GET", "/v2/models/flights").json == described
    assert server.call("GET", "/v2/models/flights/versions/9").json == described


def test_it_is_alive_before_and_after_it_is_ready(server: Bench) -> None:
    paths = ("/v2/health/live", "/v2/health/ready", "/v2/models/flights/ready", "/v2/models/flights/versions/9/ready")
    assert [server.call("GET", path).status for path in paths] == [200, 200, 200, 200]
    server.app.ready = False
    assert [server.call("GET", path).status for path in paths] == [200, 503, 503, 503]
    assert server.infer("flights", ONE).status == 200
    server.app.ready = True


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/v2/models/other/infer", 'unknown model "other"; this server has flights'),
        ("/v2/models/other", 'unknown model "other"'),
        ("/v2/models/" + "x" * 5_000, 'unknown model "' + "x" * 80 + '"'),
        ("/v2/models/flights/versions/8/infer", 'model "flights" has no version "8"; it has 9, 10'),
        ("/v2/models/../../etc/passwd", 'unknown model ".."'),
        ("/v2/models/flights/versions/..", 'has no version ".."'),
        ("/v2/models/flights/explain", "no such path: /v2/models/flights/explain"),
        ("/", "no such path: /"),
    ],
)
def test_an_unknown_path_is_a_404_that_says_what_there_is(server: Bench, path: str, told: str) -> None:
    answer = server.call("POST", path, b"{}")
    assert answer.status == 404
    assert told in answer.error


def test_a_request_that_a_stopping_server_cuts_off_is_a_503(server: Bench) -> None:
    sent: list[Event] = []

    async def never() -> Event:
        await asyncio.Event().wait()
        raise AssertionError

    async def send(event: Event) -> None:
        sent.append(event)

    async def cut_off() -> None:
        request = asyncio.create_task(server.app({"method": "POST", "path": "/v2/models/flights/infer", "headers": []}, never, send))
        await asyncio.sleep(0)
        request.cancel()
        await request

    asyncio.run(cut_off())
    assert [event.get("status") for event in sent] == [503, None]
    assert b"the server is stopping" in sent[1]["body"]


def test_a_wrong_method_is_a_405_that_names_the_right_one(server: Bench) -> None:
    answer = server.call("GET", "/v2/models/flights/infer")
    assert (answer.status, answer.error) == (405, "GET is not possible here; use POST")
    assert answer.headers["allow"] == "POST"
    assert server.call("POST", "/v2/health/live").headers["allow"] == "GET, HEAD"
    assert server.call("HEAD", "/v2/health/live").status == 200


def test_a_body_over_the_limit_is_a_413(server: Bench) -> None:
    answer = server.call("POST", "/v2/models/flights/infer", b" " * 100_001)
    assert (answer.status, "larger than 100,000 bytes" in answer.error) == (413, True)


def test_binary_tensors_go_in_and_out(server: Bench) -> None:
    values = np.array([[1, 2, 3]], "<f4").tobytes()
    tensor = {"name": "X", "datatype": "FP32", "shape": [1, 3], "parameters": {"binary_data_size": len(values)}}
    wanted = {"name": "probabilities", "parameters": {"binary_data": True}}
    text = json.dumps({"inputs": [tensor], "outputs": [wanted]}).encode()
    answer = server.call("POST", "/v2/models/flights/infer", text + values, {"Inference-Header-Content-Length": str(len(text))})
    assert (answer.status, answer.headers["content-type"]) == (200, "application/octet-stream")
    ends = int(answer.headers["inference-header-content-length"])
    assert json.loads(answer.body[:ends])["outputs"][0]["parameters"] == {"binary_data_size": 8}
    told = server.infer("flights", ONE).json["outputs"][1]["data"]
    assert np.frombuffer(answer.body[ends:], "<f4").tolist() == pytest.approx(told)


def test_a_length_that_is_no_number_is_a_400(server: Bench) -> None:
    answer = server.call("POST", "/v2/models/flights/infer", b"{}", {"Inference-Header-Content-Length": "-2"})
    assert (answer.status, "must be the number of bytes" in answer.error) == (400, True)


def test_ids_come_back_as_sent_derived_or_minted(server: Bench) -> None:
    def ids(document: Mapping[str, object]) -> tuple[str, list[str]]:
        answer = server.infer("flights", document).json
        return answer["id"], answer["parameters"]["ids"]

    assert ids(ONE | {"id": "q"}) == ("q", ["q"])
    assert ids(TWO | {"id": "q"}) == ("q", ["q/0", "q/1"])
    assert ids(TWO | {"id": "q", "parameters": {"ids": ["a", "b"]}}) == ("q", ["a", "b"])
    assert ids(ONE | {"parameters": {"ids": ["a"]}}) == ("a", ["a"])
    request_id, (row_id,) = ids(ONE)
    assert request_id == row_id
    request_id, row_ids = ids(TWO)
    assert len({request_id, *row_ids}) == 3
    for minted in (request_id, *row_ids):
        assert UUID(minted).version == 7
        assert UUID(minted).int >> 80 == NOON


def test_minted_ids_are_distinct_and_well_formed() -> None:
    mint = Mint()
    ids = mint.ids(5_000, NOON) + mint.ids(5_000, NOON)
    assert len(set(ids)) == 10_000
    assert all(re.fullmatch(r"013d25d2-ba00-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", each) for each in ids)
    # Each of the 74 random bits takes both values.
    ones = ones_in_all = 0
    ones_in_all = (1 << 128) - 1
    for each in ids:
        ones |= UUID(each).int
        ones_in_all &= UUID(each).int
    assert (ones & ~ones_in_all).bit_count() == 74


def test_requests_are_counted_by_what_became_of_them(tmp_path: Path) -> None:
    logistic(tmp_path / "flights" / "1" / "model.onnx")
    server = bench(tmp_path)
    server.infer("flights", ONE)
    server.infer("flights", TWO)
    server.infer("flights", {})
    server.infer("other", ONE)
    infer = server.meters.endpoint("infer", "flights", "1")
    assert ({code: count for code, count in infer.codes.items() if count}, infer.rows) == ({200: 2, 400: 1}, 3)
    assert server.meters.endpoint("other").codes[404] == 1
    page, content_type = render(server.meters.tally())
    lines = page.decode().splitlines()
    assert content_type.startswith(b"text/plain")
    assert 'model_monitor_serving_requests_total{code="200",endpoint="infer",model="flights",version="1"} 2.0' in lines
    assert 'model_monitor_serving_rows_total{endpoint="infer",model="flights",version="1"} 3.0' in lines
    assert 'model_monitor_serving_request_seconds_count{endpoint="infer",model="flights",version="1"} 3.0' in lines
    assert 'model_monitor_serving_run_seconds_count{model="flights",version="1"} 2.0' in lines
    assert not any("_created" in line for line in lines)


def test_a_bug_is_a_500_that_tells_nothing_and_is_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logistic(tmp_path / "flights" / "1" / "model.onnx")
    server = bench(tmp_path)
    monkeypatch.setattr(Inference, "_ids", None)
    answer = server.infer("flights", ONE)
    assert (answer.status, answer.error) == (500, "internal error; the server's log has the details")


def test_a_gateway_and_the_help_import_neither_runtime_nor_metrics() -> None:
    script = (
        "import json, sys, monitor.commands.serve\n"
        "light = sorted(sys.modules)\n"
        "import monitor.serving.app, monitor.serving.server, monitor.serving.doors, monitor.serving.batches\n"
        "print(json.dumps([light, sorted(sys.modules)]))"
    )
    light, gateway = json.loads(subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True).stdout)
    assert not {"numpy", "pyarrow", "pydantic", "uvloop"} & set(light)
    assert not {"onnxruntime", "prometheus_client", "pandas"} & set(gateway)
