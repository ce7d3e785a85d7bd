"""From a model's tensors to named features, scores and the decision that is logged."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
from onnx import TensorProto, helper

from monitor.errors import ModelError
from monitor.events import FeatureKind, Schema, Task
from monitor.serving.entry_config import EntryConfig
from monitor.serving.model import load
from monitor.serving.monitored import Monitored, link
from monitor.serving.onnx_meaning import read
from monitor.serving.output_meaning import OutputMeaning, Scale
from monitor.serving.run_cost import INLINE_LIMIT_SECONDS, RunCost
from monitor.serving.tensors import Tensor, TensorSpec
from tests.unit.serving_models import logistic, named_inputs, schema, write

NUMERIC, CATEGORICAL = FeatureKind.NUMERIC, FeatureKind.CATEGORICAL
X3 = (TensorSpec("X", "FP32", (-1, 3)),)
LABEL = TensorSpec("label", "INT64", (-1,))
NOTHING: Mapping[str, OutputMeaning] = MappingProxyType({})
PROBABILITIES = TensorSpec("probabilities", "FP32", (-1, 2))


def linked(
    of: Schema,
    inputs: Sequence[TensorSpec] = X3,
    outputs: Sequence[TensorSpec] = (LABEL, PROBABILITIES),
    config: EntryConfig | None = None,
    warm: Sequence[Tensor] = (),
    said: Mapping[str, OutputMeaning] = NOTHING,
) -> Monitored:
    return link(of, inputs, outputs, warm, config or EntryConfig(), said)


def probabilities(*classes: str | int) -> dict[str, OutputMeaning]:
    """What a graph says that names the columns of its output `probabilities`."""
    return {"probabilities": OutputMeaning(Scale.PROBABILITY, "Softmax", classes)}


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


def test_the_graph_says_which_column_is_which_class(tmp_path: Path) -> None:
    path = logistic(tmp_path / "model.onnx", classes=["late", "on_time"])
    model, said = load("flights", "1", path), read(path).said
    monitored = link(schema(), model.inputs, model.outputs, model.warm_outputs, EntryConfig(), said)
    assert monitored.score is not None
    assert monitored.score.order == ("late", "on_time")
    assert decided(monitored, np.array([[0.3, 0.7], [0.7, 0.3]])) == ["on_time", "late"]


def test_numbers_that_the_graph_names_its_columns_are_classes_of_that_text_or_at_that_index() -> None:
    by_index = linked(schema(), said=probabilities(1, 0))
    assert decided(by_index, np.array([[0.7, 0.3]])) == ["late"]
    of = Schema("churn", Task.BINARY, ("1", "0"), 0, 0.5, {})
    by_text = linked(of, said=probabilities(0, 1))
    assert decided(by_text, np.array([[0.3, 0.7]])) == ["1"]


def test_classes_that_only_the_graph_knows_stop_the_start_with_the_remedy() -> None:
    with pytest.raises(ModelError, match=r"the columns of probabilities are the classes \[10, 11\], which are not those of"):
        linked(schema(), said=probabilities(10, 11))
    config = EntryConfig(Path("config.yaml"), classes=("late", "on_time"))
    assert decided(linked(schema(), config=config, said=probabilities(10, 11)), np.array([[0.7, 0.3]])) == ["late"]


def test_the_config_says_what_numbers_of_the_graph_mean() -> None:
    config = EntryConfig(Path("config.yaml"), classes=("late", "on_time"))
    monitored = linked(schema(), config=config, said=probabilities(0, 1))
    assert decided(monitored, np.array([[0.7, 0.3]])) == ["late"]


def test_a_config_that_contradicts_the_graph_stops_the_start() -> None:
    config = EntryConfig(Path("config.yaml"), classes=("on_time", "late"))
    with pytest.raises(ModelError, match=r"config\.yaml: classes: \['on_time', 'late'\], where the graph names the columns of"):
        linked(schema(), config=config, said=probabilities("late", "on_time"))


def test_score_columns_in_another_order_than_configured_are_noticed_where_the_graph_says_nothing() -> None:
    label = TensorSpec("label", "BYTES", (-1,))
    warm = (np.array(["on_time"], dtype=object), np.array([[0.3, 0.7]], dtype=np.float32))
    with pytest.raises(ModelError, match=r"stands in column 1 \('late' in the configured order\) where its own label says 'on_time'"):
        linked(schema(), outputs=(label, PROBABILITIES), warm=warm)
    config = EntryConfig(Path("config.yaml"), classes=("late", "on_time"))
    assert decided(linked(schema(), outputs=(label, PROBABILITIES), warm=warm, config=config), np.array([[0.3, 0.7]])) == ["on_time"]


def test_logits_are_no_score_and_the_models_own_label_is_taken_instead() -> None:
    logits = {"probabilities": OutputMeaning(Scale.OTHER, "Gemm")}
    monitored = linked(schema(), said=logits)
    told = "it comes from Gemm, which gives logits or margins, not probabilities (end the graph with Softmax or Sigmoid)"
    assert (monitored.score, monitored.label, monitored.refused) == (None, 0, (f"output probabilities is no score: {told}",))
    with pytest.raises(ModelError, match=r"no output is a score .*; output probabilities is no score: it comes from Gemm"):
        linked(schema(), outputs=[PROBABILITIES], said=logits)


def test_numbers_outside_0_and_1_are_no_score_whatever_their_name() -> None:
    warm = (np.array([0]), np.array([[-0.4, 1.7]], dtype=np.float32))
    assert linked(schema(), warm=warm).refused == (
        "output probabilities is no score: it gives -0.4 for a row of zeros, which is no probability",
    )
    assert linked(schema(), warm=(np.array([0]), np.array([[1e-7, 1 + 1e-6]]))).score is not None


def test_what_the_graph_says_is_preferred_to_a_name() -> None:
    outputs = [TensorSpec("probably", "FP32", (-1, 2)), TensorSpec("output", "FP32", (-1, 2))]
    score = linked(schema(), outputs=outputs, said={"output": OutputMeaning(Scale.PROBABILITY, "Softmax")}).score
    assert score is not None
    assert score.output == 1


def test_of_outputs_that_are_a_column_each_the_positive_classs_is_the_score() -> None:
    outputs = [LABEL, TensorSpec("late", "FP32", (-1,)), TensorSpec("on_time", "FP32", (-1,))]
    classes = ("late", "on_time")
    said = {name: OutputMeaning(Scale.PROBABILITY, "Softmax", classes, column) for column, name in enumerate(classes)}
    for order in (outputs, [LABEL, outputs[2], outputs[1]]):
        score = linked(schema(), outputs=order, said=said).score
        assert score is not None
        assert order[score.output].name == "late"


def test_text_that_the_graph_does_not_call_a_label_is_not_taken_for_one() -> None:
    outputs = [TensorSpec("echo", "BYTES", (-1, 1)), TensorSpec("label", "BYTES", (-1,))]
    assert linked(schema(), outputs=outputs, said={"label": OutputMeaning(is_label=True)}).label == 1
    assert linked(schema(), outputs=outputs).label == 0


def test_the_config_says_what_a_label_of_numbers_means() -> None:
    config = EntryConfig(Path("config.yaml"), classes=("late", "on_time"))
    assert linked(schema(), outputs=[LABEL], config=config).labels(np.array([0, 1])) == ["late", "on_time"]


def test_a_sequence_is_refused_with_the_remedy(tmp_path: Path) -> None:
    sequence = helper.make_tensor_sequence_value_info("p", TensorProto.FLOAT, None)
    tensor = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None])
    path = write(
        helper.make_graph([helper.make_node("SequenceConstruct", ["x"], ["p"])], "s", [tensor], [sequence]), tmp_path / "model.onnx"
    )
    with pytest.raises(ModelError, match=r"model\.onnx: output 'p' has the type seq\(tensor\(float\)\): only tensors are served"):
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
