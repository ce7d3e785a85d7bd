"""From a model's tensors to named features, scores and the decision that is logged."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from monitor.errors import ModelError
from monitor.events import FeatureKind, Schema, Task
from monitor.serving.loading import load_models
from monitor.serving.model import INLINE_LIMIT_SECONDS, RunCost, load
from monitor.serving.monitored import Monitored, link
from monitor.serving.repository import EntryConfig
from monitor.serving.tensors import Tensor, TensorSpec
from tests.unit.serving_models import logistic, named_inputs, schema, write

NUMERIC, CATEGORICAL = FeatureKind.NUMERIC, FeatureKind.CATEGORICAL
X3 = (TensorSpec("X", "FP32", (-1, 3)),)
LABEL = TensorSpec("label", "INT64", (-1,))
PROBABILITIES = TensorSpec("probabilities", "FP32", (-1, 2))


def linked(
    of: Schema, inputs: Sequence[TensorSpec] = X3, outputs: Sequence[TensorSpec] = (LABEL, PROBABILITIES), config: EntryConfig | None = None
) -> Monitored:
    return link(of, inputs, outputs, (), config or EntryConfig())


def decided(monitored: Monitored, output: Tensor) -> list[str]:
    return [monitored.schema.classes[index] for index in monitored.predicted(monitored.scores(output)).tolist()]


def test_one_table_takes_the_features_in_their_order() -> None:
    columns = linked(schema()).features({"X": np.array([[1, 2, 3], [4, 5, 6]], dtype=np.float32)})
    assert {name: values.tolist() for name, values in columns.items()} == {"a": [1, 4], "b": [2, 5], "c": [3, 6]}


def test_inputs_named_like_features_map_by_name_and_others_are_absent() -> None:
    inputs = (TensorSpec("carrier", "BYTES", (-1, 1)), TensorSpec("distance", "FP32", (-1,)), TensorSpec("seed", "INT64", (-1, 1)))
    monitored = linked(schema(distance=NUMERIC, carrier=CATEGORICAL, dest=CATEGORICAL), inputs)
    columns = monitored.features({"carrier": np.array([["UA"]], dtype=object), "distance": np.array([7.0]), "seed": np.array([[1]])})
    assert {name: values.tolist() for name, values in columns.items()} == {"carrier": ["UA"], "distance": [7.0]}
    assert monitored.absent == ("dest",)


def test_an_input_that_is_no_feature_but_a_segment_dimension_is_logged_too() -> None:
    inputs = (TensorSpec("distance", "FP32", (-1,)), TensorSpec("carrier", "BYTES", (-1, 1)), TensorSpec("seed", "INT64", (-1, 1)))
    monitored = linked(replace(schema(distance=NUMERIC), dimensions=("distance", "carrier", "origin")), inputs)
    columns = monitored.features({"carrier": np.array([["UA"]], dtype=object), "distance": np.array([7.0]), "seed": np.array([[1]])})
    assert {name: values.tolist() for name, values in columns.items()} == {"distance": [7.0], "carrier": ["UA"]}
    assert monitored.absent == ()


def test_the_repositorys_config_names_columns() -> None:
    config = EntryConfig(Path("config.yaml"), {"X": ("b", None, "a")})
    columns = linked(schema(), config=config).features({"X": np.array([[1, 2, 3]])})
    assert {name: values.tolist() for name, values in columns.items()} == {"b": [1], "a": [3]}


def test_without_features_decisions_are_monitored_all_the_same() -> None:
    of = Schema("flights", Task.BINARY, ("on_time", "late"), 1, 0.5, {})
    assert linked(of).features({"X": np.array([[1, 2, 3]])}) == {}
    assert decided(linked(of), np.array([[0.3, 0.7]])) == ["late"]


def test_a_table_of_open_width_gets_that_of_the_features() -> None:
    inputs = (TensorSpec("X", "FP32", (-1, -1)),)
    assert linked(schema(), inputs).inputs_of_known_width(inputs)[0].shape == (-1, 3)


@pytest.mark.parametrize(
    ("inputs", "config", "told"),
    [
        ((TensorSpec("X", "FP32", (-1, 4)),), None, "none of its inputs (X [-1, 4]) is named like one of the 3 configured features"),
        ((TensorSpec("image", "FP32", (-1, 3, 8, 8)),), None, "put a config.yaml beside the model with `inputs: {image: [feature, …]}`"),
        (X3, {"Y": ("a",)}, "config.yaml: inputs.Y: the model has no such input; it takes X"),
        (X3, {"X": ("a", "b")}, "config.yaml: inputs.X: 2 names for an input of the shape [-1, 3]"),
        (X3, {"X": ("a", "b", "z")}, "config.yaml: inputs.X[2]: 'z' is no feature of the model flights in the configuration"),
        (X3, {"X": ("a", "b", "a")}, "config.yaml: inputs: a is given to more than one column"),
    ],
)
def test_inputs_that_cannot_be_told_apart_stop_the_start(
    inputs: tuple[TensorSpec, ...], config: dict[str, tuple[str, ...]] | None, told: str
) -> None:
    with pytest.raises(ModelError) as refused:
        linked(schema(), inputs, config=EntryConfig(Path("config.yaml"), config or {}))
    assert told in str(refused.value)


def test_the_threshold_decides_and_not_the_models_own_label() -> None:
    of = Schema("flights", Task.BINARY, ("on_time", "late"), 1, 0.235, {"a": NUMERIC, "b": NUMERIC, "c": NUMERIC})
    output = np.array([[0.8, 0.2], [0.75, 0.25], [0.1, 0.9]], dtype=np.float32)
    assert linked(of).scores(output)[:, 0].tolist() == output[:, 1].tolist()
    assert decided(linked(of), output) == ["on_time", "late", "late"]


def test_a_score_is_compared_as_a_double() -> None:
    # float32(0.235) is 0.23499999940395355: just below.
    of = Schema("flights", Task.BINARY, ("on_time", "late"), 1, 0.235, {"a": NUMERIC, "b": NUMERIC, "c": NUMERIC})
    assert decided(linked(of), np.array([[0.765, 0.235]], dtype=np.float32)) == ["on_time"]


@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
def test_one_floating_value_a_row_is_the_probability_of_the_positive_class(shape: tuple[int, ...]) -> None:
    monitored = linked(schema(), outputs=[TensorSpec("out", "FP64", shape)])
    assert decided(monitored, np.array([0.4, 0.5]).reshape([2, *shape[1:]])) == ["on_time", "late"]


def test_the_positive_class_may_stand_first() -> None:
    of = Schema("flights", Task.BINARY, ("late", "on_time"), 0, 0.5, {"a": NUMERIC, "b": NUMERIC, "c": NUMERIC})
    assert decided(linked(of), np.array([[0.9, 0.1], [0.3, 0.7]])) == ["late", "on_time"]


def test_configured_columns_are_put_into_the_configurations_order() -> None:
    of = Schema("digits", Task.MULTICLASS, ("one", "two", "three"), -1, 0.5, {"a": NUMERIC, "b": NUMERIC, "c": NUMERIC})
    config = EntryConfig(Path("config.yaml"), classes=("three", "one", "two"))
    monitored = linked(of, outputs=[TensorSpec("p", "FP32", (-1, 3))], config=config)
    output = np.array([[0.5, 0.2, 0.3]])
    assert monitored.scores(output).tolist() == [[0.2, 0.3, 0.5]]
    assert decided(monitored, output) == ["three"]
    with pytest.raises(ModelError, match="are not the classes of the configuration"):
        linked(of, config=EntryConfig(Path("config.yaml"), classes=("three", "four", "one")))


def test_a_probability_is_preferred_to_a_margin() -> None:
    outputs = [TensorSpec("margin", "FP32", (-1, 1)), PROBABILITIES]
    score = linked(schema(), outputs=outputs).score
    assert score is not None
    assert score.output == 1


def test_without_a_score_the_models_own_label_is_taken() -> None:
    monitored = linked(schema(), outputs=[LABEL])
    assert monitored.score is None
    assert monitored.labels(np.array([1, 0, 7])) == ["late", "on_time", "7"]
    named = linked(schema(), outputs=[TensorSpec("label", "BYTES", (-1,))])
    assert named.labels(np.array(["late", "lost"], dtype=object)) == ["late", "lost"]


def test_a_model_that_says_nothing_about_classes_stops_the_start() -> None:
    with pytest.raises(ModelError, match=r"no output is a score .* among embedding FP32 \[-1, 64\]"):
        linked(schema(), outputs=[TensorSpec("embedding", "FP32", (-1, 64))])


def test_a_real_graph_of_open_widths_is_understood_by_its_warm_up_run(tmp_path: Path) -> None:
    model = load("flights", "1", logistic(tmp_path / "model.onnx"))
    loose = [TensorSpec(spec.name, spec.datatype, tuple([-1] * len(spec.shape))) for spec in model.outputs]
    monitored = link(schema(), model.inputs, loose, model.warm_outputs, EntryConfig())
    assert monitored.score is not None
    assert (monitored.score.output, monitored.label) == (1, 0)


def test_score_columns_in_another_order_than_configured_are_noticed(tmp_path: Path) -> None:
    # scikit-learn sorts its classes; zeros give sigmoid(0) = ½ in both columns, so the model is told apart by its bias.
    nodes = [
        helper.make_node("Constant", [], ["bias"], value=helper.make_tensor("b", TensorProto.FLOAT, [1, 2], [0.3, 0.7])),
        helper.make_node("MatMul", ["X", "zeros"], ["nothing"]),
        helper.make_node("Add", ["nothing", "bias"], ["probabilities"]),
        helper.make_node("ArgMax", ["probabilities"], ["index"], axis=1, keepdims=0),
        helper.make_node("LabelEncoder", ["index"], ["label"], domain="ai.onnx.ml", keys_int64s=[0, 1], values_strings=["late", "on_time"]),
    ]
    outputs = [
        helper.make_tensor_value_info("label", TensorProto.STRING, [None]),
        helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 2]),
    ]
    zeros = helper.make_tensor("zeros", TensorProto.FLOAT, [3, 2], [0.0] * 6)
    graph = helper.make_graph(nodes, "sorted", [helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, 3])], outputs, [zeros])
    write(graph, tmp_path / "flights" / "1" / "model.onnx")
    with pytest.raises(ModelError, match=r"stands in column 1 \('late' in the configured order\) where its own label says 'on_time'"):
        load_models(tmp_path, lambda _model, _version: schema())
    (tmp_path / "flights" / "config.yaml").write_text("classes: [late, on_time]")
    tapped = load_models(tmp_path, lambda _model, _version: schema()).newest("flights").tapped
    assert tapped is not None
    assert decided(tapped.monitored, np.array([[0.3, 0.7]])) == ["on_time"]


def test_a_zipmap_is_refused_with_the_remedy(tmp_path: Path) -> None:
    sequence = helper.make_tensor_sequence_value_info("p", TensorProto.FLOAT, None)
    tensor = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None])
    path = write(
        helper.make_graph([helper.make_node("SequenceConstruct", ["x"], ["p"])], "s", [tensor], [sequence]), tmp_path / "model.onnx"
    )
    with pytest.raises(ModelError, match=r"model\.onnx: output 'p' has the type seq\(tensor\(float\)\): only tensors are served"):
        load("s", "1", path)


def test_a_real_zipmap_is_refused_with_the_converters_option(tmp_path: Path) -> None:
    skl2onnx = pytest.importorskip("skl2onnx")
    linear_model = pytest.importorskip("sklearn.linear_model")
    rows = np.array([[0.0], [1.0]], dtype=np.float32)
    path = tmp_path / "model.onnx"
    path.write_bytes(skl2onnx.to_onnx(linear_model.LogisticRegression().fit(rows, [0, 1]), rows).SerializeToString())
    with pytest.raises(ModelError, match=r"convert it with options=\{'zipmap': False\}"):
        load("s", "1", path)


def test_a_file_that_is_no_model_is_refused_with_its_path(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"not a model")
    with pytest.raises(ModelError, match=r"model\.onnx: ONNX Runtime .* cannot load it"):
        load("m", "1", path)
    unknown = helper.make_graph(
        [helper.make_node("NoSuchOperator", ["x"], ["y"])],
        "u",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None])],
    )
    with pytest.raises(ModelError, match="NoSuchOperator"):
        load("m", "1", write(unknown, path))


def test_long_runs_leave_the_event_loop(tmp_path: Path) -> None:
    model = load("named", "1", named_inputs(tmp_path / "model.onnx"))
    assert 0 < model.cost.one < 1
    assert model.inline_rows == model.cost.rows_within(INLINE_LIMIT_SECONDS)
    assert RunCost(one=0.1, per_row=0.01).rows_within(0.155) == 6
    assert RunCost(one=0.1, per_row=0.0).rows_within(0.1) == sys.maxsize
    assert RunCost(one=0.1, per_row=0.0).rows_within(0.09) == 0
    assert RunCost(one=float("inf"), per_row=0.0).rows_within(1.0) == 0
