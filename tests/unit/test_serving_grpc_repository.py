"""The model repository over gRPC: what is in it, and models that come and go while others are asked."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from monitor.serving.tokens import TokenFile
from tests.unit.serving_grpc import Running, running
from tests.unit.serving_models import logistic

ROW = np.ones((1, 3), np.float32)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("flights", "others"):
        logistic(tmp_path / name / "1" / "model.onnx")
    return tmp_path


@pytest.fixture
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("secrets")


@pytest.fixture
def server(root: Path) -> Iterator[Running]:
    with running(root, model_control=True) as server:
        yield server


@pytest.fixture
def client(server: Running) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(server.url) as client:
        yield client


def answering_version(client: triton.InferenceServerClient) -> str:
    tensor = triton.InferInput("X", [1, 3], "FP32")
    tensor.set_data_from_numpy(ROW)
    version: str = client.infer("flights", [tensor]).get_response().model_version
    return version


def index(client: triton.InferenceServerClient) -> list[tuple[str, str, str]]:
    return [(each.name, each.version, each.state) for each in client.get_model_repository_index().models]


def test_the_server_says_that_models_can_be_loaded(client: triton.InferenceServerClient) -> None:
    assert "model_repository" in client.get_server_metadata().extensions


def test_the_index_has_every_version_and_its_state(client: triton.InferenceServerClient) -> None:
    assert index(client) == [("flights", "1", "READY"), ("others", "1", "READY")]


def test_a_new_version_is_loaded_when_a_client_asks_for_it(client: triton.InferenceServerClient, root: Path) -> None:
    logistic(root / "flights" / "2" / "model.onnx")
    assert answering_version(client) == "1"
    client.load_model("flights")
    assert answering_version(client) == "2"
    assert client.get_model_metadata("flights").versions == ["1", "2"]


def test_a_load_that_fails_says_why_and_what_was_loaded_still_answers(client: triton.InferenceServerClient, root: Path) -> None:
    broken = root / "flights" / "2" / "model.onnx"
    broken.parent.mkdir()
    broken.write_bytes(b"not a model")
    with pytest.raises(InferenceServerException, match=r"INVALID_ARGUMENT.*flights/2/model\.onnx"):
        client.load_model("flights")
    assert answering_version(client) == "1"
    assert ("flights", "2", "UNAVAILABLE") in index(client)
    [ready] = [each for each in client.get_model_repository_index().models if each.name == "flights" and each.version == "2"]
    assert ready.reason


def test_an_unloaded_model_is_not_ready_and_others_are(client: triton.InferenceServerClient) -> None:
    client.unload_model("flights")
    assert not client.is_model_ready("flights")
    assert client.is_model_ready("others")
    with pytest.raises(InferenceServerException, match=r"UNAVAILABLE.*flights"):
        answering_version(client)
    client.load_model("flights")
    assert answering_version(client) == "1"


def test_a_model_that_is_not_in_the_repository(client: triton.InferenceServerClient, root: Path) -> None:
    for change in (client.load_model, client.unload_model):
        with pytest.raises(InferenceServerException, match=r"NOT_FOUND.*nobody"):
            change("nobody")
    shutil.rmtree(root / "others")
    with pytest.raises(InferenceServerException, match="NOT_FOUND"):
        client.load_model("others")


def test_models_come_from_the_repository_and_not_with_the_request(client: triton.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match=r"INVALID_ARGUMENT.*leave out config, file:1/model\.onnx"):
        client.load_model("flights", config="{}", files={"file:1/model.onnx": b""})
    assert answering_version(client) == "1"


def test_where_there_are_tokens_a_model_is_changed_only_with_one_that_is_good_for_it(root: Path, secrets: Path) -> None:
    token = secrets / "token"
    token.write_text("0123456789abcdef")
    bearer = {"authorization": "Bearer 0123456789abcdef"}
    files = [TokenFile(token, ("flights",))]
    with running(root, model_control=True, tokens=files) as server, triton.InferenceServerClient(server.url) as client:
        client.load_model("flights", headers=bearer)
        for refused, name, headers in (("UNAUTHENTICATED", "flights", None), ("PERMISSION_DENIED", "others", bearer)):
            for change in (client.load_model, client.unload_model):
                with pytest.raises(InferenceServerException, match=refused):
                    change(name, headers=headers)
        assert answering_version(client) == "1"


def test_nothing_is_ready_before_the_server_is(server: Running, client: triton.InferenceServerClient) -> None:
    server.ready.clear()
    assert client.is_server_live()
    assert not client.is_server_ready()
    assert not client.is_model_ready("flights")
