"""What is found in a model repository, and what is refused before anything is loaded."""

from pathlib import Path

import pytest

from monitor.errors import ModelError
from monitor.serving.repository import EntryConfig, newest, scan


def place(root: Path, *names: str) -> Path:
    for name in names:
        folder = root / name
        folder.mkdir(parents=True)
        (folder / "model.onnx").write_bytes(b"")
    return root


def test_versions_are_found_in_their_order(tmp_path: Path) -> None:
    place(tmp_path, "flights/10", "flights/9", "flights/beta", "churn/2024-01-01")
    assert [(entry.model, entry.version) for entry in scan(tmp_path)] == [
        ("churn", "2024-01-01"),
        ("flights", "beta"),
        ("flights", "9"),
        ("flights", "10"),
    ]
    assert scan(tmp_path)[-1].path == tmp_path / "flights" / "10" / "model.onnx"


def test_the_newest_version_is_the_greatest_number_else_the_last_by_name() -> None:
    assert newest(["9", "10", "zeta"]) == "10"
    assert newest(["2024-01-01", "2024-02-01", "alpha"]) == "alpha"
    assert newest(["007", "7", "²"]) == "7"


def test_folders_without_a_model_file_are_no_versions(tmp_path: Path) -> None:
    place(tmp_path, "flights/1", "flights/.ipynb_checkpoints")
    (tmp_path / "flights" / "notes").mkdir()
    (tmp_path / "README.md").write_text("not a model")
    (tmp_path / ".git").mkdir()
    (tmp_path / "flights" / ".ipynb_checkpoints" / "model.onnx").unlink()
    assert [entry.version for entry in scan(tmp_path)] == ["1"]


@pytest.mark.parametrize("name", ["fl ights/1", "fl%2e/1", "flights/1 (copy)", "flüge/1", "x" * 129 + "/1"])
def test_a_name_that_no_url_should_carry_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is named with letters, digits"):
        scan(place(tmp_path, name))


def test_what_cannot_be_meant_is_refused_with_the_path(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"nothing is not a folder; expected <model>/<version>/model\.onnx"):
        scan(tmp_path / "nothing")
    (tmp_path / "flights").mkdir()
    with pytest.raises(ModelError, match=r"flights: no version in it; expected .*/flights/1/model\.onnx"):
        scan(tmp_path)


def test_the_versions_own_config_wins_as_a_whole(tmp_path: Path) -> None:
    place(tmp_path, "flights/1", "flights/2")
    common = tmp_path / "flights" / "config.yaml"
    own = tmp_path / "flights" / "2" / "config.yaml"
    common.write_text("inputs: {X: [a, null, b]}\nclasses: [late, on_time]\n")
    own.write_text("inputs: {X: a}\n")
    first, second = scan(tmp_path)
    assert first.config == EntryConfig(common, {"X": ("a", None, "b")}, ("late", "on_time"))
    assert second.config == EntryConfig(own, {"X": ("a",)}, ())


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("inputs: [a]", '"inputs" must map an input to the list'),
        ("input: {X: [a]}", 'expected the keys "inputs"'),
        ("- a", 'expected the keys "inputs"'),
        ("inputs: {X: [1, 2]}", '"inputs.X" must be a list of names'),
        ("classes: [late, null]", '"classes" must be a list of names'),
        ("inputs: {", "not YAML"),
    ],
)
def test_a_config_that_says_nothing_usable_is_refused_with_its_path(text: str, told: str, tmp_path: Path) -> None:
    place(tmp_path, "flights/1")
    (tmp_path / "flights" / "config.yaml").write_text(text)
    with pytest.raises(ModelError, match=r"flights/config\.yaml: ") as refused:
        scan(tmp_path)
    assert told in str(refused.value)
