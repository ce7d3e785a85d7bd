"""A model's first runs, before any request: what they give, what they cost, and whether rows of several requests may share one."""

import time
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import numpy as np

from monitor.serving.run_cost import INLINE_LIMIT_SECONDS, UNKNOWN, RunCost
from monitor.serving.running import Feeds, Runs, comes_from_the_runtime
from monitor.serving.tensors import ANY, DTYPES, Tensor, TensorSpec

_TIMED_ROWS: Final = 256
_REPEATS: Final = 5
_SAME_WITHIN: Final = 1e-3
"""Relative: kernels round otherwise for other numbers of rows, and a model that mixes its rows is off by far more."""
_BF16_ONE: Final = 0x3F80


class FirstRuns(NamedTuple):
    """`outputs` are those of one row of zeros, none where that failed: such a model is served all the same, from a thread."""

    outputs: tuple[Tensor, ...]
    cost: RunCost
    shares: bool


def first_runs(runs: Runs, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> FirstRuns:
    """Runs one row of zeros, then measures."""
    zeros = rows_of(inputs, 1)
    try:
        warm = tuple(runs([zeros]))
        one = _shortest(lambda: runs([zeros]))
        if not any(spec.has_row_axis for spec in inputs):
            return FirstRuns(warm, RunCost(one, 0.0), shares=False)
        # What is too long for the event loop anyway need not be timed on rows by the hundred: that would be minutes for a large model.
        count = _TIMED_ROWS if one <= INLINE_LIMIT_SECONDS else 2
        several = rows_of(inputs, count)
        cost = RunCost(one, max(0.0, (_shortest(lambda: runs([several])) - one) / (count - 1)))
    except Exception as error:
        if comes_from_the_runtime(error):
            return FirstRuns((), UNKNOWN, shares=False)
        raise
    return FirstRuns(warm, cost, _rows_are_independent(runs, inputs, outputs))


def rows_of(inputs: Sequence[TensorSpec], rows: int, *, ones: bool = False) -> Feeds:
    """So many rows of zeros or ones (numbers that are no fractions stay 0: they may be indices), of empty text; open widths are 1."""
    return {spec.name: _filled(spec, rows, ones=ones) for spec in inputs}


def _rows_are_independent(runs: Runs, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> bool:
    """Whether two different rows give in one run what they give in one each: as many rows, and as far as they are fractions, the same."""
    if not all(spec.has_row_axis for spec in inputs):
        return False
    first, second = rows_of(inputs, 1), rows_of(inputs, 1, ones=True)
    try:
        together, alone = runs([first, second]), (runs([first]), runs([second]))
    except Exception as error:
        if comes_from_the_runtime(error):
            return False
        raise
    for spec, both, *each in zip(outputs, together, *alone, strict=True):
        if both.shape[:1] != (2,) or any(output.shape[:1] != (1,) for output in each):
            return False
        if spec.datatype.startswith("FP") and not _same(both, np.concatenate(each)):
            return False
    return True


def _same(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and np.allclose(one, other, rtol=_SAME_WITHIN, atol=_SAME_WITHIN * _scale(other), equal_nan=True)


def _scale(output: Tensor) -> float:
    finite = np.abs(output[np.isfinite(output)])
    return float(finite.max()) if len(finite) else 0.0


def _filled(spec: TensorSpec, rows: int, *, ones: bool) -> Tensor:
    shape = tuple(1 if size == ANY else size for size in spec.shape)
    if spec.has_row_axis:
        shape = (rows, *shape[1:])
    if spec.datatype == "BYTES":
        return np.full(shape, "", dtype=object)
    array = np.zeros(shape, dtype=DTYPES[spec.datatype])
    if ones and spec.datatype == "BF16":
        array += _BF16_ONE
    elif ones and array.dtype.kind == "f":
        array += 1
    return array


def _shortest(run: Callable[[], object]) -> float:
    """Seconds; the least of a few runs: what others on the machine do only ever adds."""
    least = float("inf")
    for _ in range(_REPEATS):
        started = time.perf_counter()
        run()
        least = min(least, time.perf_counter() - started)
    return least
