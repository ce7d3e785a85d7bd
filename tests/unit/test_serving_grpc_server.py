"""The server on its port: alone or shared, from its start to its stop."""

import socket
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from monitor.errors import AddressInUse, MonitorError
from monitor.serving.binding import hold
from tests.unit.serving_grpc import LARGE, PATIENCE_SECONDS, Running, running
from tests.unit.serving_models import logistic


@pytest.fixture
def root(tmp_path: Path) -> Path:
    logistic(tmp_path / "flights" / "1" / "model.onnx")
    return tmp_path


def rows(count: int) -> list[Any]:
    tensor = triton.InferInput("X", [count, 3], "FP32")
    tensor.set_data_from_numpy(np.ones((count, 3), np.float32))
    return [tensor]


def listen(server: Running, port: int, *, shared: bool) -> int:
    """Another server of the same kind on that port."""
    return server.begin(server.another().start("127.0.0.1", port, shared=shared)).result(PATIENCE_SECONDS)


def test_a_port_that_something_listens_on_is_refused_with_the_remedy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(AddressInUse, match=rf"127\.0\.0\.1:{port} is in use: .* set serving\.grpc_port .* to a free one"):
            hold("127.0.0.1", port)


def test_a_host_that_is_not_here_is_refused_with_its_key() -> None:
    with pytest.raises(MonitorError, match=r"203\.0\.113\.1:0 cannot be listened on for gRPC: .*serving\.host"):
        hold("203.0.113.1", 0)
    with pytest.raises(MonitorError, match=r"'no such host' is no address of this machine"):
        hold("no such host", 0)


def test_a_port_whose_last_connections_were_closed_just_now_can_be_held() -> None:
    with socket.create_server(("127.0.0.1", 0)) as former:
        port = former.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            # The side that closes first keeps the connection for a minute, in case something of it is still on its way.
            former.accept()[0].close()
    hold("127.0.0.1", port).close()


def test_a_server_says_what_is_wrong_with_its_host(root: Path) -> None:
    with running(root) as server, pytest.raises(MonitorError, match=r"203\.0\.113\.1:0 cannot be listened on for gRPC: .*serving\.host"):
        server.begin(server.another().start("203.0.113.1", 0)).result(PATIENCE_SECONDS)


def test_two_servers_that_do_not_share_never_get_one_port(root: Path) -> None:
    with running(root) as server:
        for shared in (False, True):
            with pytest.raises(AddressInUse, match=str(server.port)):
                listen(server, server.port, shared=shared)


def test_a_held_port_goes_to_those_it_is_held_for_and_to_nobody_else(root: Path) -> None:
    with running(root) as server:
        with hold("127.0.0.1", 0) as held:
            port = held.getsockname()[1]
            for shared in (False, True):
                with pytest.raises(AddressInUse):
                    listen(server, port, shared=shared)
        assert [listen(server, port, shared=True) for _ in range(2)] == [port, port]
        with pytest.raises(AddressInUse):
            hold("127.0.0.1", port)
        with triton.InferenceServerClient(f"127.0.0.1:{port}") as client:
            assert client.infer("flights", rows(1)).as_numpy("label").tolist() == [1]


def test_a_port_is_free_again_as_soon_as_its_server_has_stopped(root: Path) -> None:
    with running(root) as server, triton.InferenceServerClient(server.url) as client:
        assert client.is_server_live()
        server.begin(server.server.stop(PATIENCE_SECONDS)).result(PATIENCE_SECONDS)
        assert listen(server, server.port, shared=False) == server.port


def test_a_stop_waits_for_the_calls_under_way(root: Path) -> None:
    with running(root) as server, triton.InferenceServerClient(server.url) as client:
        answer: Future[Any] = Future()
        client.async_infer("flights", rows(LARGE), lambda result, error: answer.set_result(result or error))
        server.until(lambda: server.threads.held == 1)
        stopping = server.begin(server.server.stop(PATIENCE_SECONDS))
        assert not stopping.done()
        server.threads.let_go()
        assert answer.result(PATIENCE_SECONDS).as_numpy("label").tolist() == [1] * LARGE
        stopping.result(PATIENCE_SECONDS)


def test_a_stop_waits_no_longer_than_it_was_told(root: Path) -> None:
    with running(root) as server, triton.InferenceServerClient(server.url) as client:
        answer: Future[Any] = Future()
        client.async_infer("flights", rows(LARGE), lambda result, error: answer.set_result(result or error))
        server.until(lambda: server.threads.held == 1)
        server.begin(server.server.stop(0.05)).result(PATIENCE_SECONDS)
        assert isinstance(answer.result(PATIENCE_SECONDS), InferenceServerException)
        meter = server.meters.endpoint("grpc_infer", "flights", "1")
        server.until(lambda: meter.codes[499] == 1)


def test_a_server_that_never_started_stops(root: Path) -> None:
    with running(root) as server:
        server.begin(server.another().stop(PATIENCE_SECONDS)).result(PATIENCE_SECONDS)
