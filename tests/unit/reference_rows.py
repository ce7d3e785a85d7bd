"""Files of rows for tests of the reference, and profiles built from them."""

from pathlib import Path

import numpy as np
import pandas as pd

from monitor.events import FeatureKind, Schema, Task
from monitor.reference.building import Built, Plan, build_reference
from monitor.reference.choosing import EdgeSample
from monitor.reference.profile import Reference
from monitor.reference.sources import open_source
from monitor.stats.delays import DAY, edges_up_to

FEATURES = {
    "temp": FeatureKind.NUMERIC,
    "hour": FeatureKind.NUMERIC,
    "constant": FeatureKind.NUMERIC,
    "carrier": FeatureKind.CATEGORICAL,
    "tail": FeatureKind.CATEGORICAL,
}
BINARY = Schema("flights", Task.BINARY, ("on_time", "late"), 1, 0.235, FEATURES, ("carrier", "origin"))
MULTI = Schema("animals", Task.MULTICLASS, ("cat", "dog", "eel"), -1, 0.5, {"temp": FeatureKind.NUMERIC})
SEGMENTS = (("carrier",), ("carrier", "origin"))
DELAYS = edges_up_to(3 * DAY)


def flights(rows: int = 6_000) -> pd.DataFrame:
    """Every kind of value that a file may hold."""
    random = np.random.default_rng(1)
    temp = random.normal(10, 8, rows)
    temp[::11] = np.nan
    temp[[5, 6, 7, 8]] = [np.inf, -np.inf, 1e308, -1e308]
    score = random.beta(2, 5, rows)
    score[::13] = np.nan
    label = np.where(random.random(rows) < score, "late", "on_time").astype(object)
    label[::17] = None
    prediction = np.where(score >= BINARY.threshold, "late", "on_time").astype(object)
    prediction[::3] = None
    return pd.DataFrame(
        {
            "id": np.arange(rows),
            "temp": temp,
            "hour": random.integers(0, 24, rows),
            "constant": np.full(rows, -7.25),
            "carrier": random.choice(np.array(["UA", "B6", "Ünï", "=,\\", None], dtype=object), rows),
            "origin": random.choice(np.array(["JFK", "EWR"], dtype=object), rows),
            "tail": [f"N{number}" for number in (random.random(rows) ** 3 * 3_000).astype(int)],
            "prediction": prediction,
            "score": score,
            "label": label,
        }
    )


def build(schema: Schema, *paths: Path, segments: tuple[tuple[str, ...], ...] = ()) -> Built:
    return build_reference(Plan(schema, "", segments, DELAYS), [open_source(path) for path in paths], lambda _: None)


def parquet(frame: pd.DataFrame, path: Path) -> Path:
    frame.to_parquet(path, index=False)
    return path


def counted(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows that do not choose."""
    sample = EdgeSample()
    sample.add({}, len(frame))
    sample.finish()
    return frame[~sample.chose(0, len(frame))]


def same(a: Reference, b: Reference) -> bool:
    """Everything but where they come from."""
    return (
        a.layout().inputs.digest == b.layout().inputs.digest
        and (a.rows, a.edge_rows, a.dimensions) == (b.rows, b.edge_rows, b.dimensions)
        and all(np.array_equal(left, right) for left, right in ((a.inputs, b.inputs), (a.cohort, b.cohort), (a.labels, b.labels)))
        and {text: vector.tolist() for text, vector in a.segments.items()} == {text: vector.tolist() for text, vector in b.segments.items()}
    )
