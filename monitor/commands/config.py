"""`config check` says what was understood and what it will cost; `config schema` prints what may be written."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click

from monitor.commands.options import config_file
from monitor.config import Model, Objective, Settings, load
from monitor.config.log import EmbeddedLogSettings, KafkaLogSettings
from monitor.strict_yaml.quantities import age_limit_text, duration_text, size_text

JOIN_ROW_BYTES: Final = 64
JOIN_CLASS_BYTES: Final = 4
"""The most a waiting prediction takes in the join table: 64 bytes for a binary model, 4 more a class for others (tests/bench/join)."""

RATES: Final = (1.0, 10.0, 100.0)
"""Predictions a second that are shown where no --rate is given."""


@click.group()
def command() -> None:
    """Check a configuration, or print its schema."""


@command.command()
@config_file
@click.option("--rate", "rates", type=click.FloatRange(min=0, min_open=True), multiple=True, help="Predictions a second; may be repeated.")
def check(config: Path | None, rates: tuple[float, ...]) -> None:
    """Say what was understood, and what memory and log it takes; exit with 2 where it cannot be used."""
    for line in _report(load(config, os.environ), rates or RATES):
        click.echo(line)


@command.command()
def schema() -> None:
    """Print the JSON Schema of the configuration file."""
    click.echo(json.dumps(Settings.model_json_schema(), indent=2))


def _report(settings: Settings, rates: tuple[float, ...]) -> Iterator[str]:
    log, serving, exporter, join = settings.log, settings.serving, settings.exporter, settings.join
    models = f"models from {serving.repository}" if serving.repository else "no models: labels and predictions only"
    yield f"log       {_log(log)}"
    yield f"state     {settings.state.path}"
    yield f"serving   http://{serving.host}:{serving.port}, {models}"
    yield f"exporter  http://{exporter.host}:{exporter.port}, at most {exporter.max_series_per_model:,} series a model"
    yield f"clock     {settings.clock}"
    yield f"join      labels up to {duration_text(join.early)} early, events up to {duration_text(log.out_of_order)} out of order"
    for model in settings.models:
        yield ""
        yield from _model(settings, model)
        yield from _memory(settings, model, rates)


def _log(log: EmbeddedLogSettings | KafkaLogSettings) -> str:
    partitions = f"{log.partitions} partition{'' if log.partitions == 1 else 's'}"
    match log:
        case EmbeddedLogSettings():
            return f"{log.place}, {partitions}, at most {size_text(log.max_bytes)} and {age_limit_text(log.retention)}"
        case KafkaLogSettings():
            replicas = f"group {log.topic_prefix}{log.group} of up to {log.partitions} replicas"
            return f"{log.place} ({log.security.spoken}), {partitions}, {age_limit_text(log.retention)}, {replicas}"


def _model(settings: Settings, model: Model) -> Iterator[str]:
    labels = model.labels
    decision = f", {model.positive_class} from {model.threshold:g}" if model.positive_class else ""
    mature = "as learned" if labels.mature_after is None else f"after {duration_text(labels.mature_after)}"
    yield f"model {model.name}: {model.task}, {' | '.join(model.classes)}{decision}"
    yield "  windows     " + ", ".join(f"{window.text} in steps of {duration_text(window.step_ms)}" for window in model.windows)
    yield f"  labels      within {duration_text(labels.horizon)}, {labels.policy}, {labels.corrections}"
    yield f"  maturity    {mature}, {labels.min_maturity:.0%} for a verdict"
    yield f"  reference   {model.reference or 'none: no drift and no estimates'}"
    otherwise = "as the reference has them" if model.reference else "none: inputs are not monitored"
    yield f"  features    {', '.join(f'{name} {kind}' for name, kind in model.features.items()) or otherwise}"
    if model.segments:
        yield "  segments    " + ", ".join(" x ".join(segment) for segment in model.segments)
    for name, objective in model.objectives.items():
        yield f"  objective   {name}: {_objective(objective)}"
    yield f"  retention   {settings.retention_arithmetic(model)}, and log.retention is {age_limit_text(settings.log.retention)}"


def _objective(objective: Objective) -> str:
    of = f" of {objective.class_name}" if objective.class_name else f" ({objective.average})" if objective.average else ""
    bounds = ((">=", objective.min), ("<=", objective.max), ("in at most", objective.max_features))
    bound = "".join(f" {sign} {value:g}" for sign, value in bounds if value is not None)
    unit = " features" if objective.max_features is not None else ""
    windows = " and ".join(window.text for window in objective.windows)
    return f"{objective.metric}{of}{bound}{unit} over {windows}, {objective.clock}, {objective.severity}"


def _memory(settings: Settings, model: Model, rates: tuple[float, ...]) -> Iterator[str]:
    """Rate x horizon x bytes a row, of the share of ids that are joined: what waits for labels, over all replicas."""
    row_bytes = JOIN_ROW_BYTES + (0 if model.positive_class else JOIN_CLASS_BYTES * len(model.classes))
    horizon, limit, sample = duration_text(model.horizon), settings.join.rows_limit, settings.join.sample
    sampled = f" x {sample:g} sampled" if sample < 1.0 else ""
    for rate in rates:
        rows = rate * sample * model.horizon / 1_000
        over = f"; raise join.rows_limit ({limit:,}) or lower join.sample, or the rows beyond it stay unjoined" if rows > limit else ""
        yield f"  join memory {rate:g}/s x {horizon}{sampled} x {row_bytes} B = {rows:,.0f} rows, {_decimal(rows * row_bytes)}{over}"


def _decimal(size: float) -> str:
    """7,741,440,000 is `7.7 GB`."""
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.1f} MB"
