"""A session's runs: rows of one request, or of several as one, to all outputs. Two ways, as the device and the datatypes need.

Knows the runtime by its calls alone. Not run on a GPU yet: the binding is tested on the CPU, where what is bound is not copied.
"""

import ctypes
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Final, Protocol

import numpy as np

from monitor.serving.pinned import Pool
from monitor.serving.tensors import Tensor, TensorSpec

Feeds = Mapping[str, Tensor]
"""One request's tensors by the name of the input."""

ONNX_TYPES: Final = {
    "FP32": 1,
    "UINT8": 2,
    "INT8": 3,
    "UINT16": 4,
    "INT16": 5,
    "INT32": 6,
    "INT64": 7,
    "BYTES": 8,
    "BOOL": 9,
    "FP16": 10,
    "FP64": 11,
    "UINT32": 12,
    "UINT64": 13,
    "BF16": 16,
}
"""`TensorProto.DataType` of each datatype of the protocol."""


class Session(Protocol):
    """The calls of the runtime that are made for a request. Its bindings have no types."""

    def run(self, output_names: Sequence[str], feeds: Feeds) -> list[Tensor]: ...
    def io_binding(self) -> Any: ...  # noqa: ANN401
    def run_with_iobinding(self, binding: Any) -> None: ...  # noqa: ANN401


class Runs(Protocol):
    """All outputs, in the model's order, for the rows of `parts` one after the other. For any thread."""

    def __call__(self, parts: Sequence[Feeds], /) -> list[Tensor]: ...


class PlainRuns:
    """Arrays in, arrays out: the quickest on the CPU, and the only way for text."""

    def __init__(self, session: Session, outputs: Sequence[TensorSpec]) -> None:
        self._session = session
        # Without them the runtime's Python layer looks them up for each run: 1.2 of the 5.9 µs of a small one.
        self._names = [spec.name for spec in outputs]

    def __call__(self, parts: Sequence[Feeds], /) -> list[Tensor]:
        return self._session.run(self._names, parts[0] if len(parts) == 1 else _joined(parts))


class BoundRuns:
    """Through an IOBinding: for GPUs, and for BF16, which NumPy has no type for. A run on the CPU costs 1.4 µs more than a plain one.

    Inputs are gathered in `staging`, which a GPU reads by itself where its pages are locked, and bound as what `wrap` makes of an array and
    its ONNX type. Outputs come in host memory that the runtime allots for each run, so they are the caller's; one of our buffers would have
    to be copied out of before its next use.
    """

    def __init__(
        self,
        session: Session,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        wrap: Callable[[Tensor, int], object],
        staging: Pool | None,
    ) -> None:
        self._session = session
        self._inputs = inputs
        self._outputs = outputs
        self._wrap = wrap
        self._staging = staging

    def __call__(self, parts: Sequence[Feeds], /) -> list[Tensor]:
        # A binding of its own for each run, so that threads need not take turns.
        binding = self._session.io_binding()
        with ExitStack() as until_run:
            for spec in self._inputs:
                array = until_run.enter_context(self._gathered([feeds[spec.name] for feeds in parts]))
                binding.bind_ortvalue_input(spec.name, self._wrap(array, ONNX_TYPES[spec.datatype]))
            for spec in self._outputs:
                binding.bind_output(spec.name, "cpu")
            binding.synchronize_inputs()
            self._session.run_with_iobinding(binding)
            binding.synchronize_outputs()
        return [_array(value, spec) for value, spec in zip(binding.get_outputs(), self._outputs, strict=True)]

    @contextmanager
    def _gathered(self, arrays: Sequence[Tensor]) -> Iterator[Tensor]:
        """The arrays one after the other, row-major: what is bound is read as it lies in memory, whatever the strides say."""
        if self._staging is None:
            yield np.ascontiguousarray(arrays[0]) if len(arrays) == 1 else np.concatenate(arrays)
            return
        first = arrays[0]
        shape = first.shape if len(arrays) == 1 else (sum(len(array) for array in arrays), *first.shape[1:])
        with self._staging.borrowed(sum(array.nbytes for array in arrays)) as buffer:
            gathered = buffer.view(first.dtype).reshape(shape)
            if len(arrays) == 1:
                np.copyto(gathered, first)
            else:
                np.concatenate(arrays, out=gathered)
            yield gathered


def comes_from_the_runtime(error: Exception) -> bool:
    """Its own exceptions have no common class that it exports, and its bindings raise plain `RuntimeError`."""
    return isinstance(error, RuntimeError) or type(error).__module__.startswith("onnxruntime")


def _joined(parts: Sequence[Feeds]) -> dict[str, Tensor]:
    return {name: np.concatenate([feeds[name] for feeds in parts]) for name in parts[0]}


def _array(value: Any, spec: TensorSpec) -> Tensor:  # noqa: ANN401  the runtime's OrtValue
    if spec.datatype != "BF16":
        array: Tensor = value.numpy()
        return array
    # Neither `numpy()` nor DLPack gives BF16 out (1.31), so its bits are copied from where they lie.
    bits = ctypes.string_at(value.data_ptr(), value.tensor_size_in_bytes())
    return np.frombuffer(bits, dtype=np.uint16).reshape(value.shape())
