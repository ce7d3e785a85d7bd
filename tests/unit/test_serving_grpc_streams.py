"""The stream: one answer to each request, in order, several under way, and none that holds up a stop."""

from collections.abc import Iterator
from pathlib import Path
from queue import Queue
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton

from monitor.serving.grpc.streams import WINDOW
from tests.unit.serving_grpc import LARGE, PATIENCE_SECONDS, Running, running
from tests.unit.serving_models import logistic

Answers = Queue[tuple[Any, Any]]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Running]:
    for name in ("flights", "held"):
        logistic(tmp_path / name / "1" / "model.onnx")
    with running(tmp_path) as server:
        yield server


@pytest.fixture
def client(server: Running) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(server.url) as client:
        yield client
        # A client closes its stream only once everything on it is answered.
        server.threads.let_go()


def stream(client: triton.InferenceServerClient) -> Answers:
    answers: Answers = Queue()
    client.start_stream(lambda result, error: answers.put((result, error)))
    return answers


def rows(count: int) -> list[Any]:
    tensor = triton.InferInput("X", [count, 3], "FP32")
    tensor.set_data_from_numpy(np.ones((count, 3), np.float32))
    return [tensor]


def next_id(answers: Answers) -> str:
    result, error = answers.get(timeout=PATIENCE_SECONDS)
    assert error is None
    name: str = result.get_response().id
    return name


def next_error(answers: Answers) -> str:
    result, error = answers.get(timeout=PATIENCE_SECONDS)
    assert result is None
    return str(error)


def test_every_request_is_answered_in_order_and_an_error_ends_nothing(client: triton.InferenceServerClient) -> None:
    answers = stream(client)
    for number in range(3 * WINDOW):
        client.async_stream_infer("nobody" if number % 7 == 3 else "flights", rows(1), request_id=str(number))
    for number in range(3 * WINDOW):
        if number % 7 == 3:
            assert "nobody" in next_error(answers)
        else:
            assert next_id(answers) == str(number)
    client.stop_stream()
    assert answers.empty()


def test_an_answer_says_that_it_is_the_last_of_its_request(client: triton.InferenceServerClient) -> None:
    answers = stream(client)
    client.async_stream_infer("flights", rows(1), enable_empty_final_response=True)
    result, _ = answers.get(timeout=PATIENCE_SECONDS)
    assert result.get_response().parameters["triton_final_response"].bool_param
    client.stop_stream()


def test_later_requests_run_while_an_earlier_one_does_and_are_answered_after_it(
    server: Running, client: triton.InferenceServerClient
) -> None:
    answers = stream(client)
    client.async_stream_infer("held", rows(LARGE), request_id="slow")
    client.async_stream_infer("flights", rows(1), request_id="quick")
    quick = server.meters.endpoint("grpc_infer", "flights", "1")
    server.until(lambda: quick.codes[200] == 1)
    assert answers.empty()
    server.threads.let_go()
    assert [next_id(answers), next_id(answers)] == ["slow", "quick"]
    client.stop_stream()


def test_no_more_requests_are_read_than_may_wait(server: Running, client: triton.InferenceServerClient) -> None:
    answers = stream(client)
    client.async_stream_infer("held", rows(LARGE), request_id="slow")
    for number in range(2 * WINDOW):
        client.async_stream_infer("flights", rows(1), request_id=str(number))
    quick = server.meters.endpoint("grpc_infer", "flights", "1")
    server.until(lambda: quick.codes[200] == WINDOW - 1)
    for _ in range(3):
        assert client.is_server_live()  # a round trip, in which the server had the time to read on
    assert quick.codes[200] == WINDOW - 1
    server.threads.let_go()
    assert [next_id(answers) for _ in range(2 * WINDOW + 1)] == ["slow", *map(str, range(2 * WINDOW))]
    client.stop_stream()


def test_a_client_that_cancels_is_counted_as_gone(server: Running, client: triton.InferenceServerClient) -> None:
    answers = stream(client)
    client.async_stream_infer("held", rows(LARGE))
    server.until(lambda: server.threads.held == 1)
    client.stop_stream(cancel_requests=True)
    assert "CANCELLED" in next_error(answers)
    meter = server.meters.endpoint("grpc_infer", "held", "1")
    server.until(lambda: meter.codes[499] == 1)


def test_a_stop_answers_what_was_read_and_ends_the_stream(server: Running, client: triton.InferenceServerClient) -> None:
    answers = stream(client)
    client.async_stream_infer("held", rows(LARGE), request_id="slow")
    server.until(lambda: server.threads.held == 1)
    stopping = server.begin(server.server.stop(PATIENCE_SECONDS))
    server.threads.let_go()
    assert next_id(answers) == "slow"
    assert "the server is stopping" in next_error(answers)
    stopping.result(PATIENCE_SECONDS / 2)
    client.stop_stream()
