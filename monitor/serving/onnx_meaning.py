"""What a graph says about its outputs: whether they are probabilities, and which class each of their columns is.

Follows an output back through its graph, past operators that move values about, to the one that says what the values are. Where that is
none of those known here, the graph says nothing, and the configuration, names and a first run have to.
"""

from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

from monitor.serving.onnx_graph import Constant, Node, OnnxFile
from monitor.serving.output_meaning import Labels, OutputMeaning, Scale

_MOVES_WHOLE_ROWS: Final = {"Identity", "Cast", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Dropout"}
"""What comes out is what goes in, column by column."""
_PICKS: Final = {"Slice", "Gather", "ArrayFeatureExtractor", "Transpose", "Split"}
"""What comes out is some of what goes in."""
_PROBABLE: Final = {"Softmax", "Sigmoid"}
_PRODUCTS: Final = {"MatMul", "Gemm", "Conv", "LinearRegressor"}
_NOT_PROBABLE: Final = {"LogSoftmax", "Log", "SVMRegressor", "Relu", "Tanh", "LayerNormalization"}
_SHIFTS_OR_SCALES: Final = {"Add", "Sub", "Mul", "Div"}
_CLASSIFIERS: Final = {"TreeEnsembleClassifier", "LinearClassifier", "SVMClassifier"}
_FURTHEST: Final = 50
"""Operators between an output and what tells its meaning; converters put a handful there."""


class Understood(NamedTuple):
    """What the runtime is to load, the file or what became of it, with its weights in other files; and what is said of each output."""

    source: Path | bytes
    external: Mapping[str, bytes]
    said: Mapping[str, OutputMeaning]


def read(path: Path) -> Understood:
    """Raises `ModelError`."""
    file = OnnxFile(path)
    said = meanings(file)
    return Understood(file.source, file.external_data(), said)


def meanings(file: OnnxFile) -> Mapping[str, OutputMeaning]:
    """By output. Replaces the file's ZipMap operators on the way, whose labels are part of the meaning."""
    zipped = file.replace_zipmaps()
    graph = _Graph(file)
    decoded = {name: said for name in file.outputs if (said := graph.decoded(name)) is not None}
    labels = dict(decoded.values())
    found = {name: OutputMeaning(is_label=True) for name in decoded}
    for name in file.outputs:
        if name in decoded:
            continue
        scale, operator = graph.scale(name)
        tensor, column = graph.origin(name)
        classes: Labels = zipped.get(name) or labels.get(tensor) or graph.named_by_classifier(tensor)
        found[name] = OutputMeaning(scale, operator, classes, column)
    return found


class _Graph:
    """Each question follows one path, so that none takes longer than the path is."""

    def __init__(self, file: OnnxFile) -> None:
        self._constants = file.constants
        self._makers: dict[str, Node] = {name: node for node in file.nodes for name in node.outputs}

    def scale(self, name: str, further: int = _FURTHEST) -> tuple[Scale, str]:
        """What the values of a tensor are, and the operator that says so."""
        node = self._makers.get(name)
        if node is None or not further or not node.inputs:
            return Scale.UNKNOWN, ""
        if node.op in _MOVES_WHOLE_ROWS | _PICKS:
            return self.scale(node.inputs[0], further - 1)
        if node.op in _CLASSIFIERS:
            return _scale_of_classifier(node), node.op
        if node.op == "TreeEnsembleRegressor" and node.attributes.get("post_transform") == "LOGISTIC":
            return Scale.PROBABILITY, node.op
        if node.op in _PROBABLE:
            return Scale.PROBABILITY, node.op
        if node.op == "Normalizer":
            below = self.scale(node.inputs[0], further - 1)
            return below if below[0] is Scale.PROBABILITY and node.attributes.get("norm") == "L1" else (Scale.UNKNOWN, node.op)
        if node.op == "Concat":
            # 1 − p beside p: one of them tells.
            parts = [self.scale(part, 1 + further // 4) for part in islice(node.inputs, 2)]
            return next((part for part in parts if part[0] is not Scale.UNKNOWN), (Scale.UNKNOWN, node.op))
        return self._scale_of_arithmetic(node, further)

    def origin(self, name: str) -> tuple[str, int | None]:
        """The tensor whose columns an output has, and which single one of them, if it is but one."""
        column = None
        for _ in range(_FURTHEST):
            node = self._makers.get(name)
            if node is None or not node.inputs:
                break
            if node.op == "Slice" and column is None and (start := self._sliced_column(node)) is not None:
                column = start
            elif node.op not in _MOVES_WHOLE_ROWS and node.op != "Normalizer":
                break
            name = node.inputs[0]
        return name, column

    def named_by_classifier(self, tensor: str) -> Labels:
        """The labels of the classifier whose scores `tensor` is."""
        node = self._makers.get(tensor)
        is_scores = node is not None and node.op in _CLASSIFIERS and node.outputs[1:2] == (tensor,)
        return _labels(node) if node is not None and is_scores else ()

    def decoded(self, name: str, further: int = _FURTHEST) -> tuple[str, Labels] | None:
        """For an output that names the class of the greatest column of some tensor: that tensor, and its columns' names."""
        node = self._makers.get(name)
        if node is None or not further or not node.inputs:
            return None
        if node.op in _MOVES_WHOLE_ROWS:
            return self.decoded(node.inputs[0], further - 1)
        if node.op in _CLASSIFIERS and node.outputs[0] == name and len(node.outputs) > 1:
            return self.origin(node.outputs[1])[0], _labels(node)
        if node.op == "ArgMax":
            return self.origin(node.inputs[0])[0], ()
        if node.op == "LabelEncoder":
            below = self.decoded(node.inputs[0], further - 1)
            return below and (below[0], _renamed(node, below[1]))
        if node.op in ("ArrayFeatureExtractor", "Gather") and len(node.inputs) == 2:
            below = self.decoded(node.inputs[1], further - 1)
            return below and (below[0], self._constants.get(node.inputs[0]) or ())
        return None

    def _scale_of_arithmetic(self, node: Node, further: int) -> tuple[Scale, str]:
        if node.op in _PRODUCTS:
            # A mean of probabilities is a product with weights too.
            is_mean = self.scale(node.inputs[0], further - 1)[0] is Scale.PROBABILITY
            return (Scale.UNKNOWN if is_mean else Scale.OTHER), node.op
        if node.op in _NOT_PROBABLE:
            return Scale.OTHER, node.op
        if node.op in _SHIFTS_OR_SCALES and len(node.inputs) == 2:
            constant = [name in self._constants for name in node.inputs]
            if any(constant) and not all(constant):
                below = self.scale(node.inputs[constant.index(False)], further - 1)
                if below[0] is Scale.OTHER or (node.op == "Sub" and constant[0]):
                    return below
        return Scale.UNKNOWN, node.op

    def _sliced_column(self, node: Node) -> int | None:
        """Which column a slice along the columns takes, where it takes one."""
        starts, ends, axes = (self._constants.get(name) for name in (*node.inputs[1:4], "", "", "")[:3])
        if not starts or not ends or axes != (1,) or len(starts) != 1:
            return None
        start, end = starts[0], ends[0]
        return start if isinstance(start, int) and isinstance(end, int) and end == start + 1 else None


def _scale_of_classifier(node: Node) -> Scale:
    transformed = node.attributes.get("post_transform", "NONE")
    if transformed in ("LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO"):
        return Scale.PROBABILITY
    if node.op == "SVMClassifier":
        # With the constants of Platt's sigmoid they are calibrated, else signed distances.
        return Scale.PROBABILITY if "prob_a" in node.attributes else Scale.OTHER
    # A forest's leaves hold shares of classes, a boosted tree's hold margins: both may be left as they are.
    return Scale.UNKNOWN if node.op == "TreeEnsembleClassifier" else Scale.OTHER


def _labels(node: Node) -> Constant:
    return node.constant("classlabels_strings") or node.constant("classlabels_int64s") or node.constant("classlabels_ints")


def _renamed(encoder: Node, labels: Labels) -> Labels:
    """What a `LabelEncoder` makes of labels; of columns' positions where there are none."""
    keys = encoder.constant("keys_int64s") or encoder.constant("keys_strings") or encoder.constant("keys_tensor")
    values = encoder.constant("values_strings") or encoder.constant("values_int64s") or encoder.constant("values_tensor")
    names: dict[str | int, str | int] = dict(zip(keys, values, strict=False))
    return tuple(names.get(label, label) for label in labels or range(len(names)))
