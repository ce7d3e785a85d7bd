"""The model on the real flights: the measured story (validation, coefficient, cause) has to come out, and its export has to agree."""

from pathlib import Path

import numpy as np
import onnx
import pyarrow.parquet as pq
import pytest
from onnx.reference import ReferenceEvaluator

from monitor.demo import recipe
from monitor.demo.facts import REFERENCE_ROWS, Facts
from monitor.demo.flight_model import FlightModel
from monitor.demo.flights import Flights, data_folder, read_flights
from monitor.demo.training import train


@pytest.fixture(scope="module")
def flights() -> Flights:
    return read_flights(data_folder())


@pytest.fixture(scope="module")
def folder(flights: Flights, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    train(flights, folder, folder / "model.onnx")
    return folder


@pytest.fixture(scope="module")
def facts(folder: Path) -> Facts:
    facts = Facts.read(folder, folder / "model.onnx")
    assert facts is not None
    return facts


def test_the_year_has_the_flights_and_labels_that_it_had(flights: Flights) -> None:
    served = flights.take(flights.day >= np.datetime64(recipe.SERVING_STARTS))
    assert (len(flights), len(set(flights.ids)), len(served), int(np.sum(served.late >= 0))) == (336_776, 336_776, 284_821, 277_337)


def test_labels_come_within_the_horizon_and_after_the_departure(flights: Flights) -> None:
    hours = (flights.landed - flights.scheduled)[flights.late >= 0] / 3_600_000
    assert hours.min() == pytest.approx(0.3)
    assert float(np.median(hours)) == pytest.approx(2.8, abs=0.05)
    assert (hours.max(), int(np.sum(hours > 24))) == (pytest.approx(32.7), 1)


def test_the_validation_figures_come_out(facts: Facts) -> None:
    measured = facts.validation_roc_auc, facts.validation_precision, facts.validation_recall
    assert measured == pytest.approx((0.637, 0.316, 0.636), abs=5e-4)


def test_the_coefficient_of_temperature_is_a_coincidence_of_that_winter(facts: Facts) -> None:
    assert facts.temp_coefficient == pytest.approx(-0.029, abs=5e-4)
    assert facts.temp_coefficient_february == pytest.approx(0.012, abs=5e-4)


def test_with_temperature_held_the_model_does_not_collapse(facts: Facts) -> None:
    assert facts.recall_with_temp_held["2013-07"] == pytest.approx(0.61, abs=0.01)


def test_the_reference_has_every_flight_of_january_and_february(folder: Path) -> None:
    table = pq.read_table(folder / REFERENCE_ROWS)
    assert table.column_names == [*recipe.NUMERIC, *recipe.CATEGORICAL, *recipe.MONITORED, "score", "prediction", "label"]
    assert table.num_rows == 336_776 - 284_821
    assert table["label"].null_count == table.num_rows - 37_521 - 12_488
    late = np.asarray(table["prediction"]) == "late"
    assert bool(np.all(late == (np.asarray(table["score"]) >= recipe.THRESHOLD)))


def test_the_export_takes_one_input_a_feature_and_decides_as_the_pipeline_does(flights: Flights, folder: Path) -> None:
    model = onnx.load(folder / "model.onnx")
    assert [entry.name for entry in model.graph.input] == [*recipe.NUMERIC, *recipe.CATEGORICAL]
    rows = flights.take(slice(0, None, 997))
    assert any(np.isnan(column).any() for column in rows.numeric.values())
    feeds = {name: rows.numeric[name].reshape(-1, 1) for name in recipe.NUMERIC}
    feeds |= {name: rows.text[name].astype(str).reshape(-1, 1) for name in recipe.CATEGORICAL}
    _, probabilities = ReferenceEvaluator(model).run(None, feeds)
    late = np.asarray(probabilities, dtype=np.float64)[:, 1]
    labelled = flights.take((flights.late >= 0) & (flights.day < np.datetime64(recipe.VALIDATION_STARTS)))
    expected = FlightModel.fit(labelled).probability(rows)
    np.testing.assert_allclose(late, expected, atol=2e-6)
    assert bool(np.all((late >= recipe.THRESHOLD) == (expected >= recipe.THRESHOLD)))
