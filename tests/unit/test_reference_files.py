"""Files as people have them: several, in every format, with columns that are not there, odd values, too few rows."""

import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import orjson
import pandas as pd
import pytest

from monitor.errors import ReferenceFileError
from monitor.reference import sources
from monitor.reference.building import Plan, build_reference
from monitor.reference.file import load_reference, save_reference
from monitor.reference.profile import Reference
from monitor.reference.sources import open_source
from monitor.stats.features import CategoricalExtra, CategoricalLayout, NumericExtra, NumericLayout
from tests.unit.reference_rows import BINARY, DELAYS, SEGMENTS, build, counted, flights, parquet, same


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return flights()


@pytest.fixture(scope="module")
def reference(frame: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Reference:
    return build(BINARY, parquet(frame, tmp_path_factory.mktemp("rows") / "flights.parquet"), segments=SEGMENTS).reference


def test_several_files_make_what_one_makes(
    reference: Reference, frame: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "BLOCK_ROWS", 313)
    cuts = [0, 1, 2_000, 2_000, 6_000]
    paths = [parquet(frame[begin:end], tmp_path / f"{part}.parquet") for part, (begin, end) in enumerate(pairwise(cuts))]
    parts = build(BINARY, *paths, segments=SEGMENTS).reference
    assert same(parts, reference)
    assert parts.created_from == ("0.parquet", "1.parquet", "2.parquet", "3.parquet")


def test_csv_makes_the_same(reference: Reference, frame: pd.DataFrame, tmp_path: Path) -> None:
    frame.to_csv(tmp_path / "a.csv", index=False)
    assert same(build(BINARY, tmp_path / "a.csv", segments=SEGMENTS).reference, reference)


def test_json_lines_make_the_same(frame: pd.DataFrame, tmp_path: Path) -> None:
    finite = frame.assign(temp=frame["temp"].replace([math.inf, -math.inf], np.nan))  # JSON has no infinity
    rows = finite.astype(object)
    rows[finite.isna()] = None
    records = rows.to_dict("records")
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(map(orjson.dumps, records)))
    parquet(finite, tmp_path / "a.parquet")
    lines, typed = (build(BINARY, tmp_path / name, segments=SEGMENTS).reference for name in ("a.jsonl", "a.parquet"))
    assert same(lines, typed)


def test_building_twice_makes_the_same_file(frame: pd.DataFrame, tmp_path: Path) -> None:
    path = parquet(frame, tmp_path / "a.parquet")
    for out in ("one", "two"):
        save_reference(build(BINARY, path, segments=SEGMENTS).reference, tmp_path / out)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_the_file_holds_all_of_it(reference: Reference, tmp_path: Path) -> None:
    save_reference(reference, tmp_path / "a.reference")
    loaded = load_reference(tmp_path / "a.reference", BINARY, DELAYS)
    assert same(loaded, reference)
    assert (loaded.model, loaded.version, loaded.created_from) == ("flights", "", ("flights.parquet",))


def test_features_alone_make_a_reference(frame: pd.DataFrame, tmp_path: Path) -> None:
    built = build(BINARY, parquet(frame[["temp", "hour", "constant", "carrier", "tail"]], tmp_path / "a.parquet"))
    reference = built.reference
    assert (reference.has_predictions, reference.has_scores, reference.has_labels) == (False, False, False)
    inputs = reference.layout().inputs
    assert reference.inputs[inputs.predicted_score.start :].any().item() is False
    assert reference.inputs[0] == reference.counts("carrier").sum() == 4_800
    assert reference.cohort.any().item() is False
    assert {"no predictions: @prediction, @score and quality have no reference", "no labels: @label and quality have no reference"} <= set(
        built.notes
    )


def test_labels_without_predictions_are_counted_by_class(frame: pd.DataFrame, tmp_path: Path) -> None:
    reference = build(BINARY, parquet(frame[["temp", "label"]], tmp_path / "a.parquet")).reference
    assert reference.has_labels
    assert reference.labels.tolist() == [(counted(frame)["label"] == name).sum() for name in BINARY.classes]
    assert reference.cohort.any().item() is False


def test_predictions_without_scores_have_no_score_distribution(frame: pd.DataFrame, tmp_path: Path) -> None:
    built = build(BINARY, parquet(frame[["temp", "prediction"]], tmp_path / "a.parquet"))
    assert (built.reference.has_predictions, built.reference.has_scores) == (True, False)
    assert "no scores: @score has no reference" in built.notes


@pytest.mark.parametrize("column", ["score_late", "score_on_time"])
def test_a_binary_score_may_be_given_for_either_class(frame: pd.DataFrame, tmp_path: Path, column: str) -> None:
    scores = frame["score"] if column == "score_late" else 1.0 - frame["score"]
    found = build(BINARY, parquet(pd.DataFrame({"temp": frame["temp"], column: scores}), tmp_path / "a.parquet")).reference
    flagged = counted(frame)["score"].dropna() >= BINARY.threshold
    assert found.predicted_scores.sum(axis=1).tolist() == [(~flagged).sum(), flagged.sum()]


@pytest.mark.parametrize("labels", [[0, 1], [False, True], [0.0, 1.0], ["0", "1"], ["0.0", "1.0"], ["on_time", "late"]], ids=str)
def test_a_class_may_be_its_name_or_its_index(tmp_path: Path, labels: list[object]) -> None:
    path = parquet(pd.DataFrame({"temp": range(40), "label": labels * 20}), tmp_path / "a.parquet")
    built = build(BINARY, path)
    assert built.reference.labels.sum() == 32
    assert all(built.reference.labels > 0)


def test_text_among_numbers_is_counted_as_mistyped(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("temp\n" + "\n".join(["1.5", "n/a", "warm", "2"] * 25), encoding="utf-8")
    reference = build(BINARY, path).reference
    layout = reference.features["temp"]
    assert isinstance(layout, NumericLayout)
    values = counted(pd.DataFrame({"temp": ["1.5", "n/a", "warm", "2"] * 25}))["temp"]
    counts = reference.counts("temp")
    assert layout.edges.tolist() == [1.5, 2.0]
    assert counts[layout.bins + NumericExtra.MISTYPED] == (values == "warm").sum()
    assert counts[layout.bins + NumericExtra.MISSING] == (values == "n/a").sum()


def test_a_hundred_thousand_categories_are_bounded(tmp_path: Path) -> None:
    path = parquet(pd.DataFrame({"carrier": [f"c{number}" for number in range(100_000)]}), tmp_path / "a.parquet")
    reference = build(BINARY, path).reference
    layout = reference.features["carrier"]
    assert isinstance(layout, CategoricalLayout)
    assert (len(layout.kept), len(layout.other)) == (50, 1_000)
    counts = reference.counts("carrier")
    assert counts.sum() == counts[50 + CategoricalExtra.OTHER] + counts[50 + CategoricalExtra.UNSEEN] == 90_000


def test_features_that_the_configuration_leaves_out_are_the_columns(frame: pd.DataFrame, tmp_path: Path) -> None:
    reference = build(replace(BINARY, features={}), parquet(frame, tmp_path / "a.parquet")).reference
    kinds = {name: isinstance(layout, NumericLayout) for name, layout in reference.features.items()}
    assert kinds == {"temp": True, "hour": True, "constant": True, "carrier": False, "origin": False, "tail": False}


def test_columns_of_no_use_are_said_once(frame: pd.DataFrame, tmp_path: Path) -> None:
    built = build(BINARY, parquet(frame, tmp_path / "a.parquet"))
    assert [note for note in built.notes if "left out" in note] == ["columns left out, because model flights has no use for them: id"]


def test_a_feature_without_a_column_is_left_out_and_said(frame: pd.DataFrame, tmp_path: Path) -> None:
    built = build(BINARY, parquet(frame.drop(columns=["hour"]), tmp_path / "a.parquet"))
    assert "hour" not in built.reference.features
    assert "no column for feature hour: its drift will have no reading" in built.notes


def test_a_column_that_one_of_the_files_lacks_is_missing_there(frame: pd.DataFrame, tmp_path: Path) -> None:
    first, second = parquet(frame[:3_000], tmp_path / "a.parquet"), parquet(frame[3_000:].drop(columns=["hour"]), tmp_path / "b.parquet")
    built = build(BINARY, first, second)
    layout = built.reference.features["hour"]
    assert isinstance(layout, NumericLayout)
    assert built.reference.counts("hour")[layout.bins + NumericExtra.MISSING] == len(counted(frame).loc[3_000:])
    assert "b.parquet has no column hour, which other files have: its rows count as missing" in built.notes


def test_classes_that_the_model_does_not_have_are_said(tmp_path: Path) -> None:
    labels = ["late", "on_time", "diverted", None] * 50
    built = build(BINARY, parquet(pd.DataFrame({"temp": range(200), "label": labels}), tmp_path / "a.parquet"))
    assert built.reference.labels.sum() == counted(pd.DataFrame({"label": labels}))["label"].isin(BINARY.classes).sum()
    assert "50 rows have a prediction or label that is no class of the model, such as 'diverted': counted without it" in built.notes


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"temp": range(9)}, r"9 rows; expected at least 10"),
        ({"temp": []}, r"0 rows; expected at least 10"),
        ({"heat": range(99)}, r"no column is a feature of model flights; expected temp, .*; found: heat"),
        (
            {"temp": range(99), "label": ["x", "y", "z"] * 33},
            r"no row has a class of model flights; expected on_time, late, or an index, not 'x', 'y', 'z'",
        ),
    ],
)
def test_rows_that_make_no_reference_are_refused(tmp_path: Path, columns: dict[str, list[object]], says: str) -> None:
    with pytest.raises(ReferenceFileError, match=says):
        build(BINARY, parquet(pd.DataFrame(columns), tmp_path / "a.parquet"))


def test_few_rows_are_enough_and_said_to_be_few(tmp_path: Path) -> None:
    built = build(BINARY, parquet(pd.DataFrame({"temp": range(10)}), tmp_path / "a.parquet"))
    assert (built.reference.edge_rows, built.reference.is_small) == (2, True)
    assert any("under 2,000" in note for note in built.notes)


def test_progress_reaches_the_size_of_the_files_twice(frame: pd.DataFrame, tmp_path: Path) -> None:
    path = parquet(frame, tmp_path / "a.parquet")
    read: list[int] = []
    build_reference(Plan(BINARY, "", (), DELAYS), [open_source(path)], read.append)
    assert sum(read) == pytest.approx(2 * path.stat().st_size, rel=0.01)
