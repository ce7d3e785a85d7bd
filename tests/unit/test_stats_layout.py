"""The blocks of a model's panes: where each count is found, checked against sums over the rows one by one."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, log_loss

from monitor.events import FeatureKind, Floats, Int64s, ModelRows, NumericColumn, Schema, Task, TextColumn
from monitor.stats.delays import DAY, HOUR, delay_bin, edges_up_to
from monitor.stats.features import CategoricalLayout, FeatureLayout, NumericLayout
from monitor.stats.layout import Block, Classes, CohortLayout, FeedbackLayout, Hits, InputsLayout, Loss, ModelLayout
from monitor.stats.scores import FIXED_POINT, ScoreExtra
from monitor.stats.vector import Additions

BINARY = Schema("flights", Task.BINARY, ("on_time", "late"), 1, 0.235, {"temp": FeatureKind.NUMERIC, "carrier": FeatureKind.CATEGORICAL})
MULTI = Schema("animals", Task.MULTICLASS, ("cat", "dog", "eel"), -1, 0.5, BINARY.features)
FEATURES: dict[str, FeatureLayout] = {
    "temp": NumericLayout(np.array([-1.0, 0.0, 1.0]), low=-2.0, high=2.0, quantum=0.5),
    "carrier": CategoricalLayout(("UA", "B6"), ("DL",)),
}
SCHEMAS = pytest.mark.parametrize("schema", [BINARY, MULTI], ids=["binary", "multiclass"])
ROWS = 400


def inputs_of(schema: Schema) -> InputsLayout:
    return InputsLayout(Classes.of(schema), FEATURES)


def cohort_of(schema: Schema) -> CohortLayout:
    return CohortLayout(Classes.of(schema), edges_up_to(14 * DAY))


def random_scores(schema: Schema, rows: int) -> Floats:
    """Mostly probabilities; some absent, infinite or out of range."""
    random = np.random.default_rng(1)
    scores = random.random((rows, 1)) if schema.task is Task.BINARY else random.dirichlet(np.ones(3), rows)
    for row, odd in enumerate([np.nan, np.inf, -0.5, 1.5, 0.0, 1.0, schema.threshold]):
        scores[row, 0] = odd
    return scores


def random_rows(schema: Schema) -> ModelRows:
    random = np.random.default_rng(2)
    nothing = np.zeros(ROWS, dtype=np.bool_)
    temp = random.normal(0, 2, ROWS)
    missing = random.random(ROWS) < 0.1
    temp[missing] = np.nan
    return ModelRows(
        model=0,
        rows=np.arange(ROWS),
        predicted=random.integers(0, len(schema.classes), ROWS).astype(np.int16),
        scores=random_scores(schema, ROWS),
        features={
            "temp": NumericColumn(temp, missing, nothing),
            "carrier": TextColumn(random.integers(-1, 4, ROWS).astype(np.int32), ("B6", "DL", "UA", "ZZ")),
        },
        segments={},
        content=np.zeros(ROWS, dtype=np.uint64),
    )


def dense(size: int, hits: Hits | None = None, additions: Additions | None = None) -> Int64s:
    total = np.zeros(size, dtype=np.int64)
    if hits is not None:
        np.add.at(total, hits.cells.ravel(), 1)
        additions = hits.extra
    if additions is not None:
        np.add.at(total, additions.cell, additions.amount)
    return total


@SCHEMAS
def test_the_parts_of_the_inputs_block_tile_it(schema: Schema) -> None:
    layout = inputs_of(schema)
    parts = [slice(0, 1), *map(layout.feature_slice, FEATURES), layout.predicted_score, layout.score_sums, layout.rest_scores]
    assert [cell for part in parts for cell in range(part.start, part.stop)] == list(range(layout.size))


@SCHEMAS
def test_the_parts_of_the_cohort_block_tile_it(schema: Schema) -> None:
    layout = cohort_of(schema)
    parts = [layout.delays, layout.scores, layout.score_sums, layout.losses, layout.rest_scores]
    assert [cell for part in parts for cell in range(part.start, part.stop)] == list(range(layout.size))


@SCHEMAS
def test_predictions_are_counted_as_the_rule_says(schema: Schema) -> None:
    layout, rows = inputs_of(schema), random_rows(schema)
    grid, count = layout.classes.grid, layout.classes.count
    total = dense(layout.size, layout.hits(rows))

    assert total[0] == ROWS
    for name, feature in FEATURES.items():
        own = np.zeros(feature.size, dtype=np.int64)
        column = rows.features[name]
        if isinstance(feature, NumericLayout):
            assert isinstance(column, NumericColumn)
            np.add.at(own, feature.cells(column), 1)
            for part in feature.sums(column, 0):
                np.add.at(own, part.cell, part.amount)
        else:
            assert isinstance(column, TextColumn)
            np.add.at(own, feature.cells(column), 1)
        assert total[layout.feature_slice(name)].tolist() == own.tolist()

    by_class = np.zeros((count, grid.size), dtype=np.int64)
    sums = np.zeros(grid.cells, dtype=np.int64)
    rest = np.zeros((count, grid.size), dtype=np.int64)
    for predicted, scores in zip(rows.predicted.tolist(), rows.scores, strict=True):
        shown = scores[0] if schema.task is Task.BINARY else scores[predicted]
        cell = int(grid.cell_of(np.array([shown]))[0])
        by_class[predicted, cell] += 1
        if cell < grid.cells:
            sums[cell] += round(shown * FIXED_POINT)
        if schema.task is Task.MULTICLASS:
            for index in range(count):
                rest[index, grid.cell_of(scores[index : index + 1])[0]] += 1
    assert total[layout.predicted_score].tolist() == by_class.ravel().tolist()
    assert total[layout.score_sums].tolist() == sums.tolist()
    assert total[layout.rest_scores].tolist() == (rest.ravel().tolist() if schema.task is Task.MULTICLASS else [])


@SCHEMAS
def test_a_row_is_in_one_cell_of_every_part(schema: Schema) -> None:
    layout = inputs_of(schema)
    total = dense(layout.size, layout.hits(random_rows(schema)))
    carrier = total[layout.feature_slice("carrier")]
    assert total[0] == carrier.sum() == total[layout.predicted_score].sum() == ROWS
    assert total[layout.rest_scores].sum() == (ROWS * 3 if schema.task is Task.MULTICLASS else 0)


@SCHEMAS
def test_no_rows_add_nothing(schema: Schema) -> None:
    layout = inputs_of(schema)
    hits = layout.hits(random_rows(schema).take(np.empty(0, dtype=np.int64)))
    assert dense(layout.size, hits).any().item() is False


def test_a_column_of_the_wrong_kind_is_named() -> None:
    rows = random_rows(BINARY)
    swapped = replace(rows, features={"temp": rows.features["carrier"], "carrier": rows.features["temp"]})
    with pytest.raises(TypeError, match=r"'temp'.*TextColumn.*NumericLayout"):
        inputs_of(BINARY).hits(swapped)


def random_pairs(schema: Schema, rows: int = ROWS) -> tuple[Int64s, Int64s, Floats, Int64s]:
    """Actual and predicted classes, scores, delays."""
    random = np.random.default_rng(3)
    classes = random.integers(0, len(schema.classes), (2, rows))
    return classes[0], classes[1], random_scores(schema, rows), random.integers(-HOUR, 14 * DAY, rows)


def pairs_in(layout: CohortLayout, schema: Schema, sign: int = 1) -> Int64s:
    actual, predicted, scores, delay = random_pairs(schema)
    signs = np.full(ROWS, sign, dtype=np.int64)
    return dense(layout.size, additions=layout.additions(signs, actual.astype(np.int16), predicted.astype(np.int16), scores, delay))


@SCHEMAS
def test_pairs_are_counted_as_the_rule_says(schema: Schema) -> None:
    layout = cohort_of(schema)
    grid, count = layout.classes.grid, layout.classes.count
    total = pairs_in(layout, schema)

    delays = np.zeros((count, count, layout.delay_bins), dtype=np.int64)
    by_score = np.zeros((count, count, grid.size), dtype=np.int64)
    sums = np.zeros((count, grid.cells), dtype=np.int64)
    rest = np.zeros((count, 2, grid.size), dtype=np.int64)
    for actual, predicted, scores, delay in zip(*random_pairs(schema), strict=True):
        shown = scores[0] if schema.task is Task.BINARY else scores[predicted]
        cell = int(grid.cell_of(np.array([shown]))[0])
        delays[actual, predicted, delay_bin(layout.delay_edges, np.array([delay]))[0]] += 1
        by_score[actual, predicted, cell] += 1
        if cell < grid.cells:
            sums[actual, cell] += round(shown * FIXED_POINT)
        if schema.task is Task.MULTICLASS:
            for index in range(count):
                rest[index, int(actual == index), grid.cell_of(scores[index : index + 1])[0]] += 1
    assert total[layout.delays].tolist() == delays.ravel().tolist()
    assert total[layout.scores].tolist() == by_score.ravel().tolist()
    assert total[layout.score_sums].tolist() == sums.ravel().tolist()
    assert total[layout.rest_scores].tolist() == (rest.ravel().tolist() if schema.task is Task.MULTICLASS else [])


@SCHEMAS
def test_losses_are_scikit_learns_over_the_rows_with_usable_scores(schema: Schema) -> None:
    layout = cohort_of(schema)
    losses = pairs_in(layout, schema)[layout.losses]
    actual, _, scores, _ = random_pairs(schema)
    usable = ((scores >= 0) & (scores <= 1)).all(axis=1)
    if schema.task is Task.BINARY:
        probability = np.column_stack((1 - scores[usable, 0], scores[usable, 0]))
        brier = brier_score_loss(actual[usable] == 1, scores[usable, 0])
    else:
        probability = scores[usable]
        brier = ((probability - np.eye(3)[actual[usable]]) ** 2).sum(axis=1).mean()
    rows = int(usable.sum())
    assert losses[Loss.SCORED] == rows
    clipped = np.clip(probability, 1e-15, 1 - 1e-15)
    own = -np.log(clipped[np.arange(rows), actual[usable]]).mean()
    assert losses[Loss.LOG_LOSS] / FIXED_POINT / rows == pytest.approx(own, abs=1e-9)
    assert losses[Loss.BRIER] / FIXED_POINT / rows == pytest.approx(brier, abs=1e-9)
    proper = (probability > 1e-6).all(axis=1) & (np.abs(probability.sum(axis=1) - 1) < 1e-9)
    peer = log_loss(actual[usable][proper], probability[proper], labels=range(layout.classes.count))
    assert -np.log(clipped[proper, actual[usable][proper]]).mean() == pytest.approx(peer, abs=1e-9)


@SCHEMAS
def test_a_pair_that_is_taken_out_leaves_nothing(schema: Schema) -> None:
    layout = cohort_of(schema)
    assert (pairs_in(layout, schema) + pairs_in(layout, schema, sign=-1)).any().item() is False


def test_an_absent_score_is_a_cell_and_no_loss() -> None:
    layout = cohort_of(BINARY)
    one, class_0 = np.ones(1, dtype=np.int64), np.zeros(1, dtype=np.int16)
    total = dense(layout.size, additions=layout.additions(one, class_0, class_0, np.array([[np.nan]]), one))
    grid = layout.classes.grid
    assert np.flatnonzero(total).tolist() == [1, layout.scores.start + grid.cells + ScoreExtra.MISSING]


def test_feedback_is_the_confusion_matrix() -> None:
    layout = FeedbackLayout(Classes.of(MULTI))
    sign, actual, predicted = np.array([1, 1, 1, -1]), np.array([0, 2, 2, 0], dtype=np.int16), np.array([1, 0, 0, 1], dtype=np.int16)
    assert dense(layout.size, additions=layout.additions(sign, actual, predicted)).reshape(3, 3).tolist() == [
        [0, 0, 0],
        [0, 0, 0],
        [2, 0, 0],
    ]


def test_only_a_binary_model_has_its_threshold_in_the_grid() -> None:
    assert 0.235 in Classes.of(BINARY).grid.edges
    assert len(Classes.of(replace(MULTI, threshold=0.235)).grid.edges) == 99


def test_features_in_another_order_are_another_layout() -> None:
    reordered = InputsLayout(Classes.of(BINARY), dict(reversed(FEATURES.items())))
    assert reordered.feature_slice("temp") != inputs_of(BINARY).feature_slice("temp")
    assert reordered.digest != inputs_of(BINARY).digest


@pytest.mark.parametrize(
    "changed",
    [
        {"temp": NumericLayout(np.array([-1.0, 0.0, 1.5]), -2.0, 2.0, 0.5)},
        {"temp": NumericLayout(np.array([-1.0, 0.0, 1.0]), -2.0, 2.5, 0.5)},
        {"temp": NumericLayout(np.array([-1.0, 0.0, 1.0]), -2.0, 2.0, 0.25)},
        {"carrier": CategoricalLayout(("B6", "UA"), ("DL",))},
        {"carrier": CategoricalLayout(("UA", "B6"), ())},
    ],
)
def test_a_new_reference_restarts_the_inputs_alone(changed: dict[str, FeatureLayout]) -> None:
    classes = Classes.of(BINARY)
    before, after = (
        ModelLayout(InputsLayout(classes, own), cohort_of(BINARY), FeedbackLayout(classes)) for own in (FEATURES, FEATURES | changed)
    )
    assert [before.digest(block) == after.digest(block) for block in Block] == [False, True, True]


@pytest.mark.parametrize(
    "changed", [replace(BINARY, threshold=0.3), replace(BINARY, classes=("on_time", "delayed")), replace(BINARY, positive=0)]
)
def test_other_classes_restart_every_block(changed: Schema) -> None:
    def layout(schema: Schema) -> ModelLayout:
        return ModelLayout(inputs_of(schema), cohort_of(schema), FeedbackLayout(Classes.of(schema)))

    before, after = layout(BINARY), layout(changed)
    assert not any(before.digest(block) == after.digest(block) for block in Block)


def test_a_layout_that_is_made_again_has_the_same_digest_and_size() -> None:
    layouts = [ModelLayout(inputs_of(MULTI), cohort_of(MULTI), FeedbackLayout(Classes.of(MULTI))) for _ in range(2)]
    assert {tuple(layout.digest(block) for block in Block) for layout in layouts} == {tuple(layouts[0].digest(block) for block in Block)}
    assert [layouts[0].size(block) for block in Block] == [inputs_of(MULTI).size, cohort_of(MULTI).size, 9]
