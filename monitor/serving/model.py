"""One loaded model: an ONNX Runtime session with its inputs and outputs in the protocol's terms. Nothing else imports the runtime."""

import importlib.metadata
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from monitor.errors import ModelError
from monitor.serving.refusals import BadRequest, InferenceFailed
from monitor.serving.tensors import ANY, DTYPES, Tensor, TensorSpec

# Measured on 1.31: the import itself writes a device id under the home folder and looks up the vendor's host within seconds, whatever is
# called afterwards. Only this variable, set before the import, prevents it; it is forced, since nothing may leave the process.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime as ort

_DATATYPES = {
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
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(string)": "BYTES",
}

INLINE_LIMIT_SECONDS = 100e-6
"""Longer runs go to a thread: a hop costs about as much as a tiny model's run, and halved its throughput when measured."""

PROVIDERS = ("CPUExecutionProvider",)
"""Asked for by name: the GPU wheel lists devices that are not there."""

_TIMED_ROWS = 256
_REPEATS = 5


class Node(Protocol):
    """An input or output as the runtime describes it; a symbolic dimension is a string, an unnamed one None."""

    @property
    def name(self) -> str: ...
    @property
    def type(self) -> str: ...
    @property
    def shape(self) -> Sequence[int | str | None]: ...


class Session(Protocol):
    """The one call of the runtime that is made for a request."""

    def run(self, output_names: None, feeds: Mapping[str, Tensor]) -> list[Tensor]: ...


@dataclass(frozen=True, slots=True)
class RunCost:
    """Seconds that a run takes, measured at load: `one` row and, where a request chooses their number, each further row."""

    one: float
    per_row: float

    def rows_within(self, seconds: float) -> int:
        """How many rows run in that time; 0 where not even one does."""
        if self.one > seconds:
            return 0
        return 1 + int((seconds - self.one) / self.per_row) if self.per_row > 0 else sys.maxsize


@dataclass(frozen=True, slots=True)
class Model:
    """A loaded model version. `run` may be called from several threads at once and releases the GIL.

    Requests of up to `inline_rows` rows are quick enough for the event loop's own thread. `warm_outputs` are what the warm-up run of one
    row of zeros gave (empty where that failed).
    """

    name: str
    version: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    warm_outputs: tuple[Tensor, ...]
    cost: RunCost
    inline_rows: int
    session: Session

    def run(self, feeds: Mapping[str, Tensor]) -> list[Tensor]:
        """All outputs, in the model's order. Raises `BadRequest` where the runtime names the input as the cause."""
        try:
            return self.session.run(None, feeds)
        except Exception as error:
            if type(error).__module__.startswith("onnxruntime"):
                raise _refusal(self.name, self.version, error) from None
            raise


def load(name: str, version: str, path: Path) -> Model:
    """Creates the session and runs it once or twice. Raises `ModelError` with the file and the remedy."""
    options = ort.SessionOptions()
    # One thread and no spinning measured best for small models beside an event loop; a spinning pool burns a core between requests.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        session = ort.InferenceSession(str(path), options, providers=list(PROVIDERS))
    except Exception as error:
        if isinstance(error, OSError | RuntimeError | ValueError) or type(error).__module__.startswith("onnxruntime"):
            raise ModelError(f"{path}: ONNX Runtime {ort.__version__} cannot load it: {_first_line(error)}") from None
        raise
    inputs = tuple(_spec(path, "input", node) for node in session.get_inputs())
    outputs = tuple(_spec(path, "output", node) for node in session.get_outputs())
    warm_outputs, cost = _warm_up(session, inputs)
    return Model(name, version, inputs, outputs, warm_outputs, cost, cost.rows_within(INLINE_LIMIT_SECONDS), session)


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


def _spec(path: Path, role: str, node: Node) -> TensorSpec:
    datatype = _DATATYPES.get(node.type)
    if datatype is None:
        remedy = (
            "convert it with options={'zipmap': False}, so that probabilities are a tensor"
            if node.type.startswith("seq(map(")
            else "only tensors are served"
        )
        raise ModelError(f"{path}: {role} {node.name!r} has the type {node.type}: {remedy}")
    return TensorSpec(node.name, datatype, tuple(size if isinstance(size, int) and size >= 0 else ANY for size in node.shape))


def _warm_up(session: Session, inputs: Sequence[TensorSpec]) -> tuple[tuple[Tensor, ...], RunCost]:
    """What one row of zeros gives, and what runs cost. A model that zeros make fail is served all the same, from a thread."""
    row = {spec.name: _zeros(spec, 1) for spec in inputs}
    try:
        outputs = tuple(session.run(None, row))
        one = _shortest_run(session, row)
        if not any(spec.has_row_axis for spec in inputs):
            return outputs, RunCost(one, 0.0)
        many = _shortest_run(session, {spec.name: _zeros(spec, _TIMED_ROWS) for spec in inputs})
    except Exception as error:
        if type(error).__module__.startswith("onnxruntime"):
            return (), RunCost(float("inf"), 0.0)
        raise
    return outputs, RunCost(one, max(0.0, (many - one) / (_TIMED_ROWS - 1)))


def _shortest_run(session: Session, feeds: Mapping[str, Tensor]) -> float:
    """The least of a few runs: what others on the machine do only ever adds."""
    least = float("inf")
    for _ in range(_REPEATS):
        started = time.perf_counter()
        session.run(None, feeds)
        least = min(least, time.perf_counter() - started)
    return least


def _zeros(spec: TensorSpec, rows: int) -> Tensor:
    shape = tuple(1 if size == ANY else size for size in spec.shape)
    if spec.has_row_axis:
        shape = (rows, *shape[1:])
    return np.full(shape, "", dtype=object) if spec.datatype == "BYTES" else np.zeros(shape, dtype=DTYPES[spec.datatype])


def _refusal(name: str, version: str, error: Exception) -> BadRequest | InferenceFailed:
    message = f'model "{name}" version {version}: {_first_line(error)}'
    return BadRequest(message) if type(error).__name__ == "InvalidArgument" else InferenceFailed(message)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:300]
