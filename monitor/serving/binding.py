"""The ports: taken before anything is loaded, so that a taken one is told at once, and shared only with who is meant to share them.

gRPC lets several processes listen on one port (SO_REUSEPORT), and would let a second daemon in as silently; and where it cannot listen, it
does not say why.
"""

import errno
import socket
from typing import Final, NamedTuple

from monitor.errors import AddressInUse, MonitorError

BACKLOG: Final = 2048

Address = tuple[str, int]


class PortKey(NamedTuple):
    """Which port is meant, for who has to choose another one: its key under `serving`, and what it is for where that needs saying."""

    key: str
    purpose: str = ""


HTTP: Final = PortKey("port")
GRPC: Final = PortKey("grpc_port", " for gRPC")


def bind(host: str, port: int) -> socket.socket:
    """A socket for HTTP that does not listen yet. Raises `AddressInUse`."""
    return _bound(host, port, HTTP, socket.SO_REUSEADDR)


def reserve(host: str, port: int) -> socket.socket:
    """A socket that keeps a port for gRPC's servers, which bind it themselves with SO_REUSEPORT. Raises `AddressInUse`."""
    return _bound(host, port, GRPC, socket.SO_REUSEPORT)


def hold(host: str, port: int) -> socket.socket:
    """A socket for gRPC that listens there alone, and answers nobody; port 0 becomes a free one. Raises `AddressInUse`.

    Whoever starts several processes on one port holds it from its own start until just before theirs, and closes it then. Two daemons that
    do so never share a port: while one holds it the other can neither hold it nor listen, and nobody can hold what is listened on.
    """
    held = _bound(host, port, GRPC, socket.SO_REUSEADDR)
    try:
        _listen(held, 1, GRPC)
    except MonitorError:
        held.close()
        raise
    return held


def listen(bound: socket.socket) -> None:
    """Has the kernel take HTTP connections; of several processes that share the socket the first one does. Raises `AddressInUse`."""
    _listen(bound, BACKLOG, HTTP)


def resolve(host: str, port: int) -> str:
    """The numeric address, as gRPC takes it: gRPC itself would listen on all that a name has."""
    return _written(_first(host, port)[1])


def address_of(bound: socket.socket) -> str:
    """host:port, as a URL has it."""
    return _written(bound.getsockname())


def in_use(address: str, port_key: PortKey) -> AddressInUse:
    key, variable = port_key.key, f"MODEL_MONITOR_SERVING__{port_key.key.upper()}"
    return AddressInUse(f"{address} is in use: stop what listens there, or set serving.{key} ({variable}) to a free one")


def _first(host: str, port: int) -> tuple[socket.AddressFamily, Address]:
    """The family and socket address that a host and port mean."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except socket.gaierror as error:
        raise MonitorError(
            f"serving.host: {host!r} is no address of this machine ({error.strerror}); expected an IP address or a name"
        ) from None
    return family, (str(address[0]), int(address[1]))


def _bound(host: str, port: int, port_key: PortKey, option: int) -> socket.socket:
    family, address = _first(host, port)
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, option, 1)
        made.bind(address)
    except OSError as error:
        made.close()
        raise _refused(f"{host}:{port}", port_key, error) from None
    return made


def _listen(bound: socket.socket, backlog: int, port_key: PortKey) -> None:
    try:
        # Two that bind at once both succeed; only one of them can listen.
        bound.listen(backlog)
    except OSError as error:
        raise _refused(address_of(bound), port_key, error) from None


def _refused(address: str, port_key: PortKey, error: OSError) -> MonitorError:
    if error.errno == errno.EADDRINUSE:
        return in_use(address, port_key)
    return MonitorError(
        f"{address} cannot be listened on{port_key.purpose}: {error.strerror}; expected an address of this machine in serving.host, and a "
        f"port it may use in serving.{port_key.key}"
    )


def _written(address: Address) -> str:
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
