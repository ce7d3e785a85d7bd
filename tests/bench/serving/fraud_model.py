"""The model that every server of the comparison serves, and one row for it."""

import json
from pathlib import Path

import numpy as np

NAME = "fraud"
FEATURES = 24
ROW = [0.125 * i for i in range(FEATURES)]


def trained(path: Path) -> None:
    """Gradient boosting, 100 trees of depth 3, to an ONNX file: `X` [N, 24] to `label` and `probabilities`."""
    from skl2onnx import to_onnx
    from sklearn.ensemble import GradientBoostingClassifier

    random = np.random.default_rng(0)
    rows = random.normal(size=(2_000, FEATURES)).astype(np.float32)
    model = GradientBoostingClassifier(n_estimators=100, random_state=0).fit(rows, rows[:, 0] + rows[:, 1] * rows[:, 2] > 0)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(to_onnx(model, rows[:1], options={"zipmap": False}).SerializeToString())


def v2_body() -> bytes:
    """One row in the Open Inference Protocol's JSON."""
    return json.dumps({"inputs": [{"name": "X", "datatype": "FP32", "shape": [1, FEATURES], "data": ROW}]}).encode()


def v2_binary(rows: int) -> tuple[bytes, int]:
    """So many rows with the binary-tensor extension, answered in binary too; the body and the length of its JSON."""
    values = np.random.default_rng(1).normal(size=(rows, FEATURES)).astype("<f4").tobytes()
    head = {
        "inputs": [{"name": "X", "datatype": "FP32", "shape": [rows, FEATURES], "parameters": {"binary_data_size": len(values)}}],
        "parameters": {"binary_data_output": True},
    }
    text = json.dumps(head).encode()
    return text + values, len(text)


def plain_body() -> bytes:
    """One row for servers whose requests are what their own example makes of them."""
    return json.dumps({"rows": [ROW]}).encode()
