"""The demo's model itself: imputation, scaling, one-hot, logistic regression, and its export with one named input per feature.

The only module that imports scikit-learn, pandas and skl2onnx.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from monitor.demo.flights import Flights
from monitor.demo.recipe import CATEGORICAL, NUMERIC

OPSET: Final = 21
"""ONNX Runtime 1.31 takes at most opset 26 and IR 13; 21 is what skl2onnx 1.20 knows all of."""


@dataclass(frozen=True, slots=True)
class FlightModel:
    """A fitted pipeline; class 1 is late."""

    pipeline: Pipeline

    @classmethod
    def fit(cls, flights: Flights) -> "FlightModel":
        """Fits on labelled flights."""
        numbers = Pipeline([("impute", SimpleImputer(strategy="median")), ("scale", StandardScaler())])
        inputs = ColumnTransformer(
            [("numbers", numbers, list(NUMERIC)), ("names", OneHotEncoder(handle_unknown="ignore"), list(CATEGORICAL))]
        )
        pipeline = Pipeline([("inputs", inputs), ("classify", LogisticRegression(C=1, max_iter=1000))])
        return cls(pipeline.fit(_frame(flights), flights.late))

    def probability(self, flights: Flights) -> npt.NDArray[np.float64]:
        """P(late) of each flight."""
        return np.asarray(self.pipeline.predict_proba(_frame(flights))[:, 1], dtype=np.float64)

    def coefficient(self, feature: str) -> float:
        """Change of the log-odds of a late arrival per unit of a numeric feature."""
        place = NUMERIC.index(feature)
        return float(self.pipeline["classify"].coef_[0, place] / self._numbers["scale"].scale_[place])

    def median(self, feature: str) -> float:
        """The training median of a numeric feature."""
        return float(self._numbers["impute"].statistics_[NUMERIC.index(feature)])

    def to_onnx(self) -> bytes:
        """One `[N, 1]` input per feature, float32 or string; outputs `label` and `probabilities` (a tensor: zipmap off)."""
        inputs = [(name, FloatTensorType([None, 1])) for name in NUMERIC] + [(name, StringTensorType([None, 1])) for name in CATEGORICAL]
        exported = to_onnx(self.pipeline, initial_types=inputs, target_opset=OPSET, options={id(self.pipeline): {"zipmap": False}})
        return bytes(exported.SerializeToString())

    @property
    def _numbers(self) -> Pipeline:
        transformer: ColumnTransformer = self.pipeline["inputs"]
        return transformer.named_transformers_["numbers"]


def _frame(flights: Flights) -> pd.DataFrame:
    return pd.DataFrame({name: flights.numeric[name] for name in NUMERIC} | {name: flights.text[name] for name in CATEGORICAL})
