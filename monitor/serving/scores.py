"""Which output of a model holds probabilities of the configured classes, and which of its columns is which class.

What the graph says counts first, then the repository's `config.yaml`, then names and what one row of zeros gave. Numbers that are certainly
no probabilities are never taken for them: every ratio, and every calibration, would be wrong without a sign.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from monitor.errors import ModelError
from monitor.events import Schema, Task
from monitor.serving.entry_config import EntryConfig
from monitor.serving.output_meaning import NOTHING_SAID, Labels, OutputMeaning, Scale
from monitor.serving.tensors import Tensor, TensorSpec

ROUNDING: Final = 1e-5
"""How far rounding may take a probability out of [0, 1]."""


@dataclass(frozen=True, slots=True)
class ScoreSource:
    """The output that holds probabilities. `columns` are, for a binary model, the positive class's, else one for each class in
    configured order; empty where the output is P(positive) itself. `order` names all of the output's columns."""

    output: int
    columns: tuple[int, ...]
    order: tuple[str, ...] = ()


def class_named(value: object, classes: Sequence[str], numbered: Sequence[str]) -> str:
    """An integer means the class of that text, else the one of `numbered` at that index; other values are their own text."""
    text = str(value)
    if text not in classes and isinstance(value, int) and 0 <= value < len(numbered):
        return numbered[value]
    return text


def find_score(
    schema: Schema,
    outputs: Sequence[TensorSpec],
    warm: Sequence[Tensor],
    config: EntryConfig,
    meanings: Mapping[str, OutputMeaning],
    label: int | None,
) -> tuple[ScoreSource | None, tuple[str, ...]]:
    """The score, and why outputs that look like one are none. Raises `ModelError` where it says other classes than the configuration."""
    if config.classes and set(config.classes) != set(schema.classes):
        raise ModelError(f"{config.path}: classes: {list(config.classes)} are not the classes of the configuration, {list(schema.classes)}")
    # What the warm-up run gave tells widths that the graph leaves open.
    shapes = [output.shape for output in warm] or [spec.shape for spec in outputs]
    candidates, refused = [], []
    for index, (spec, shape) in enumerate(zip(outputs, shapes, strict=True)):
        meaning = meanings.get(spec.name, NOTHING_SAID)
        if not spec.datatype.startswith("FP") or not _has_width(shape, schema):
            continue
        if reason := _no_probability(meaning, warm[index] if warm else None):
            refused.append(f"output {spec.name} is no score: {reason}")
            continue
        source = _source(schema, index, spec, shape, config, meaning)
        if source is not None:
            candidates.append(source)
    if not candidates:
        return None, tuple(refused)

    # Converters call it probabilities, probability, output_probability; a raw margin beside it has another name.
    def likeliness(source: ScoreSource) -> tuple[bool, bool, bool]:
        spec = outputs[source.output]
        said = meanings.get(spec.name, NOTHING_SAID).scale is Scale.PROBABILITY
        return not said, "prob" not in spec.name.lower(), not source.columns

    score = min(candidates, key=likeliness)
    is_told = config.classes or meanings.get(outputs[score.output].name, NOTHING_SAID).classes
    if not is_told and label is not None and warm:
        _check_order(schema, score, outputs, warm, label)
    return score, tuple(refused)


def _has_width(shape: Sequence[int], schema: Schema) -> bool:
    is_table = len(shape) == 2 and shape[1] == len(schema.classes)
    return is_table or (schema.task is Task.BINARY and _is_one_a_row(shape))


def _is_one_a_row(shape: Sequence[int]) -> bool:
    return len(shape) == 1 or (len(shape) == 2 and shape[1] == 1)


def _no_probability(meaning: OutputMeaning, warm: Tensor | None) -> str:
    """Why an output's values are certainly no probabilities; "" where they may be."""
    if meaning.scale is Scale.OTHER:
        return f"it comes from {meaning.operator}, which gives logits or margins, not probabilities (end the graph with Softmax or Sigmoid)"
    if meaning.scale is Scale.UNKNOWN and warm is not None:
        finite = warm[np.isfinite(warm)].astype(np.float64)
        outside = finite[(finite < -ROUNDING) | (finite > 1 + ROUNDING)]
        if len(outside):
            return f"it gives {outside[0]:.4g} for a row of zeros, which is no probability"
    return ""


def _source(
    schema: Schema, index: int, spec: TensorSpec, shape: Sequence[int], config: EntryConfig, meaning: OutputMeaning
) -> ScoreSource | None:
    order = _order(schema, spec, config, meaning)
    if meaning.column is not None:
        # One of several outputs that are a column each: only the positive class's is a score by itself.
        is_positive = schema.task is Task.BINARY and order[meaning.column : meaning.column + 1] == (schema.classes[schema.positive],)
        return ScoreSource(index, ()) if is_positive and _is_one_a_row(shape) else None
    if _is_one_a_row(shape):
        return ScoreSource(index, ())
    columns = tuple(order.index(name) for name in schema.classes)
    return ScoreSource(index, (columns[schema.positive],) if schema.task is Task.BINARY else columns, order)


def _order(schema: Schema, spec: TensorSpec, config: EntryConfig, meaning: OutputMeaning) -> tuple[str, ...]:
    """The classes of an output's columns, from left to right."""
    said = _named(meaning.classes, schema)
    if config.classes:
        # Numbers that the graph has may mean anything; names mean themselves.
        if sorted(said) == sorted(schema.classes) and said != config.classes and said == tuple(map(str, meaning.classes)):
            raise ModelError(
                f"{config.path}: classes: {list(config.classes)}, where the graph names the columns of {spec.name} {list(said)}: "
                "leave classes out, or put them in that order"
            )
        return config.classes
    if not said:
        return schema.classes
    if sorted(said) != sorted(schema.classes):
        raise ModelError(
            f"model {schema.name}: the columns of {spec.name} are the classes {list(meaning.classes)}, which are not those of the "
            f"configuration, {list(schema.classes)}: correct `classes` there, or name the columns as `classes: [...]` in a config.yaml "
            "beside the model"
        )
    return said


def _named(labels: Labels, schema: Schema) -> tuple[str, ...]:
    return tuple(class_named(label, schema.classes, schema.classes) for label in labels)


def _check_order(schema: Schema, score: ScoreSource, outputs: Sequence[TensorSpec], warm: Sequence[Tensor], label: int) -> None:
    """Refuses a model whose own label says that its score columns stand in another order: every ratio would be silently reversed."""
    if not score.columns or outputs[label].datatype != "BYTES":
        return
    probabilities = warm[score.output][0]
    named, top = warm[label].reshape(-1)[0], int(probabilities.argmax())
    tie = int((probabilities == probabilities[top]).sum()) > 1
    if not tie and named in schema.classes and schema.classes[top] != named:
        raise ModelError(
            f"model {schema.name}: its greatest probability stands in column {top} ({schema.classes[top]!r} in the configured order) where "
            f"its own label says {named!r}: give the order of the columns as `classes: [...]` in a config.yaml beside the model"
        )
