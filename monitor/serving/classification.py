"""The classification extension: an output's greatest values with the positions they stand at, and those positions' names.

https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_classification.md
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from monitor.serving.tensors import Tensor


def classified(tensor: Tensor, k: int, labels: Sequence[str]) -> npt.NDArray[Any]:
    """(rows, min(k, width)) strings "score:index", or "score:index:label" where `labels` has that index, the greatest score first.

    The first dimension counts rows, the others make one list of classes. Equal scores stand by index, NaN after every number. A score is
    written with the digits that tell it from its neighbours in its own type, where Triton always writes six decimals.
    """
    rows = tensor.reshape(tensor.shape[0] if tensor.ndim else 1, -1)
    order = _descending(rows)[:, :k]
    named = [[_named(row[index], index, labels) for index in best] for row, best in zip(rows, order.tolist(), strict=True)]
    return np.array(named, dtype=object).reshape(order.shape)


def _descending(rows: Tensor) -> npt.NDArray[np.intp]:
    """Sorted from behind and read from behind, so that ties keep the order of their indices; negating would wrap unsigned integers."""
    keys = np.where(np.isnan(rows), -np.inf, rows) if rows.dtype.kind == "f" else rows
    order: npt.NDArray[np.intp] = rows.shape[1] - 1 - np.argsort(keys[:, ::-1], axis=1, kind="stable")[:, ::-1]
    return order


def _named(score: object, index: int, labels: Sequence[str]) -> str:
    return f"{score!s}:{index}:{labels[index]}" if index < len(labels) else f"{score!s}:{index}"
