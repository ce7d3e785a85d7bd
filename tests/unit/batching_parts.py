"""What batching is tested with: real models in ONNX's text form, a loop whose time is set, and threads whose calls end when told."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field, replace
from typing import Any, ParamSpec, TypeVar

import numpy as np
import onnx.parser

from monitor.serving.batching import Batcher, Batching
from monitor.serving.measured import Meters, RunMeter
from monitor.serving.model import Model, load
from monitor.serving.refusals import Refusal
from monitor.serving.requests import InferRequest
from monitor.serving.row_parameters import NO_PARAMETERS
from monitor.serving.run_cost import RunCost
from monitor.serving.running import Feeds, Runs
from monitor.serving.tensors import Tensor

Parameters = ParamSpec("Parameters")
Outcome = TypeVar("Outcome")

ECHO = "(float[N, W] x) => (float[N, W] y) { y = Identity(x) }"
TEXT = "(string[N, 1] x) => (string[N, 1] y) { y = Identity(x) }"
LOOK_UP = "(int64[N] x) => (float[N, 2] y) <float[3, 2] table = {0, 1, 10, 11, 20, 21}> { y = Gather <axis = 0> (table, x) }"
"""An index that the table lacks makes it fail."""

SLOW = RunCost(1.0, 0.0)
"""Of a model whose runs go to a thread."""
WORTH_SHARING = RunCost(50e-6, 0.0)
NOT_WORTH_SHARING = RunCost(2e-6, 0.0)


def onnx_bytes(graph: str) -> bytes:
    text = f'<ir_version: 10, opset_import: ["": 18]> graph {graph}'
    content: bytes = onnx.parser.parse_model(text).SerializeToString()
    return content


def loaded(graph: str) -> Model:
    return load("m", "1", onnx_bytes(graph))


def request(*rows: object, dtype: Any = np.float32, timeout: float = 0.0) -> InferRequest:  # noqa: ANN401  a dtype, or what makes one
    """One of the input x, row by row."""
    x = np.array(rows, dtype=dtype)
    return InferRequest({"x": x}, len(x), None, "", NO_PARAMETERS, timeout)


class ManualLoop(asyncio.SelectorEventLoop):
    """Its time stands still until `now` is set."""

    now = 0.0

    def time(self) -> float:
        return self.now


def run_in_loop(scenario: Callable[[ManualLoop], Awaitable[None]]) -> None:
    with asyncio.Runner(loop_factory=ManualLoop) as runner:

        async def main() -> None:
            loop = asyncio.get_running_loop()
            assert isinstance(loop, ManualLoop)
            await scenario(loop)

        runner.run(main())


async def ticks(count: int = 4) -> None:
    """Lets everything that is ready have its turn: a task begins, its batch is formed, its run ends, it goes on."""
    for _ in range(count):
        await asyncio.sleep(0)


class HeldThreads(Executor):
    """Makes each call at once, so that runs are recorded in the order in which they begin, and lets it end when told."""

    def __init__(self) -> None:
        self.held: list[tuple[Future[Any], Any]] = []

    def submit(self, fn: Callable[Parameters, Outcome], /, *args: Parameters.args, **kwargs: Parameters.kwargs) -> Future[Outcome]:
        future: Future[Outcome] = Future()
        self.held.append((future, fn(*args, **kwargs)))
        return future

    def finish(self, place: int = 0) -> None:
        future, outcome = self.held.pop(place)
        future.set_result(outcome)


@dataclass
class Recorded:
    """Makes a model's runs, and keeps what went into each."""

    runs: Runs
    seen: list[list[list[Any]]] = field(default_factory=list)
    """A run's requests, each as its rows of x."""

    def __call__(self, parts: Sequence[Feeds], /) -> list[Tensor]:
        self.seen.append([feeds["x"].tolist() for feeds in parts])
        return self.runs(parts)


class Bench:
    """A batcher with its threads, its meter and the record of its runs."""

    def __init__(
        self, model: Model, policy: Batching | None = None, *, cost: RunCost = SLOW, inline_rows: int = 0, meter: RunMeter | None = None
    ) -> None:
        self.threads = HeldThreads()
        self.meter = meter or Meters().runs("m", "1")
        self.recorded = Recorded(model.runs)
        self.model = replace(model, runs=self.recorded, cost=cost, inline_rows=inline_rows)
        self.batcher = Batcher(self.model, policy or Batching(), self.threads, self.meter)
        self.tasks: list[asyncio.Task[list[Any]]] = []

    @property
    def runs(self) -> list[list[list[Any]]]:
        return self.recorded.seen

    def ask(self, asked: InferRequest) -> asyncio.Task[list[Any]]:
        """A task as the server makes one for each request; what comes of it are all outputs."""

        async def answer() -> list[Any]:
            return [output.tolist() for output in await self.batcher.run(asked)]

        task = asyncio.get_running_loop().create_task(answer())
        self.tasks.append(task)
        return task

    async def finish_all(self) -> None:
        await ticks()
        while self.threads.held:
            self.threads.finish()
            await ticks()


def refusal(task: asyncio.Task[list[Any]]) -> Refusal:
    error = task.exception()
    assert isinstance(error, Refusal)
    return error
