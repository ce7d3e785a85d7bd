"""The gRPC server: from a port to a clean stop, in the event loop that is running, within bounds that clients cannot stretch."""

from typing import Final

import grpc.aio

from monitor.serving.binding import GRPC, address_of, hold, in_use, resolve
from monitor.serving.grpc.service import Service

CALLS_LIMIT: Final = 4_096
"""Calls under way at a time, streams included; one more is told RESOURCE_EXHAUSTED before its message is read."""
_CONNECTIONS: Final = (
    # A client that connects has to speak HTTP/2 by then.
    ("grpc.server_handshake_timeout_ms", 20_000),
    # A silent connection is asked after a minute whether anybody is there; without that a peer that vanished stays for two hours.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # Clients may ask us as often as every 10 s, with calls under way or without; gRPC's 5 min would end the connections of those that do.
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
)


class GrpcServer:
    """For the event loop's thread; `body_limit` is in bytes of one message.

    gRPC has threads of its own, which do not survive a fork: make one in the process that serves.
    """

    def __init__(self, service: Service, body_limit: int) -> None:
        self._service = service
        self._body_limit = body_limit
        self._server: grpc.aio.Server | None = None

    async def start(self, host: str, port: int, *, shared: bool = False) -> int:
        """Serves there, and says which port it is where that was 0. Raises `AddressInUse`.

        `shared`: other processes do the same on this port, which `binding.hold` has kept for them until now.
        """
        address = resolve(host, port)
        if not shared:
            with hold(host, port) as held:
                address = address_of(held)
        options = (("grpc.so_reuseport", int(shared)), ("grpc.max_receive_message_length", self._body_limit), *_CONNECTIONS)
        server = grpc.aio.server(handlers=[self._service.handler()], options=options, maximum_concurrent_rpcs=CALLS_LIMIT)
        try:
            bound = server.add_insecure_port(address)
        except RuntimeError:
            # It says no more than that; what can be wrong otherwise was found out before.
            raise in_use(address, GRPC) from None
        await server.start()
        self._server = server
        return bound

    async def stop(self, grace_seconds: float) -> None:
        """Takes no further call; returns once none is under way, or `grace_seconds` later. Streams end with what they have read."""
        if self._server is not None:
            self._service.streams.end()
            await self._server.stop(grace_seconds)
