"""Whether any broker lets a client in, and why not.

A client that is made while none does tries for its whole time, tells no reason, and leaves a thread behind when it gives up. So this
knocks first, with the client library's own parts.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from kafka.net.manager import KafkaConnectionManager
from kafka.net.selector import NetworkSelector

from monitor.errors import LogAway, LogError
from monitor.log.kafka.refusals import is_hopeless, reason_and_remedy

LONGEST_KNOCK_MS: Final = 5_000
PAUSES: Final = (0.05, 0.1, 0.2, 0.5, 1.0)
"""Seconds between one try and the next; the last one goes on."""


def await_broker(place: str, settings: Mapping[str, object], timeout_ms: int) -> None:
    """Returns when a broker lets this client in. Raises `LogError`, at once where waiting would not help; `place` is for people."""
    deadline = time.monotonic() + timeout_ms / 1_000
    tries = 0
    while (refusal := _knock(settings, min(timeout_ms, LONGEST_KNOCK_MS))) is not None:
        if is_hopeless(refusal):
            raise LogError(f"{place} cannot be used: {reason_and_remedy(refusal)}") from refusal
        if time.monotonic() > deadline:
            raise LogAway(f"{place} did not answer within {timeout_ms / 1_000:g} s: {reason_and_remedy(refusal)}") from refusal
        time.sleep(PAUSES[min(tries, len(PAUSES) - 1)])
        tries += 1


def _knock(settings: Mapping[str, object], timeout_ms: int) -> Exception | None:
    """Why none of the named brokers lets this client in; None as soon as one does."""
    net = NetworkSelector()
    manager = KafkaConnectionManager(net, **settings)
    net.start()
    refusal: Exception | None = None
    try:
        for broker in manager.cluster.bootstrap_brokers():
            refusal = net.run(_enter, manager, broker.node_id, timeout_ms)
            if refusal is None or is_hopeless(refusal):
                break
    finally:
        manager.close()
        net.stop()
        net.close()
    return refusal


async def _enter(manager: KafkaConnectionManager, node_id: object, timeout_ms: int) -> Exception | None:
    """Connects, proves who we are, and asks one question: a listener that wants proof and got none hangs up only then."""
    try:
        connection = manager.get_connection(node_id, timeout_ms=timeout_ms, pop_on_close=False, refresh_metadata_on_err=False)
        connection.connection_made = _hearing_out(connection.connection_made)
        await connection
        await manager.cluster.refresh_metadata(node_id)
    except Exception as error:  # noqa: BLE001  # whatever it is, it is the reason; the caller decides
        return error
    return None


def _hearing_out(connection_made: Callable[[Any], None]) -> Callable[[Any], None]:
    """The same, on a transport that hands over what it received before it says that the other end hung up.

    A broker that refuses says why and hangs up, often in one breath; the client's transport then drops what it said (kafka-python 3.0.12).
    """

    def made(transport: Any) -> None:  # noqa: ANN401  # the client ships no types
        receive: Callable[[], tuple[bytes, Exception | None]] = transport._sock_recv

        def received() -> tuple[bytes, Exception | None]:
            data, end = receive()
            return data, None if data else end  # the next call says that it ended

        transport._sock_recv = received
        connection_made(transport)

    return made
