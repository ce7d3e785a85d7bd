"""A model's own `config.yaml`: what it may say, and how it is told what it says wrongly."""

from pathlib import Path

import pytest

from monitor.errors import ModelError
from monitor.serving.entry_config import EntryConfig, read
from monitor.serving.versions import Latest, VersionPolicy


def write(folder: Path, text: str) -> Path:
    path = folder / "config.yaml"
    path.write_text(text)
    return path


def test_everything_that_it_may_say(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """
        inputs: {X: [distance, null, delay], carrier: carrier}
        classes: [late, on_time]
        labels: {probabilities: [late, on_time]}
        versions: {latest: 2}
        shadows: [3]
        batching: {max_rows: 16, preferred_rows: [8, 16], delay: 2ms, queue_rows: 100, concurrency: 2}
        session: {intra_op_threads: 4, inter_op_threads: 1, spinning: true, graph: basic}
        device: {kind: cuda, id: 1}
        """,
    )
    assert read(path) == EntryConfig(
        path,
        inputs={"X": ("distance", None, "delay"), "carrier": ("carrier",)},
        classes=("late", "on_time"),
        labels={"probabilities": ("late", "on_time")},
        versions=Latest(2),
        shadows=("3",),
        batching={"max_rows": 16, "preferred_rows": (8, 16), "delay_seconds": 0.002, "queue_rows": 100, "concurrency": 2},
        session={"intra_op_threads": 4, "inter_op_threads": 1, "spinning": True, "graph": "basic"},
        device={"kind": "cuda", "id": 1},
    )


def test_what_it_leaves_out_stays_as_it_is_configured_for_all(tmp_path: Path) -> None:
    path = write(tmp_path, "")
    assert read(path) == EntryConfig(path)
    assert read(write(tmp_path, "batching: {delay: none}")).batching == {"delay_seconds": 0.0}


@pytest.mark.parametrize(
    ("text", "policy"), [("all", "all"), ("{latest: 1}", Latest(1)), ("3", ("3",)), ("[1, beta]", ("1", "beta")), ("007", ("007",))]
)
def test_versions_are_all_the_latest_or_a_list(text: str, policy: VersionPolicy, tmp_path: Path) -> None:
    assert read(write(tmp_path, f"versions: {text}")).versions == policy


def test_numbers_name_classes_too(tmp_path: Path) -> None:
    assert read(write(tmp_path, "classes: [1, 0]")).classes == ("1", "0")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("inputs: [a]", "inputs: expected keys and values, not a list of 1"),
        ("input: {X: [a]}", 'input: unknown key; did you mean "inputs"?'),
        ("- a", "expected keys and values such as `classes: [on_time, late]`"),
        ("inputs: {X: [1]}", "inputs.X[0]: expected a text; if it is one, write it in quotes, not 1"),
        ("classes: [late, null]", "classes[1]: expected a text; if it is one, write it in quotes, not nothing"),
        ("classes: [late]", "classes: expected a list of at least 2, not a list of 1"),
        ("classes: [late, late]", "classes: late is there twice; name each class once, in the order of the columns"),
        ("labels: {p: [a, b, a]}", "labels.p: a is there twice; name each class once, in the order of the columns"),
        ("inputs: {", "line 1, column 10: expected the node content"),
        ("classes: [a, b]\nclasses: [b, a]", 'line 2, column 1: the key "classes" is there twice; leave one out'),
        ("versions: {latest: 0}", "versions: expected all, {latest: 2} or a list of versions, not a mapping"),
        ("versions: true", "versions: expected all, {latest: 2} or a list of versions, not true"),
        ("shadows: [1.5]", "shadows[0]: expected a text; if it is one, write it in quotes, not 1.5"),
        ("batching: {delay: 2}", "batching.delay: a length of time needs a unit: write 2s, 2m, 2h or 2d"),
        ("batching: {dely: 2ms}", 'batching.dely: unknown key; did you mean "delay"?'),
        ("batching: {max_rows: 0}", "batching.max_rows: expected at least 1, not 0"),
        ("session: {graph: al}", "session.graph: expected one of 'disabled', 'basic', 'extended' or 'all', not \"al\""),
        ("device: {kind: gpu}", "device.kind: expected one of 'cpu', 'cuda' or 'tensorrt', not \"gpu\""),
        ("device: {require_gpu: false}", "device.require_gpu: unknown key"),
    ],
)
def test_what_is_wrong_is_said_with_the_file_and_the_key(text: str, told: str, tmp_path: Path) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ModelError) as refused:
        read(path)
    assert str(refused.value).startswith(f"{path}: {told}")


def test_everything_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as refused:
        read(write(tmp_path, "clases: [a, b]\nbatching: {max_rows: many}"))
    assert len(str(refused.value).splitlines()) == 2


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"cannot be read: Is a directory"):
        read(tmp_path)
