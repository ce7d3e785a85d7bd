"""Sends a running `model-monitor serve` requests that were good once, with bytes changed, moved, doubled or missing.

    python -m tests.e2e.mutated [--seconds 600] [--seed 0] [--only N]

Whatever comes, an answer is no 500, comes within five seconds, and the process lives on and serves good requests. Mutation N of a seed is
always the same; a failure names both.
"""

import argparse
import asyncio
import json
import random
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from itertools import count
from pathlib import Path
from typing import Final

import numpy as np

from tests.e2e.servers import FLIGHT, Serve, launch, ready

ANSWER_SECONDS: Final = 5.0
AT_A_TIME: Final = 16
GOOD_EVERY: Final = 200
ALLOWED: Final = frozenset({200, 202, 400, 401, 403, 404, 405, 408, 413, 415, 429, 431, 503})
"""An inference whose mutated `timeout` has passed is a 503 too."""
INFER: Final = b"/v2/models/flights/infer"


def request(method: bytes, path: bytes, body: bytes = b"", *headers: bytes) -> bytes:
    return b"\r\n".join([method + b" " + path + b" HTTP/1.1", b"host: x", *headers, b"content-length: %d" % len(body), b"", body])


def binary(rows: int, parameters: dict[str, object]) -> bytes:
    """An inference whose tensor follows its JSON, and whose outputs are wanted so too."""
    data = np.arange(3 * rows, dtype="<f4").tobytes()
    tensor = {"name": "X", "datatype": "FP32", "shape": [rows, 3], "parameters": {"binary_data_size": len(data)}}
    outputs = [{"name": "label", "parameters": parameters}, {"name": "probabilities", "parameters": {"binary_data": True}}]
    head = json.dumps({"id": "b", "inputs": [tensor], "outputs": outputs}).encode()
    return request(b"POST", INFER, head + data, b"Inference-Header-Content-Length: %d" % len(head))


def chunked(path: bytes, *chunks: bytes) -> bytes:
    parts = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in (*chunks, b""))
    return b"POST %b HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n%b" % (path, parts)


_ONE: Final = json.dumps(FLIGHT).encode()
_ROWS: Final = json.dumps(
    {
        "id": "q",
        "inputs": [{"name": "X", "datatype": "FP32", "shape": [2, 3], "data": [[1, 2, 3.5], [-4e-3, 5, 6]]}],
        "outputs": [{"name": "probabilities", "parameters": {"classification": 2}}],
        "parameters": {"ids": ["a", "b"], "times": [1, 2], "timeout": 5_000_000, "segments": {"carrier": ["UA", "DL"]}},
    }
).encode()
GOOD: Final = (
    request(b"POST", INFER, _ONE),
    request(b"POST", INFER, _ROWS, b"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    request(b"POST", b"/v2/models/flights/versions/1/infer", _ONE, b"content-type: application/json"),
    binary(1, {"binary_data": True}),
    binary(64, {"classification": 1}),
    chunked(INFER, _ONE[:10], _ONE[10:]),
    request(b"POST", INFER, _ONE) + request(b"GET", b"/v2/models/flights"),
    request(b"POST", INFER, _ONE, b"expect: 100-continue"),
    request(b"POST", b"/v1/labels", b'[{"id": "a", "label": "late"}, {"id": "b", "label": "on_time", "time": 5}]'),
    request(b"POST", b"/v1/labels", b'{"id": "a", "label": "late"}\n{"id": "b", "label": 1}\n', b"content-type: application/x-ndjson"),
    request(b"POST", b"/v1/predictions", b'{"id": "a", "time": 1, "model": "flights", "version": "1", "features": {"a": 1}, "score": 0.5}'),
    request(b"GET", b"/v2/health/ready"),
    request(b"GET", b"/v2/models/flights/versions/1/ready"),
    request(b"HEAD", b"/metrics"),
    request(b"POST", b"/v2/repository/index", b'{"ready": true}'),
    request(b"GET", b"/openapi.json", b"", b"connection: close"),
)
NUMBERS: Final = b"0 -1 1 3 65536 2147483648 4294967295 9223372036854775808 1e999 -0.0 NaN 0x10".split()
FRAGMENTS: Final = (
    *(b"\0", b"\r\n", b"\n", b"\r\n\r\n", b" ", b"\t", b"%00", b"%2e%2e/", b"\xff\xfe", b"\xed\xa0\x80"),
    *(b'"', b"\\", b"\\ud800", b"{", b"[" * 50),
    *(b"transfer-encoding: chunked\r\n", b"content-length: 5\r\n", b"inference-header-content-length: 7\r\n"),
    b"connection: upgrade\r\nupgrade: h2c\r\n",
)

Mutation = Callable[[random.Random, bytearray], None]


def flip(chance: random.Random, data: bytearray) -> None:
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def remove(chance: random.Random, data: bytearray) -> None:
    start = chance.randrange(len(data))
    del data[start : start + chance.choice((1, 2, 8, 100))]


def double(chance: random.Random, data: bytearray) -> None:
    start = chance.randrange(len(data))
    part = data[start : start + chance.choice((1, 10, 100))]
    data[start:start] = part * chance.choice((1, 2, 50))


def insert(chance: random.Random, data: bytearray) -> None:
    at = chance.randrange(len(data))
    data[at:at] = chance.choice(FRAGMENTS) if chance.random() < 0.7 else chance.randbytes(chance.choice((1, 4, 64)))


def renumber(chance: random.Random, data: bytearray) -> None:
    if found := list(re.finditer(rb"-?\d+(\.\d+)?", data)):
        start, end = chance.choice(found).span()
        data[start:end] = chance.choice(NUMBERS)


def swap_lines(chance: random.Random, data: bytearray) -> None:
    lines = data.split(b"\r\n")
    one, other = chance.randrange(len(lines)), chance.randrange(len(lines))
    lines[one], lines[other] = lines[other], lines[one]
    data[:] = b"\r\n".join(lines)


def splice(chance: random.Random, data: bytearray) -> None:
    other = chance.choice(GOOD)
    data[chance.randrange(len(data)) :] = other[chance.randrange(len(other)) :]


MUTATIONS: Final[tuple[Mutation, ...]] = (flip, flip, remove, double, insert, insert, renumber, renumber, swap_lines, splice)


def mutated(seed: int, number: int) -> list[bytes]:
    """Mutation `number` of a seed, in the parts in which it is sent."""
    chance = random.Random(f"{seed}/{number}")
    head, end, body = chance.choice(GOOD).partition(b"\r\n\r\n")
    if body and chance.random() < 0.6:
        # So that what is wrong with a body is not hidden behind its length.
        body = _changed(chance, body)
        data = re.sub(rb"content-length: \d+", b"content-length: %d" % len(body), head) + end + body
    else:
        data = _changed(chance, head + end + body)
    if chance.random() < 0.7 or len(data) < 2:
        return [data]
    at = chance.randrange(1, len(data))
    return [data[:at], data[at:]]


def _changed(chance: random.Random, good: bytes) -> bytes:
    data = bytearray(good)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 5))):
        if data:
            chance.choice(MUTATIONS)(chance, data)
    return bytes(data)


class Finding(Exception):
    """A mutation that did what none may do."""

    def __init__(self, seed: int, number: int, what: str) -> None:
        sent = b"".join(mutated(seed, number))
        super().__init__(f"mutation {number} of seed {seed}: {what}; sent {sent[:2_000]!r}")


async def send(serve: Serve, parts: Iterable[bytes]) -> bytes:
    """What is answered until the server closes. Raises `TimeoutError`."""
    async with asyncio.timeout(ANSWER_SECONDS):
        reader, writer = await asyncio.open_connection("127.0.0.1", serve.port)
        try:
            for part in parts:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(0)
            writer.write_eof()
            return await reader.read(-1)
        except OSError:
            # It was told no, and cut off, before all was sent.
            return b""
        finally:
            writer.close()


async def run(serve: Serve, seed: int, numbers: Iterable[int]) -> int:
    """How many were sent. Raises the first `Finding`."""
    left = iter(numbers)
    sent = 0

    async def work() -> None:
        nonlocal sent
        for number in left:
            try:
                answer = await send(serve, mutated(seed, number))
            except TimeoutError:
                raise Finding(seed, number, f"no end after {ANSWER_SECONDS:g} s") from None
            except ConnectionError as error:
                raise Finding(seed, number, f"nobody listens ({error})") from None
            statuses = {int(status) for status in re.findall(rb"^HTTP/1\.1 (\d{3}) ", answer, re.MULTILINE)} - {100}
            if not statuses <= ALLOWED:
                raise Finding(seed, number, f"answered {answer[:500]!r}")
            sent += 1
            if sent % GOOD_EVERY == 0 and not (await send(serve, [GOOD[0]])).startswith(b"HTTP/1.1 200 OK"):
                raise Finding(seed, number, "a good request after it was not answered")

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_A_TIME):
            group.create_task(work())
    return sent


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--seconds", type=float, default=600)
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--only", type=int, metavar="N", help="send one mutation again")
    chosen = arguments.parse_args()
    deadline = time.monotonic() + chosen.seconds

    def until_late() -> Iterable[int]:
        for number in count():
            if time.monotonic() > deadline:
                return
            yield number

    with tempfile.TemporaryDirectory() as folder:
        serve = ready(launch(Path(folder), serving="model_control: explicit", log=Path(folder, "log")))
        try:
            sent = asyncio.run(run(serve, chosen.seed, until_late() if chosen.only is None else [chosen.only]))
        except* Finding as findings:
            sys.exit("\n".join(map(str, findings.exceptions)) + "\n" + Path(folder, "log").read_text()[-3_000:])
        finally:
            serve.kill()
        if "Traceback" in (said := Path(folder, "log").read_text()):
            sys.exit(f"the server logged an exception: {said[said.index('Traceback') - 500 :][:3_000]}")
    print(f"{sent:,} mutations, none of which did harm")


if __name__ == "__main__":
    main()
