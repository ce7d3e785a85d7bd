"""`serve`: the command line of the inference server, and which of its processes this is; `serving` wires what serves."""

import os
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from monitor.commands.options import config_file

if TYPE_CHECKING:
    import socket

    from monitor.config import Settings
    from monitor.config.serving import ServingSettings
    from monitor.serving.workers.slots import Slot


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
    from monitor.config import load

    environment = dict(os.environ)
    if workers is not None:
        environment["MODEL_MONITOR_SERVING__WORKERS"] = str(workers)
    serve(load(config, environment), environment)


def serve(settings: "Settings", environment: Mapping[str, str]) -> None:
    """Serves until SIGTERM or SIGINT, alone, as the supervisor of several workers, or as one of them.

    Raises `MonitorError`, before anything is loaded where the port is taken.
    """
    import structlog

    from monitor.serving.binding import address_of, bind
    from monitor.serving.workers.slots import Slot
    from monitor.serving.workers.supervisor import Team, same_command, supervise

    section = settings.serving
    slot = Slot.inherited(environment)
    with ExitStack() as closing:
        if slot is not None:
            slot.live_with_supervisor()
            _work(settings, slot, slot.socket())
            return
        bound = closing.enter_context(bind(section.host, section.port))
        if section.workers == 1:
            _work(settings, Slot(), bound)
            return
        grpc_port = _shared_grpc_port(section, closing)
        structlog.get_logger(__name__).info("starting", url=f"http://{address_of(bound)}", workers=section.workers, grpc_port=grpc_port)
        supervise(Team(section.workers, same_command(), grpc_port), bound, environment)


def _shared_grpc_port(section: "ServingSettings", closing: ExitStack) -> int | None:
    """The port that the workers' gRPC servers share, kept for them; None where there is no gRPC."""
    if not section.has_grpc:
        return None
    from monitor.serving.binding import reserve

    reserved = closing.enter_context(reserve(section.host, section.grpc_port or 0))
    port: int = reserved.getsockname()[1]
    return port


def _work(settings: "Settings", slot: "Slot", bound: "socket.socket") -> None:
    """Imported only here: the supervisor of several workers needs none of it."""
    from monitor.commands.serving import work

    work(settings, slot, bound)
