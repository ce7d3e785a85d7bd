"""`serve`: wires the models, the tap, the doors and the log to one HTTP server, and closes them in reverse."""

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from monitor.commands.options import config_file

if TYPE_CHECKING:
    from monitor.config import Model, Settings
    from monitor.events import Schema

RUN_THREADS: Final = max(2, os.cpu_count() or 1)
"""For models whose runs are too long for the event loop; the runtime releases the GIL."""
DOOR_THREADS: Final = 16
"""Requests that wait for the disk at a time: appends of concurrent threads share one commit, so more of them cost no more."""
FLUSH_SECONDS: Final = 5.0
"""What the tap gets to write its queue at the end; with the drain of requests it stays well within the promised 20 s."""


@click.command()
@config_file
def command(config: Path | None) -> None:
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

    serve(load(config, os.environ))


def serve(settings: "Settings") -> None:
    """Serves until SIGTERM or SIGINT. Raises `MonitorError`, before anything is loaded where the port is taken."""
    import pyarrow as pa
    import structlog

    from monitor.clock import WallClock
    from monitor.codec.events_json import parse_labels_json, parse_predictions_json
    from monitor.commands.opening import open_log
    from monitor.events import Stream
    from monitor.export.serving_metrics import render
    from monitor.serving import server
    from monitor.serving.app import App, AppSettings
    from monitor.serving.batches import encode
    from monitor.serving.doors import Door
    from monitor.serving.served import NO_MODELS
    from monitor.serving.tap import Tap
    from monitor.serving.waiting import WaitingThreads

    section = settings.serving
    clock = WallClock()
    logger = structlog.get_logger(__name__)
    with ExitStack() as closing:
        bound = closing.enter_context(server.bind(section.host, section.port))
        schemas = tuple(_schema(model) for model in settings.models)
        log = open_log(settings, clock)
        closing.callback(log.close)
        models = NO_MODELS
        if section.repository is not None:
            from monitor.serving.loading import load_models

            by_name = {schema.name: schema for schema in schemas}
            models = load_models(section.repository, lambda name, _version: by_name.get(name))
        # Arrow imports pandas, where that is installed, when it makes its first array: seconds that no request should wait for.
        pa.array([])
        tap = Tap(log, encode, bytes_limit=section.queue_bytes, trust_client_times=section.trust_client_times)
        tap.start()
        closing.callback(tap.stop, FLUSH_SECONDS)
        door_threads = closing.enter_context(WaitingThreads(DOOR_THREADS, "door"))
        run_threads = closing.enter_context(ThreadPoolExecutor(RUN_THREADS, "run"))
        parsers = {
            Stream.LABELS: partial(parse_labels_json, schemas=schemas, model_required=not settings.labels_without_model),
            Stream.PREDICTIONS: partial(parse_predictions_json, schemas=schemas),
        }
        doors = {
            f"/v1/{stream}": Door(stream, parse, log, door_threads, clock, trusts_client_times=section.trust_client_times)
            for stream, parse in parsers.items()
        }
        app = App(models, doors, tap, run_threads, AppSettings(section.max_body_bytes, section.trust_client_times), clock, render)
        limits = server.ServerSettings(section.request_timeout / 1_000, section.keep_alive / 1_000)
        url = f"http://{server.address_of(bound)}"
        server.run(app, bound, limits, lambda: logger.info("serving", url=url, models=sorted(models.versions), log=settings.log.place))
        logger.info("stopping", flush_seconds=FLUSH_SECONDS)
    counts = tap.counts()
    logger.info("stopped", predictions_written=counts.written, predictions_lost=counts.accepted - counts.written)


def _schema(model: "Model") -> "Schema":
    """The model's schema, whose features are the reference's where the configuration leaves them to it."""
    from monitor.commands.schemas import schema_of

    if model.features or model.reference is None:
        return schema_of(model, None)
    from monitor.commands.models import KnownModel

    return KnownModel(model).schema
