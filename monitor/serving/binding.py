"""The HTTP port: bound before anything is loaded, so that a taken one is told at once, and listened on once everything is."""

import errno
import socket
from typing import Final

from monitor.errors import AddressInUse, MonitorError

BACKLOG: Final = 2048


def bind(host: str, port: int) -> socket.socket:
    """A bound socket that does not listen yet. Raises `AddressInUse`."""
    bound, address = _made(host, port)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return _bound(bound, address, host, port)


def reserve(host: str, port: int) -> socket.socket:
    """A socket that keeps a port for others, which bind it themselves with SO_REUSEPORT, as gRPC's servers do. Raises `AddressInUse`."""
    reserved, address = _made(host, port)
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    return _bound(reserved, address, host, port)


def listen(bound: socket.socket) -> None:
    """Has the kernel take connections; of several processes that share the socket the first one does. Raises `AddressInUse`."""
    try:
        # Two that bind at once both succeed; only one of them can listen.
        bound.listen(BACKLOG)
    except OSError as error:
        host, port = bound.getsockname()[:2]
        raise _bind_error(host, port, error) from None


def address_of(bound: socket.socket) -> str:
    """host:port, as a URL has it."""
    host, port = bound.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _made(host: str, port: int) -> tuple[socket.socket, object]:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except socket.gaierror as error:
        raise MonitorError(
            f"serving.host: {host!r} is no address of this machine ({error.strerror}); expected an IP address or a name"
        ) from None
    return socket.socket(family, kind, protocol), address


def _bound(made: socket.socket, address: object, host: str, port: int) -> socket.socket:
    try:
        made.bind(address)  # type: ignore[arg-type]  # of the family that it was made for
    except OSError as error:
        made.close()
        raise _bind_error(host, port, error) from None
    return made


def _bind_error(host: str, port: int, error: OSError) -> MonitorError:
    if error.errno == errno.EADDRINUSE:
        return AddressInUse(
            f"{host}:{port} is in use: stop what listens there, or set serving.port (MODEL_MONITOR_SERVING__PORT) to a free one"
        )
    return MonitorError(
        f"{host}:{port} cannot be listened on: {error.strerror}; expected an address of this machine in serving.host, and a port it may use"
    )
