"""Trains the demo's model and writes what serving and watching need: the ONNX file, the reference rows, the facts about the fit.

Run as a process of its own (`python -m monitor.demo.training FOLDER MODEL`), so that scikit-learn never lives beside the load.
"""

import sys
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.metrics import roc_auc_score

from monitor.demo import recipe
from monitor.demo.facts import REFERENCE_ROWS, Facts, appearing, sha256
from monitor.demo.flight_model import FlightModel
from monitor.demo.flights import NO_LABEL, Flights, data_folder, read_flights

ROWS_PER_GROUP: Final = 8_192
FEBRUARY: Final = date(2013, 2, 1)

Probabilities = npt.NDArray[np.float64]


def train(flights: Flights, folder: Path, model: Path) -> Facts:
    """Fits, exports to `model`, writes the reference rows and the facts into `folder`. Each file appears whole or not at all."""
    labelled = flights.take(flights.late != NO_LABEL)
    fitted = FlightModel.fit(_before(labelled, recipe.VALIDATION_STARTS))
    with appearing(model) as partial:
        partial.write_bytes(fitted.to_onnx())
    with appearing(folder / REFERENCE_ROWS) as partial:
        pq.write_table(reference_rows(_before(flights, recipe.SERVING_STARTS), fitted), partial, row_group_size=ROWS_PER_GROUP)
    validation = _between(labelled, recipe.VALIDATION_STARTS, recipe.SERVING_STARTS)
    probability = fitted.probability(validation)
    precision, recall = _precision_and_recall(validation, probability)
    february = FlightModel.fit(_between(labelled, FEBRUARY, recipe.SERVING_STARTS))
    facts = Facts(
        recipe=recipe.VERSION,
        model_sha256=sha256(model),
        reference_sha256=sha256(folder / REFERENCE_ROWS),
        validation_roc_auc=float(roc_auc_score(validation.late == 1, probability)),
        validation_precision=precision,
        validation_recall=recall,
        temp_coefficient=fitted.coefficient("temp"),
        temp_coefficient_february=february.coefficient("temp"),
        temp_median=fitted.median("temp"),
        recall_with_temp_held=_recall_with_temp_held(labelled, fitted),
    )
    facts.write(folder)
    return facts


def _recall_with_temp_held(labelled: Flights, fitted: FlightModel) -> dict[str, float]:
    served = labelled.take(labelled.day >= np.datetime64(recipe.SERVING_STARTS))
    winter = fitted.median("temp")
    held = served.with_numeric("temp", np.full(len(served), winter, dtype=np.float32))
    probability = fitted.probability(held)
    months = served.scheduled.astype("datetime64[ms]").astype("datetime64[M]")
    return {str(month): _precision_and_recall(served.take(months == month), probability[months == month])[1] for month in np.unique(months)}


def reference_rows(rows: Flights, fitted: FlightModel) -> pa.Table:
    """One row a flight, with the names and the roundings that the served model's events will have."""
    score = fitted.probability(rows).astype(np.float32)
    names = np.array(recipe.CLASSES, dtype=object)
    columns: dict[str, pa.Array] = {name: pa.array(rows.numeric[name], from_pandas=True) for name in recipe.NUMERIC}
    columns |= {name: pa.array(rows.text[name]).dictionary_encode() for name in (*recipe.CATEGORICAL, *recipe.MONITORED)}
    columns["score"] = pa.array(score)
    columns["prediction"] = pa.array(names[(score >= recipe.THRESHOLD).astype(np.int8)])
    columns["label"] = pa.array(names[np.maximum(rows.late, 0)], mask=rows.late == NO_LABEL)
    return pa.table(columns)


def _precision_and_recall(flights: Flights, probability: Probabilities) -> tuple[float, float]:
    flagged, late = probability >= recipe.THRESHOLD, flights.late == 1
    hits = float(np.sum(flagged & late))
    return hits / float(np.sum(flagged)), hits / float(np.sum(late))


def _before(flights: Flights, day: date) -> Flights:
    return flights.take(flights.day < np.datetime64(day))


def _between(flights: Flights, first: date, end: date) -> Flights:
    return flights.take((flights.day >= np.datetime64(first)) & (flights.day < np.datetime64(end)))


def main(arguments: Iterable[str]) -> None:
    folder, model = map(Path, arguments)
    train(read_flights(data_folder()), folder, model)


if __name__ == "__main__":
    main(sys.argv[1:])
