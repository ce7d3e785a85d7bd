"""Labels a second through `POST /v1/labels` of a real server, beside bare appends of the same messages: `python -m tests.bench.doors`.

Every label is durable when it is counted. Server, client and floors share one machine, the floors in their turn; the log is embedded, on
the disk of FOLDER (default: the present folder). The floors append what the door does, records of one label by 16 threads and records of
a piece of a stream by one, without HTTP, parsing or checking.
"""

import argparse
import asyncio
import json
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path

import httptools
from rich.console import Console
from rich.table import Table

from monitor.clock import WallClock
from monitor.events import Stream
from monitor.log import JSON, Message
from monitor.log.embedded import EmbeddedLog
from monitor.serving.ndjson import PIECE_BYTES

CONFIG = """
log: {{kind: embedded, path: data/log.db}}
serving: {{port: {port}}}
models:
  - {{name: flights, task: binary, classes: [on_time, late], positive_class: late, features: {{a: numeric}}}}
"""
STREAMED = 400_000
AN_ARRAY = 1_000
FLOOR_THREADS = 16


def label(number: int) -> bytes:
    return b'{"id": "0190b5c2-7a10-7000-8000-%012x", "label": "late", "time": %d}' % (number, 1_767_225_600_000 + number)


def request(body: bytes, content_type: str = "application/json") -> bytes:
    return (
        b"POST /v1/labels HTTP/1.1\r\nhost: x\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n" % (content_type.encode(), len(body)) + body
    )


class Client(asyncio.Protocol):
    """One keep-alive connection that sends the next body as soon as the last one is answered."""

    def __init__(self, bodies: Iterator[bytes], seconds: list[float]) -> None:
        self._bodies = bodies
        self._seconds = seconds
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._asked = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._ask()

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        assert self._parser.get_status_code() == 202
        self._seconds.append(time.perf_counter() - self._asked)
        self._ask()

    def close(self) -> None:
        assert self._transport is not None
        self._transport.abort()

    def _ask(self) -> None:
        assert self._transport is not None
        self._asked = time.perf_counter()
        self._transport.write(request(next(self._bodies)))


def posted(port: int, labels_a_body: int, connections: int, seconds: float) -> tuple[float, list[float]]:
    """Labels a second, and how long each request took."""
    numbers = iter(range(10**12))

    def bodies() -> Iterator[bytes]:
        while True:
            labels = [label(next(numbers)) for _ in range(labels_a_body)]
            yield labels[0] if labels_a_body == 1 else b"[" + b",".join(labels) + b"]"

    async def run() -> tuple[float, list[float]]:
        took: list[float] = []
        loop = asyncio.get_running_loop()
        shared = bodies()
        clients = [(await loop.create_connection(lambda: Client(shared, took), "127.0.0.1", port))[1] for _ in range(connections)]
        await asyncio.sleep(seconds / 4)
        took.clear()
        began = time.perf_counter()
        await asyncio.sleep(seconds)
        answered, elapsed = took.copy(), time.perf_counter() - began
        for client in clients:
            client.close()
        return len(answered) * labels_a_body / elapsed, answered

    return asyncio.run(run())


def streamed(port: int, body: bytes) -> float:
    """Seconds for one body of one label a line."""
    with closing(HTTPConnection("127.0.0.1", port)) as connection:
        began = time.perf_counter()
        connection.request("POST", "/v1/labels", body, {"content-type": "application/x-ndjson"})
        answer = connection.getresponse()
        accepted = json.loads(answer.read())
        elapsed = time.perf_counter() - began
    assert (answer.status, accepted) == (202, {"accepted": STREAMED})
    return elapsed


def appended(folder: Path, values: list[bytes], threads: int) -> float:
    """Seconds for so many appends of a record each, by threads that begin together, to a log of their own."""
    log = EmbeddedLog(folder / "floor.db", partitions=1, clock=WallClock())
    together = threading.Barrier(threads + 1)

    def append(own: list[bytes]) -> None:
        together.wait()
        for value in own:
            log.append(Stream.LABELS, [Message(0, 1_767_225_600_000, value, JSON)])

    with ThreadPoolExecutor(threads) as pool:
        waiting = [pool.submit(append, values[begin::threads]) for begin in range(threads)]
        together.wait()
        began = time.perf_counter()
        for one in waiting:
            one.result()
        elapsed = time.perf_counter() - began
    log.close()
    return elapsed


@contextmanager
def serving(folder: Path) -> Iterator[int]:
    """The port of a server that is ready."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    (folder / "monitor.yaml").write_text(CONFIG.format(port=port))
    process = subprocess.Popen(
        [sys.executable, "-m", "monitor", "serve", "-c", str(folder / "monitor.yaml")], stderr=subprocess.PIPE, text=True
    )
    try:
        while True:
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=5) as probe:
                    probe.sendall(b"GET /v2/health/ready HTTP/1.1\r\nhost: x\r\n\r\n")
                    if probe.recv(100).startswith(b"HTTP/1.1 200"):
                        break
            except OSError:
                assert process.poll() is None, process.communicate()
                time.sleep(0.1)
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate()


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("folder", nargs="?", default=".", type=Path)
    arguments.add_argument("--seconds", type=float, default=4)
    arguments.add_argument("--connections", type=int, default=32)
    chosen = arguments.parse_args()
    lines = [label(number) + b"\n" for number in range(STREAMED)]
    body = b"".join(lines)
    a_piece = PIECE_BYTES // len(lines[0])
    records = [b"[" + b",".join(lines[begin : begin + a_piece]) + b"]" for begin in range(0, STREAMED, a_piece)]
    table = Table("what", "labels/s", "p50 ms", "p99 ms")
    with tempfile.TemporaryDirectory(dir=chosen.folder) as scratch:
        with serving(Path(scratch)) as port:
            for labels_a_body in (1, AN_ARRAY):
                rate, took = posted(port, labels_a_body, chosen.connections, chosen.seconds)
                percentiles = statistics.quantiles(took, n=100) if len(took) > 1 else [0.0] * 99
                what = "one label a request" if labels_a_body == 1 else f"an array of {labels_a_body:,} a request"
                milliseconds = (f"{1_000 * percentiles[at]:.1f}" for at in (49, 98))
                table.add_row(f"{what}, {chosen.connections} connections", f"{rate:,.0f}", *milliseconds)
            rates = [STREAMED / streamed(port, body) for _ in range(3)]
            table.add_row(f"NDJSON, a stream of {len(body) / 1e6:.0f} MB, best of 3", f"{max(rates):,.0f}", "", "")
        single = [label(number) for number in range(20_000)]
        floor = len(single) / appended(Path(scratch), single, FLOOR_THREADS)
        table.add_row(f"floor: records of one label, {FLOOR_THREADS} threads", f"{floor:,.0f}", "", "")
        table.add_row("floor: records of a piece, one thread", f"{STREAMED / appended(Path(scratch), records, 1):,.0f}", "", "")
    Console().print(table)


if __name__ == "__main__":
    main()
