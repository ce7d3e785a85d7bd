"""Small worlds for tests: models with their layouts, and events as the records that producers would write."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from monitor.events import FeatureKind, Schema, Task
from monitor.join import Corrections, JoinRules
from monitor.log import Record
from monitor.panes import PanePlan
from monitor.pipeline import Bounds, Model, Pipeline
from monitor.reference.profile import layout_of
from monitor.stats.delays import edges_up_to
from monitor.stats.features import CategoricalLayout, NumericLayout
from monitor.stats.layout import Classes

HOUR = 3_600_000
DAY = 24 * HOUR
START = 1_700_000_000_000 // DAY * DAY
"""A midnight in 2023: where the worlds' time begins."""

BINARY = Schema(
    "late",
    Task.BINARY,
    ("on_time", "late"),
    1,
    0.5,
    {"temp": FeatureKind.NUMERIC, "carrier": FeatureKind.CATEGORICAL},
    ("carrier",),
)
MULTICLASS = Schema("kind", Task.MULTICLASS, ("c", "a", "b"), -1, 0.5, {"temp": FeatureKind.NUMERIC}, ())
BOUNDS = Bounds(out_of_order=DAY, early=DAY, rows_limit=100_000, label_names_model=False)


def model_of(
    schema: Schema, *, horizon: int = 3 * DAY, corrections: Corrections = Corrections.LAST_WINS, windows: Sequence[int] = (HOUR, DAY)
) -> Model:
    """A model with one layout for all its versions."""
    features = {
        name: NumericLayout(np.array([0.0, 10.0, 20.0]), -5.0, 30.0, 1e-6)
        if kind is FeatureKind.NUMERIC
        else CategoricalLayout(("UA", "DL"), ("AA",))
        for name, kind in schema.features.items()
    }
    layout = layout_of(Classes.of(schema), features, edges_up_to(horizon))
    return Model(
        schema,
        JoinRules(horizon, corrections),
        PanePlan(tuple(windows), horizon, DAY),
        tuple((dimension,) for dimension in schema.dimensions),
        lambda _: layout,
        {"carrier": ("UA",)} if schema.dimensions else {},
    )


def pipeline(*models: Model, partition: int = 0, partitions: int = 1, bounds: Bounds = BOUNDS) -> Pipeline:
    return Pipeline(models or (model_of(BINARY), model_of(MULTICLASS)), bounds, partition=partition, partitions=partitions)


def record(offset: int, event: Any) -> Record:  # noqa: ANN401  anything that JSON can hold
    """One JSON record, stamped with the latest arrival that its events name."""
    events = event if isinstance(event, list) else [event]
    arrivals = [each["arrival"] for each in events if isinstance(each, dict) and isinstance(each.get("arrival"), int)]
    return Record(offset, max(arrivals, default=START), event if isinstance(event, bytes) else json.dumps(event).encode())


def prediction(number: int, time: int, /, **changes: Any) -> dict[str, Any]:  # noqa: ANN401  as above
    """A usable prediction of `BINARY`, to be changed key by key."""
    event = {
        "id": f"id-{number}",
        "time": time,
        "arrival": time,
        "model": "late",
        "version": "1",
        "features": {"temp": float(number % 25), "carrier": ("UA", "DL", "AA", "XX")[number % 4]},
        "score": number % 10 / 10,
    }
    return event | changes


def label(number: int, time: int, value: Any = "late", /, **changes: Any) -> dict[str, Any]:  # noqa: ANN401  as above
    """A label for `prediction(number, …)`."""
    return {"id": f"id-{number}", "label": value, "arrival": time, "model": "late"} | changes
