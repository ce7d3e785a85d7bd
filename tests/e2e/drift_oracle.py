"""Drift and data quality by SciPy and NumPy: from raw rows and the reference's, and from the cells that the reference file names.

Of the monitor it knows the reference file's format, and which of the reference's rows it says were set aside to choose edges.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.spatial.distance import jensenshannon
from scipy.stats import chi2_contingency, ks_2samp, wasserstein_distance

from tests.e2e.flights_truth import CLASSES
from tests.e2e.quality_oracle import Facts

Counts = npt.NDArray[np.int64]
GRID_EXTRA = 3
"""Cells of a score that is missing, non-finite or out of range, behind the grid."""
QUANTA_A_SPREAD = 2**20
CHOOSING_ROWS = 10_000


@dataclass(frozen=True)
class Profile:
    """A reference file, read as JSON."""

    document: Mapping[str, Any]

    @classmethod
    def of(cls, path: Path) -> "Profile":
        return cls(json.loads(path.read_bytes()))

    @property
    def score_edges(self) -> npt.NDArray[np.float64]:
        return np.array(self.document["score_edges"])

    @property
    def features(self) -> Mapping[str, Mapping[str, Any]]:
        features: Mapping[str, Mapping[str, Any]] = self.document["features"]
        return features

    def counted(self, segment: str) -> Mapping[str, Any] | None:
        """What was counted of a segment's rows, of all for ""; None where the reference holds too few of them."""
        if segment:
            own: Mapping[str, Any] | None = self.document["segments"].get(segment)
            return own
        return {"features": {name: feature["counts"] for name, feature in self.features.items()}, "scores": self.document["scores"]}

    def predicted_scores(self, counted: Mapping[str, Any]) -> Counts:
        """Predicted class × score cell, extra cells included."""
        return self._grid(counted["scores"]["predicted"], len(CLASSES)).reshape(len(CLASSES), -1)

    def labels(self) -> Counts:
        """By actual class, of rows with prediction and label."""
        by_pair = self._grid(self.document["outcomes"]["scores"], len(CLASSES) ** 2)
        by_actual: Counts = by_pair.reshape(len(CLASSES), -1).sum(axis=1)
        return by_actual

    def _grid(self, sparse: Mapping[str, Any], grids: int) -> Counts:
        cells = np.zeros(grids * (len(self.score_edges) + 1 + GRID_EXTRA), dtype=np.int64)
        cells[sparse["cells"]] = sparse["counts"]
        return cells


def counting_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """The reference's rows that are counted: all but those whose SplitMix64 (Steele, Lea and Flood 2014) of the row's number is least."""
    z = np.arange(1, len(rows) + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return rows[pd.Series(z, index=rows.index).rank(method="first") > min(CHOOSING_ROWS, -(-len(rows) // 5))]


def cells_of(feature: Mapping[str, Any], values: pd.Series) -> Counts:
    """How many of the values that are there lie in each bin `(a, b]`, or are each kept category (the last: any other)."""
    present = values.dropna()
    if feature["kind"] == "numeric":
        return np.bincount(np.digitize(present, feature["edges"], right=True), minlength=len(feature["edges"]) + 1)
    kept = present.value_counts().reindex(feature["kept"], fill_value=0).to_numpy()
    return np.append(kept, len(present) - kept.sum())


def reference_cells(feature: Mapping[str, Any], counts: Mapping[str, Any]) -> Counts:
    """The same of the reference, from its file."""
    if feature["kind"] == "numeric":
        return np.array(counts["bins"])
    return np.append(counts["kept"], counts["other"] + counts["unseen"])


def distances(current: Counts, reference: Counts) -> Facts:
    """By method, of two histograms that are not empty."""
    p, q = current / current.sum(), reference / reference.sum()
    smooth_p, smooth_q = ((counts + 0.5) / (counts.sum() + 0.5 * len(counts)) for counts in (current, reference))
    table = np.stack([current, reference])[:, current + reference > 0]
    return {
        "psi": float(np.sum((smooth_p - smooth_q) * np.log(smooth_p / smooth_q))),
        "js": float(jensenshannon(p, q, base=2)),
        "hellinger": float(np.linalg.norm(np.sqrt(p) - np.sqrt(q)) / np.sqrt(2)),
        "chi2": float(chi2_contingency(table, correction=False).statistic / current.sum()),
        "tv": float(np.abs(p - q).sum() / 2),
    }


def ks_of_cells(current: Counts, reference: Counts) -> tuple[float, float]:
    """The greatest difference at a cell's end, and how far the rows' may be above it."""
    p, q = current / current.sum(), reference / reference.sum()
    return float(np.abs(np.cumsum(p) - np.cumsum(q)).max()), float(np.minimum(p, q).max())


def drift_of_cells(rows: pd.DataFrame, labelled: pd.DataFrame, profile: Profile, segment: str) -> Facts:
    """`drift/FEATURE/METHOD` of everything that is defined on cells, and the rows that it is of. A segment has PSI alone, and no labels."""
    counted = profile.counted(segment)
    if counted is None or rows.empty:
        return {}
    features = profile.features
    histograms = {
        name: (cells_of(features[name], rows[name]), reference_cells(features[name], counts))
        for name, counts in counted["features"].items()
    }
    ordered = {name for name in histograms if features[name]["kind"] == "numeric"} | {"@score"}
    by_class = profile.predicted_scores(counted)
    on_grid = by_class[:, :-GRID_EXTRA].sum(axis=0)
    score_cells = np.searchsorted(profile.score_edges, rows["score"], side="right")
    histograms["@score"] = np.bincount(score_cells, minlength=len(on_grid)), on_grid
    histograms["@prediction"] = _by_class(rows["prediction"]), by_class.sum(axis=1)
    if not segment and len(labelled):
        histograms["@label"] = _by_class(labelled["label"]), profile.labels()
    facts: Facts = {}
    for name, (current, reference) in histograms.items():
        if not current.any():
            continue
        facts |= {f"drift_rows/{name}": float(current.sum()), f"drift_reference_rows/{name}": float(reference.sum())}
        own = distances(current, reference)
        facts |= {f"drift/{name}/{method}": value for method, value in own.items() if not segment or method == "psi"}
        if name in ordered and not segment:
            value, error = ks_of_cells(current, reference)
            facts |= {f"drift/{name}/ks": value, f"drift_error/{name}/ks": error}
    return facts


def drift_of_rows(rows: pd.DataFrame, reference: pd.DataFrame, profile: Profile) -> Facts:
    """KS and Wasserstein of raw values against the reference's, the latter in interquartile ranges of the reference."""
    spread = {name: feature["quantum"] * QUANTA_A_SPREAD for name, feature in profile.features.items() if feature["kind"] == "numeric"}
    spread["@score"] = _score_spread(profile)
    facts: Facts = {}
    for name, unit in spread.items():
        column = name.removeprefix("@")
        current, other = rows[column].dropna().astype(float), reference[column].dropna().astype(float)
        if len(current):
            facts[f"drift/{name}/ks"] = float(ks_2samp(current, other, method="asymp").statistic)
            facts[f"drift/{name}/wasserstein"] = float(wasserstein_distance(current, other)) / unit
    return facts


def _score_spread(profile: Profile) -> float:
    """The reference's interquartile range as interpolated in its cells."""
    counted = profile.counted("")
    assert counted is not None
    on_grid = profile.predicted_scores(counted)[:, :-GRID_EXTRA].sum(axis=0)
    reached = np.concatenate(([0.0], np.cumsum(on_grid) / on_grid.sum()))
    low, high = np.interp((0.25, 0.75), reached, np.concatenate(([0.0], profile.score_edges, [1.0])))
    return float(high - low)


def input_values(rows: pd.DataFrame, profile: Profile) -> Facts:
    """`inputs/FEATURE/KIND`: what came in place of usable values."""
    facts: Facts = {}
    for name, feature in profile.features.items():
        values = rows[name]
        kinds = {"rows": len(rows), "missing": values.isna().sum(), "mistyped": 0}
        if feature["kind"] == "numeric":
            below, above = (values < feature["low"]).sum(), (values > feature["high"]).sum()
            kinds |= {"non_finite": 0, "below": below, "above": above, "out_of_range": below + above}
        else:
            other = values.isin(feature["other"]).sum()
            kinds |= {"other": other, "unseen": values.notna().sum() - values.isin(feature["kept"]).sum() - other}
        facts |= {f"inputs/{name}/{kind}": float(count) for kind, count in kinds.items()}
    return facts | {f"inputs/@score/{kind}": float(count) for kind, count in _score_values(rows["score"]).items()}


def _score_values(scores: pd.Series) -> dict[str, int]:
    return {
        "rows": len(scores),
        "missing": int(scores.isna().sum()),
        "non_finite": int(np.isinf(scores).sum()),
        "out_of_range": int(((scores < 0) | (scores > 1)).sum()),
    }


def _by_class(names: pd.Series) -> Counts:
    return np.array([(names == name).sum() for name in CLASSES])
