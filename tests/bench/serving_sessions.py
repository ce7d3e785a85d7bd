"""What ONNX Runtime's session options do to a run: threads, spinning and the graph level, on two models, one row and 64.

    python -m tests.bench.serving_sessions [--seconds 0.4]

Each figure is the time that a tenth of the runs stay below, since others use the machine too, and in brackets the CPU time that the whole
process spends on one, which is what a server on the same cores loses. Runs are a millisecond apart, as they are under light load: only
then does a thread that spins show what it burns.

What was found in one run (two cores in use by others as well, ONNX Runtime 1.31):

    µs a run (CPU)              gradient boosting, 1   gradient boosting, 64           perceptron, 1          perceptron, 64
    1 thread                              9.7 (46.3)            92.8 (137.4)             35.7 (80.5)           257.3 (298.6)
    2 threads                            22.2 (67.4)            83.0 (156.5)            51.2 (102.7)           213.2 (356.6)
    2 threads, spinning                 6.4 (1030.6)           59.9 (1143.1)           27.0 (1197.2)          162.0 (1582.1)
    1 thread, graph disabled              9.1 (41.9)             58.7 (90.1)             26.9 (56.3)           225.1 (258.7)
    1 thread, graph basic                 7.7 (38.7)             58.4 (91.9)             27.5 (59.9)           229.4 (266.1)
    1 thread, graph extended              6.9 (37.2)             56.2 (92.7)             31.6 (55.8)           226.4 (267.2)

A second thread gains a sixth on 64 rows of the perceptron, takes a fifth more CPU for it, and loses on single rows. One that spins gains up
to a third there and burns its core whole between runs. The graph levels differ by less than the noise on these two models, which have
nothing to fuse; `all` stays the default since it is the runtime's own, not since it won here.
"""

import argparse
import time
from collections.abc import Iterator
from itertools import product
from statistics import quantiles

import numpy as np

from monitor.serving.model import Model, load
from monitor.serving.run_options import GraphLevel, RunOptions
from tests.bench.serving_models import MODELS

ROWS = (1, 64)
PAUSE_SECONDS = 0.001
LEVELS: tuple[GraphLevel, ...] = ("disabled", "basic", "extended", "all")


def variants() -> Iterator[tuple[str, RunOptions]]:
    for threads, spinning in product((1, 2), (False, True)):
        if threads > 1 or not spinning:
            yield f"{threads} thread{'s' * (threads > 1)}{', spinning' * spinning}", RunOptions(intra_op_threads=threads, spinning=spinning)
    for level in LEVELS[:-1]:
        yield f"1 thread, graph {level}", RunOptions(graph=level)


def measured(model: Model, rows: int, width: int, seconds: float) -> tuple[float, float]:
    """µs a run, on the wall and of CPU."""
    feeds = {"X": np.random.default_rng(0).normal(size=(rows, width)).astype(np.float32)}
    wall: list[float] = []
    cpu = 0.0
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        used, started = time.process_time(), time.perf_counter()
        model.run(feeds)
        wall.append(time.perf_counter() - started)
        time.sleep(PAUSE_SECONDS)
        cpu += time.process_time() - used
    return quantiles(wall, n=10)[0] * 1e6, cpu / len(wall) * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=0.4)
    arguments = parser.parse_args()
    heads = [(name, rows) for name in MODELS for rows in ROWS]
    print(f"{'µs a run (CPU)':<24}" + "".join(f"{f'{name}, {rows}':>24}" for name, rows in heads))
    contents = {name: make() for name, (make, _) in MODELS.items()}
    for told, options in variants():
        cells = []
        for name, rows in heads:
            wall, cpu = measured(load(name, "1", contents[name], options), rows, MODELS[name][1], arguments.seconds)
            cells.append(f"{f'{wall:.1f} ({cpu:.1f})':>24}")
        print(f"{told:<24}" + "".join(cells))


if __name__ == "__main__":
    main()
