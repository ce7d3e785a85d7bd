"""Profiles of small files, their counts against sums over the rows that were not used to choose."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from monitor.reference.building import Built
from monitor.reference.profile import Reference
from monitor.stats.features import TAIL_CLIP, CategoricalExtra, CategoricalLayout, NumericLayout
from monitor.stats.layout import Loss
from monitor.stats.scores import FIXED_POINT, ScoreExtra
from tests.unit.reference_rows import BINARY, MULTI, SEGMENTS, build, counted, flights, parquet


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("rows")


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return flights()


@pytest.fixture(scope="module")
def built(frame: pd.DataFrame, folder: Path) -> Built:
    return build(BINARY, parquet(frame, folder / "flights.parquet"), segments=SEGMENTS)


@pytest.fixture(scope="module")
def reference(built: Built) -> Reference:
    return built.reference


def numeric_counts(layout: NumericLayout, values: pd.Series) -> list[int]:
    """The cells of a numeric column without mistyped values. pandas writes NaN as null, hence NaN is missing."""
    finite = values[np.isfinite(values)].to_numpy()
    bins = pd.cut(finite, [-math.inf, *layout.edges, math.inf], labels=False)
    tails = np.clip(np.concatenate((layout.edges[:1] - finite, [0.0])), 0, None), np.clip(finite - layout.edges[-1], 0, None)
    with np.errstate(over="ignore"):
        quanta = [np.rint(tail / layout.quantum) for tail in tails]
    sums = [int(np.minimum(tail, TAIL_CLIP).astype(np.int64).sum()) for tail in quanta]
    clipped = int(sum((tail > TAIL_CLIP).sum() for tail in quanta))
    kinds = [int(values.isna().sum()), int(np.isinf(values).sum()), 0, int((finite < layout.low).sum()), int((finite > layout.high).sum())]
    return [*np.bincount(bins, minlength=layout.bins).tolist(), *kinds, *sums, clipped]


@pytest.mark.parametrize("name", ["temp", "hour", "constant"])
def test_numbers_are_counted_as_pandas_cuts_them(reference: Reference, frame: pd.DataFrame, name: str) -> None:
    layout = reference.features[name]
    assert isinstance(layout, NumericLayout)
    finite = frame[name][np.isfinite(frame[name])]
    assert (layout.low, layout.high) == (finite.min(), finite.max())
    assert reference.counts(name).tolist() == numeric_counts(layout, counted(frame)[name])


def test_edges_are_those_of_the_rows_that_choose(reference: Reference, frame: pd.DataFrame) -> None:
    choosing = frame.drop(counted(frame).index)
    assert (
        (reference.rows, reference.edge_rows, reference.counted_rows)
        == (6_000, len(choosing), len(frame) - len(choosing))
        == (6_000, 1_200, 4_800)
    )
    temp, hour = reference.features["temp"], reference.features["hour"]
    assert isinstance(temp, NumericLayout)
    assert isinstance(hour, NumericLayout)
    usable = np.sort(choosing["temp"][np.isfinite(choosing["temp"])])
    assert temp.edges.tolist() == [usable[math.ceil(len(usable) * part / 32) - 1] for part in range(1, 32)]
    assert hour.edges.tolist() == list(range(24))
    assert temp.quantum * 2**20 == usable[math.ceil(len(usable) * 0.75) - 1] - usable[math.ceil(len(usable) * 0.25) - 1]


@pytest.mark.parametrize("name", ["carrier", "tail"])
def test_categories_are_counted_as_pandas_counts_them(reference: Reference, frame: pd.DataFrame, name: str) -> None:
    layout = reference.features[name]
    assert isinstance(layout, CategoricalLayout)
    values = counted(frame)[name]
    frequent = frame.drop(counted(frame).index)[name].value_counts()
    ranked = sorted(frequent.index, key=lambda category: (-frequent[category], category))
    assert layout.kept == tuple(ranked[:50])
    assert set(layout.other) <= set(frame[name].dropna()) - set(layout.kept)
    known = values.value_counts()
    counts = reference.counts(name)
    assert counts[: len(layout.kept)].tolist() == [known.get(category, 0) for category in layout.kept]
    extra = dict(zip(CategoricalExtra, counts[len(layout.kept) :].tolist(), strict=True))
    unseen = int((~values.dropna().isin([*layout.kept, *layout.other])).sum())
    assert extra == {
        CategoricalExtra.OTHER: int(values.isin(layout.other).sum()),
        CategoricalExtra.UNSEEN: unseen,
        CategoricalExtra.MISSING: int(values.isna().sum()),
        CategoricalExtra.MISTYPED: 0,
    }
    assert (name == "tail") == (unseen > 0)


def with_predictions(frame: pd.DataFrame) -> pd.DataFrame:
    """What was predicted, from the score where the column does not say; None without either."""
    derived = np.where(frame["score"] >= BINARY.threshold, "late", "on_time").astype(object)
    derived[frame["score"].isna()] = None
    return frame.assign(prediction=np.where(frame["prediction"].notna(), frame["prediction"], derived))


def test_scores_are_counted_by_predicted_class(reference: Reference, frame: pd.DataFrame) -> None:
    rows = with_predictions(counted(frame))
    grid = reference.classes.grid
    for index, name in enumerate(BINARY.classes):
        scores = rows["score"][rows["prediction"] == name]
        cells = pd.cut(scores.dropna(), [0.0, *grid.edges, 1.1], right=False, labels=False)
        assert reference.predicted_scores[index, : grid.cells].tolist() == np.bincount(cells, minlength=grid.cells).tolist()
        assert reference.predicted_scores[index, grid.cells + ScoreExtra.MISSING] == scores.isna().sum()
    scored = rows[rows["prediction"].notna()]["score"].dropna()
    sums = reference.inputs[reference.layout().inputs.score_sums].sum()
    assert sums / FIXED_POINT == pytest.approx(scored.sum(), abs=1e-6)
    assert reference.predicted_scores.sum() == rows["prediction"].notna().sum() < reference.counted_rows


def test_labelled_predictions_make_the_outcomes(reference: Reference, frame: pd.DataFrame) -> None:
    rows = with_predictions(counted(frame))
    pairs = rows[rows["label"].notna() & rows["prediction"].notna()]
    layout = reference.layout().cohort
    delays = reference.cohort[layout.delays].reshape(2, 2, layout.delay_bins)
    confusion = pd.crosstab(pairs["label"], pairs["prediction"]).reindex(index=BINARY.classes, columns=BINARY.classes).to_numpy()
    assert delays[:, :, 0].tolist() == confusion.tolist()
    assert delays[:, :, 1:].any().item() is False
    assert reference.cohort[layout.scores].sum() == len(pairs)
    scored = pairs[pairs["score"].notna()]
    losses = reference.cohort[layout.losses]
    brier = ((scored["label"] == "late") - scored["score"]) ** 2
    assert losses[Loss.SCORED] == len(scored)
    assert losses[Loss.BRIER] / FIXED_POINT == pytest.approx(brier.sum(), abs=1e-5)
    assert reference.labels.tolist() == [(rows["label"] == name).sum() for name in BINARY.classes]


def test_segments_count_their_own_rows(reference: Reference, frame: pd.DataFrame) -> None:
    rows = counted(frame)
    inputs = reference.layout().inputs
    assert {text.split("=")[0] for text in reference.segments} == {"carrier"}
    assert "carrier=missing" in reference.segments
    assert r"carrier=\=\,\\,origin=JFK" not in reference.segments  # fewer than 500 rows
    assert r"carrier=\=\,\\" in reference.segments
    for text, mask in (("carrier=UA", rows["carrier"] == "UA"), (r"carrier=\=\,\\", rows["carrier"] == "=,\\")):
        vector = reference.segments[text]
        layout = reference.features["temp"]
        assert isinstance(layout, NumericLayout)
        assert vector[0] == mask.sum() >= 500
        assert vector[inputs.feature_slice("temp")].tolist() == numeric_counts(layout, rows[mask]["temp"])
    assert reference.dimensions.keys() == {"carrier", "origin"}
    assert set(reference.dimensions["origin"]) == {"JFK", "EWR"}


def test_multiclass_rows_are_counted_for_each_class_against_the_rest(tmp_path: Path) -> None:
    random = np.random.default_rng(4)
    scores = random.dirichlet(np.ones(3), 500)
    columns = {f"score_{name}": scores[:, index] for index, name in enumerate(MULTI.classes)}
    frame = pd.DataFrame({"temp": random.normal(size=500), "label": random.integers(0, 3, 500), **columns})
    reference = build(MULTI, parquet(frame, tmp_path / "a.parquet")).reference
    rows = counted(frame)
    kept = scores[rows.index]
    predicted = kept.argmax(axis=1)
    assert reference.predicted_scores.sum(axis=1).tolist() == np.bincount(predicted, minlength=3).tolist()
    inputs, cohort, grid = reference.layout().inputs, reference.layout().cohort, reference.classes.grid
    rest = reference.inputs[inputs.rest_scores].reshape(3, grid.size)
    for index in range(3):
        assert rest[index].tolist() == np.bincount(grid.cell_of(kept[:, index]), minlength=grid.size).tolist()
    confusion = np.zeros((3, 3), dtype=int)
    np.add.at(confusion, (rows["label"].to_numpy(), predicted), 1)
    assert reference.cohort[cohort.delays].reshape(3, 3, -1)[:, :, 0].tolist() == confusion.tolist()
