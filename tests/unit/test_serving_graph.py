"""What model files say about themselves, in the words of the converters that people use, and what is refused before the runtime sees it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from monitor.errors import ModelError
from monitor.serving import wire
from monitor.serving.model import load
from monitor.serving.onnx_graph import OnnxFile
from monitor.serving.onnx_meaning import meanings, read
from monitor.serving.output_meaning import OutputMeaning, Scale
from tests.unit.serving_models import external, logistic, torch_export, write

FIXTURES = Path(__file__).parent / "models"
ROWS = np.array([[0.1, 0.2, 0.3], [-2.0, 1.0, 0.0], [3.0, -1.0, 0.5], [0.4, 0.0, -3.0]], dtype=np.float32)
PROBABLE = Scale.PROBABILITY


def said(path: Path) -> dict[str, tuple[Scale, tuple[str | int, ...]]]:
    """Of outputs that are no label."""
    return {name: (meaning.scale, meaning.classes) for name, meaning in read(path).said.items() if not meaning.is_label}


def converted(folder: Path, estimator: Any, classes: Sequence[object], **options: object) -> Path:  # noqa: ANN401
    skl2onnx = pytest.importorskip("skl2onnx")
    path = folder / "model.onnx"
    estimator.fit(ROWS, classes)
    path.write_bytes(skl2onnx.to_onnx(estimator, ROWS[:1], options=options).SerializeToString())
    return path


@pytest.mark.parametrize(
    ("fixture", "classes"),
    [
        ("xgboost_binary", (0, 1)),
        ("xgboost_multiclass", (0, 1, 2)),
        ("lightgbm_binary", (0, 1)),
        ("lightgbm_multiclass", (0, 1, 2)),
        ("lightgbm_strings", ("late", "on_time")),
    ],
)
def test_boosted_trees_name_their_classes_and_give_probabilities_as_a_table(fixture: str, classes: tuple[str | int, ...]) -> None:
    source, _, meaning = read(FIXTURES / f"{fixture}.onnx")
    assert meaning == {"label": OutputMeaning(is_label=True), "probabilities": OutputMeaning(PROBABLE, "TreeEnsembleClassifier", classes)}
    model = load("m", "1", source)
    assert [(spec.name, spec.shape) for spec in model.outputs] == [("label", (-1,)), ("probabilities", (-1, len(classes)))]
    label, probabilities = model.run({"X": ROWS})
    assert probabilities.sum(axis=1) == pytest.approx(1.0)
    assert [classes[column] for column in probabilities.argmax(axis=1)] == label.tolist()


@pytest.mark.parametrize("classes", [("late", "on_time", "late", "on_time"), (7, 8, 9, 7)])
@pytest.mark.parametrize(
    ("package", "name", "scale"),
    [
        ("ensemble", "GradientBoostingClassifier", PROBABLE),
        ("ensemble", "HistGradientBoostingClassifier", PROBABLE),
        ("ensemble", "RandomForestClassifier", Scale.UNKNOWN),
        ("linear_model", "LogisticRegression", PROBABLE),
        ("neural_network", "MLPClassifier", PROBABLE),
    ],
)
def test_what_scikit_learn_ends_with_a_zipmap_is_served_as_a_table(
    package: str, name: str, scale: Scale, classes: Sequence[str | int], tmp_path: Path
) -> None:
    few: dict[str, dict[str, object]] = {
        "RandomForestClassifier": {"n_estimators": 2},
        "MLPClassifier": {"hidden_layer_sizes": (2,), "max_iter": 2},
    }
    estimator = getattr(pytest.importorskip(f"sklearn.{package}"), name)(**few.get(name, {}))
    path = converted(tmp_path, estimator, classes)
    assert said(path) == {"output_probability": (scale, tuple(sorted(set(classes))))}
    label, probabilities = load("m", "1", read(path).source).run({"X": ROWS})
    assert probabilities == pytest.approx(estimator.predict_proba(ROWS), abs=1e-5)
    assert label.tolist() == list(estimator.predict(ROWS))


def test_a_pipeline_without_a_zipmap_says_the_same(tmp_path: Path) -> None:
    pipeline = pytest.importorskip("sklearn.pipeline").make_pipeline(
        pytest.importorskip("sklearn.preprocessing").StandardScaler(), pytest.importorskip("sklearn.linear_model").LogisticRegression()
    )
    path = converted(tmp_path, pipeline, ["late", "on_time", "late", "late"], zipmap=False)
    assert said(path) == {"probabilities": (PROBABLE, ("late", "on_time"))}
    assert read(path).source == path


def test_outputs_that_are_a_column_each_say_which_one(tmp_path: Path) -> None:
    estimator = pytest.importorskip("sklearn.linear_model").LogisticRegression()
    path = converted(tmp_path, estimator, ["late", "on_time", "late", "late"], zipmap="columns")
    meaning = read(path).said
    columns = {name: (each.classes, each.column) for name, each in meaning.items() if not each.is_label}
    assert columns == {"slate": (("late", "on_time"), 0), "son_time": (("late", "on_time"), 1)}


def test_distances_of_a_support_vector_machine_are_no_probabilities(tmp_path: Path) -> None:
    svm = pytest.importorskip("sklearn.svm")
    assert said(converted(tmp_path, svm.SVC(), ["late", "on_time", "late", "late"])) == {
        "output_probability": (Scale.OTHER, ("late", "on_time"))
    }


@pytest.mark.parametrize(
    ("head", "scale"),
    [(None, Scale.OTHER), ("Softmax", PROBABLE), ("Sigmoid", PROBABLE), ("LogSoftmax", Scale.OTHER), ("Erf", Scale.UNKNOWN)],
)
def test_the_head_of_a_pytorch_export_says_whether_it_gives_probabilities(head: str | None, scale: Scale, tmp_path: Path) -> None:
    assert said(torch_export(tmp_path / "model.onnx", head=head)) == {"output": (scale, ())}


def test_a_bias_leaves_logits_what_they_are_and_a_mean_of_probabilities_may_be_one(tmp_path: Path) -> None:
    constants = [numpy_helper.from_array(np.ones((3, 3), dtype=np.float32), name) for name in ("weights", "bias")]
    tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 3]) for name in ("x", "y")]

    def scale_of(*nodes: onnx.NodeProto) -> Scale:
        path = write(helper.make_graph(list(nodes), "g", tensors[:1], tensors[1:], constants), tmp_path / "model.onnx")
        return said(path)["y"][0]

    product = helper.make_node("MatMul", ["x", "weights"], ["p"])
    assert scale_of(product, helper.make_node("Add", ["bias", "p"], ["y"])) is Scale.OTHER
    softmax = helper.make_node("Softmax", ["x"], ["s"])
    assert scale_of(softmax, helper.make_node("MatMul", ["s", "weights"], ["y"])) is Scale.UNKNOWN
    assert scale_of(softmax, helper.make_node("Add", ["s", "bias"], ["y"])) is Scale.UNKNOWN


def test_a_label_that_is_looked_up_by_the_greatest_column_names_the_columns(tmp_path: Path) -> None:
    path = logistic(tmp_path / "model.onnx", classes=["on_time", "late"])
    assert said(path) == {"probabilities": (PROBABLE, ("on_time", "late"))}


def test_a_graph_that_is_changed_is_what_the_checker_of_onnx_accepts() -> None:
    source, _, _ = read(FIXTURES / "lightgbm_strings.onnx")
    assert isinstance(source, bytes)
    changed = onnx.load_from_string(source)
    onnx.checker.check_model(changed, full_check=True)
    before = onnx.load(FIXTURES / "lightgbm_strings.onnx")
    assert [node.op_type for node in changed.graph.node] == [node.op_type.replace("ZipMap", "Identity") for node in before.graph.node]
    assert changed.graph.node[0] == before.graph.node[0]
    assert (changed.producer_name, changed.graph.input) == (before.producer_name, before.graph.input)


def test_a_graph_of_nothing_but_machine_learning_operators_can_be_changed_too(tmp_path: Path) -> None:
    nodes = [
        helper.make_node(
            "LinearClassifier",
            ["x"],
            ["label", "table"],
            domain="ai.onnx.ml",
            coefficients=[1.0, -1.0, -1.0, 1.0],
            intercepts=[0.0, 0.0],
            classlabels_ints=[0, 1],
            post_transform="SOFTMAX",
        ),
        helper.make_node("ZipMap", ["table"], ["p"], domain="ai.onnx.ml", classlabels_int64s=[0, 1]),
    ]
    number = helper.make_tensor_type_proto(TensorProto.FLOAT, None)
    zipped = helper.make_sequence_type_proto(helper.make_map_type_proto(TensorProto.INT64, number))
    outputs = [helper.make_tensor_value_info("label", TensorProto.INT64, [None]), helper.make_value_info("p", zipped)]
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 2])], outputs)
    path = tmp_path / "model.onnx"
    path.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("ai.onnx.ml", 1)], ir_version=8).SerializeToString())
    source, _, said = read(path)
    assert said["p"] == OutputMeaning(PROBABLE, "LinearClassifier", (0, 1))
    assert isinstance(source, bytes)
    assert {opset.domain for opset in onnx.load_from_string(source).opset_import} == {"", "ai.onnx.ml"}
    assert load("m", "1", source).run({"x": np.zeros((1, 2), dtype=np.float32)})[1].tolist() == [[0.5, 0.5]]


def test_weights_and_trees_are_not_read(tmp_path: Path) -> None:
    many = numpy_helper.from_array(np.arange(100_000), "many")
    few = numpy_helper.from_array(np.array([3, 5]), "few")
    nodes = [
        helper.make_node("Add", ["x", "many"], ["y"], trees=list(range(100_000)), name="big"),
        helper.make_node("Constant", [], ["made"], value=helper.make_tensor("v", TensorProto.INT64, [2], [7, 8])),
    ]
    tensors = [helper.make_tensor_value_info(name, TensorProto.INT64, [None]) for name in ("x", "y")]
    file = OnnxFile(write(helper.make_graph(nodes, "g", tensors[:1], tensors[1:], [many, few]), tmp_path / "model.onnx"))
    assert file.constants == {"many": None, "few": (3, 5), "made": (7, 8)}
    assert file.nodes[0].attributes == {"trees": None}
    assert meanings(file)["y"] == OutputMeaning(Scale.UNKNOWN, "Add")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is empty: export it again, or copy it again as a whole"),
        (b"not a model", "is no ONNX model, or only part of one (11 bytes)"),
        (b"\x08\x0a", "is no ONNX model, or only part of one"),
        (b"\x08\x0a\x3a\x00", "is no ONNX model: its graph has no output"),
    ],
)
def test_a_file_that_is_no_model_is_refused_with_its_path(content: bytes, told: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError) as refused:
        read(path)
    assert str(refused.value).startswith(f"{path}: {told}")


def test_a_folder_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is a folder; expected a model file"):
        read(tmp_path)
    with pytest.raises(ModelError, match="cannot be read: No such file or directory"):
        read(tmp_path / "model.onnx")


def test_a_model_that_is_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    whole = (FIXTURES / "lightgbm_binary.onnx").read_bytes()
    path = tmp_path / "model.onnx"
    # Fields that follow the graph may be left out of a message, so a cut between them leaves a model.
    end_of_graph = max(field.whole.nbytes for field in wire.fields(memoryview(whole)))
    for length in range(end_of_graph):
        path.write_bytes(whole[:length])
        with pytest.raises(ModelError, match=r"model\.onnx: "):
            read(path)


def test_external_data_beside_the_model_are_read_and_may_be_written_over_afterwards(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    weights = tmp_path / "weights" / "w.bin"
    weights.write_bytes(np.array([[1, 0], [0, 2]], dtype=np.float32).tobytes())
    path = external(tmp_path / "model.onnx", "weights/w.bin")
    source, data, _ = read(path)
    # Taken from what was read, so that no path in the file is ever opened by anybody else, and no mapping of it can break.
    weights.write_bytes(b"")
    model = load("m", "1", source, external=data)
    assert model.run({"x": np.array([[3, 5]], dtype=np.float32)})[0].tolist() == [[3, 10]]


@pytest.mark.parametrize(
    ("location", "told"),
    [
        ("/etc/passwd", "keeps weights at '/etc/passwd': only a path relative to its own folder is read"),
        ("", "keeps weights at '': only a path relative to its own folder is read"),
        ("../secret.bin", "secret.bin, outside its own folder: move them beside the model"),
        ("link.bin", "keeps weights at 'link.bin', which is"),
        ("missing.bin", "keeps weights at 'missing.bin', and there is no such file in"),
        ("w\0.bin", "only a path relative to its own folder is read"),
    ],
)
def test_external_data_outside_the_models_folder_are_refused(location: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "secret.bin").write_bytes(bytes(16))
    path = tmp_path / "model" / "model.onnx"
    path.parent.mkdir()
    (path.parent / "link.bin").symlink_to(tmp_path / "secret.bin")
    with pytest.raises(ModelError) as refused:
        read(external(path, location))
    assert str(refused.value).startswith(f"{path}: keeps weights at")
    assert told in str(refused.value)


@pytest.mark.parametrize("depth", [1, 2])
def test_external_data_of_a_nested_graph_are_looked_at_too(depth: int, tmp_path: Path) -> None:
    graph = onnx.load(external(tmp_path / "inner.onnx", "../secret.bin"), load_external_data=False).graph
    inputs = [helper.make_tensor_value_info("x", TensorProto.BOOL, [1])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 2])]
    for _ in range(depth):
        graph = helper.make_graph([helper.make_node("If", ["x"], ["y"], then_branch=graph, else_branch=graph)], "outer", inputs, outputs)
    with pytest.raises(ModelError, match=r"keeps weights at '\.\./secret\.bin'"):
        read(write(graph, tmp_path / "model.onnx"))


@given(
    st.sampled_from(sorted(FIXTURES.glob("*.onnx"))),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(max_size=4), st.integers(0, 4)), min_size=1, max_size=4),
)
def test_a_damaged_file_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, fixture: Path, damage: list[tuple[float, bytes, int]]
) -> None:
    content = bytearray(fixture.read_bytes())
    for where, put, taken in damage:
        place = int(where * len(content))
        content[place : place + taken] = put
    path = tmp_path_factory.getbasetemp() / "damaged.onnx"
    path.write_bytes(content)
    try:
        read(path)
    except ModelError as error:
        assert str(error).startswith(f"{path}: ")  # noqa: PT017  either outcome will do


@given(st.binary(max_size=200))
def test_any_bytes_are_either_fields_or_a_value_error(message: bytes) -> None:
    try:
        found = list(wire.fields(memoryview(message)))
    except ValueError:
        return
    assert b"".join(field.whole for field in found) == message


@given(st.lists(st.tuples(st.integers(1, 2**28), st.binary(max_size=300)), max_size=5))
def test_what_was_nested_comes_apart_again(parts: list[tuple[int, bytes]]) -> None:
    message = b"".join(wire.nested(number, [content]) for number, content in parts)
    assert [(field.number, bytes(field.value)) for field in wire.fields(memoryview(message))] == parts
