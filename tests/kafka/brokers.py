"""A cluster of real Kafka brokers of one's own, for fixtures and for scripts alike: `with Cluster(brokers=3) as cluster`.

Clients connect to `cluster.bootstrap`; brokers can be killed, stopped, paused and brought back; Kafka's own tools answer for comparison.
"""

import random
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from typing import Final, Self

from kafka import KafkaAdminClient
from kafka.errors import KafkaError

from tests.kafka.choice import chosen
from tests.kafka.runtime import Broker
from tests.kafka.security import Security

ANSWERS_WITHIN_SECONDS: Final = 120.0
GLANCE_SECONDS: Final = 0.05
PORTS: Final = range(20_000, 32_000)
"""Below those that systems give to outgoing connections. Else a client that knocks at the port of a broker that is down can be given that
very port, connect to itself, and keep the broker from coming back."""

CLIENTS: Final = "CLIENTS"
BROKERS: Final = "BROKERS"
CONTROLLERS: Final = "CONTROLLERS"
INNER: Final = {BROKERS, CONTROLLERS}
"""Listeners that no client outside connects to."""
NOTHING: Final[Mapping[str, str]] = {}
DEFAULTS: Final = {
    "auto.create.topics.enable": "false",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.num.partitions": "4",
    # How soon a killed broker's partitions move on, and how soon it may come back.
    "broker.heartbeat.interval.ms": "500",
    "broker.session.timeout.ms": "3000",
    # How long brokers wait for the one that leads the controllers, if it hangs, before they look for its successor.
    "controller.socket.timeout.ms": "2000",
    # Compaction within the patience of a test, in memory that fits the heap.
    "log.cleaner.backoff.ms": "200",
    "log.cleaner.dedupe.buffer.size": "16777216",
}
"""What tests want otherwise than production."""


class Cluster:
    """Brokers numbered from 1, each a controller too, that run inside the context. Whatever befalls one, its addresses and data stay.

    `properties` override those of every broker, `jvm` the options of its Java. Entering raises `Unavailable` where no broker can be run,
    and `RuntimeError` with what a broker said that ended instead of answering.
    """

    def __init__(
        self, brokers: int = 1, *, properties: Mapping[str, str] = NOTHING, security: Security | None = None, jvm: Sequence[str] = ()
    ) -> None:
        self.nodes: Final = range(1, brokers + 1)
        self._overrides = properties
        self._security = security
        self._jvm = jvm
        self._brokers: dict[int, Broker] = {}
        self._paused: set[int] = set()
        self._ports: dict[str, list[int]] = {}
        self._cleanup = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as cleanup:
            self._runtime = cleanup.enter_context(closing(chosen()(self._jvm)))
            protocols = self._protocols()
            free = iter(free_ports(len(protocols) * len(self.nodes)))
            self._ports = {listener: [next(free) for _ in self.nodes] for listener in protocols}
            for node in self.nodes:
                outer = [ports[node - 1] for listener, ports in self._ports.items() if listener not in INNER]
                self._brokers[node] = self._runtime.broker(node, self._properties(node), outer)
                self._brokers[node].start()
            for node in self.nodes:
                self._await(node)
            if self._security:
                self._security.enrol(self.bootstrap)
            self._cleanup = cleanup.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._cleanup.close()

    @property
    def bootstrap(self) -> str:
        """The addresses of all, without encryption or authentication: `host:port,host:port`."""
        return self.address()

    def address(self, *nodes: int, listener: str = CLIENTS) -> str:
        """The same of some, or of one of the listeners that `security` adds."""
        return ",".join(f"{self._runtime.host}:{self._ports[listener][node - 1]}" for node in nodes or self.nodes)

    def start(self, node: int) -> None:
        """Starts it again. Returns when it answers."""
        self._brokers[node].start()
        self._await(node)

    def stop(self, node: int) -> None:
        """SIGTERM: it hands over what it leads. Returns when it has ended."""
        self._brokers[node].stop()
        self._paused.discard(node)

    def kill(self, node: int) -> None:
        """SIGKILL, paused or not. Returns when it is gone."""
        self._brokers[node].kill()
        self._paused.discard(node)

    def pause(self, node: int) -> None:
        """SIGSTOP, or what comes to the same in a container."""
        self._brokers[node].pause()
        self._paused.add(node)

    def resume(self, node: int) -> None:
        """SIGCONT."""
        self._brokers[node].resume()
        self._paused.discard(node)

    def said(self, node: int) -> str:
        """All that it logged."""
        return self._brokers[node].said()

    def tool(self, class_name: str, *arguments: str) -> str:
        """What a command-line class of Kafka's prints when asked about this cluster: `--bootstrap-server` is added.

        Raises `RuntimeError` with all that it said where it fails.
        """
        inner = self._inner_addresses(BROKERS)
        awake = [inner[node - 1] for node in self.nodes if self._brokers[node].running() and node not in self._paused]
        return self._runtime.tool(class_name, "--bootstrap-server", ",".join(awake), *arguments)

    def _protocols(self) -> dict[str, str]:
        """Every listener's security protocol."""
        secured = self._security.protocols if self._security else NOTHING
        return {CLIENTS: "PLAINTEXT", BROKERS: "PLAINTEXT", CONTROLLERS: "PLAINTEXT", **secured}

    def _inner_addresses(self, listener: str) -> list[str]:
        return [f"{self._runtime.inner_host(node)}:{port}" for node, port in zip(self.nodes, self._ports[listener], strict=True)]

    def _properties(self, node: int) -> str:
        runtime = self._runtime
        port = {listener: ports[node - 1] for listener, ports in self._ports.items()}
        hosts = {listener: runtime.inner_host(node) if listener in INNER else runtime.host for listener in port}
        voters = zip(self.nodes, self._inner_addresses(CONTROLLERS), strict=True)
        replicas = str(min(3, len(self.nodes)))
        in_sync = str(min(2, len(self.nodes)))
        properties = {
            "process.roles": "broker,controller",
            "node.id": str(node),
            "log.dirs": runtime.data_folder(node),
            "controller.quorum.voters": ",".join(f"{voter}@{address}" for voter, address in voters),
            "controller.listener.names": CONTROLLERS,
            "inter.broker.listener.name": BROKERS,
            "listeners": ",".join(f"{listener}://{runtime.listens_on}:{port[listener]}" for listener in port),
            "advertised.listeners": ",".join(f"{name}://{hosts[name]}:{port[name]}" for name in port if name != CONTROLLERS),
            "listener.security.protocol.map": ",".join(f"{listener}:{protocol}" for listener, protocol in self._protocols().items()),
            "default.replication.factor": replicas,
            "min.insync.replicas": in_sync,
            "offsets.topic.replication.factor": replicas,
            "transaction.state.log.replication.factor": replicas,
            "transaction.state.log.min.isr": in_sync,
        }
        secured = self._security.properties(runtime.host) if self._security else NOTHING
        properties = {**properties, **DEFAULTS, **secured, **self._overrides}
        return "".join(f"{key}={_escaped(value)}\n" for key, value in properties.items())

    def _await(self, node: int) -> None:
        deadline = time.monotonic() + ANSWERS_WITHIN_SECONDS
        while not self._answers(node):
            if not self._brokers[node].running() or time.monotonic() > deadline:
                state = f"is silent after {ANSWERS_WITHIN_SECONDS:.0f} s" if self._brokers[node].running() else "ended"
                raise RuntimeError(f"broker {node} {state} instead of answering; it said:\n{self.said(node)[-4_000:]}")
            time.sleep(GLANCE_SECONDS)

    def _answers(self, node: int) -> bool:
        """Whether it takes part: an open port may be that of a container whose broker is not there yet."""
        try:
            socket.create_connection((self._runtime.host, self._ports[CLIENTS][node - 1]), timeout=1).close()
            with closing(KafkaAdminClient(bootstrap_servers=self.address(node), bootstrap_timeout_ms=2_000)) as admin:
                return any(broker["broker_id"] == node for broker in admin.describe_cluster()["brokers"])
        except (OSError, KafkaError):
            return False


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on now. Not from the seeded generator, which would give two test runs the same ones."""
    found: list[int] = []
    with ExitStack() as held:
        for port in random.SystemRandom().sample(PORTS, len(PORTS)):
            if len(found) == count:
                return found
            probe = held.enter_context(socket.socket())
            with suppress(OSError):
                probe.bind(("", port))
                found.append(port)
    raise RuntimeError(f"of the ports {PORTS.start} to {PORTS.stop - 1} not even {count} are free")


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n")
