"""What a served model means to the monitor: which input column is which feature, which output is the score, what was decided.

Settled once at load from the configured schema, the model's metadata and graph, its warm-up outputs and its `config.yaml`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np

from monitor.errors import ModelError
from monitor.events import FeatureKind, Schema, Task
from monitor.serving.bfloat16 import floats
from monitor.serving.entry_config import EntryConfig
from monitor.serving.output_meaning import NOTHING_SAID, OutputMeaning
from monitor.serving.refusals import BadRequest
from monitor.serving.scores import ScoreSource, class_named, find_score
from monitor.serving.tensors import ANY, Tensor, TensorSpec, json_type

SchemaOf = Callable[[str, str], Schema | None]
"""The configured schema of a model and version, or None where `models` does not name it."""


@dataclass(frozen=True, slots=True)
class FeatureSource:
    """Where a feature's values stand: a column of a 2-D input, or (None) the whole of an input with one value a row."""

    feature: str
    input: str
    column: int | None


@dataclass(frozen=True, slots=True)
class Monitored:
    """How to read named features, scores and the predicted class out of a model's tensors. At least one of `score`, `label` is there.

    `numbered` are the classes that the model's numbers stand for, the configured ones where they are empty. `refused` says why outputs that
    look like a score are none.
    """

    schema: Schema
    sources: tuple[FeatureSource, ...]
    score: ScoreSource | None
    label: int | None
    numbered: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    in_bits: frozenset[str] = frozenset()
    """Inputs whose tensors hold the bits of bfloat16."""

    @property
    def absent(self) -> tuple[str, ...]:
        """Configured features that no input carries: missing in the log unless a request gives them in `parameters.features`."""
        carried = {source.feature for source in self.sources}
        return tuple(feature for feature in self.schema.features if feature not in carried)

    def inputs_of_known_width(self, inputs: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
        """The inputs as requests are checked against: a table whose width the graph leaves open has that of its features."""
        widths = {source.input: source.column + 1 for source in self.sources if source.column is not None}
        return tuple(
            replace(spec, shape=(spec.shape[0], widths[spec.name])) if spec.name in widths and spec.shape[1] == ANY else spec
            for spec in inputs
        )

    def features(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """(n,) values by feature."""
        tables = {
            name: floats(inputs[name]) if name in self.in_bits else inputs[name] for name in {source.input for source in self.sources}
        }
        return {
            source.feature: tables[source.input].reshape(-1) if source.column is None else tables[source.input][:, source.column]
            for source in self.sources
        }

    def scores(self, output: Tensor) -> Tensor:
        """(n, `Schema.score_count`) from the score output, of the type the model gave them in."""
        assert self.score is not None
        return output[:, list(self.score.columns)] if self.score.columns else output.reshape(-1, 1)

    def predicted(self, scores: Tensor) -> Tensor:
        """(n,) indices of classes: by the threshold on the score, or the greatest score."""
        schema = self.schema
        if schema.task is Task.BINARY:
            # As float64, like everyone who reads the score back from the log.
            reached = scores[:, 0].astype(np.float64) >= schema.threshold
            return np.where(reached, schema.positive, 1 - schema.positive)
        decided: Tensor = scores.argmax(axis=1)
        return decided

    def labels(self, output: Tensor) -> list[str]:
        """(n,) class names from the model's own label output."""
        return [self._class_named(value) for value in output.reshape(-1).tolist()]

    def check_features(self, extras: Mapping[str, Sequence[object]]) -> None:
        """Raises `BadRequest` for a value of `parameters.features` that no monitored feature can take."""
        for name, values in extras.items():
            if name not in self.absent:
                known = ", ".join(self.absent) or "none is missing"
                raise BadRequest(f'"parameters.features": "{name[:80]}" is not a monitored feature that the inputs leave out ({known})')
            numeric = self.schema.features[name] is FeatureKind.NUMERIC
            kinds, expected = ((int, float), "a number") if numeric else ((str,), "a string")
            for row, value in enumerate(values):
                if value is not None and type(value) not in kinds:
                    raise BadRequest(f'"parameters.features.{name}"[{row}] must be {expected} or null, not {json_type(value)}')

    def _class_named(self, value: object) -> str:
        """An integer matches the class of that text, else the class at that index; anything else is the log reader's to refuse."""
        return class_named(value, self.schema.classes, self.numbered or self.schema.classes)


def link(
    schema: Schema,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    warm: Sequence[Tensor],
    config: EntryConfig,
    meanings: Mapping[str, OutputMeaning] = MappingProxyType({}),
) -> Monitored:
    """Raises `ModelError` where the model, its `config.yaml` and the configuration disagree, or leave open what is what."""
    sources = _sources(schema, inputs, config)
    sources += _dimensions(schema, inputs, sources)
    label = _label(outputs, meanings)
    score, refused = find_score(schema, outputs, warm, config, meanings, label)
    if score is None and label is None:
        shapes = ", ".join(f"{spec.name} {spec.datatype} {list(spec.shape)}" for spec in outputs)
        reasons = "".join(f"; {reason}" for reason in refused)
        raise ModelError(
            f"model {schema.name}: no output is a score (probabilities, one column a class of {len(schema.classes)}, or one value a row) "
            f"or a label (INT64 or BYTES, one value a row) among {shapes}{reasons}: export one, or take the model out of `models`"
        )
    in_bits = frozenset(spec.name for spec in inputs if spec.datatype == "BF16")
    return Monitored(schema, sources, score, label, config.classes, refused, in_bits)


def _sources(schema: Schema, inputs: Sequence[TensorSpec], config: EntryConfig) -> tuple[FeatureSource, ...]:
    if not schema.features:
        # Neither the configuration nor a reference names any: decisions are monitored, inputs are not.
        return ()
    if config.inputs:
        return _configured_sources(schema, inputs, config)
    named = [FeatureSource(spec.name, spec.name, None) for spec in inputs if spec.name in schema.features and _one_value_a_row(spec)]
    if named:
        return tuple(named)
    tables = [spec for spec in inputs if len(spec.shape) == 2]
    if len(inputs) == 1 and len(tables) == 1 and tables[0].shape[1] in (ANY, len(schema.features)):
        return tuple(FeatureSource(feature, tables[0].name, column) for column, feature in enumerate(schema.features))
    shapes = ", ".join(f"{spec.name} {list(spec.shape)}" for spec in inputs)
    raise ModelError(
        f"model {schema.name}: none of its inputs ({shapes}) is named like one of the {len(schema.features)} configured features, and "
        f"there is no single input with {len(schema.features)} columns: put a config.yaml beside the model with "
        f"`inputs: {{{inputs[0].name}: [feature, …]}}`"
    )


def _dimensions(schema: Schema, inputs: Sequence[TensorSpec], sources: Sequence[FeatureSource]) -> tuple[FeatureSource, ...]:
    """Inputs that are no monitored feature, but a segment dimension: the log's reader takes that from the feature of its name."""
    taken = {source.input for source in sources}
    wanted = set(schema.dimensions) - set(schema.features)
    return tuple(
        FeatureSource(spec.name, spec.name, None)
        for spec in inputs
        if spec.name in wanted and spec.name not in taken and _one_value_a_row(spec)
    )


def _configured_sources(schema: Schema, inputs: Sequence[TensorSpec], config: EntryConfig) -> tuple[FeatureSource, ...]:
    specs = {spec.name: spec for spec in inputs}
    sources = []
    for name, columns in config.inputs.items():
        spec = specs.get(name)
        if spec is None:
            raise ModelError(f"{config.path}: inputs.{name}: the model has no such input; it takes {', '.join(specs)}")
        width = 1 if _one_value_a_row(spec) else spec.shape[1] if len(spec.shape) == 2 else 0
        if width not in (ANY, len(columns)):
            raise ModelError(f"{config.path}: inputs.{name}: {len(columns)} names for an input of the shape {list(spec.shape)}")
        for column, feature in enumerate(columns):
            if feature is None:
                continue
            if feature not in schema.features:
                raise ModelError(
                    f"{config.path}: inputs.{name}[{column}]: {feature!r} is no feature of the model {schema.name} in the configuration"
                )
            sources.append(FeatureSource(feature, name, None if _one_value_a_row(spec) else column))
    repeated = {source.feature for source in sources if [other.feature for other in sources].count(source.feature) > 1}
    if repeated:
        raise ModelError(f"{config.path}: inputs: {', '.join(sorted(repeated))} is given to more than one column")
    return tuple(sources)


def _one_value_a_row(spec: TensorSpec) -> bool:
    return len(spec.shape) == 1 or (len(spec.shape) == 2 and spec.shape[1] == 1)


def _label(outputs: Sequence[TensorSpec], meanings: Mapping[str, OutputMeaning]) -> int | None:
    candidates = [index for index, spec in enumerate(outputs) if spec.datatype in ("INT64", "INT32", "BYTES") and _one_value_a_row(spec)]
    return min(candidates, key=lambda index: not meanings.get(outputs[index].name, NOTHING_SAID).is_label, default=None)
