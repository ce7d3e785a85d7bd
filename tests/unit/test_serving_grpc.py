"""Inference over gRPC as Triton's own client asks for it, and as a plain client of the protocol does."""

import asyncio
import json
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from onnx import TensorProto, helper

from monitor.events import Schema
from monitor.serving.grpc.messages import ModelInferRequest, ModelInferResponse
from tests.unit.serving_grpc import Running, running
from tests.unit.serving_models import echo, logistic, named_inputs, schema, write

NUMBERS: dict[str, tuple[int, Any]] = {
    "BOOL": (TensorProto.BOOL, np.array([[True, False]])),
    "INT8": (TensorProto.INT8, np.array([[-128, 127]], np.int8)),
    "INT16": (TensorProto.INT16, np.array([[-32_768, 32_767]], np.int16)),
    "INT32": (TensorProto.INT32, np.array([[-(2**31), 2**31 - 1]], np.int32)),
    "INT64": (TensorProto.INT64, np.array([[-(2**63), 2**63 - 1]], np.int64)),
    "UINT8": (TensorProto.UINT8, np.array([[0, 255]], np.uint8)),
    "UINT16": (TensorProto.UINT16, np.array([[0, 65_535]], np.uint16)),
    "UINT32": (TensorProto.UINT32, np.array([[0, 2**32 - 1]], np.uint32)),
    "UINT64": (TensorProto.UINT64, np.array([[0, 2**64 - 1]], np.uint64)),
    "FP16": (TensorProto.FLOAT16, np.array([[0.5, np.nan]], np.float16)),
    "BF16": (TensorProto.BFLOAT16, np.array([[0.5, -3.0]], ml_dtypes.bfloat16)),
    "FP32": (TensorProto.FLOAT, np.array([[1e38, np.nan]], np.float32)),
    "FP64": (TensorProto.DOUBLE, np.array([[1e308, -0.0]], np.float64)),
    "BYTES": (TensorProto.STRING, np.array([["é", ""]], object)),
}
TYPED = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    root = tmp_path_factory.mktemp("models")
    logistic(root / "flights" / "1" / "model.onnx")
    logistic(root / "flights" / "2" / "model.onnx", classes=("on_time", "late"))
    halves(root / "halves" / "1" / "model.onnx")
    named_inputs(root / "named" / "1" / "model.onnx")
    for datatype, (kind, _) in NUMBERS.items():
        echo(root / f"echo-{datatype}" / "1" / "model.onnx", kind, [None, 2])
    with running(root, schema_of) as server:
        yield server


@pytest.fixture
def client(server: Running) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(server.url) as client:
        yield client


def halves(path: Path) -> None:
    """x → half, the same in half precision, and whole, the same."""
    nodes = [helper.make_node("Cast", ["x"], ["half"], to=TensorProto.FLOAT16), helper.make_node("Identity", ["x"], ["whole"])]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 2])]
    outputs = [
        helper.make_tensor_value_info("half", TensorProto.FLOAT16, [None, 2]),
        helper.make_tensor_value_info("whole", TensorProto.FLOAT, [None, 2]),
    ]
    write(helper.make_graph(nodes, "halves", inputs, outputs), path)


def schema_of(model: str, _version: str) -> Schema | None:
    return schema() if model == "flights" else None


def given(name: str, datatype: str, data: Any) -> Any:  # noqa: ANN401  tritonclient has no types
    tensor = triton.InferInput(name, list(data.shape), datatype)
    tensor.set_data_from_numpy(data)
    return tensor


def flights(*rows: tuple[float, float, float]) -> list[Any]:
    return [given("X", "FP32", np.array(rows, np.float32))]


def ids_of(result: triton.InferResult) -> list[str]:
    ids: list[str] = json.loads(result.get_response().parameters["ids"].string_param)
    return ids


def test_health_and_metadata(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("flights")
    assert client.is_model_ready("flights", "1")
    assert not client.is_model_ready("flights", "3")
    assert not client.is_model_ready("nobody")
    assert client.get_server_metadata().name == "model-monitor"
    assert {"classification", "model_configuration", "statistics"} <= set(client.get_server_metadata().extensions)
    metadata = client.get_model_metadata("flights", as_json=True)
    assert metadata == {
        "name": "flights",
        "versions": ["1", "2"],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": "X", "datatype": "FP32", "shape": ["-1", "3"]}],
        "outputs": [
            {"name": "label", "datatype": "BYTES", "shape": ["-1"]},
            {"name": "probabilities", "datatype": "FP32", "shape": ["-1", "2"]},
        ],
    }


def test_an_answer_names_the_version_and_gives_every_output(client: triton.InferenceServerClient) -> None:
    result = client.infer("flights", flights((1, 1, 1), (-4, 0, 0)), request_id="UA-1545")
    assert result.as_numpy("label").tolist() == [b"late", b"on_time"]
    assert result.as_numpy("probabilities")[:, 1] == pytest.approx([0.8808, 0.0180], abs=1e-4)
    response = result.get_response()
    assert (response.model_name, response.model_version, response.id) == ("flights", "2", "UA-1545")
    assert ids_of(result) == ["UA-1545/0", "UA-1545/1"]


def test_a_version_by_name(client: triton.InferenceServerClient) -> None:
    result = client.infer("flights", flights((1, 1, 1)), model_version="1")
    assert result.get_response().model_version == "1"
    assert result.as_numpy("label").tolist() == [1]


def test_only_the_outputs_that_are_asked_for_and_classes_by_their_scores(client: triton.InferenceServerClient) -> None:
    wanted = [triton.InferRequestedOutput("probabilities", class_count=2), triton.InferRequestedOutput("label")]
    result = client.infer("flights", flights((1, 1, 1)), outputs=wanted, model_version="1")
    assert [output.name for output in result.get_response().outputs] == ["probabilities", "label"]
    [[first, second]] = result.as_numpy("probabilities").tolist()
    assert [text.split(b":")[1] for text in (first, second)] == [b"1", b"0"]
    assert float(first.split(b":")[0]) == pytest.approx(0.8808, abs=1e-4)


def test_two_inputs_one_of_them_text(client: triton.InferenceServerClient) -> None:
    inputs = [given("carrier", "BYTES", np.array([["UA"], ["Ä"]], object)), given("distance", "FP32", np.zeros((2, 1), np.float32))]
    result = client.infer("named", inputs)
    assert result.as_numpy("score").tolist() == [[0.5], [0.5]]
    assert result.as_numpy("echo").tolist() == [[b"UA"], ["Ä".encode()]]


@pytest.mark.parametrize("datatype", NUMBERS)
def test_every_datatype_raw(client: triton.InferenceServerClient, datatype: str) -> None:
    data = NUMBERS[datatype][1]
    result = client.infer(f"echo-{datatype}", [given("x", datatype, data)])
    answer = result.as_numpy("y")
    expected = np.array([[b"\xc3\xa9", b""]], object) if datatype == "BYTES" else data
    assert answer.dtype == expected.dtype
    assert answer.tolist() == expected.tolist() or answer.tobytes() == expected.tobytes()


@pytest.mark.parametrize("datatype", TYPED)
def test_every_datatype_typed(server: Running, datatype: str) -> None:
    elements = NUMBERS[datatype][1].ravel().tolist()
    if datatype == "BYTES":
        elements = [element.encode() for element in elements]
    request = ModelInferRequest(model_name=f"echo-{datatype}")
    getattr(request.inputs.add(name="x", datatype=datatype, shape=[1, 2]).contents, TYPED[datatype]).extend(elements)
    response = ModelInferResponse.FromString(server.raw("ModelInfer", request.SerializeToString()))
    assert not response.raw_output_contents
    [output] = response.outputs
    assert list(output.shape) == [1, 2]
    assert output.contents == request.inputs[0].contents or "nan" in str(elements)


def test_typed_requests_are_answered_raw_where_an_output_has_no_typed_form(server: Running) -> None:
    request = ModelInferRequest(model_name="halves")
    request.inputs.add(name="x", datatype="FP32", shape=[1, 2]).contents.fp32_contents.extend([0.5, -3])
    response = ModelInferResponse.FromString(server.raw("ModelInfer", request.SerializeToString()))
    assert [(output.name, output.datatype) for output in response.outputs] == [("half", "FP16"), ("whole", "FP32")]
    half, whole = response.raw_output_contents
    assert np.frombuffer(half, np.float16).tolist() == np.frombuffer(whole, np.float32).tolist() == [0.5, -3]
    assert not any(output.HasField("contents") for output in response.outputs)


def test_ids_times_and_segments_are_json_in_parameters(server: Running, client: triton.InferenceServerClient) -> None:
    parameters = {"ids": '["a", "b"]', "times": '["2013-03-01T11:00:00Z", 1362139200000]', "segments": '{"carrier": ["UA", "DL"]}'}
    result = client.infer("flights", flights((1, 1, 1), (2, 2, 2)), parameters=parameters, headers={"traceparent": "00-ab-cd-01"})
    assert ids_of(result) == ["a", "b"]
    entry = server.tap.entries[-1]
    assert entry.ids == ["a", "b"]
    assert entry.parameters.times == [1_362_135_600_000, 1_362_139_200_000]
    assert entry.parameters.segments == {"carrier": ["UA", "DL"]}
    assert entry.trace == "00-ab-cd-01"


def test_ids_are_minted_where_there_are_none(client: triton.InferenceServerClient) -> None:
    result = client.infer("flights", flights((1, 1, 1)))
    assert ids_of(result) == [result.get_response().id]
    assert len(result.get_response().id) == 36


def test_parameters_of_every_kind_that_nobody_asked_for_do_no_harm(server: Running) -> None:
    request = ModelInferRequest(model_name="flights")
    request.inputs.add(name="X", datatype="FP32", shape=[1, 3]).contents.fp32_contents.extend([1, 1, 1])
    request.parameters["a"].bool_param = True
    request.parameters["b"].int64_param = -1
    request.parameters["c"].string_param = "é"
    request.parameters["d"].double_param = 0.5
    request.parameters["priority"].uint64_param = 2**64 - 1
    request.parameters["e"].SetInParent()
    response = ModelInferResponse.FromString(server.raw("ModelInfer", request.SerializeToString()))
    assert [output.name for output in response.outputs] == ["label", "probabilities"]
    assert list(response.outputs[0].contents.bytes_contents) == [b"late"]


def test_asynchronous_calls(client: triton.InferenceServerClient) -> None:
    futures: list[Future[Any]] = [Future() for _ in range(20)]

    def callback(future: Future[Any]) -> Any:  # noqa: ANN401
        return lambda result, error: future.set_exception(error) if error else future.set_result(result)

    for number, future in enumerate(futures):
        client.async_infer("flights", flights((1, 1, 1)), callback(future), request_id=str(number))
    assert [future.result(20).get_response().id for future in futures] == [str(number) for number in range(20)]


def test_tritons_asyncio_client(server: Running) -> None:
    async def ask() -> list[str]:
        async with triton_aio.InferenceServerClient(server.url) as client:
            assert await client.is_model_ready("flights")
            results = await asyncio.gather(*(client.infer("flights", flights((1, 1, 1)), request_id=str(number)) for number in range(20)))
            return [result.get_response().id for result in results]

    assert asyncio.run(ask()) == [str(number) for number in range(20)]


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_compressed_requests(client: triton.InferenceServerClient, algorithm: str) -> None:
    result = client.infer("flights", flights((1, 1, 1)), compression_algorithm=algorithm)
    assert result.as_numpy("label").tolist() == [b"late"]


def test_statistics_count_rows_and_runs(client: triton.InferenceServerClient) -> None:
    [before] = client.get_inference_statistics("flights", "1").model_stats
    client.infer("flights", flights((1, 1, 1), (2, 2, 2)), model_version="1")
    [after] = client.get_inference_statistics("flights", "1").model_stats
    assert after.inference_count - before.inference_count == 2
    assert after.execution_count - before.execution_count == 1
    assert after.inference_stats.success.count - before.inference_stats.success.count == 1
    assert after.inference_stats.compute_infer.ns > before.inference_stats.compute_infer.ns
    assert {(one.name, one.version) for one in client.get_inference_statistics().model_stats} >= {("flights", "1"), ("flights", "2")}


def test_a_configuration_as_triton_would_have_it(client: triton.InferenceServerClient) -> None:
    config = client.get_model_config("named").config
    assert (config.name, config.platform, config.backend) == ("named", "onnxruntime_onnx", "onnxruntime")
    assert config.max_batch_size == 64
    assert [(tensor.name, tensor.data_type, list(tensor.dims)) for tensor in config.input] == [("distance", 11, [1]), ("carrier", 13, [1])]
    assert config.HasField("dynamic_batching")


def test_calls_are_counted_by_model_and_status(server: Running, client: triton.InferenceServerClient) -> None:
    meter = server.meters.endpoint("grpc_infer", "flights", "1")
    rows, answered = meter.rows, meter.codes[200]
    client.infer("flights", flights((1, 1, 1), (2, 2, 2)), model_version="1")
    assert (meter.rows - rows, meter.codes[200] - answered) == (2, 1)
