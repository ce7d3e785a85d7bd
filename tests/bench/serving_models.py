"""The models that serving is measured on: gradient boosting on 24 features, and a perceptron 784 × 512 × 10, as bytes of ONNX."""

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from skl2onnx import to_onnx
from sklearn.ensemble import GradientBoostingClassifier

TREES: Final = 100


def gradient_boosting() -> bytes:
    """X [N, 24] → label, probabilities: what a tabular model costs."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2_000, 24)).astype(np.float32)
    fitted = GradientBoostingClassifier(n_estimators=TREES, max_depth=3).fit(x, x[:, 0] + x[:, 1] * x[:, 2] > 0)
    content: bytes = to_onnx(fitted, x[:1], options={"zipmap": False}, target_opset=18).SerializeToString()
    return content


def perceptron() -> bytes:
    """X [N, 784] → probabilities [N, 10]: what one row of a small neural model costs, and how little the next one adds."""
    rng = np.random.default_rng(0)
    sizes = [(784, 512), (512, 10)]
    constants = [numpy_helper.from_array(rng.normal(0, 0.05, size).astype(np.float32), f"w{place}") for place, size in enumerate(sizes)]
    constants += [numpy_helper.from_array(np.zeros(size[1], dtype=np.float32), f"b{place}") for place, size in enumerate(sizes)]
    nodes = [
        helper.make_node("Gemm", ["X", "w0", "b0"], ["hidden"]),
        helper.make_node("Relu", ["hidden"], ["active"]),
        helper.make_node("Gemm", ["active", "w1", "b1"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    inputs = [helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, 784])]
    outputs = [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 10])]
    graph = helper.make_graph(nodes, "perceptron", inputs, outputs, constants)
    content: bytes = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10).SerializeToString()
    return content


MODELS: Final[Mapping[str, tuple[Callable[[], bytes], int]]] = {
    "gradient boosting": (gradient_boosting, 24),
    "perceptron": (perceptron, 784),
}
"""How each is made, and its width."""
