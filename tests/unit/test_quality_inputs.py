"""Counts of what came in place of usable values."""

import numpy as np
import pytest

from monitor.events import Column, NumericColumn, TextColumn
from monitor.quality.inputs import InputQuality, input_quality, inputs_quality
from monitor.stats.features import CategoricalLayout, NumericLayout
from monitor.stats.layout import InputsLayout
from tests.unit.quality_rows import binary, feature_vector, inputs_vector, numbers, texts

pytestmark = pytest.mark.filterwarnings("error")

DISTANCE = NumericLayout(np.array([100.0, 200.0]), low=50.0, high=400.0)
CARRIER = CategoricalLayout(("AA", "UA"), other=("HA",))


def test_a_numeric_feature_counts_each_kind_of_unusable_and_unusual_value() -> None:
    values = np.array([120.0, 10.0, 500.0, 600.0, np.nan, np.inf, np.nan, np.nan])
    flags = np.arange(len(values))
    column = NumericColumn(values, missing=flags == 6, mistyped=flags == 7)

    quality = input_quality(DISTANCE, feature_vector(DISTANCE, column))

    assert quality == InputQuality(rows=8, missing=1, non_finite=2, mistyped=1, below=1, above=2, out_of_range=3)


def test_a_categorical_feature_counts_each_kind_of_unusable_and_unusual_value() -> None:
    column = TextColumn(np.array([0, 0, 1, 2, 3, 3, -1, -2], dtype=np.int32), ("AA", "UA", "HA", "XX"))

    quality = input_quality(CARRIER, feature_vector(CARRIER, column))

    assert quality == InputQuality(rows=8, missing=1, mistyped=1, unseen=2, other=1)


def test_all_of_a_models_inputs_and_its_scores_are_counted_without_a_reference() -> None:
    layout = InputsLayout(binary(), {"distance": NumericLayout(np.empty(0)), "carrier": CARRIER})
    columns: dict[str, Column] = {"distance": numbers(1.0, None, np.inf), "carrier": texts("AA", None, None)}

    quality = inputs_quality(layout, inputs_vector(layout, np.array([0, 1, 1]), np.array([0.2, np.nan, 1.2]), columns))

    assert quality["distance"] == InputQuality(rows=3, missing=1, non_finite=1, mistyped=0, below=0, above=0, out_of_range=0)
    assert quality["carrier"] == InputQuality(rows=3, missing=2, mistyped=0, unseen=0, other=0)
    assert quality["@score"] == InputQuality(rows=3, missing=1, non_finite=0, out_of_range=1)


def test_nothing_counts_as_nothing() -> None:
    assert input_quality(DISTANCE, np.zeros(DISTANCE.size, dtype=np.int64)).rows == 0
    assert input_quality(CARRIER, np.zeros(CARRIER.size, dtype=np.int64)).rows == 0
