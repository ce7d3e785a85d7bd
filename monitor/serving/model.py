"""One loaded model: an ONNX Runtime session with its inputs and outputs in the protocol's terms. Nothing else imports the runtime.

Not run on a GPU yet: tests cover that CUDA and TensorRT are asked for rightly and refused with the remedy, not what they then do.
"""

import contextlib
import importlib.metadata
import io
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Protocol

from monitor.errors import ModelError
from monitor.serving import devices
from monitor.serving.first_runs import first_runs, rows_of
from monitor.serving.pinned import CudaPageLock, PageLock, Pool, leave_pageable
from monitor.serving.refusals import BadRequest, InferenceFailed
from monitor.serving.run_cost import INLINE_LIMIT_SECONDS, RunCost
from monitor.serving.run_options import CPU, DEFAULTS, Device, RunOptions
from monitor.serving.running import BoundRuns, Feeds, PlainRuns, Runs, comes_from_the_runtime
from monitor.serving.tensors import ANY, Tensor, TensorSpec

# Measured on 1.31: the import itself writes a device id under the home folder and looks up the vendor's host within seconds, whatever is
# called afterwards. Only this variable, set before the import, prevents it; it is forced, since nothing may leave the process.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime as ort

_DATATYPES: Final = {
    "tensor(bool)": "BOOL",
    "tensor(int8)": "INT8",
    "tensor(int16)": "INT16",
    "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
    "tensor(uint8)": "UINT8",
    "tensor(uint16)": "UINT16",
    "tensor(uint32)": "UINT32",
    "tensor(uint64)": "UINT64",
    "tensor(float16)": "FP16",
    "tensor(bfloat16)": "BF16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(string)": "BYTES",
}
_GRAPH_LEVELS: Final = {
    "disabled": ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "basic": ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
}
_KNOWN: Final = re.compile(r"Load model from .*? failed:|/onnxruntime_src/\S+:\d+ .*?\) (?=[A-Z])")
"""Which file was loaded, and where in its own source the runtime noticed: the one is said already, the other says nothing to its author."""
_FATAL_ONLY: Final = 4
"""Errors come back as exceptions; the runtime would write each of them to stderr too, once for every bad request."""


class Node(Protocol):
    """An input or output as the runtime describes it; a symbolic dimension is a string, an unnamed one None."""

    @property
    def name(self) -> str: ...
    @property
    def type(self) -> str: ...
    @property
    def shape(self) -> Sequence[int | str | None]: ...


@dataclass(frozen=True, slots=True)
class Model:
    """A loaded model version. `run` may be called from several threads at once and releases the GIL.

    Up to `inline_rows` rows run quickly enough for the event loop's own thread. `shares_runs` says that rows of several requests may be one
    run, since each row's outputs are what it alone would get. `warm_outputs` are what one row of zeros gave (empty where that failed).
    `providers` are those that the session has, not those that were asked for.
    """

    name: str
    version: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    warm_outputs: tuple[Tensor, ...]
    cost: RunCost
    inline_rows: int
    shares_runs: bool
    providers: tuple[str, ...]
    runs: Runs

    def run(self, *parts: Feeds) -> list[Tensor]:
        """All outputs, in the model's order, for the rows of one request, or of several one after the other.

        Raises `BadRequest` where the runtime names the input as the cause, else `InferenceFailed`.
        """
        try:
            return self.runs(parts)
        except Exception as error:
            if comes_from_the_runtime(error):
                raise _refusal(self.name, self.version, error) from None
            raise


def load(
    name: str, version: str, source: Path | bytes, options: RunOptions = DEFAULTS, external: Mapping[str, bytes] = MappingProxyType({})
) -> Model:
    """Creates the session from a file or its content, and runs it a few times. Raises `ModelError` with the place and the remedy.

    `external` are files that the model keeps weights in, by the names it has for them. What is given here the runtime does not open itself.
    """
    place = str(source) if isinstance(source, Path) else f"model {name} version {version}"
    device = options.device if missing_device(options.device) is None else CPU
    session = _session(place, source, options, device, external)
    providers = tuple(session.get_providers())
    on_gpu = providers[0] != devices.CPU_PROVIDER
    if device.require_gpu and not on_gpu:
        raise ModelError(f"{place}: serving.device.require_gpu is on, and the runtime took {', '.join(providers)}: stderr may say why")
    inputs = tuple(_spec(place, "input", node) for node in session.get_inputs())
    outputs = tuple(_spec(place, "output", node) for node in session.get_outputs())
    runs = _runs(place, session, inputs, outputs, on_gpu=on_gpu)
    warm_outputs, cost, shares_runs = first_runs(runs, inputs, outputs)
    if on_gpu and shares_runs:
        for rows in options.warm_rows:
            runs([rows_of(inputs, rows)])
    inline_rows = 0 if on_gpu else cost.rows_within(INLINE_LIMIT_SECONDS)
    return Model(name, version, inputs, outputs, warm_outputs, cost, inline_rows, shares_runs, providers, runs)


def missing_device(device: Device) -> str | None:
    """Why models will run on the CPU although a GPU is configured, for one line in the log. Raises `ModelError` where one is required."""
    if not device.is_gpu:
        return None
    # The CUDA that comes with the extra `gpu` lies in no folder that the loader looks in. What this does not find it prints.
    with contextlib.redirect_stdout(io.StringIO()):
        ort.preload_dlls()
    runtime = devices.Runtime(ort.__version__, ort.get_available_providers(), Path(ort.__file__).parent / "capi")
    reason = devices.missing(device, runtime)
    if reason is None:
        return None
    if device.require_gpu:
        raise ModelError(f"serving.device.require_gpu is on, and {reason}")
    return f"models run on the CPU although serving.device.kind is {device.kind}: {reason}"


def installed_twice() -> str | None:
    """A warning where both wheels of the runtime are installed: they share an import name, and the last one installed wins silently."""
    found = []
    for distribution in ("onnxruntime", "onnxruntime-gpu"):
        try:
            found.append(f"{distribution} {importlib.metadata.version(distribution)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    if len(found) < 2:
        return None
    return f"{' and '.join(found)} are both installed, {ort.__version__} is in use: uninstall both, then install one"


def _session(place: str, source: Path | bytes, options: RunOptions, device: Device, external: Mapping[str, bytes]) -> Any:  # noqa: ANN401  the runtime has no types
    session_options = ort.SessionOptions()
    session_options.intra_op_num_threads = options.intra_op_threads
    session_options.inter_op_num_threads = options.inter_op_threads
    if options.inter_op_threads > 1:
        session_options.execution_mode = ort.ExecutionMode.ORT_PARALLEL
    session_options.graph_optimization_level = _GRAPH_LEVELS[options.graph]
    session_options.log_severity_level = _FATAL_ONLY
    for pool in ("intra_op", "inter_op"):
        session_options.add_session_config_entry(f"session.{pool}.allow_spinning", str(int(options.spinning)))
    if device.require_gpu:
        session_options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    if external:
        # From a file of its own the runtime maps weights into memory, and whoever then writes over that file in place kills the process.
        session_options.add_external_initializers_from_files_in_memory(
            list(external), list(external.values()), [len(content) for content in external.values()]
        )
    content = str(source) if isinstance(source, Path) else source
    try:
        # The runtime's own fallback prints to stdout and goes on with the CPU, in the middle of a request even.
        return ort.InferenceSession(content, session_options, providers=devices.providers(device), enable_fallback=0)
    except Exception as error:
        if isinstance(error, OSError | ValueError) or comes_from_the_runtime(error):
            message = f"{place}: ONNX Runtime {ort.__version__} cannot load it: {_first_line(error)}"
            if "fallback to CPU EP has been explicitly disabled" in message:
                message = (
                    f"{place}: serving.device.require_gpu is on, and {device.kind} cannot run all of this model: set it to false, so that "
                    "the rest runs on the CPU"
                )
            raise ModelError(message) from None
        raise


def _runs(place: str, session: Any, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], *, on_gpu: bool) -> Runs:  # noqa: ANN401
    takes_text = any(spec.datatype == "BYTES" for spec in inputs)
    has_bf16 = any(spec.datatype == "BF16" for spec in (*inputs, *outputs))
    if takes_text and has_bf16:
        # Text cannot be bound, and BF16 comes in and out no other way (1.31).
        raise ModelError(f"{place}: it takes text and has BF16 tensors: cast one of the two inside the model")
    if takes_text or not (has_bf16 or on_gpu):
        return PlainRuns(session, outputs)
    staging = Pool(_page_lock()) if on_gpu else None
    return BoundRuns(session, inputs, outputs, ort.OrtValue.ortvalue_from_numpy_with_onnx_type, staging)


def _page_lock() -> PageLock:
    try:
        return CudaPageLock(f"libcudart.so.{ort.cuda_version.partition('.')[0]}")
    except OSError:
        return leave_pageable


def _spec(place: str, role: str, node: Node) -> TensorSpec:
    datatype = _DATATYPES.get(node.type)
    if datatype is None:
        remedy = (
            "convert it with options={'zipmap': False}, so that probabilities are a tensor"
            if node.type.startswith("seq(map(")
            else "only tensors are served"
        )
        raise ModelError(f"{place}: {role} {node.name!r} has the type {node.type}: {remedy}")
    return TensorSpec(node.name, datatype, tuple(size if isinstance(size, int) and size >= 0 else ANY for size in node.shape))


def _refusal(name: str, version: str, error: Exception) -> BadRequest | InferenceFailed:
    message = f'model "{name}" version {version}: {_first_line(error)}'
    return BadRequest(message) if type(error).__name__ == "InvalidArgument" else InferenceFailed(message)


def _first_line(error: Exception) -> str:
    return _KNOWN.sub("", str(error)).strip().partition("\n")[0][:300]
