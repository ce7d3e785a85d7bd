"""What every call meets, whatever it asks: its message is read, its answer or refusal sent, and both are counted."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeAlias, TypeVar

import grpc
import structlog
from google.protobuf.message import DecodeError, Message

from monitor.serving.grpc.statuses import code_of, metadata_of
from monitor.serving.measured import Meter
from monitor.serving.refusals import BadRequest, InferenceFailed, Refusal
from monitor.serving.v2 import TRACE_LENGTH

_logger = structlog.get_logger(__name__)

CLIENT_GONE: Final = 499
"""Counted, never sent: the client cancelled its call, went away, or its deadline passed. What the HTTP side counts for it too."""
DETAILS_LIMIT: Final = 2_000
"""Characters of a refusal; it travels in a header, and clients refuse those from 8 kB on."""

Context = grpc.aio.ServicerContext[bytes, bytes]
Handler: TypeAlias = "grpc.RpcMethodHandler[bytes, bytes]"
M = TypeVar("M", bound=Message)


@dataclass(slots=True)
class Call:
    """One request under way: what it is counted by and known as, as soon as that is known, and what came beside its message."""

    meter: Meter
    context: Context
    id: str = ""

    @property
    def seconds_left(self) -> float | None:
        """Until the client's deadline; None where it has none."""
        return self.context.time_remaining()

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """The call's metadata, as HTTP has them."""
        return [
            (key.encode(), value if isinstance(value, bytes) else value.encode()) for key, value in self.context.invocation_metadata() or ()
        ]

    @property
    def trace(self) -> str | None:
        """The caller's place in a distributed trace, as W3C's Trace Context spells it."""
        for key, value in self.context.invocation_metadata() or ():
            if key == "traceparent" and isinstance(value, str):
                return value[:TRACE_LENGTH]
        return None


Work = Callable[[bytes, Call], Awaitable[M]]
"""A request's bytes to its answer. Raises a `Refusal`."""


def parsed(kind: type[M], body: bytes) -> M:
    """Raises `BadRequest` where the bytes are no such message."""
    try:
        return kind.FromString(body)
    except DecodeError:
        raise BadRequest(f"the {len(body)} bytes received are not an inference.{kind.__name__}") from None


async def counted(work: Work[M], body: bytes, call: Call) -> M:
    """The answer. Raises a `Refusal`, also for what nobody expected, which is logged here and not told."""
    started = time.perf_counter()
    status = 200
    try:
        return await work(body, call)
    except Refusal as refusal:
        status = refusal.status
        raise
    except asyncio.CancelledError:
        status = CLIENT_GONE
        raise
    except Exception:
        status = InferenceFailed.status
        _logger.exception("a gRPC call failed", endpoint=call.meter.endpoint, model=call.meter.model)
        raise InferenceFailed("internal error; the server's log has the details") from None
    finally:
        call.meter.observe(status, time.perf_counter() - started)


def unary(work: Work[M], meter: Meter) -> Handler:
    """A method of one request and one answer. `meter` counts it until the work names a better one."""

    async def answer(body: bytes, context: Context) -> bytes:
        try:
            return (await counted(work, body, Call(meter, context))).SerializeToString()
        except Refusal as refusal:
            await context.abort(code_of(refusal), str(refusal)[:DETAILS_LIMIT], metadata_of(refusal))

    return grpc.unary_unary_rpc_method_handler(answer)
