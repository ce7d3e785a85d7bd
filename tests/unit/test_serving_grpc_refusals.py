"""What gRPC clients are told where a request cannot be answered, and that nothing they send does any harm."""

import socket
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from structlog.testing import capture_logs
from tritonclient.utils import InferenceServerException

from monitor.serving.batching import Batching
from monitor.serving.grpc.messages import InferParameter, ModelInferRequest, RepositoryModelLoadRequest
from monitor.serving.grpc.service import within
from monitor.serving.requests import InferRequest
from monitor.serving.row_parameters import NO_PARAMETERS
from tests.unit.serving_grpc import LARGE, Running, running
from tests.unit.serving_models import logistic

BODY_LIMIT = 4_000_000
Status = grpc.StatusCode


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    root = tmp_path_factory.mktemp("models")
    logistic(root / "flights" / "1" / "model.onnx")
    with running(root, body_limit=BODY_LIMIT) as server:
        yield server


def request(**fields: Any) -> ModelInferRequest:  # noqa: ANN401
    """One row of ones for the model, in raw contents."""
    message = ModelInferRequest(**{"model_name": "flights", **fields})
    message.inputs.add(name="X", datatype="FP32", shape=[1, 3])
    message.raw_input_contents.append(np.ones(3, np.float32).tobytes())
    return message


def rows(count: int) -> list[Any]:
    tensor = triton.InferInput("X", [count, 3], "FP32")
    tensor.set_data_from_numpy(np.ones((count, 3), np.float32))
    return [tensor]


def refusal(server: Running, message: ModelInferRequest | bytes, method: str = "ModelInfer", **options: Any) -> tuple[Status, str]:  # noqa: ANN401
    body = message if isinstance(message, bytes) else message.SerializeToString()
    with pytest.raises(grpc.RpcError) as caught:
        server.raw(method, body, **options)
    return caught.value.code(), str(caught.value.details())


def changed(change: Callable[[ModelInferRequest], object]) -> ModelInferRequest:
    message = request()
    change(message)
    return message


def typed(message: ModelInferRequest, field: str, values: list[Any], datatype: str = "FP32") -> None:
    message.ClearField("raw_input_contents")
    message.inputs[0].datatype = datatype
    getattr(message.inputs[0].contents, field).extend(values)


def twice(message: ModelInferRequest) -> None:
    message.inputs.append(message.inputs[0])
    message.raw_input_contents.append(message.raw_input_contents[0])


def empty(message: ModelInferRequest) -> None:
    message.ClearField("inputs")
    message.ClearField("raw_input_contents")


def nobody_cares(result: Any, error: Any) -> None:  # noqa: ANN401
    """A client's callback."""


MALFORMED: dict[str, tuple[Callable[[ModelInferRequest], object], str]] = {
    "raw data shorter than the shape": (lambda m: m.raw_input_contents.__setitem__(0, b"\0" * 8), "takes 12 bytes, its"),
    "raw data longer than the shape": (
        lambda m: m.raw_input_contents.__setitem__(0, b"\0" * 16),
        "takes 12 bytes, its",
    ),
    "more raw data than inputs": (lambda m: m.raw_input_contents.append(b""), '"raw_input_contents" has 2 entries for 1 inputs'),
    "raw and typed data": (lambda m: m.inputs[0].contents.fp32_contents.extend([1, 1, 1]), "exclude each other"),
    "no data": (lambda m: m.ClearField("raw_input_contents"), 'needs 3 elements, "data" has 0'),
    "typed data in another type's field": (
        lambda m: typed(m, "fp64_contents", [1, 1, 1]),
        "FP32 data must be in fp32_contents",
    ),
    "too few typed data": (lambda m: typed(m, "fp32_contents", [1, 1]), "needs 3 elements"),
    "an infinity": (lambda m: typed(m, "fp32_contents", [1, float("inf"), 1]), "element 1"),
    "typed half floats": (lambda m: typed(m, "fp32_contents", [1, 1, 1], "FP16"), "must be in raw_input_contents"),
    "an unknown datatype": (lambda m: typed(m, "fp32_contents", [1, 1, 1], "FP128"), 'datatype must be FP32, not "FP128"'),
    "an unknown input": (lambda m: setattr(m.inputs[0], "name", "Y" * 10_000), 'unknown input "YYY'),
    "an input twice": (twice, "is given twice"),
    "no inputs": (empty, 'input "X" is missing'),
    "a shape of another width": (lambda m: m.inputs[0].shape.__setitem__(1, 4), "shape [1, 4] does not match [-1, 3]"),
    "a shape whose product overflows": (lambda m: m.inputs[0].shape.__setitem__(0, 2**62), "takes"),
    "a negative shape": (lambda m: m.inputs[0].shape.__setitem__(0, -1), "dimension below 1"),
    "an unknown output": (lambda m: m.outputs.add(name="Z"), 'unknown output "Z"'),
    "shared memory": (lambda m: m.inputs[0].parameters["shared_memory_region"].CopyFrom(text("r")), "shared memory is not supported"),
    "ids that are no JSON": (lambda m: m.parameters["ids"].CopyFrom(text("UA-1545")), '"parameters.ids" is a string that holds no JSON'),
    "ids for other rows": (lambda m: m.parameters["ids"].CopyFrom(text('["a", "b"]')), "one id for each of the 1 rows"),
}


def text(value: str) -> Any:  # noqa: ANN401
    message = ModelInferRequest()
    message.parameters["x"].string_param = value
    return message.parameters["x"]


@pytest.mark.parametrize("what", MALFORMED)
def test_a_request_that_is_not_what_the_model_takes(server: Running, what: str) -> None:
    change, said = MALFORMED[what]
    code, details = refusal(server, changed(change))
    assert code is Status.INVALID_ARGUMENT, details
    assert said in details
    assert len(details) < 1_000


def test_an_unknown_model_and_an_unknown_version(server: Running) -> None:
    code, details = refusal(server, request(model_name="nobody"))
    assert code is Status.NOT_FOUND
    assert "nobody" in details
    assert "flights" in details
    code, details = refusal(server, request(model_version="7"))
    assert code is Status.NOT_FOUND
    assert "7" in details
    assert refusal(server, request(model_name="../../etc"))[0] is Status.NOT_FOUND
    assert refusal(server, b"", "ModelMetadata")[0] is Status.NOT_FOUND


def test_bytes_that_are_no_message(server: Running) -> None:
    code, details = refusal(server, b"\xff" * 100)
    assert code is Status.INVALID_ARGUMENT
    assert details == "the 100 bytes received are not an inference.ModelInferRequest"
    assert refusal(server, b"\xff", "ServerLive")[0] is Status.INVALID_ARGUMENT


def test_a_message_over_the_limit_also_where_it_is_small_until_it_is_unpacked(server: Running) -> None:
    huge = b"\0" * (BODY_LIMIT + 1)
    assert refusal(server, huge)[0] is Status.RESOURCE_EXHAUSTED
    assert refusal(server, huge, compression=grpc.Compression.Gzip)[0] is Status.RESOURCE_EXHAUSTED


def test_bytes_that_are_no_http_2_end_their_connection_alone(server: Running) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as stranger:
        stranger.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n" + bytes(range(256)) * 10)
        received = b"".join(iter(lambda: stranger.recv(4_096), b""))
    assert b"HTTP/1.1 200" not in received
    assert server.raw("ModelInfer", request().SerializeToString())


def test_methods_that_this_server_does_not_have(server: Running) -> None:
    with triton.InferenceServerClient(server.url) as client, pytest.raises(InferenceServerException, match="UNIMPLEMENTED"):
        client.get_system_shared_memory_status()


def test_models_are_not_loaded_for_clients_unless_the_configuration_says_so(server: Running) -> None:
    load = RepositoryModelLoadRequest(model_name="flights").SerializeToString()
    for method in ("RepositoryModelLoad", "RepositoryModelUnload"):
        code, details = refusal(server, load, method)
        assert code is Status.UNIMPLEMENTED
        assert "serving.model_control: explicit" in details


def test_what_nobody_expected_is_logged_and_not_told(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_arguments: object, **_options: object) -> None:
        raise ZeroDivisionError("the secret")

    monkeypatch.setattr("monitor.serving.grpc.service.written", broken)
    with capture_logs() as logs:
        code, details = refusal(server, request())
    assert code is Status.INTERNAL
    assert details == "internal error; the server's log has the details"
    [log] = logs
    assert (log["event"], log["model"]) == ("a gRPC call failed", "flights")


@pytest.fixture
def busy(tmp_path: Path) -> Iterator[Running]:
    """The model is held in a run, and one more request of that size fills its queue."""
    logistic(tmp_path / "flights" / "1" / "model.onnx")
    with running(tmp_path, batching=Batching(queue_rows=LARGE)) as server, triton.InferenceServerClient(server.url) as client:
        client.async_infer("flights", rows(LARGE), nobody_cares)
        server.until(lambda: server.threads.held == 1)
        yield server


def codes(server: Running) -> Counter[int]:
    return server.meters.endpoint("grpc_infer", "flights", "1").codes


def test_a_request_that_waits_longer_than_its_timeout_is_not_run(busy: Running) -> None:
    code, details = refusal(busy, request(parameters={"timeout": InferParameter(int64_param=1_000)}))
    assert code is Status.DEADLINE_EXCEEDED
    assert "timeout" in details
    assert codes(busy)[503] == 1


@pytest.mark.parametrize(
    ("of_request", "of_call", "shorter"),
    [(0.0, None, 0.0), (0.0, 2.0, 2.0), (1.0, None, 1.0), (1.0, 2.0, 1.0), (3.0, 2.0, 2.0), (0.0, 0.0, 1e-6)],
)
def test_a_request_waits_no_longer_than_its_timeout_and_its_call(of_request: float, of_call: float | None, shorter: float) -> None:
    request = InferRequest({}, 1, None, "", NO_PARAMETERS, of_request)
    assert within(request, of_call).timeout_seconds == shorter


def test_a_call_whose_own_deadline_passes_leaves_the_queue(busy: Running) -> None:
    runs = busy.meters.runs("flights", "1")
    with triton.InferenceServerClient(busy.url) as client, pytest.raises(InferenceServerException, match="DEADLINE_EXCEEDED"):
        client.infer("flights", rows(1), client_timeout=0.05, timeout=60_000_000)
    busy.until(lambda: runs.queued_rows == 0 and codes(busy).total() == 1)


def test_a_cancelled_call_leaves_the_queue(busy: Running) -> None:
    runs = busy.meters.runs("flights", "1")
    with triton.InferenceServerClient(busy.url) as client:
        call = client.async_infer("flights", rows(1), nobody_cares)
        busy.until(lambda: runs.queued_rows == 1)
        call.cancel()
        busy.until(lambda: runs.queued_rows == 0 and codes(busy)[499] == 1)


def test_a_full_queue_says_when_to_come_back(busy: Running) -> None:
    with triton.InferenceServerClient(busy.url) as client:
        client.async_infer("flights", rows(LARGE), nobody_cares)
        busy.until(lambda: busy.meters.runs("flights", "1").queued_rows == LARGE)
        with pytest.raises(grpc.RpcError) as caught:
            busy.raw("ModelInfer", request().SerializeToString())
    assert caught.value.code() is Status.RESOURCE_EXHAUSTED
    [seconds] = [item.value for item in caught.value.trailing_metadata() if item.key == "retry-after"]
    assert int(seconds) >= 1
    assert codes(busy)[429] == 1
