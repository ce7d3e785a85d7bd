"""From the repository to served models: every version loaded, warmed up, and linked to the configuration where it names the model."""

from collections.abc import Callable
from pathlib import Path

import structlog

from monitor.events import Schema
from monitor.serving.model import installed_twice, load
from monitor.serving.monitored import link
from monitor.serving.protocol import Codec
from monitor.serving.repository import Entry, scan
from monitor.serving.served import Served, ServedModels
from monitor.serving.tap import Tapped

_logger = structlog.get_logger(__name__)

SchemaOf = Callable[[str, str], Schema | None]
"""The configured schema of a model and version, or None where `models` does not name it."""


def load_models(root: Path, schema_of: SchemaOf) -> ServedModels:
    """Everything in the repository, or a `ModelError` that names the first file that cannot be served."""
    if warning := installed_twice():
        _logger.warning(warning)
    versions: dict[str, dict[str, Served]] = {}
    for entry in scan(root):
        versions.setdefault(entry.model, {})[entry.version] = _load(entry, schema_of)
    for name in versions:
        if schema_of(name, "") is None:
            _logger.warning("served, not logged: `models` in the configuration does not name it", model=name)
    return ServedModels(versions)


def _load(entry: Entry, schema_of: SchemaOf) -> Served:
    model = load(entry.model, entry.version, entry.path)
    schema = schema_of(entry.model, entry.version)
    tapped = None
    inputs = model.inputs
    if schema is not None:
        monitored = link(schema, inputs, model.outputs, model.warm_outputs, entry.config)
        inputs = monitored.inputs_of_known_width(inputs)
        tapped = Tapped(entry.model, entry.version, monitored)
        if monitored.absent:
            _logger.info(
                "no input carries these features; requests may, in parameters.features", model=entry.model, features=list(monitored.absent)
            )
    how = "in the event loop" if model.inline_rows else "in a thread"
    _logger.info("loaded", model=entry.model, version=entry.version, run_microseconds=round(model.cost.one * 1e6, 1), runs=how)
    return Served(model, Codec(entry.model, entry.version, inputs, model.outputs), tapped)
