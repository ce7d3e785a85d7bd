"""A checked inference request, whichever protocol it came by, and what is answered to it."""

from collections.abc import Sequence
from typing import NamedTuple

from monitor.serving.row_parameters import RowParameters
from monitor.serving.tensors import Tensor


class OutputWanted(NamedTuple):
    """One output that a request asked for, and in which form."""

    output: int
    """Its position among the model's outputs."""
    binary: bool = False
    """Whether its data follow the JSON as bytes (the binary-tensor extension)."""
    classes: int = 0
    """How many classes to name by their scores (the classification extension); 0: the tensor itself."""


class InferRequest(NamedTuple):
    """A checked request of `rows` rows. `outputs` are those asked for, None for all of them in the protocol's usual form.

    A tuple, since one is built for every request: a frozen dataclass costs three times as much.
    """

    feeds: dict[str, Tensor]
    rows: int
    outputs: Sequence[OutputWanted] | None
    id: str
    parameters: RowParameters
    timeout_seconds: float = 0.0
    """How long its sender waits, from its arrival on; 0: for ever. The protocol's `timeout` parameter is in microseconds."""


class Answer(NamedTuple):
    """What a request came to. `outputs` are all of the model's, in its order; `ids` are the rows', `id` is the request's."""

    outputs: Sequence[Tensor]
    ids: list[str]
    id: str
