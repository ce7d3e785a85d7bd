"""A checked request to its answer, the same for every protocol: run, ids, tap; then its shadows, when the answer is on its way."""

import asyncio
from typing import Final

import structlog

from monitor.clock import Milliseconds
from monitor.log.admission import FUTURE_LIMIT_MS
from monitor.serving.ids import Mint, row_ids
from monitor.serving.refusals import BadRequest, Refusal
from monitor.serving.requests import Answer, InferRequest
from monitor.serving.row_parameters import NO_PARAMETERS
from monitor.serving.served import Served
from monitor.serving.tap import Entry, Tap

_logger = structlog.get_logger(__name__)

ENTRY_BYTES: Final = 512
"""What a tapped request holds in memory beside its tensors."""
ROW_BYTES: Final = 128
"""What each of its rows adds: an id, and what text takes as Python objects."""


class Inference:
    """For the event loop's thread. `tap` is None where nothing is logged."""

    def __init__(self, tap: Tap | None, *, trusts_client_times: bool) -> None:
        self._tap = tap
        self._trusts = trusts_client_times
        self._mint = Mint()
        # The loop keeps no hold on its tasks.
        self._shadowing: set[asyncio.Task[None]] = set()

    async def infer(self, served: Served, request: InferRequest, now: Milliseconds, size: int, trace: str | None = None) -> Answer:
        """Raises a `Refusal`. `now` is the arrival that the log gets, `size` the bytes that the request came in."""
        tapped = served.tapped
        if tapped is not None and request.parameters is not NO_PARAMETERS:
            parameters = request.parameters
            if parameters.features:
                tapped.monitored.check_features(parameters.features)
            if parameters.times and self._trusts and max(parameters.times) > now + FUTURE_LIMIT_MS:
                raise BadRequest('"parameters.times" lies more than an hour ahead of the server\'s clock')
        outputs = await served.batcher.run(request)
        ids, request_id = self._ids(request, now)
        answer = Answer(outputs, ids, request_id)
        if tapped is not None:
            self._log(served, request, answer, now, size, trace)
        if served.shadows:
            for shadow in served.shadows:
                task = asyncio.get_running_loop().create_task(self._shadow(shadow, request, answer, now, size, trace))
                self._shadowing.add(task)
                task.add_done_callback(self._shadowing.discard)
        return answer

    def _log(self, served: Served, request: InferRequest, answer: Answer, now: Milliseconds, size: int, trace: str | None) -> None:
        if self._tap is not None and served.tapped is not None:
            rows, parameters = request.rows, request.parameters
            cost = ENTRY_BYTES + 4 * size + ROW_BYTES * rows
            self._tap.put(Entry(served.tapped, rows, request.feeds, answer.outputs, answer.ids, now, parameters, cost, trace))

    async def _shadow(self, shadow: Served, request: InferRequest, answer: Answer, now: Milliseconds, size: int, trace: str | None) -> None:
        """The same rows on a version that answers nobody, under the same ids. What its queue refuses is in its own meter's counts."""
        try:
            outputs = await shadow.batcher.run(request._replace(timeout_seconds=0.0))
        except Refusal as refusal:
            _logger.debug("a shadow gave no answer", model=shadow.codec.model, version=shadow.codec.version, reason=str(refusal))
            return
        self._log(shadow, request, answer._replace(outputs=outputs), now, size, trace)

    def _ids(self, request: InferRequest, now: Milliseconds) -> tuple[list[str], str]:
        """The rows' ids and the request's: as sent, derived from each other, or minted."""
        ids = request.parameters.ids
        if ids is None:
            ids = row_ids(request.id, request.rows) if request.id else self._mint.ids(request.rows, now)
        return ids, request.id or (ids[0] if request.rows == 1 else self._mint.ids(1, now)[0])
