"""Brokers as containers of the official image, through testcontainers.

Only clients outside need ports of the host. The brokers meet each other, and Kafka's tools meet them, on a network of their own.
"""

from collections.abc import Collection, Sequence
from functools import cache
from typing import Final

from docker.errors import DockerException
from docker.models.containers import Container
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer
from testcontainers.core.docker_client import DockerClient
from testcontainers.core.network import Network

from tests.kafka.java import QUICK, SMALL
from tests.kafka.runtime import Unavailable

IMAGE: Final = "apache/kafka:4.1.1"
CONFIG: Final = "/mnt/shared/config/server.properties"
"""Where the image looks for a whole configuration. It formats the storage itself."""
DATA: Final = "/tmp/kafka-data"


@cache
def engine_answers() -> bool:
    try:
        return bool(DockerClient().client.ping())
    except DockerException:
        return False


def missing() -> list[str]:
    """The images that have to be pulled first."""
    images = DockerClient().client.images
    needed = [IMAGE] if testcontainers_config.ryuk_disabled else [IMAGE, testcontainers_config.ryuk_image]
    return [image for image in needed if not images.list(image)]


def fetch() -> None:
    """Pulls them. Raises `Unavailable` where one cannot be had."""
    for image in missing():
        try:
            DockerClient().client.images.pull(image)
        except DockerException as error:
            hint = (
                "" if image == IMAGE else " (TESTCONTAINERS_RYUK_DISABLED=true does without; killed test runs then leave containers behind)"
            )
            raise Unavailable(f"the image {image} cannot be pulled{hint}: {error}") from error


class ContainerRuntime:
    """`jvm` overrides what is meant for small and short tests, such as the heap: `-Xmx1g`."""

    listens_on = "0.0.0.0"

    def __init__(self, jvm: Sequence[str] = ()) -> None:
        self.host = DockerClient().host()
        self._jvm = [*SMALL, *jvm]
        self._network = Network().create()
        self._brokers: list[ContainerBroker] = []

    def inner_host(self, node: int) -> str:
        return f"kafka-{node}"

    def data_folder(self, node: int) -> str:
        return DATA

    def broker(self, node: int, properties: str, ports: Collection[int]) -> "ContainerBroker":
        container = DockerContainer(IMAGE, network=self._network, network_aliases=[self.inner_host(node)])
        container.with_envs(KAFKA_JVM_PERFORMANCE_OPTS=" ".join(QUICK), KAFKA_HEAP_OPTS=" ".join(self._jvm))
        container.with_copy_into_container(properties.encode(), CONFIG)
        for port in ports:
            container.with_bind_ports(port, port)  # fixed, so that a broker comes back where it was
        broker = ContainerBroker(container)
        self._brokers.append(broker)
        return broker

    def tool(self, class_name: str, *arguments: str) -> str:
        command = ["/opt/kafka/bin/kafka-run-class.sh", class_name, *arguments]
        awake = next(broker for broker in self._brokers if broker.status() == "running")
        code, (printed, said) = awake.container.exec_run(command, demux=True)
        if code:
            raise RuntimeError(f"{class_name} {' '.join(arguments)}: exit code {code}\n{(printed or b'').decode()}{(said or b'').decode()}")
        return str((printed or b"").decode())

    def close(self) -> None:
        for broker in self._brokers:
            broker.remove()
        self._network.remove()


class ContainerBroker:
    """Started anew, a container has the ports and the files that it had."""

    def __init__(self, described: DockerContainer) -> None:
        self._described = described
        self._container: Container | None = None

    @property
    def container(self) -> Container:
        assert self._container is not None, "this broker was never started"
        return self._container

    def status(self) -> str | None:
        """In the engine's words; none before the first start."""
        if self._container is None:
            return None
        self._container.reload()
        return str(self._container.status)

    def start(self) -> None:
        if self._container is None:
            self._container = self._described.start().get_wrapped_container()
        else:
            self._container.start()

    def stop(self) -> None:
        self._wake()
        self.container.stop()

    def kill(self) -> None:
        self._wake()
        if self.running():
            self.container.kill()
            self.container.wait()

    def pause(self) -> None:
        self.container.pause()

    def resume(self) -> None:
        self.container.unpause()

    def running(self) -> bool:
        return self.status() in {"running", "paused"}

    def said(self) -> str:
        return str(self.container.logs(), errors="replace")

    def remove(self) -> None:
        self._described.stop()

    def _wake(self) -> None:
        """An engine ends no paused container."""
        if self.status() == "paused":
            self.resume()
