"""Everything before the first event: ports that are free, a trained model, its reference, and the flights to send."""

import os
import socket
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final

import numpy as np

from monitor.config import Settings, load
from monitor.demo import recipe
from monitor.demo.asking import milliseconds
from monitor.demo.facts import Facts
from monitor.demo.flights import Flights, data_folder, read_flights
from monitor.demo.processes import begin_step, finish_step, monitor_command, run_to_end
from monitor.demo.workspace import Workspace
from monitor.errors import AddressInUse, MonitorError

PORTS: Final = {"serving": "the inference server", "exporter": "the daemon's metrics and status page"}
"""By the section that configures each; `MODEL_MONITOR_SECTION__PORT` chooses another."""


def configured(workspace: Workspace) -> Settings:
    """The demo's configuration with the environment's overrides, which its children obey too. Raises `MonitorError`."""
    settings = load(workspace.configuration, os.environ)
    places = {"MODEL_MONITOR_STATE__PATH": settings.state.path}
    if settings.log.kind == "embedded":
        places["MODEL_MONITOR_LOG__PATH"] = settings.log.path
    for variable, place in places.items():
        if not isinstance(place, Path) or not place.is_relative_to(workspace.data):
            raise MonitorError(f"{variable} leads out of the demo's folder, to {place}. The demo starts from nothing: unset it.")
    _check_port("serving", settings.serving.host, settings.serving.port)
    _check_port("exporter", settings.exporter.host, settings.exporter.port)
    return settings


def flights_to_send(until: date | None) -> Flights:
    """The served flights that were to leave before `until` (00:00 UTC). Raises `MonitorError` where that leaves none."""
    flights = read_flights(data_folder())
    served = flights.take(flights.day >= np.datetime64(recipe.SERVING_STARTS))
    if until is not None:
        served = served.take(served.scheduled < milliseconds(datetime(until.year, until.month, until.day, tzinfo=UTC)))
    if not len(served):
        raise MonitorError(f"--until {until}: nothing left to send, the flights to serve begin on {recipe.SERVING_STARTS}.")
    return served


def trained(workspace: Workspace, until: date | None, say: Callable[[str], None]) -> tuple[Facts, Flights]:
    """What training wrote (now, or in an earlier run that finished), and the flights, read meanwhile. The reference is built anew."""
    facts = Facts.read(workspace.folder, workspace.model)
    if facts is None:
        say("Training the model on January and February (a few seconds)…")
        log = workspace.log_of("training")
        training = begin_step([sys.executable, "-m", "monitor.demo.training", str(workspace.folder), str(workspace.model)], log)
        try:
            flights = flights_to_send(until)
        except BaseException:
            training.kill()
            training.wait()
            raise
        finish_step("Training", training, log)
        facts = Facts.read(workspace.folder, workspace.model)
        if facts is None:
            raise MonitorError(f"Training ended without a result that can be read; see {log}.")
    else:
        say("The model was trained in an earlier run.")
        flights = flights_to_send(until)
    arguments = ["-c", workspace.configuration, "--model", recipe.MODEL, workspace.reference_rows, "-o", workspace.reference]
    run_to_end("`reference build`", monitor_command("reference", "build", *map(str, arguments)), workspace.log_of("reference"))
    return facts, flights


def _check_port(section: str, host: str, port: int) -> None:
    variable = f"MODEL_MONITOR_{section.upper()}__PORT"
    if port == 0:
        raise MonitorError(f"{variable}=0: the demo has to know its ports; name one.")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: a port in TIME_WAIT is free
        try:
            probe.bind((host, port))
        except OSError as error:
            raise AddressInUse(
                f"Port {port} on {host} is taken ({PORTS[section]} needs it): {error.strerror}. "
                f"Stop what listens there, or choose another port: {variable}={port + 10} model-monitor demo"
            ) from error
