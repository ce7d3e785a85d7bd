"""What a cluster asks of whatever runs its brokers: Java processes on this machine, or containers.

Both are given the same `server.properties` up to the addresses and folders that a runtime names here.
"""

from collections.abc import Collection
from typing import Protocol


class Unavailable(Exception):
    """No broker can be run here. The text says why, and what to install."""


class Broker(Protocol):
    """One broker of a cluster. What it wrote outlives every way of ending it, until its runtime is closed."""

    def start(self) -> None:
        """Starts it, for the first time or again. Returns at once: to be running is not yet to answer."""

    def stop(self) -> None:
        """Lets it end in order. Returns when it has."""

    def kill(self) -> None:
        """SIGKILL, paused or not. Returns when it is gone."""

    def pause(self) -> None:
        """Stops its clock, not its connections: what hangs in a garbage collection or a frozen machine does."""

    def resume(self) -> None: ...

    def running(self) -> bool:
        """Whether it has been started and has not ended; a paused one runs."""

    def said(self) -> str:
        """All that it logged."""


class Runtime(Protocol):
    """Runs the brokers of one cluster. Closing it ends them all and removes what they wrote."""

    @property
    def host(self) -> str:
        """The host name by which clients on this machine reach the brokers."""

    @property
    def listens_on(self) -> str:
        """The address that a broker binds."""

    def inner_host(self, node: int) -> str:
        """The host name by which the other brokers, and Kafka's tools, reach that node."""

    def data_folder(self, node: int) -> str: ...

    def broker(self, node: int, properties: str, ports: Collection[int]) -> Broker:
        """A broker that has yet to be started; `ports` are those that clients on this machine connect to."""

    def tool(self, class_name: str, *arguments: str) -> str:
        """What a command-line class of Kafka's prints. Raises `RuntimeError` with all that it said where it fails."""

    def close(self) -> None: ...
