"""Latency through the proxy beside that of asking the same upstream directly, in turns; and of the HTTP clients it could be built on.

    python -m tests.bench.proxy [--seconds 2] [--rounds 5] [--connections 1] [--upstream echo|slow|serve] [--clients]

`echo` answers a fixed one-row answer at once and `slow` after 2 ms, both a bare ASGI callable under uvicorn; `serve` is `model-monitor
serve` with a model of three features. The proxy is `model-monitor serve` with `serving.upstream`, pinned to one core, its tap writing to an
embedded log. Each round asks both for so long; each server's median of rounds is shown. `--clients` asks the echo over one connection.
"""

import argparse
import asyncio
import json
import os
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import aiohttp
import httptools
import httpx
import psutil
import uvloop

from monitor.serving.proxy.pool import Pool
from tests.unit.serving_models import logistic

BODY = json.dumps({"id": "q", "inputs": [{"name": "X", "datatype": "FP32", "shape": [1, 3], "data": [0.25, 0.5, 0.75]}]}).encode()
PATH = "/v2/models/flights/infer"
REQUEST = b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (
    PATH.encode(),
    len(BODY),
    BODY,
)
ECHO = """
import asyncio, sys, uvicorn
delay = float(sys.argv[2])
outputs = b'[{"name": "p", "datatype": "FP32", "shape": [1, 1], "data": [0.5]}]'
body = b'{"model_name": "flights", "model_version": "1", "id": "q", "outputs": ' + outputs + b"}"
head = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]}
async def app(scope, receive, send):
    await receive()
    if delay:
        await asyncio.sleep(delay)
    await send(head)
    await send({"type": "http.response.body", "body": body})
uvicorn.run(
    app, port=int(sys.argv[1]), loop="uvloop", http="httptools", lifespan="off", access_log=False, log_level="error", proxy_headers=False
)
"""
CONFIG = """
log: {kind: embedded, path: data/log.db}
serving: {%s, port: %d, grpc_port: null}
models:
  - name: %s
    task: binary
    classes: [on_time, late]
    positive_class: late
    features: {a: numeric, b: numeric, c: numeric}
"""


class Client(asyncio.Protocol):
    """One keep-alive connection that asks again as soon as it is answered."""

    def __init__(self, latencies: list[float]) -> None:
        self._latencies = latencies
        self._parser = httptools.HttpResponseParser(self)
        self._asked = 0.0
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._ask()

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        assert self._parser.get_status_code() == 200
        self._latencies.append(time.perf_counter() - self._asked)
        self._ask()

    def _ask(self) -> None:
        assert self.transport is not None
        self._asked = time.perf_counter()
        self.transport.write(REQUEST)


def asked(port: int, connections: int, seconds: float) -> list[float]:
    """The latencies of as many requests as that many clients got answered."""

    async def run() -> list[float]:
        latencies: list[float] = []
        loop = asyncio.get_running_loop()
        clients = [(await loop.create_connection(lambda: Client(latencies), "127.0.0.1", port))[1] for _ in range(connections)]
        await asyncio.sleep(seconds / 5)
        latencies.clear()
        await asyncio.sleep(seconds)
        measured = latencies.copy()
        for client in clients:
            assert client.transport is not None
            client.transport.abort()
        return measured

    return asyncio.run(run())


@contextmanager
def running(command: list[str], port: int, core: int) -> Iterator[psutil.Process]:
    process = subprocess.Popen(command)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(process.pid, {core % (os.cpu_count() or 1)})
    try:
        until = time.monotonic() + 60
        while True:
            try:
                asked(port, 1, 0.05)
                break
            except OSError:
                assert process.poll() is None
                assert time.monotonic() < until
                time.sleep(0.1)
        yield psutil.Process(process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def upstream(kind: str, folder: Path, port: int) -> list[str]:
    if kind != "serve":
        return [sys.executable, "-c", ECHO, str(port), "0.002" if kind == "slow" else "0"]
    logistic(folder / "models" / "flights" / "1" / "model.onnx")
    return serve(folder, "repository: models/", port, "other")


def serve(folder: Path, serving: str, port: int, model: str) -> list[str]:
    """`model-monitor serve`, which logs only what `model` predicts."""
    folder.mkdir(exist_ok=True)
    (folder / "monitor.yaml").write_text(CONFIG % (serving, port, model))
    return [sys.executable, "-m", "monitor", "serve", "-c", str(folder / "monitor.yaml")]


def compared(kind: str, port: int, connections: int, seconds: float, rounds: int) -> None:
    direct, proxied = port, port + 1
    with ExitStack() as servers:
        folder = Path(servers.enter_context(tempfile.TemporaryDirectory()))
        servers.enter_context(running(upstream(kind, folder, direct), direct, 0))
        front = serve(folder / "front", f"upstream: {{url: 'http://127.0.0.1:{direct}'}}", proxied, "flights")
        proxy = servers.enter_context(running(front, proxied, 1))
        measured: dict[int, list[tuple[float, float, int]]] = {direct: [], proxied: []}
        cpu_seconds = 0.0
        for _ in range(rounds):
            for server, found in measured.items():
                used = proxy.cpu_times()
                latencies = sorted(asked(server, connections, seconds))
                now = proxy.cpu_times()
                cpu_seconds += now.user + now.system - used.user - used.system
                found.append((latencies[len(latencies) // 2], latencies[len(latencies) * 99 // 100], len(latencies)))
    print(f"{kind}, {connections} connections, {rounds} rounds of {seconds:g} s, their median")
    print(f"  {'':<10}{'p50 us':>9}{'p99 us':>9}{'requests/s':>13}")
    p50 = {}
    for name, server in (("direct", direct), ("proxied", proxied)):
        halves, tails, counts = (statistics.median(values) for values in zip(*measured[server], strict=True))
        p50[name] = halves
        print(f"  {name:<10}{halves * 1e6:>9.0f}{tails * 1e6:>9.0f}{counts / seconds:>13.0f}")
    cpu = cpu_seconds / sum(count for _, _, count in measured[proxied]) / 1.2  # a fifth of each round warms up
    print(f"  the proxy adds {(p50['proxied'] - p50['direct']) * 1e6:.0f} us at p50, {p50['proxied'] / p50['direct'] - 1:.0%};", end=" ")
    print(f"it takes {cpu * 1e6:.0f} us of CPU a request")


def clients(port: int, requests: int = 5_000) -> None:
    """CPU and time of one request and its answer, by each client that could be used."""
    url = f"http://127.0.0.1:{port}{PATH}"

    async def timed(ask: Callable[[], Awaitable[bytes]]) -> tuple[float, float]:
        for _ in range(200):
            assert (await ask()).startswith(b"{")
        began, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
        for _ in range(requests):
            await ask()
        now = resource.getrusage(resource.RUSAGE_SELF)
        cpu = now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
        return cpu / requests * 1e6, (time.perf_counter() - began) / requests * 1e6

    async def run() -> None:
        pool = Pool("127.0.0.1", port)

        async def ours() -> bytes:
            connection = pool.idle() or await pool.connect()
            connection.begin(expects_body=True)
            connection.write(REQUEST)
            await connection.head()
            body = await connection.piece()
            pool.give_back(connection)
            return body

        async with aiohttp.ClientSession(auto_decompress=False) as session, httpx.AsyncClient() as plain:

            async def by_aiohttp() -> bytes:
                async with session.post(url, data=BODY) as answer:
                    return await answer.read()

            async def by_httpx() -> bytes:
                return (await plain.post(url, content=BODY)).content

            for name, ask in (("ours", ours), ("aiohttp", by_aiohttp), ("httpx", by_httpx)):
                cpu, wall = await timed(ask)
                print(f"  {name:<10}{cpu:>8.0f} us of CPU{wall:>8.0f} us")

    uvloop.run(run())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--connections", type=int, default=1)
    parser.add_argument("--upstream", choices=["echo", "slow", "serve"], default="echo")
    parser.add_argument("--port", type=int, default=18_500)
    parser.add_argument("--clients", action="store_true")
    options = parser.parse_args()
    if options.clients:
        with running(upstream("echo", Path(), options.port), options.port, 0):
            clients(options.port)
        return
    compared(options.upstream, options.port, options.connections, options.seconds, options.rounds)


if __name__ == "__main__":
    main()
