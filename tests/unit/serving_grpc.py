"""A real gRPC server around small real models, in a thread of its own, so that blocking clients can ask it."""

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import grpc
import uvloop

from monitor.clock import ManualClock
from monitor.events import Schema
from monitor.serving.batches import encode
from monitor.serving.batching import Batching
from monitor.serving.grpc.server import GrpcServer
from monitor.serving.grpc.service import Service
from monitor.serving.inference import Inference
from monitor.serving.loading import Loader
from monitor.serving.measured import Meters
from monitor.serving.outbox import Outbox
from monitor.serving.registry import Registry, Source
from monitor.serving.tap import Entry, Tap
from monitor.serving.tokens import TokenFile, Tokens
from tests.unit.serving_models import NOON, ListLog

T = TypeVar("T")
PATIENCE_SECONDS = 20
"""For what happens at once or never."""
LARGE = 300_000
"""Rows that no model runs in the event loop."""


class HeldThreads(ThreadPoolExecutor):
    """Runs wait here until they are let go."""

    def __init__(self) -> None:
        super().__init__(1)
        self._let_go = threading.Event()
        self.held = 0

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:  # noqa: ANN401  as its parent has it
        self.held += 1

        def run() -> T:
            assert self._let_go.wait(PATIENCE_SECONDS)
            return fn(*args, **kwargs)

        return super().submit(run)

    def let_go(self) -> None:
        self._let_go.set()


class KeptEntries(Tap):
    """A tap that keeps what it is given where a test can see it."""

    def __init__(self) -> None:
        super().__init__(Outbox(ListLog(), None), encode, bytes_limit=10_000_000, trust_client_times=False)
        self.entries: list[Entry] = []

    def put(self, entry: Entry) -> None:
        self.entries.append(entry)


@dataclass
class Running:
    """The server, and the event loop it runs in."""

    loop: asyncio.AbstractEventLoop
    another: Callable[[], GrpcServer]
    """Makes one more of the same models."""
    server: GrpcServer
    port: int
    ready: threading.Event
    meters: Meters
    tap: KeptEntries
    threads: HeldThreads

    @property
    def url(self) -> str:
        return f"127.0.0.1:{self.port}"

    def begin(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Runs it in the server's loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop)

    def until(self, condition: Callable[[], bool]) -> None:
        """Returns once it holds, as the server's loop sees it."""

        async def holds() -> bool:
            return condition()

        patience = time.monotonic() + PATIENCE_SECONDS
        while not self.begin(holds()).result(PATIENCE_SECONDS):
            assert time.monotonic() < patience

    def raw(self, method: str, message: bytes, **options: Any) -> bytes:  # noqa: ANN401  grpc's own
        """Calls it with these very bytes. Raises `grpc.RpcError`."""
        with grpc.insecure_channel(self.url) as channel:
            call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/inference.GRPCInferenceService/{method}")
            return call(message, timeout=PATIENCE_SECONDS, **options)


@contextmanager
def running(
    root: Path,
    schema_of: Callable[[str, str], Schema | None] = lambda _model, _version: None,
    *,
    body_limit: int = 16_000_000,
    model_control: bool = False,
    tokens: Sequence[TokenFile] = (),
    batching: Batching = Batching(),  # noqa: B008  it is frozen
) -> Iterator[Running]:
    """Serves the repository until the context closes."""
    loop = uvloop.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    meters = Meters()
    threads = HeldThreads()
    loading = ThreadPoolExecutor(1)
    registry = Registry(Source(root, Loader(schema_of, threads, meters, batching=batching), loading))
    registry.start(all_must_load=True)
    tap = KeptEntries()
    inference = Inference(tap, trusts_client_times=False)

    servers: list[GrpcServer] = []
    ready = threading.Event()
    ready.set()

    def server() -> GrpcServer:
        control = registry if model_control else None
        service = Service(registry, inference, control, Tokens(tokens), meters, ManualClock(NOON), ready.is_set)
        servers.append(GrpcServer(service, body_limit))
        return servers[-1]

    def finished(coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(PATIENCE_SECONDS)

    try:
        port = finished(server().start("127.0.0.1", 0))
        yield Running(loop, server, servers[0], port, ready, meters, tap, threads)
    finally:
        threads.let_go()
        for one in servers:
            finished(one.stop(0))
        threads.shutdown()
        loading.shutdown()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
