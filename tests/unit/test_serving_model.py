"""A model through the real runtime: every datatype in and out, plainly and bound, what is refused at load, and what its first runs tell."""

import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from monitor.errors import ModelError
from monitor.serving import model as model_module
from monitor.serving.model import Model, installed_twice, load, missing_device
from monitor.serving.pinned import Pool, leave_pageable
from monitor.serving.refusals import BadRequest, InferenceFailed
from monitor.serving.run_cost import INLINE_LIMIT_SECONDS, RunCost
from monitor.serving.run_options import Device, RunOptions
from monitor.serving.running import BoundRuns, Feeds
from monitor.serving.tensors import DTYPES, Tensor
from tests.unit.batching_parts import ECHO, LOOK_UP, TEXT, loaded, onnx_bytes

ONE, HALF, MINUS_TWO = 0x3F80, 0x3F00, 0xC000
"""BF16 is the upper half of a float's bits."""

VALUES: dict[str, tuple[str, list[list[Any]]]] = {
    "BOOL": ("bool", [[True], [False]]),
    "INT8": ("int8", [[-128], [127]]),
    "INT16": ("int16", [[-32_768], [32_767]]),
    "INT32": ("int32", [[-(2**31)], [2**31 - 1]]),
    "INT64": ("int64", [[-(2**63)], [2**63 - 1]]),
    "UINT8": ("uint8", [[0], [255]]),
    "UINT16": ("uint16", [[0], [65_535]]),
    "UINT32": ("uint32", [[0], [2**32 - 1]]),
    "UINT64": ("uint64", [[0], [2**64 - 1]]),
    "FP16": ("float16", [[0.5], [-65_504]]),
    "FP32": ("float", [[0.5], [-(2.0**127)]]),
    "FP64": ("double", [[0.1], [-1e300]]),
    "BF16": ("bfloat16", [[HALF], [MINUS_TWO]]),
    "BYTES": ("string", [["ü"], [""]]),
}
"""How ONNX spells each datatype, and two rows of one value."""

BINDABLE = [datatype for datatype in VALUES if datatype != "BYTES"]
CUDA = Device("cuda")


def echo(datatype: str) -> Model:
    spelled = VALUES[datatype][0]
    return loaded(f"({spelled}[N, 1] x) => ({spelled}[N, 1] y) {{ y = Identity(x) }}")


def two_rows(datatype: str) -> Tensor:
    return np.array(VALUES[datatype][1], dtype=DTYPES[datatype])


def bound(graph: str, staging: Pool | None = None) -> tuple[Model, BoundRuns]:
    """The model, and its runs as a GPU makes them, here on the CPU."""
    model = loaded(graph)
    session = ort.InferenceSession(onnx_bytes(graph), providers=["CPUExecutionProvider"])
    return model, BoundRuns(session, model.inputs, model.outputs, ort.OrtValue.ortvalue_from_numpy_with_onnx_type, staging)


@pytest.mark.parametrize("datatype", VALUES)
def test_each_datatype_goes_in_and_comes_out(datatype: str) -> None:
    model = echo(datatype)
    (y,) = model.run({"x": two_rows(datatype)})
    assert (model.inputs[0].datatype, model.outputs[0].datatype) == (datatype, datatype)
    assert (y.dtype, y.tolist()) == (DTYPES[datatype], VALUES[datatype][1])
    assert model.shares_runs


@pytest.mark.parametrize("datatype", VALUES)
def test_several_requests_are_one_run_of_their_rows(datatype: str) -> None:
    rows = two_rows(datatype)
    (y,) = echo(datatype).run({"x": rows[:1]}, {"x": rows}, {"x": rows[1:]})
    first, last = VALUES[datatype][1]
    assert y.tolist() == [first, first, last, last]


@pytest.mark.parametrize("datatype", BINDABLE)
@pytest.mark.parametrize("staging", [None, Pool(leave_pageable)], ids=["in place", "staged"])
def test_a_binding_gives_what_a_plain_run_gives(datatype: str, staging: Pool | None) -> None:
    spelled = VALUES[datatype][0]
    model, runs = bound(f"({spelled}[N, 1] x) => ({spelled}[N, 1] y) {{ y = Identity(x) }}", staging)
    rows = two_rows(datatype)
    for parts in ([{"x": rows}], [{"x": rows}, {"x": rows[::-1]}], [{"x": np.repeat(rows, 3, axis=1)[:, 1:2]}]):
        expected, given = model.run(*parts), runs(parts)
        assert [(output.dtype, output.tolist()) for output in given] == [(output.dtype, output.tolist()) for output in expected]


def test_bf16_is_what_the_model_computes_with() -> None:
    model = loaded(
        "(bfloat16[N] x) => (float[N] wide, bfloat16[N] twice) "
        "{ wide = Cast <to = 1> (x)  sum = Add(wide, wide)  twice = Cast <to = 16> (sum) }"
    )
    wide, twice = model.run({"x": np.array([ONE, HALF], dtype=np.uint16)})
    assert (wide.tolist(), twice.tolist()) == ([1.0, 0.5], [0x4000, ONE])


def test_outputs_of_a_binding_are_the_callers() -> None:
    _, runs = bound(ECHO, Pool(leave_pageable))
    (first,) = runs([{"x": np.ones((2, 2), dtype=np.float32)}])
    runs([{"x": np.zeros((2, 2), dtype=np.float32)}])
    assert first.tolist() == [[1, 1], [1, 1]]


def test_text_out_of_a_binding() -> None:
    graph = '(int64[N] x) => (string[N] y) <string[2] names = {"on_time", "late"}> { y = Gather(names, x) }'
    _, runs = bound(graph)
    (y,) = runs([{"x": np.array([1, 0])}])
    assert y.tolist() == ["late", "on_time"]


def test_text_and_bf16_in_one_model_are_refused_with_the_remedy() -> None:
    with pytest.raises(ModelError, match=r"takes text and has BF16 tensors: cast one of the two inside the model"):
        loaded("(string[N] x, bfloat16[N] b) => (string[N] y, bfloat16[N] c) { y = Identity(x)  c = Identity(b) }")


def test_an_input_that_the_runtime_refuses_is_the_clients_error() -> None:
    with pytest.raises(BadRequest, match=r'model "m" version 1: .*Got invalid dimensions'):
        loaded("(float[N, 3] x) => (float[N, 3] y) { y = Identity(x) }").run({"x": np.zeros((1, 2), dtype=np.float32)})


def test_a_node_that_fails_is_told_with_the_model() -> None:
    with pytest.raises((BadRequest, InferenceFailed), match=r'model "m" version 1: .*indices element out of data bounds'):
        loaded(LOOK_UP).run({"x": np.array([7])})


def test_a_file_and_its_content_are_the_same_model(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(onnx_bytes(ECHO))
    x: Feeds = {"x": np.ones((1, 1), dtype=np.float32)}
    assert load("m", "1", path).run(x)[0].tolist() == load("m", "1", path.read_bytes()).run(x)[0].tolist() == [[1]]


def test_what_is_no_model_is_refused_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"not a model")
    with pytest.raises(ModelError, match=f"{path}: ONNX Runtime .* cannot load it: "):
        load("m", "1", path)
    with pytest.raises(ModelError, match=r"model m version 1: ONNX Runtime .* cannot load it: .*Frobnicate"):
        loaded("(float[N] x) => (float[N] y) { y = Frobnicate(x) }")


def test_as_many_rows_run_in_the_loops_thread_as_are_done_in_a_moment() -> None:
    model = loaded(ECHO)
    assert model.inline_rows == model.cost.rows_within(INLINE_LIMIT_SECONDS) > 0
    assert RunCost(one=0.1, per_row=0.01).rows_within(0.155) == 6
    assert RunCost(one=0.1, per_row=0.0).rows_within(0.1) == sys.maxsize
    assert RunCost(one=0.1, per_row=0.0).rows_within(0.09) == 0
    assert RunCost(one=float("inf"), per_row=0.0).rows_within(1.0) == 0


def test_first_runs_tell_what_a_row_gives_and_costs() -> None:
    model = loaded("(float[N, 2] x) => (float[N, 2] y) { y = Exp(x) }")
    assert [output.tolist() for output in model.warm_outputs] == [[[1, 1]]]
    assert 0 < model.cost.one < 1e-3
    assert model.providers == ("CPUExecutionProvider",)


def test_a_model_that_zeros_make_fail_is_served_alone_from_a_thread() -> None:
    model = loaded("(int64[N] x) => (float[N] y) <float[1] table = {5}, int64[1] two = {2}> { i = Sub(x, two)  y = Gather(table, i) }")
    assert (model.warm_outputs, model.inline_rows, model.shares_runs) == ((), 0, False)
    assert model.run({"x": np.array([2])})[0].tolist() == [5]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts threads in /proc")
def test_threads_are_as_many_as_configured() -> None:
    tasks = Path("/proc/self/task")
    before = len(list(tasks.iterdir()))
    one = load("m", "1", onnx_bytes(ECHO), RunOptions(intra_op_threads=1))
    assert len(list(tasks.iterdir())) == before
    four = load("m", "1", onnx_bytes(ECHO), RunOptions(intra_op_threads=4))
    assert len(list(tasks.iterdir())) == before + 3
    assert one.outputs == four.outputs


def test_a_gpu_that_is_not_required_and_not_there_is_the_cpu_with_a_warning() -> None:
    warning = missing_device(CUDA)
    assert warning is not None
    assert warning.startswith("models run on the CPU although serving.device.kind is cuda: ")
    model = load("m", "1", onnx_bytes(ECHO), RunOptions(device=CUDA))
    assert model.providers == ("CPUExecutionProvider",)
    assert model.run({"x": np.ones((1, 1), dtype=np.float32)})[0].tolist() == [[1]]


def test_a_gpu_that_is_required_and_not_there_stops_the_start_and_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    required = Device("cuda", require_gpu=True)
    for refused in (lambda: missing_device(required), lambda: load("m", "1", onnx_bytes(ECHO), RunOptions(device=required))):
        with pytest.raises(ModelError, match=r"^serving\.device.require_gpu is on, and .*: (install|uninstall|check) .*"):
            refused()
    assert capfd.readouterr() == ("", "")


def test_a_session_that_would_fall_back_to_the_cpu_is_refused_where_a_gpu_is_required(monkeypatch: pytest.MonkeyPatch) -> None:
    # As if nothing were missing, so that the runtime itself finds no CUDA and says so on stderr.
    if "CUDAExecutionProvider" not in ort.get_available_providers():
        pytest.skip("the installed runtime does not list CUDA")
    monkeypatch.setattr(model_module, "missing_device", lambda _device: None)
    with pytest.raises(ModelError, match=r"model m version 1: serving.device.require_gpu is on, and cuda cannot run all of this model"):
        load("m", "1", onnx_bytes(ECHO), RunOptions(device=Device("cuda", require_gpu=True)))


def test_both_wheels_of_the_runtime_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def installed(*names: str) -> Callable[[str], str]:
        def version(name: str) -> str:
            if name in names:
                return "1.2.3"
            raise PackageNotFoundError(name)

        return version

    monkeypatch.setattr("importlib.metadata.version", installed("onnxruntime", "onnxruntime-gpu"))
    assert "onnxruntime 1.2.3 and onnxruntime-gpu 1.2.3 are both installed" in str(installed_twice())
    monkeypatch.setattr("importlib.metadata.version", installed("onnxruntime-gpu"))
    assert installed_twice() is None


def test_text_is_run_plainly() -> None:
    assert loaded(TEXT).run({"x": np.array([["a"]], dtype=object)}, {"x": np.array([["ü"]], dtype=object)})[0].tolist() == [["a"], ["ü"]]
