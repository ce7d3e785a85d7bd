"""BentoML's side of the comparison: its usual service over ONNX Runtime, one worker, no batching (its batches wait for a timer)."""

import os

import bentoml
import numpy as np
import onnxruntime as ort


@bentoml.service(workers=1, traffic={"timeout": 60})
class Fraud:
    def __init__(self) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = ort.InferenceSession(os.environ["BENCH_MODEL"], options, providers=["CPUExecutionProvider"])

    @bentoml.api  # type: ignore[untyped-decorator]
    def predict(self, rows: list[list[float]]) -> dict[str, object]:
        label, scores = self._session.run(None, {"X": np.array(rows, dtype=np.float32)})
        return {"label": label.tolist(), "probabilities": scores.tolist()}
