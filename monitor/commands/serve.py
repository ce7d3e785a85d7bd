"""`serve`: the command line of the inference server; `serving` wires it."""

import os
from pathlib import Path

import click

from monitor.commands.options import config_file


@click.command()
@config_file
@click.option("--workers", type=click.IntRange(1, 256), help="Processes that answer on the same ports.  [default: serving.workers, 1]")
def command(config: Path | None, workers: int | None) -> None:
    """Serve ONNX models over HTTP, log what they predict, and take labels.

    \b
    Models are read from serving.repository, laid out as <model>/<version>/model.onnx, and
    asked in the Open Inference Protocol v2 (that of KServe and Triton), here for the newest
    version of the model `flights`, whose input X has three columns:

    \b
      curl localhost:8000/v2/models/flights/infer -d '{
        "id": "UA-1545",
        "inputs": [{"name": "X", "datatype": "FP32", "shape": [1, 3], "data": [1400, 36.5, 12]}]}'

    \b
    The answer repeats the id (or one that the server minted). It is what the label answers, hours
    or days later; 202 means that it is on disk:

    \b
      curl localhost:8000/v1/labels -d '{"id": "UA-1545", "label": "late"}'

    \b
    Every prediction of a model that `models` names goes to the log, where `model-monitor watch` reads
    it, on this machine, now or later. Inference never waits for that and never fails because of it.
    Requests may carry, row by row, parameters.ids, times, segments and features (monitored ones that
    the model does not take). Without a repository, this is a gateway: POST predictions that other
    servers made to /v1/predictions.

    \b
    /v2/health/ready     200 once models are loaded       /v2/models/NAME   inputs and outputs
    /metrics             requests, latency, tap           SIGTERM           drains, flushes, ends
    """
    from monitor.commands.serving import serve
    from monitor.config import load

    environment = dict(os.environ)
    if workers is not None:
        environment["MODEL_MONITOR_SERVING__WORKERS"] = str(workers)
    serve(load(config, environment), environment)
