"""From a version on disk to a loaded model: its graph read, its session made and warmed up, linked to the configuration that names it."""

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import structlog

from monitor.errors import ModelError
from monitor.serving.batching import Batcher, Batching
from monitor.serving.entry_config import EntryConfig
from monitor.serving.measured import Meters
from monitor.serving.model import Model, load
from monitor.serving.monitored import Monitored, SchemaOf, link
from monitor.serving.onnx_meaning import Understood, read
from monitor.serving.output_meaning import OutputMeaning
from monitor.serving.protocol import Codec
from monitor.serving.repository import Entry
from monitor.serving.run_options import DEFAULTS, RunOptions
from monitor.serving.served import Loaded, Served
from monitor.serving.tap import Tapped
from monitor.serving.tensors import ANY

_logger = structlog.get_logger(__name__)

_OLDER: Final = ": export it for an older one, or install a newer ONNX Runtime"
_CUSTOM: Final = ": only operators of ONNX and of ONNX Runtime itself are run; export it without custom ones"
_REMEDIES: Final = {
    "max supported IR version": _OLDER,
    "is under development": _OLDER,
    "No Op registered": _CUSTOM,
    "is not a registered function/op": _CUSTOM,
}
"""By what the runtime says."""


@dataclass(frozen=True, slots=True)
class Loader:
    """`options` and `batching` are what a model's own `config.yaml` does not say otherwise; `threads` run models, `meters` measure them."""

    schema_of: SchemaOf
    threads: Executor
    meters: Meters
    options: RunOptions = DEFAULTS
    batching: Batching = field(default_factory=Batching)

    def load(self, entry: Entry) -> Loaded:
        """May be called in any thread. Raises `ModelError` with the file and the remedy."""
        if entry.problem:
            raise ModelError(entry.problem)
        config = entry.config
        batching = replace(self.batching, **config.batching)
        options = replace(
            self.options,
            **config.session,
            device=replace(self.options.device, **config.device),
            warm_rows=(*batching.preferred_rows, batching.max_rows),
        )
        file = read(entry.path)
        model, said = _session(entry, file, options), file.said
        schema = self.schema_of(entry.model, entry.version)
        monitored = None if schema is None else link(schema, model.inputs, model.outputs, model.warm_outputs, config, said)
        labels = _labels(model, config, said, monitored)
        inputs = model.inputs if monitored is None else monitored.inputs_of_known_width(model.inputs)
        _tell(entry, model, monitored)
        return Loaded(
            model,
            Codec(entry.model, entry.version, inputs, model.outputs, labels),
            None if monitored is None else Tapped(entry.model, entry.version, monitored),
            batching,
        )

    def serve(self, loaded: Loaded) -> Served:
        """With a queue of its own. In the event loop's thread."""
        meter = self.meters.runs(loaded.model.name, loaded.model.version)
        return Served(loaded.model, loaded.codec, loaded.tapped, Batcher(loaded.model, loaded.batching, self.threads, meter))


def _session(entry: Entry, file: Understood, options: RunOptions) -> Model:
    try:
        return load(entry.model, entry.version, file.source, options, file.external)
    except ModelError as error:
        # A graph that was changed in memory is no file to the runtime.
        place = "" if isinstance(file.source, Path) else f"{entry.path}: "
        remedy = next((remedy for said, remedy in _REMEDIES.items() if said in str(error)), "")
        raise ModelError(f"{place}{error}{remedy}") from None


def _labels(
    model: Model, config: EntryConfig, said: Mapping[str, OutputMeaning], monitored: Monitored | None
) -> dict[str, tuple[str, ...]]:
    """The names of outputs' columns, for clients that ask for classes: from `config.yaml`, else from the graph and the configuration."""
    labels = {name: tuple(map(str, meaning.classes)) for name, meaning in said.items() if meaning.classes and meaning.column is None}
    score = None if monitored is None else monitored.score
    if score is not None and score.order:
        labels[model.outputs[score.output].name] = score.order
    widths = _widths(model)
    for name, names in config.labels.items():
        if name not in widths:
            raise ModelError(f"{config.path}: labels.{name}: the model has no such output; it gives {', '.join(widths)}")
        if widths[name] is not None and widths[name] != len(names):
            raise ModelError(f"{config.path}: labels.{name}: {len(names)} names for {widths[name]} columns")
        if score is not None and score.order and name == model.outputs[score.output].name and names != score.order:
            raise ModelError(
                f"{config.path}: labels.{name}: {list(names)}, where the columns are {list(score.order)}: leave it out, or correct it"
            )
        labels[name] = names
    return labels


def _widths(model: Model) -> dict[str, int | None]:
    """How many columns each output has: as the warm-up run showed, else as declared; None where neither says."""
    shapes: Sequence[Sequence[int]] = [output.shape for output in model.warm_outputs] or [spec.shape for spec in model.outputs]
    known = {spec.name: shape[-1] if shape else 1 for spec, shape in zip(model.outputs, shapes, strict=True)}
    return {name: None if width == ANY else width for name, width in known.items()}


def _tell(entry: Entry, model: Model, monitored: Monitored | None) -> None:
    log = _logger.bind(model=entry.model, version=entry.version)
    if monitored is None:
        log.warning("served, not logged: `models` in the configuration does not name it")
    else:
        if monitored.absent:
            log.info("no input carries these features; requests may, in parameters.features", features=list(monitored.absent))
        if monitored.score is None:
            log.info("decisions are logged, scores are not: no output is one", reasons=list(monitored.refused))
    how = "in the event loop" if model.inline_rows else "in a thread"
    log.info("loaded", run_microseconds=round(model.cost.one * 1e6, 1), runs=how, providers=list(model.providers))
