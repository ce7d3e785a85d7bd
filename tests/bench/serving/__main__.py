"""Requests a second of `model-monitor serve` beside other Python servers and a bare ASGI callable, one core each, `wrk` as the client.

    python -m tests.bench.serving [--seconds 5] [--rounds 3] [--connections 32] [--only NAME…] [--kafka] [--environments DIR]

One-row JSON requests on a gradient-boosting model with 24 features; every server has the same ONNX file, ONNX Runtime with one thread, and
one process. Servers run one after the other, in turns, each pinned to the first core; `wrk` has the last one. MLServer, KServe, LitServe
and BentoML are installed into environments of their own the first time (1.5 GB in ~/.cache/model-monitor/bench). `--kafka` starts an Apache
Kafka (as the tests do) and adds the tap into it, to a broker that is away with room in the spool, and with the spool full.

What is compared are answers per second of the server's own processor time where others use the machine too, and answers per second where
not: both are printed, each server's best round. `of bare` and `of tap off` are ratios of the former.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from tests.bench.serving import fraud_model, servers
from tests.bench.serving.paced import Paced
from tests.bench.serving.paced import ask as ask_paced
from tests.bench.serving.wrk import Load, ask
from tests.kafka.brokers import Cluster
from tests.unit.demo_ports import free_port

JSON: Final = {"content-type": "application/json"}
EMBEDDED: Final = "{kind: embedded, path: data/log.db}"
AWAY: Final = "127.0.0.1:1"
PATH: Final = f"/v2/models/{fraud_model.NAME}/infer"
CONFIG: Final = """
log: {log}
serving: {{repository: {models}, port: {port}, grpc_port: null, spool: {{path: {spool}, max_bytes: {room}}}}}
models:
  - name: {name}
    task: binary
    classes: ["0", "1"]
    positive_class: "1"
    features: {{{features}}}
"""

STEADY: Final = 0.7
"""Of what a server answers at most: a load that it should carry without a tail."""
STEADY_LIMIT: Final = 10_000.0
"""What the client in Python can ask for without being what is measured."""

Running = Callable[[], AbstractContextManager[tuple[psutil.Process, int]]]


@dataclass(frozen=True)
class Server:
    """Something to ask: how it is started, and with what it is asked where."""

    label: str
    running: Running
    path: str
    body: bytes


@dataclass(frozen=True)
class Round:
    """One warm measurement, and the server's processor seconds in it."""

    load: Load
    processor_seconds: float

    @property
    def per_processor_second(self) -> float:
        return self.load.requests / self.processor_seconds


def ours(folder: Path, model: Path, label: str, log: str, *, tapped: bool = True, room: str = "1GB") -> Server:
    """`model-monitor serve`; a model that `models` does not name is served and not tapped."""

    @contextmanager
    def start() -> Iterator[tuple[psutil.Process, int]]:
        port = free_port()
        config = folder / f"{label}.yaml"
        features = ", ".join(f"f{number}: numeric" for number in range(fraud_model.FEATURES))
        name, spool = fraud_model.NAME if tapped else "another", folder / f"spool of {label}"
        text = CONFIG.format(log=log, models=model.parents[2], port=port, name=name, features=features, spool=f"'{spool}'", room=room)
        config.write_text(text)
        command = [sys.executable, "-m", "monitor", "serve", "-c", str(config)]
        with servers.running(command, port, "/v2/health/ready", SERVER_CORE) as process:
            yield process, port

    return Server(label, start, PATH, fraud_model.v2_body())


def bare(model: Path) -> Server:
    @contextmanager
    def start() -> Iterator[tuple[psutil.Process, int]]:
        port = free_port()
        command = [sys.executable, str(servers.PEERS / "bare_asgi.py"), str(port)]
        with servers.running(command, port, "/", SERVER_CORE, {**os.environ, "BENCH_MODEL": str(model)}) as process:
            yield process, port

    return Server("bare ASGI, nothing checked", start, PATH, fraud_model.v2_body())


def peer(each: servers.Peer, root: Path, model: Path, folder: Path) -> Server:
    programs = servers.environment(each, root)
    return Server(each.name, lambda: servers.peer_running(each, programs, model, folder / each.name, SERVER_CORE), each.infer, each.body)


def measured(server: Server, connections: int, seconds: float) -> Round:
    with server.running() as (process, port):
        url = f"http://127.0.0.1:{port}{server.path}"
        ask(url, server.body, JSON, connections=connections, seconds=1, cores=(CLIENT_CORE,))
        before = servers.processor_seconds(process)
        load = ask(url, server.body, JSON, connections=connections, seconds=seconds, cores=(CLIENT_CORE,))
        if load.refused or load.broken:
            sys.exit(f"{server.label}: {load.refused} answers were errors, {load.broken} were none")
        return Round(load, servers.processor_seconds(process) - before)


def paced(server: Server, per_second: float, connections: int, seconds: float) -> Paced:
    """The server at a steady rate, whose median and tail are told from its answers."""
    head = f"POST {server.path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(server.body)}\r\n\r\n"
    with server.running() as (_, port):
        return ask_paced(
            port, head.encode() + server.body, per_second=per_second, seconds=seconds, connections=connections, cores=(CLIENT_CORE,)
        )


def shown(results: dict[str, list[Round]]) -> None:
    best = {label: max(rounds, key=lambda each: each.per_processor_second) for label, rounds in results.items() if rounds}
    print(f"{'':34}{'answers/s':>11}{'per CPU s':>11}{'p50 ms':>9}{'p99 ms':>9}{'of bare':>9}{'of tap off':>12}")
    for label, each in best.items():
        ratios = "".join(
            f"{each.per_processor_second / best[other].per_processor_second:{width}.2f}" if other in best else " " * width
            for other, width in (("bare ASGI, nothing checked", 9), ("serve, tap off", 12))
        )
        load = each.load
        print(f"{label:34}{load.per_second:11,.0f}{each.per_processor_second:11,.0f}{load.p50_ms:9.2f}{load.p99_ms:9.2f}{ratios}")


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--seconds", type=float, default=5)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--connections", type=int, default=32)
    arguments.add_argument("--only", nargs="*", default=[], metavar="NAME", help="parts of the names of those to measure")
    arguments.add_argument("--kafka", action="store_true")
    arguments.add_argument("--environments", type=Path, default=Path.home() / ".cache/model-monitor/bench")
    chosen = arguments.parse_args()
    with tempfile.TemporaryDirectory() as text, ExitStack() as cleanup:
        folder = Path(text)
        os.chdir(folder)
        model = folder / "models" / fraud_model.NAME / "1" / "model.onnx"
        fraud_model.trained(model)
        compared = [
            bare(model),
            ours(folder, model, "serve, tap off", EMBEDDED, tapped=False),
            ours(folder, model, "serve, tap on", EMBEDDED),
        ]
        if chosen.kafka:
            from tests.bench.serving.topics import topics

            cluster = cleanup.enter_context(Cluster())
            log = cleanup.enter_context(topics(cluster.bootstrap))
            away = f"{{kind: kafka, bootstrap_servers: '{AWAY}'}}"
            compared += [
                ours(folder, model, "serve, tap into Kafka", log),
                ours(folder, model, "serve, Kafka away: spooling", away, room="8GB"),
                ours(folder, model, "serve, Kafka away: spool full", away, room="1MB"),
            ]
        names = [name.lower() for name in chosen.only]
        compared += [peer(each, chosen.environments, model, folder) for each in servers.ALL if _asked_for(each.name, names)]
        results: dict[str, list[Round]] = {each.label: [] for each in compared if _asked_for(each.label, names)}
        for number in range(chosen.rounds):
            for each in compared:
                if each.label in results:
                    print(f"round {number + 1} of {chosen.rounds}: {each.label}", file=sys.stderr)
                    results[each.label].append(measured(each, chosen.connections, chosen.seconds))
        shown(results)
        for each in compared:
            if each.label in results and each.label.startswith("serve"):
                rate = min(STEADY_LIMIT, STEADY * max(round_.load.per_second for round_ in results[each.label]))
                steady = paced(each, rate, chosen.connections, 2 * chosen.seconds)
                p50, p99 = steady.quantile_ms(0.5), steady.quantile_ms(0.99)
                print(f"{each.label} at {rate:,.0f} requests/s: p50 {p50:.2f} ms, p99 {p99:.2f} ms (2 x p50 + 5 = {2 * p50 + 5:.2f})")


def _asked_for(label: str, names: list[str]) -> bool:
    return not names or any(name in label.lower() for name in names)


CORES: Final = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0, 1]
SERVER_CORE, CLIENT_CORE = CORES[0], CORES[-1]

if __name__ == "__main__":
    main()
