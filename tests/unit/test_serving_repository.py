"""What is found in a model repository, what shows that it changed, and what is refused before anything is loaded."""

import os
from pathlib import Path

import pytest

from monitor.errors import ModelError
from monitor.serving.entry_config import NO_CONFIG, EntryConfig
from monitor.serving.repository import Entry, scan
from monitor.serving.versions import Latest, VersionPolicy, chosen, newest


def place(root: Path, *names: str) -> Path:
    for name in names:
        folder = root / name
        folder.mkdir(parents=True)
        (folder / "model.onnx").write_bytes(b"")
    return root


def only_version(root: Path) -> Entry:
    (found,) = scan(root).values()
    (entry,) = found.versions.values()
    return entry


def only_problem(root: Path) -> str:
    """Why the one model in the repository, or its one version, cannot be loaded."""
    (found,) = scan(root).values()
    return found.problem or next(iter(found.versions.values())).problem


def test_versions_are_found_in_their_order(tmp_path: Path) -> None:
    place(tmp_path, "flights/10", "flights/9", "flights/beta", "churn/2024-01-01")
    assert {name: list(found.versions) for name, found in scan(tmp_path).items()} == {
        "churn": ["2024-01-01"],
        "flights": ["beta", "9", "10"],
    }
    assert scan(tmp_path)["flights"].versions["10"].path == tmp_path / "flights" / "10" / "model.onnx"


def test_the_newest_version_is_the_greatest_number_else_the_last_by_name() -> None:
    assert newest(["9", "10", "zeta"]) == "10"
    assert newest(["2024-01-01", "2024-02-01", "alpha"]) == "alpha"
    assert newest(["007", "7", "²"]) == "7"


@pytest.mark.parametrize(
    ("policy", "served"),
    [
        ("all", {"1", "2", "3", "10"}),
        (Latest(1), {"10", "3"}),
        (Latest(2), {"2", "10", "3"}),
        (("1", "99"), {"1", "3"}),
    ],
)
def test_a_policy_chooses_among_versions_and_shadows_are_served_besides(policy: VersionPolicy, served: set[str]) -> None:
    assert chosen(policy, ["10", "1", "2", "3"], shadows={"3"}) == served


def test_folders_without_a_model_file_are_no_versions(tmp_path: Path) -> None:
    place(tmp_path, "flights/1", "flights/.ipynb_checkpoints", ".git/1")
    (tmp_path / "flights" / "notes").mkdir()
    (tmp_path / "README.md").write_text("not a model")
    assert list(scan(tmp_path)) == ["flights"]
    assert list(scan(tmp_path)["flights"].versions) == ["1"]


@pytest.mark.parametrize("name", ["fl ights/1", "fl%2e/1", "flights/1 (copy)", "flüge/1", "x" * 129 + "/1"])
def test_a_name_that_no_url_should_carry_is_refused(name: str, tmp_path: Path) -> None:
    assert "is named with letters, digits" in only_problem(place(tmp_path, name))


def test_what_cannot_be_meant_is_refused_with_the_path(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"nothing cannot be read: No such file .*; expected a folder with <model>/<version>/model\.onnx"):
        scan(tmp_path / "nothing")
    (tmp_path / "flights").mkdir()
    assert only_problem(tmp_path) == (
        f"{tmp_path}/flights: no version in it; expected {tmp_path}/flights/1/model.onnx, or remove the folder"
    )


def test_the_versions_own_config_wins_as_a_whole(tmp_path: Path) -> None:
    place(tmp_path, "flights/1", "flights/2")
    common = tmp_path / "flights" / "config.yaml"
    own = tmp_path / "flights" / "2" / "config.yaml"
    common.write_text("inputs: {X: [a, null, b]}\nclasses: [late, on_time]\nversions: {latest: 2}\n")
    own.write_text("inputs: {X: a}\n")
    found = scan(tmp_path)["flights"]
    assert found.config == EntryConfig(common, {"X": ("a", None, "b")}, ("late", "on_time"), versions=Latest(2))
    assert found.versions["1"].config == found.config
    assert found.versions["2"].config == EntryConfig(own, {"X": ("a",)})


def test_versions_are_chosen_beside_them_all(tmp_path: Path) -> None:
    place(tmp_path, "flights/1")
    (tmp_path / "flights" / "1" / "config.yaml").write_text("versions: all")
    folder = tmp_path / "flights"
    told = f"{folder}/1/config.yaml: versions: which of them are served stands in {folder}/config.yaml: move it there"
    assert only_problem(tmp_path) == told


def test_a_broken_config_is_the_problem_of_those_that_it_counts_for(tmp_path: Path) -> None:
    place(tmp_path, "flights/1", "flights/2", "churn/1")
    (tmp_path / "flights" / "2" / "config.yaml").write_text("input: {X: a}")
    (tmp_path / "churn" / "config.yaml").write_text("input: {X: a}")
    found = scan(tmp_path)
    assert [entry.problem for entry in found["flights"].versions.values()] == [
        "",
        f'{tmp_path}/flights/2/config.yaml: input: unknown key; did you mean "inputs"?',
    ]
    assert found["churn"].problem == f'{tmp_path}/churn/config.yaml: input: unknown key; did you mean "inputs"?'


@pytest.mark.parametrize("changed", ["1/model.onnx", "1/weights/layer.bin", "1/config.yaml", "config.yaml"])
def test_a_change_shows_in_the_stamp(changed: str, tmp_path: Path) -> None:
    place(tmp_path, "flights/1")
    (tmp_path / "flights" / "1" / "weights").mkdir()
    path = tmp_path / "flights" / changed
    path.write_text("")
    (tmp_path / "flights" / "1" / ".hidden").write_text("a")
    before = only_version(tmp_path).stamp
    (tmp_path / "flights" / "1" / ".hidden").write_text("no model's")
    assert only_version(tmp_path).stamp == before
    path.write_text("#")
    assert only_version(tmp_path).stamp != before


def test_a_copy_of_the_same_size_and_time_shows_in_the_stamp_too(tmp_path: Path) -> None:
    place(tmp_path, "flights/1")
    path = tmp_path / "flights" / "1" / "model.onnx"
    before, status = only_version(tmp_path).stamp, path.stat()
    copy = tmp_path / "flights" / ".copy"
    copy.write_bytes(b"")
    os.utime(copy, ns=(status.st_atime_ns, status.st_mtime_ns))
    copy.replace(path)
    assert only_version(tmp_path).stamp != before


def test_links_within_the_repository_are_followed_as_kubernetes_volumes_have_them(tmp_path: Path) -> None:
    root = tmp_path / "models"
    place(root, "..2024_01/1", "..2024_02/1")
    (root / "..2024_01" / "1" / "model.onnx").write_bytes(b"older")
    (root / "..data").symlink_to("..2024_01")
    (root / "flights").symlink_to("..data")
    (tmp_path / "link").symlink_to("models")
    before = only_version(tmp_path / "link")
    assert (before.model, before.version, before.problem, before.config) == ("flights", "1", "", NO_CONFIG)
    assert before.path == root / "..2024_01" / "1" / "model.onnx"
    (root / "..data").unlink()
    (root / "..data").symlink_to("..2024_02")
    assert only_version(tmp_path / "link").stamp != before.stamp


@pytest.mark.parametrize(("link", "told_of"), [("flights", ""), ("flights/1", "/model.onnx"), ("flights/1/model.onnx", "")])
def test_a_link_that_leads_out_of_the_repository_is_refused_with_where_it_leads(link: str, told_of: str, tmp_path: Path) -> None:
    place(tmp_path / "elsewhere", "flights/1")
    root = tmp_path / "models"
    (root / link).parent.mkdir(parents=True)
    (root / link).symlink_to(tmp_path / "elsewhere" / link)
    place_of_it = f"{tmp_path}/elsewhere/{link}{told_of}"
    assert (
        only_problem(root) == f"{root / link}{told_of}: a link that leads to {place_of_it}, outside the repository {root}: copy it into it"
    )


def test_a_config_outside_the_repository_is_refused(tmp_path: Path) -> None:
    place(tmp_path / "models", "flights/1")
    (tmp_path / "secret.yaml").write_text("classes: [a, b]")
    (tmp_path / "models" / "flights" / "config.yaml").symlink_to(tmp_path / "secret.yaml")
    assert f"a link that leads to {tmp_path}/secret.yaml, outside the repository" in only_problem(tmp_path / "models")


@pytest.mark.parametrize("target", ["nowhere", "model.onnx"])
def test_a_link_that_leads_nowhere_is_told(target: str, tmp_path: Path) -> None:
    path = tmp_path / "flights" / "1" / "model.onnx"
    path.parent.mkdir(parents=True)
    path.symlink_to(target)
    assert only_problem(tmp_path) == f"{path}: a link that leads nowhere: point it at what it was to stand for"


def test_links_in_a_circle_among_a_versions_files_end(tmp_path: Path) -> None:
    place(tmp_path, "flights/1")
    (tmp_path / "flights" / "1" / "again").symlink_to(".")
    assert only_version(tmp_path).problem == ""
