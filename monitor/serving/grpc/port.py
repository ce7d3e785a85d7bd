"""A port of our own: taken before anything is loaded, and shared with nobody but the processes that are meant to share it.

gRPC lets several processes listen on one port (SO_REUSEPORT), and would let a second daemon in as silently; and where it cannot listen, it
does not say why.
"""

import errno
import socket

from monitor.errors import AddressInUse, MonitorError


def hold(host: str, port: int) -> socket.socket:
    """A socket that listens there alone, and answers nobody; port 0 becomes a free one. Raises `AddressInUse`.

    Whoever starts several processes on one port holds it from its own start until just before theirs, and closes it then. Two daemons that
    do so never share a port: while one holds it the other can neither hold it nor listen, and nobody can hold what is listened on.
    """
    family, address = _first(host, port)
    held = socket.socket(family, socket.SOCK_STREAM)
    try:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(address)
        # Two that bind at once both succeed; only one of them can listen.
        held.listen(1)
    except OSError as error:
        held.close()
        if error.errno == errno.EADDRINUSE:
            raise in_use(f"{host}:{port}") from None
        raise MonitorError(
            f"{host}:{port} cannot be listened on for gRPC: {error.strerror}; expected an address of this machine in serving.host, and a "
            "port it may use in serving.grpc_port"
        ) from None
    return held


def resolve(host: str, port: int) -> str:
    """The numeric address, as gRPC takes it: gRPC itself would listen on all that a name has."""
    return _written(_first(host, port)[1])


def address_of(held: socket.socket) -> str:
    return _written(held.getsockname())


def in_use(address: str) -> AddressInUse:
    return AddressInUse(
        f"{address} is in use: stop what listens there, or set serving.grpc_port (MODEL_MONITOR_SERVING__GRPC_PORT) to a free one"
    )


def _first(host: str, port: int) -> tuple[socket.AddressFamily, tuple[str, int]]:
    """The family and socket address that a host and port mean."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except socket.gaierror as error:
        raise MonitorError(
            f"serving.host: {host!r} is no address of this machine ({error.strerror}); expected an IP address or a name"
        ) from None
    return family, (str(address[0]), int(address[1]))


def _written(address: tuple[str, int]) -> str:
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
