"""The request parameters that Triton's clients and documents know: how long a sender waits, the form of the outputs, and no sequences.

https://github.com/triton-inference-server/server/tree/main/docs/protocol. `priority` and the rest change nothing here, and are ignored.
"""

from collections.abc import Mapping
from typing import Final

from monitor.serving.refusals import BadRequest
from monitor.serving.tensors import json_type

_MICROSECONDS: Final = 1e6


def timeout_seconds(parameters: Mapping[str, object]) -> float:
    """From `timeout`, in microseconds; 0 where there is none. Raises `BadRequest`."""
    timeout = parameters.get("timeout")
    if timeout is None:
        return 0.0
    if type(timeout) is not int or timeout < 0:
        wrong = str(timeout) if type(timeout) is int else json_type(timeout)
        raise BadRequest(f'"parameters.timeout" must be an integer of microseconds, 0 for none, not {wrong}')
    return timeout / _MICROSECONDS


def refuse_sequences(parameters: Mapping[str, object]) -> None:
    """Raises `BadRequest` for a request that is part of a sequence: no model here keeps anything between requests."""
    if parameters.get("sequence_id", 0) not in (0, "", None):
        raise BadRequest('"parameters.sequence_id": no model here is stateful; leave it out, or send 0')


def flag(parameters: Mapping[str, object], name: str, where: str, *, default: bool) -> bool:
    """A parameter that is true or false. Raises `BadRequest`."""
    value = parameters.get(name)
    if value is None:
        return default
    if type(value) is not bool:
        raise BadRequest(f'{where}: "{name}" must be true or false, not {json_type(value)}')
    return value


def refuse_shared_memory(parameters: Mapping[str, object], where: str) -> None:
    """Raises `BadRequest` for a tensor in a shared-memory region, which only makes sense on the server's own machine."""
    if "shared_memory_region" in parameters:
        raise BadRequest(f"{where}: shared memory is not supported; send and ask for the data in JSON or as binary data")
