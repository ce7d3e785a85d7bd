"""What batching costs and saves: CPU time a request of one row with 1, 8 and 32 at once, beside no batcher at all, in one run.

    python -m tests.bench.serving_batching [--requests 6000] [--rounds 5]

Server and clients are one process on socket pairs under uvloop: each request comes in as bytes, gets a task of its own, as uvicorn does it,
is parsed, run and answered; its client then asks again. So a tick of the loop brings as many requests as there are clients, as it does
under load. Each figure is the least of the rounds, which take turns; the clients' share is in all of them.

What was found (`--requests 4000 --rounds 10`, Python 3.11, ONNX Runtime 1.31, two cores in use by others as well):

                                     1       8      32 at once
    gradient boosting, 6.3 µs for one row, 0.55 µs for each further one
      no batcher                  17.3    15.8    15.8
      never shared                17.8    16.8    16.7
      batcher                     18.7    15.9    15.1
    perceptron, 23.3 µs for one row, 3.30 µs for each further one
      no batcher                  57.1    55.0    55.1
      never shared                58.2    55.9    56.0
      batcher                     59.3    40.3    38.9

Counting a run and its wait costs 0.5 to 1 µs. To wait for others costs a request some 4 µs: a future and another step of its task (2.2 µs
of 8 at once, 1.5 of 32), the rest for rows copied together and taken apart. Always waiting lost 3 to 5 µs a request that came alone. So the
batcher waits only where the tick before brought enough requests to save more than that, which it knows from the model's own cost; to find
out, it watches the end of one in a few quiet ticks, at 0.8 µs each. That is 0.1 to 1 µs for a request alone, as far as the noise tells; a
tiny model gains up to a tenth under load, one of four times its cost 28 to 31 %.
"""

import argparse
import asyncio
import gc
import socket
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import process_time
from typing import Protocol, cast

import numpy as np
import orjson
import uvloop

from monitor.serving.batching import Batcher, Batching
from monitor.serving.measured import Meters
from monitor.serving.model import Model, load
from monitor.serving.requests import InferRequest
from monitor.serving.row_parameters import NO_PARAMETERS
from monitor.serving.tensors import Tensor
from tests.bench.serving_models import MODELS

AT_ONCE = (1, 8, 32)


class Server(Protocol):
    async def run(self, request: InferRequest) -> Sequence[Tensor]: ...


class Direct:
    """No batcher, no numbers kept: the session's own cost."""

    def __init__(self, model: Model) -> None:
        self._model = model

    async def run(self, request: InferRequest) -> Sequence[Tensor]:
        return self._model.run(request.feeds)


class Connection(asyncio.Protocol):
    """The server's end of a connection."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._received = b""
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's is one by its methods alone.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._received.endswith(b"\n"):
            body, self._received = self._received, b""
            self._task = asyncio.get_running_loop().create_task(self._answer(body))

    async def _answer(self, body: bytes) -> None:
        tensor = orjson.loads(body)["inputs"][0]
        array = np.array(tensor["data"], dtype=np.float32).reshape(tensor["shape"])
        outputs = await self._server.run(InferRequest({"X": array}, len(array), None, "", NO_PARAMETERS))
        document = {"outputs": [{"shape": output.shape, "data": output.ravel()} for output in outputs]}
        self._transport.write(orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY) + b"\n")


class Client(asyncio.Protocol):
    """Asks again as soon as it is answered, while `left` holds."""

    def __init__(self, request: bytes, left: list[int], done: asyncio.Future[None]) -> None:
        self._request = request
        self._left = left
        self._done = done

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def ask(self) -> None:
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if not data.endswith(b"\n"):
            return
        self._left[0] -= 1
        if self._left[0] > 0:
            self.ask()
        elif not self._done.done():
            self._done.set_result(None)


async def microseconds(server: Server, request: bytes, clients: int, requests: int) -> float:
    """CPU time a request."""
    loop = asyncio.get_running_loop()
    left, done = [requests], loop.create_future()
    ends: list[Client] = []
    for _ in range(clients):
        near, far = socket.socketpair()
        await loop.create_connection(lambda: Connection(server), sock=near)
        ends.append((await loop.create_connection(lambda: Client(request, left, done), sock=far))[1])
    started = process_time()
    for end in ends:
        end.ask()
    await done
    used = process_time() - started
    for end in ends:
        end.transport.abort()
    return used / requests * 1e6


def table(model: Model, width: int, requests: int, rounds: int) -> Mapping[tuple[str, int], float]:
    request = orjson.dumps({"inputs": [{"shape": [1, width], "data": [0.125] * width}]}) + b"\n"
    least: dict[tuple[str, int], float] = {}
    with ThreadPoolExecutor(2) as threads:
        for _ in range(rounds):
            for clients in AT_ONCE:
                servers: dict[str, Server] = {
                    "no batcher": Direct(model),
                    "never shared (max_rows 1)": Batcher(model, Batching(max_rows=1), threads, Meters().runs("m", "1")),
                    "batcher": Batcher(model, Batching(), threads, Meters().runs("m", "1")),
                }
                for name, server in servers.items():
                    used = uvloop.run(microseconds(server, request, clients, requests))
                    least[name, clients] = min(used, least.get((name, clients), used))
    return least


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=6_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)
    for name, (make, width) in MODELS.items():
        model = load(name, "1", make())
        print(f"{name}: {model.cost.one * 1e6:.1f} µs for one row, {model.cost.per_row * 1e6:.2f} µs for each further one, ", end="")
        print(f"{model.inline_rows} rows in the loop's thread")
        measured = table(model, width, arguments.requests, arguments.rounds)
        print(f"{'µs a request, clients at once:':<32}" + "".join(f"{clients:>8}" for clients in AT_ONCE))
        for server in dict.fromkeys(server for server, _ in measured):
            print(f"  {server:<30}" + "".join(f"{measured[server, clients]:>8.1f}" for clients in AT_ONCE))


if __name__ == "__main__":
    main()
