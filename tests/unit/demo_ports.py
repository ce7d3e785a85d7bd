"""Loopback ports for demo tests."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager


def free_port() -> int:
    """One that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def listening(port: int) -> Iterator[None]:
    """Somebody listens there."""
    with socket.create_server(("127.0.0.1", port)):
        yield
