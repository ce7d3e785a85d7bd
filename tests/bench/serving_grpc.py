"""`ModelInfer` calls a second of `model-monitor serve`, beside bare `grpc.aio` services on the same event loop.

    python -m tests.bench.serving_grpc [--seconds 5] [--rounds 3] [--connections 8]

One-row requests in raw contents on a gradient-boosting model with 24 features. One bare service answers without looking (what the transport
costs by itself), the other reads the message and runs the same model, checking, logging and batching nothing. The servers run one after the
other, in turns, each pinned to the first core; the client, which is Python too and slower than any of them, has the last one. So what is
compared are answers per second of the server's own CPU time, each server's best round.
"""

import argparse
import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc
import numpy as np
import psutil

from monitor.serving.grpc.messages import ModelInferRequest
from tests.bench.serving.fraud_model import FEATURES, NAME, ROW, trained
from tests.unit.demo_ports import free_port

METHOD: Final = "/inference.GRPCInferenceService/ModelInfer"
START_SECONDS: Final = 60
CONFIG: Final = """
log: {{kind: embedded, path: data/log.db}}
serving: {{repository: models/, port: 0, grpc_port: {port}}}
models:
  - name: {name}
    task: binary
    classes: ["0", "1"]
    positive_class: "1"
    features: {{{features}}}
"""
BARE: Final = """
import asyncio, os, sys
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import grpc, numpy, onnxruntime, uvloop
from monitor.serving.grpc.messages import ModelInferRequest, ModelInferResponse
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[2], options, providers=["CPUExecutionProvider"])
def infer(body):
    request = ModelInferRequest.FromString(body)
    rows = numpy.frombuffer(request.raw_input_contents[0], numpy.float32).reshape(request.inputs[0].shape)
    label, scores = session.run(None, {"X": rows})
    response = ModelInferResponse(model_name=request.model_name, id=request.id)
    response.outputs.add(name="label", datatype="INT64", shape=label.shape)
    response.outputs.add(name="probabilities", datatype="FP32", shape=scores.shape)
    response.raw_output_contents.extend([label.tobytes(), scores.tobytes()])
    return response.SerializeToString()
async def model(body, context):
    return infer(body)
async def echo(body, context):
    return answer
async def main():
    handler = grpc.unary_unary_rpc_method_handler({"model": model, "echo": echo}[sys.argv[1]])
    server = grpc.aio.server(handlers=[grpc.method_handlers_generic_handler("inference.GRPCInferenceService", {"ModelInfer": handler})])
    server.add_insecure_port(f"127.0.0.1:{sys.argv[3]}")
    await server.start()
    await server.wait_for_termination()
request = ModelInferRequest(raw_input_contents=[numpy.zeros(24, numpy.float32).tobytes()])
request.inputs.add(shape=[1, 24])
answer = infer(request.SerializeToString())
uvloop.run(main())
"""


@dataclass(frozen=True)
class Round:
    """One warm measurement: the latency of each call, and the server's CPU seconds."""

    latencies: list[float]
    seconds: float
    cpu_seconds: float

    @property
    def per_cpu_second(self) -> float:
        return len(self.latencies) / self.cpu_seconds


def one_row() -> bytes:
    message = ModelInferRequest(model_name=NAME)
    message.inputs.add(name="X", datatype="FP32", shape=[1, FEATURES])
    message.raw_input_contents.append(np.array(ROW, np.float32).tobytes())
    return message.SerializeToString()


def load(server: psutil.Process, port: int, connections: int, seconds: float) -> Round:
    body = one_row()

    async def ask_on(channel: grpc.aio.Channel, latencies: list[float]) -> None:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(METHOD)
        while True:
            asked = time.perf_counter()
            await call(body)
            latencies.append(time.perf_counter() - asked)

    async def run() -> Round:
        latencies: list[float] = []
        # Without a pool of its own each channel to the same address would share one connection.
        channels = [grpc.aio.insecure_channel(f"127.0.0.1:{port}", [("grpc.use_local_subchannel_pool", 1)]) for _ in range(connections)]
        clients = [asyncio.create_task(ask_on(channel, latencies)) for channel in channels]
        await asyncio.sleep(seconds / 5)
        latencies.clear()
        started, used = time.perf_counter(), server.cpu_times()
        await asyncio.sleep(seconds)
        measured, elapsed, now = latencies.copy(), time.perf_counter() - started, server.cpu_times()
        for client in clients:
            client.cancel()
        failures = [each for each in await asyncio.gather(*clients, return_exceptions=True) if not isinstance(each, asyncio.CancelledError)]
        assert not failures, failures
        for channel in channels:
            await channel.close()
        return Round(measured, elapsed, now.user + now.system - used.user - used.system)

    return asyncio.run(run())


@contextmanager
def running(command: list[str], port: int, said: Path) -> Iterator[psutil.Process]:
    """The server once it answers; what it logs is in `said`."""
    with said.open("wb") as log:
        process = subprocess.Popen(command, stderr=log)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(process.pid, {0})
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(METHOD)
            call(one_row(), timeout=START_SECONDS, wait_for_ready=True)
        yield psutil.Process(process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--seconds", type=float, default=5)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--connections", type=int, default=8)
    chosen = arguments.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "models" / NAME / "1" / "model.onnx"
        trained(model)
        commands: dict[str, tuple[list[str], int]] = {}
        # A model that `models` does not name is served and not tapped.
        for label, name in (("tap on", NAME), ("tap off", "another")):
            port = free_port()
            config = Path(folder) / f"{label}.yaml"
            config.write_text(CONFIG.format(port=port, name=name, features=", ".join(f"f{i}: numeric" for i in range(FEATURES))))
            commands[label] = ([sys.executable, "-m", "monitor", "serve", "-c", str(config)], port)
        for label, kind in (("bare, the model unchecked", "model"), ("bare, no model", "echo")):
            port = free_port()
            commands[label] = ([sys.executable, "-c", BARE, kind, str(model), str(port)], port)
        results: dict[str, list[Round]] = {label: [] for label in commands}
        for _ in range(chosen.rounds):
            for label, (command, port) in commands.items():
                with running(command, port, Path(folder) / "server.log") as server:
                    results[label].append(load(server, port, chosen.connections, chosen.seconds))
    best = {label: max(rounds, key=lambda each: each.per_cpu_second) for label, rounds in results.items()}
    model_only, transport = best["bare, the model unchecked"].per_cpu_second, best["bare, no model"].per_cpu_second
    print(f"{'':28}{'calls/s':>10}{'per CPU s':>12}{'p50 ms':>9}{'p99 ms':>9}{'of bare':>9}{'of no model':>13}")
    for label, each in best.items():
        p50, p99 = np.quantile(each.latencies, (0.5, 0.99)) * 1e3
        ratios = f"{each.per_cpu_second / model_only:9.2f}{each.per_cpu_second / transport:13.2f}"
        print(f"{label:28}{len(each.latencies) / each.seconds:10,.0f}{each.per_cpu_second:12,.0f}{p50:9.2f}{p99:9.2f}{ratios}")


if __name__ == "__main__":
    main()
