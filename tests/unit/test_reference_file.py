"""The file of a profile: an exact round trip, and a clear refusal of everything that is not as it was written."""

import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monitor.errors import ReferenceFileError
from monitor.events import FeatureKind, Schema
from monitor.reference import file
from monitor.reference.file import load_reference, save_reference
from monitor.reference.profile import Reference
from monitor.stats.delays import DAY, edges_up_to
from monitor.stats.features import CategoricalLayout, NumericLayout
from tests.unit.reference_rows import BINARY, DELAYS, MULTI, SEGMENTS, build, flights, parquet, same


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    return build(BINARY, parquet(flights(4_000), tmp_path_factory.mktemp("rows") / "flights.parquet"), segments=SEGMENTS).reference


@pytest.fixture
def path(reference: Reference, tmp_path: Path) -> Path:
    save_reference(reference, tmp_path / "flights.reference")
    return tmp_path / "flights.reference"


def edited(path: Path, edit: Callable[[dict[str, Any]], None]) -> Path:
    document = json.loads(path.read_bytes())
    edit(document)
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def refusal(path: Path, schema: Schema = BINARY) -> str:
    with pytest.raises(ReferenceFileError) as caught:
        load_reference(path, schema, DELAYS)
    return str(caught.value)


def test_saving_and_loading_changes_nothing(reference: Reference, path: Path) -> None:
    assert same(load_reference(path, BINARY, DELAYS), reference)


def test_every_float_survives_exactly(reference: Reference, tmp_path: Path) -> None:
    bits = np.random.default_rng(1).integers(0, 2**64, 3_000, dtype=np.uint64).view(np.float64)
    edges = np.unique(bits[np.isfinite(bits)])
    layout = NumericLayout(edges, float(edges[0]), float(edges[-1]), 5e-324)
    counts = np.zeros(layout.size, dtype=np.int64)
    counts[0] = 2**62
    saved = replace(
        reference,
        rows=2**62,
        edge_rows=0,
        features={"temp": layout},
        segments={},
        inputs=np.concatenate(([2**62], counts, np.zeros(2 * 104 + 101, dtype=np.int64))),
    )
    save_reference(saved, tmp_path / "a.reference")
    loaded = load_reference(tmp_path / "a.reference", replace(BINARY, features={}), DELAYS)
    assert loaded.layout().inputs.digest == saved.layout().inputs.digest
    assert loaded.inputs.tolist() == saved.inputs.tolist()


def test_a_line_holds_a_feature(reference: Reference, path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [sum(line.startswith(f'    "{name}": {{"kind"') for line in lines) for name in reference.features] == [1] * 5
    assert lines[1] == '  "format": "model-monitor reference",'
    assert any("Ünï" in line for line in lines)


def test_reformatting_it_is_no_change(reference: Reference, path: Path) -> None:
    path.write_text(json.dumps(json.loads(path.read_bytes()), indent=2, sort_keys=True), encoding="utf-8")
    assert load_reference(path, BINARY, DELAYS).labels.tolist() == reference.labels.tolist()


def test_features_are_those_of_the_configuration_in_its_order(reference: Reference, path: Path) -> None:
    wanted = {"tail": FeatureKind.CATEGORICAL, "new": FeatureKind.NUMERIC, "temp": FeatureKind.NUMERIC, "other": FeatureKind.CATEGORICAL}
    loaded = load_reference(path, replace(BINARY, features=wanted), DELAYS)
    assert list(loaded.features) == list(wanted)
    assert loaded.counts("temp").tolist() == reference.counts("temp").tolist()
    assert loaded.counts("new").any().item() is False
    new, other = loaded.features["new"], loaded.features["other"]
    assert isinstance(new, NumericLayout)
    assert isinstance(other, CategoricalLayout)
    assert (new.bins, other.kept) == (1, ())
    slices = [vectors.layout().inputs.feature_slice("temp") for vectors in (loaded, reference)]
    text = "carrier=UA"
    assert loaded.segments[text][slices[0]].tolist() == reference.segments[text][slices[1]].tolist()


def test_features_of_the_file_are_taken_where_none_are_configured(reference: Reference, path: Path) -> None:
    assert same(load_reference(path, replace(BINARY, features={}), DELAYS), reference)


def test_another_horizon_moves_the_labels_into_its_first_delay_bin(reference: Reference, path: Path) -> None:
    loaded = load_reference(path, BINARY, edges_up_to(30 * DAY))
    cohort = loaded.layout().cohort
    assert loaded.cohort[cohort.scores].tolist() == reference.cohort[reference.layout().cohort.scores].tolist()
    delays = loaded.cohort[cohort.delays].reshape(4, cohort.delay_bins)
    assert delays[:, 0].sum() == loaded.cohort[cohort.scores].sum() > 0
    assert delays[:, 1:].any().item() is False


@pytest.mark.parametrize("kept", [0, 1, 40, 0.5, 0.999])
def test_a_truncated_file_is_said_to_be_cut_short(path: Path, kept: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(kept if kept >= 1 else kept * len(content))])
    assert re.search(r"flights\.reference: not JSON, or cut short: .*; build it again with `model-monitor reference build`", refusal(path))


@pytest.mark.parametrize("content", ["[]", "{}", '"x"', '{"format": "other", "version": 1}', '{"format": "model-monitor reference"}', "5"])
def test_other_json_is_no_profile(path: Path, content: str) -> None:
    path.write_text(content, encoding="utf-8")
    assert "flights.reference: not a reference profile: expected" in refusal(path)


def test_another_format_version_is_named(path: Path) -> None:
    edited(path, lambda document: document.update(version=2))
    assert "version: written by another release: expected 1, not 2; build it again" in refusal(path)


def test_the_reference_of_another_model_names_both(path: Path) -> None:
    said = refusal(path, replace(BINARY, name="trains"))
    assert 'the reference of model "flights", not of "trains"' in said
    assert "--model trains" in said


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        (replace(MULTI, name="flights"), "task: built for binary, but model flights is configured with multiclass"),
        (
            replace(BINARY, classes=("late", "on_time")),
            "classes: built for on_time, late, but model flights is configured with late, on_time",
        ),
        (replace(BINARY, positive=0), "positive_class: built for late, but model flights is configured with on_time"),
        (replace(BINARY, threshold=0.5), "threshold: built for 0.235, but model flights is configured with 0.5"),
        (
            replace(BINARY, features={"temp": FeatureKind.CATEGORICAL}),
            "features.temp: built as numeric, but model flights is configured with categorical",
        ),
    ],
)
def test_another_configuration_is_told_apart_by_key(path: Path, schema: Schema, says: str) -> None:
    said = refusal(path, schema)
    assert says in said
    assert "build it again" in said


def _temp(key: str, value: object) -> Callable[[dict[str, Any]], None]:
    return lambda document: document["features"]["temp"].update({key: value})


def _counts(key: str, value: object) -> Callable[[dict[str, Any]], None]:
    return lambda document: document["features"]["temp"]["counts"].update({key: value})


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (_counts("missing", -1), r"features\.temp\.numeric\.counts\.missing: .*greater than or equal to 0"),
        (_counts("missing", 2**63), r"counts\.missing"),
        (_counts("missing", 1.5), r"counts\.missing: .*integer"),
        (_counts("missing", "3"), r"counts\.missing: .*integer"),
        (_counts("bins", [1, 2]), r"counts\.bins: expected 32 of them, one more than edges, not 2"),
        (_temp("edges", [2.0, 1.0]), r"edges: expected distinct numbers in ascending order"),
        (_temp("edges", [1.0, 1.0]), r"edges: expected distinct numbers in ascending order"),
        (_temp("edges", [float("nan")]), r"edges\.0: .*finite"),
        (_temp("quantum", 0.0), r"quantum: .*greater than 0"),
        (_temp("quantum", float("inf")), r"quantum: .*finite"),
        (_temp("low", None), r"low, high: expected two numbers in ascending order, or null for both"),
        (_temp("kind", "ordinal"), r"features\.temp: .*numeric"),
        (_temp("note", "mine"), r"features\.temp\.numeric\.note: Extra"),
        (lambda document: document["features"]["carrier"].update(other=["UA"]), r"kept, other: expected each category once"),
        (lambda document: document["features"]["carrier"]["counts"].update(kept=[]), r"counts\.kept: expected 4 of them"),
        (lambda document: document["scores"]["predicted"].update(cells=[3, 3], counts=[1, 1]), r"cells: expected distinct numbers"),
        (lambda document: document["scores"]["predicted"].update(cells=[3], counts=[]), r"counts: expected 1 of them, one a cell"),
        (lambda document: document.update(edge_rows=10**6), r"edge_rows: expected at most rows"),
        (lambda document: document.update(edge_rows=0), r"features\.temp\.counts: expected 4000 rows, not 3200"),
        (
            lambda document: document["segments"]["carrier=UA"].update(rows=1),
            r"segments\.carrier=UA: features\.temp\.counts: expected 1 rows",
        ),
        (lambda document: document["labels"].pop("late"), r"labels: expected a count for each of on_time, late"),
        (lambda document: document.pop("task"), r"task: Field required"),
        (lambda document: document.update(comment="mine"), r"comment: Extra"),
    ],
)
def test_what_no_build_writes_is_named_by_its_key(path: Path, edit: Callable[[dict[str, Any]], None], says: str) -> None:
    said = refusal(edited(path, edit))
    assert re.search(says, said), said
    assert said.startswith(f"{path}: ")


def test_a_changed_count_is_not_believed(path: Path) -> None:
    def swap(document: dict[str, Any]) -> None:
        document["labels"] = {"on_time": document["labels"]["late"], "late": document["labels"]["on_time"]}

    assert "digest: the file is not as it was written" in refusal(edited(path, swap))


def test_a_file_beyond_the_limit_is_neither_read_nor_written(reference: Reference, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file, "BYTES_LIMIT", 1_000)
    assert "more than the 1,000 bytes allowed" in refusal(path)
    with pytest.raises(ReferenceFileError, match="name fewer features or segments"):
        save_reference(reference, path)


def test_a_folder_is_no_profile(tmp_path: Path) -> None:
    assert "cannot be read: Is a directory" in refusal(tmp_path)


def test_missing_folders_are_made(reference: Reference, tmp_path: Path) -> None:
    save_reference(reference, tmp_path / "new" / "folder" / "a.reference")
    assert (tmp_path / "new" / "folder" / "a.reference").exists()


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(reference: Reference, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ReferenceFileError, match=r"flights\.reference: the profile cannot be written there: No space left on device"):
        save_reference(replace(reference, version="2"), path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]
