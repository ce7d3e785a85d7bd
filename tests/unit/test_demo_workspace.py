"""The demo's folder: its configuration is valid, the model survives, what is not the demo's is left alone."""

import errno
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest

from monitor.config import ClockKind, load
from monitor.config.log import KafkaLogSettings
from monitor.demo import recipe
from monitor.demo.facts import REFERENCE_ROWS, Facts, appearing, sha256
from monitor.demo.preparing import configured
from monitor.demo.workspace import Workspace, explained, opened
from monitor.errors import AddressInUse, ConfigError, MonitorError
from tests.unit.demo_ports import free_port, listening


def write(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"content")


def prepared(folder: Path, kafka: str | None = None) -> Workspace:
    with opened(folder) as workspace:
        workspace.prepare(kafka)
        return workspace


def test_the_configuration_says_what_the_recipe_says(tmp_path: Path) -> None:
    settings = load(prepared(tmp_path / "demo").configuration, {})
    (model,) = settings.models
    assert settings.clock is ClockKind.WATERMARK
    assert settings.serving.trust_client_times
    assert (model.name, model.classes, model.threshold) == (recipe.MODEL, recipe.CLASSES, recipe.THRESHOLD)
    assert list(model.features) == [*recipe.NUMERIC, *recipe.CATEGORICAL, *recipe.MONITORED]
    assert [window.text for window in model.windows] == ["1d", "7d", "28d", "365d"]
    assert model.reference == str(tmp_path / "demo" / "flights-{version}.reference")


def test_on_kafka_nothing_but_the_log_differs(tmp_path: Path) -> None:
    workspace = prepared(tmp_path)
    embedded = load(workspace.configuration, {})
    kafka = load(prepared(tmp_path, "first:9092,second:9093").configuration, {})
    assert kafka.model_copy(update={"log": embedded.log}) == embedded
    assert isinstance(kafka.log, KafkaLogSettings)
    assert kafka.log.bootstrap_servers == ("first:9092", "second:9093")
    assert (kafka.log.partitions, kafka.log.retention) == (4, None)


def test_servers_that_are_none_are_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match='expected host:port, not "localhost: x"'):
        configured(prepared(tmp_path, "localhost: x"))


def test_another_run_starts_from_an_empty_log_and_keeps_the_model(tmp_path: Path) -> None:
    workspace = prepared(tmp_path / "demo")
    (workspace.data / "log.db").write_bytes(b"last year")
    write(workspace.model)
    prepared(tmp_path / "demo")
    assert list(workspace.data.iterdir()) == []
    assert workspace.model.read_bytes() == b"content"


@pytest.mark.parametrize("theirs", ["data/log.db", "model-monitor.yaml"])
def test_a_folder_with_somebody_elses_files_is_refused_and_left_as_it_was(tmp_path: Path, theirs: str) -> None:
    write(tmp_path / theirs)
    with pytest.raises(MonitorError, match="did not write"), opened(tmp_path):
        pass
    assert (tmp_path / theirs).read_bytes() == b"content"


def test_two_demos_do_not_share_a_folder(tmp_path: Path) -> None:
    with opened(tmp_path), pytest.raises(MonitorError, match="another demo runs"), opened(tmp_path):
        pass


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def test_a_full_disk_is_told_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 10**9 - 10**6, 10**6))
    with pytest.raises(MonitorError, match=r"0\.0 GB are free"), opened(tmp_path):
        pass


def test_a_folder_that_cannot_be_made_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MonitorError, match="--dir"), opened(tmp_path / "file" / "demo"):
        pass


@pytest.fixture
def finished(tmp_path: Path) -> Facts:
    """What a training leaves in `tmp_path`."""
    write(tmp_path / "model.onnx")
    write(tmp_path / REFERENCE_ROWS)
    digests = sha256(tmp_path / "model.onnx"), sha256(tmp_path / REFERENCE_ROWS)
    facts = Facts(recipe.VERSION, *digests, 0.6, 0.3, 0.6, -0.03, 0.01, 36.0, {"2013-07": 0.6})
    facts.write(tmp_path)
    return facts


def test_a_finished_training_is_used_again(tmp_path: Path, finished: Facts) -> None:
    assert Facts.read(tmp_path, tmp_path / "model.onnx") == finished


def test_a_training_by_another_recipe_is_not_used(tmp_path: Path, finished: Facts) -> None:
    replace(finished, recipe=recipe.VERSION + 1).write(tmp_path)
    assert Facts.read(tmp_path, tmp_path / "model.onnx") is None


@pytest.mark.parametrize("damaged", ["facts.json", "model.onnx", REFERENCE_ROWS])
@pytest.mark.usefixtures("finished")
def test_a_damaged_training_is_not_used(tmp_path: Path, damaged: str) -> None:
    (tmp_path / damaged).write_bytes(b"{}")
    assert Facts.read(tmp_path, tmp_path / "model.onnx") is None


@pytest.mark.parametrize("lost", ["facts.json", "model.onnx", REFERENCE_ROWS])
@pytest.mark.usefixtures("finished")
def test_an_interrupted_training_is_not_used(tmp_path: Path, lost: str) -> None:
    (tmp_path / lost).unlink()
    assert Facts.read(tmp_path, tmp_path / "model.onnx") is None


def test_a_file_whose_writing_fails_does_not_appear(tmp_path: Path) -> None:
    def fail(partial: Path) -> None:
        partial.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space"), appearing(tmp_path / "model.onnx") as partial:
        fail(partial)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("number", "remedy"), [(errno.ENOSPC, r"Free 0\.5 GB"), (errno.EROFS, "can be written to with --dir")])
def test_what_the_disk_says_is_explained(tmp_path: Path, number: int, remedy: str) -> None:
    with pytest.raises(MonitorError, match=remedy), explained(tmp_path):
        raise OSError(number, os.strerror(number))


@pytest.fixture
def free_ports(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    ports = {"SERVING": free_port(), "EXPORTER": free_port()}
    for section, port in ports.items():
        monkeypatch.setitem(os.environ, f"MODEL_MONITOR_{section}__PORT", str(port))
    return ports


def test_ports_follow_the_environment(tmp_path: Path, free_ports: dict[str, int]) -> None:
    settings = configured(prepared(tmp_path))
    assert {"SERVING": settings.serving.port, "EXPORTER": settings.exporter.port} == free_ports


def test_a_port_in_use_is_named_with_the_way_to_another(tmp_path: Path, free_ports: dict[str, int]) -> None:
    taken = free_ports["EXPORTER"]
    with listening(taken), pytest.raises(AddressInUse, match=rf"Port {taken} .*MODEL_MONITOR_EXPORTER__PORT="):
        configured(prepared(tmp_path))


@pytest.mark.parametrize("variable", ["MODEL_MONITOR_LOG__PATH", "MODEL_MONITOR_STATE__PATH"])
def test_a_log_or_state_outside_the_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setitem(os.environ, variable, str(tmp_path / "elsewhere.db"))
    with pytest.raises(MonitorError, match=f"{variable} leads out"):
        configured(prepared(tmp_path / "demo"))


def test_state_in_an_object_store_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "MODEL_MONITOR_STATE__PATH", "s3://bucket/prefix")
    with pytest.raises(MonitorError, match="MODEL_MONITOR_STATE__PATH leads out of the demo's folder, to s3://bucket/prefix"):
        configured(prepared(tmp_path))
