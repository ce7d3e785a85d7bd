"""From the configuration to the models that `serve` serves: the repository, how its models run, and what their events look like."""

import os
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Final

import structlog

from monitor.config import Model
from monitor.config.serving import LatestVersions, ServingSettings
from monitor.events import Schema
from monitor.serving.measured import Meters
from monitor.serving.registry import Registry
from monitor.serving.sources import ModelNumbers
from monitor.serving.standing import State
from monitor.serving.waiting import WaitingThreads

RUN_THREADS: Final = max(2, os.cpu_count() or 1)
"""For models whose runs are too long for the event loop; the runtime releases the GIL."""
LOAD_THREADS: Final = 1
"""Models load one after the other, so that what else the cores do suffers little."""

_logger = structlog.get_logger(__name__)


def registry_of(section: ServingSettings, schemas: Mapping[str, Schema], meters: Meters, closing: ExitStack) -> Registry:
    """What is served, loaded; nothing where there is no repository."""
    if section.repository is None:
        return Registry()
    from monitor.serving.batching import Batching
    from monitor.serving.loading import Loader
    from monitor.serving.model import installed_twice, missing_device
    from monitor.serving.registry import Source
    from monitor.serving.run_options import Device, RunOptions
    from monitor.serving.versions import Latest

    batching, session = section.batching, section.session
    device = Device(section.device.kind, section.device.id, section.device.memory_limit, section.device.require_gpu)
    for warning in (installed_twice(), missing_device(device)):
        if warning:
            _logger.warning(warning)
    loader = Loader(
        lambda name, _version: schemas.get(name),
        closing.enter_context(WaitingThreads(RUN_THREADS, "run")),
        meters,
        RunOptions(
            session.intra_op_threads,
            session.inter_op_threads,
            session.spinning,
            session.graph,
            device,
        ),
        Batching(
            batching.max_rows,
            batching.preferred_rows,
            (batching.delay or 0) / 1_000,
            batching.queue_rows,
            batching.concurrency,
        ),
    )
    versions = section.versions
    registry = Registry(
        Source(
            section.repository,
            loader,
            closing.enter_context(WaitingThreads(LOAD_THREADS, "load")),
            Latest(versions.latest) if isinstance(versions, LatestVersions) else versions,
        )
    )
    registry.start(all_must_load=section.model_control == "none")
    return registry


def standing_of(registry: Registry) -> list[ModelNumbers]:
    """What the metrics say of each version."""
    return [ModelNumbers(each.name, each.version, each.state is State.READY) for each in registry.index() if each.version]


def schema_of_served(model: Model) -> Schema:
    """The model's schema, whose features are the reference's where the configuration leaves them to it."""
    from monitor.commands.schemas import schema_of

    if model.features or model.reference is None:
        return schema_of(model, None)
    from monitor.commands.models import KnownModel

    return KnownModel(model).schema
