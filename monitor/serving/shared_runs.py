"""Several requests as one run of a model: each gets what it would get alone, and none is refused for another one's fault."""

import time
from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Final, NamedTuple

from monitor.serving.refusals import Refusal
from monitor.serving.requests import InferRequest
from monitor.serving.tensors import Tensor

if TYPE_CHECKING:
    from monitor.serving.model import Model

Outcome = Sequence[Tensor] | Exception
"""All of the model's outputs for one request, or why there are none."""

KEPT_BYTES: Final = 4_096
"""A view keeps the outputs of the whole run in memory as long as one request is held, in the tap's queue for instance, which counts that
request's own share only. Of larger outputs each request gets a copy of its rows: 0.2 µs more than a view where they are few."""


class Ran(NamedTuple):
    """What came of a run, one outcome for each of its requests, and how long it took."""

    outcomes: Sequence[Outcome]
    seconds: float


def run_together(model: "Model", requests: Sequence[InferRequest]) -> Ran:
    """Never raises. For any thread."""
    started = time.perf_counter()
    try:
        outcomes = _outcomes(model, requests)
    except Exception as error:  # noqa: BLE001  a bug; whoever waits for an answer reports it
        outcomes = [error] * len(requests)
    return Ran(outcomes, time.perf_counter() - started)


def _outcomes(model: "Model", requests: Sequence[InferRequest]) -> Sequence[Outcome]:
    if len(requests) > 1:
        try:
            outputs = model.run(*[request.feeds for request in requests])
        except Refusal:
            # One of them is to blame, and the runtime does not say which.
            pass
        else:
            ends = list(accumulate([request.rows for request in requests]))
            # A model that gave a row for each row when it was loaded may still not do so for these.
            if all(output.shape[:1] == (ends[-1],) for output in outputs):
                return _shares(outputs, ends)
    return [_alone(model, request) for request in requests]


def _alone(model: "Model", request: InferRequest) -> Outcome:
    try:
        return model.run(request.feeds)
    except Refusal as refusal:
        return refusal


def _shares(outputs: Sequence[Tensor], ends: Sequence[int]) -> Sequence[Outcome]:
    bounds = list(zip([0, *ends[:-1]], ends, strict=True))
    shares = [
        [output[start:end].copy() for start, end in bounds] if output.nbytes > KEPT_BYTES else [output[start:end] for start, end in bounds]
        for output in outputs
    ]
    return list(zip(*shares, strict=True))
