"""A reference profile on disk: JSON that a person can read, written whole or not at all, and refused unless it is as it was written.

Numbers survive the round trip exactly.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from monitor.errors import ReferenceFileError
from monitor.events import FeatureKind, Int64s, Schema, Task
from monitor.reference.document import FORMAT, VERSION, FeatureCounts, Outcomes, ProfileFile, Scores, Segment, counts_of, profile_of
from monitor.reference.profile import Reference, layout_of
from monitor.stats.features import CategoricalLayout, FeatureLayout, NumericLayout
from monitor.stats.layout import Classes, InputsLayout
from monitor.whole_files import write_whole

BYTES_LIMIT: Final = 64 * 1024 * 1024
_AGAIN: Final = "build it again with `model-monitor reference build`"
_COMPLAINTS_SHOWN: Final = 3
_A_LINE_EACH: Final = ("features", "dimensions", "segments")
"""Keys of the file whose entries stand on a line of their own."""


def save_reference(reference: Reference, path: Path) -> None:
    """Replaces the file, or leaves it as it was. Missing folders are made. Raises `ReferenceFileError`."""
    text = _text(_document_of(reference))
    if len(text) > BYTES_LIMIT:
        raise ReferenceFileError(
            f"{path}: the profile would take {len(text):,} bytes, more than the {BYTES_LIMIT:,} allowed; name fewer features or segments"
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # The name is this process's own: two that build the same profile at once must not write into one file.
        write_whole(path, path.with_name(f".{path.name}.{os.getpid()}.partial"), (text,))
    except OSError as error:
        raise ReferenceFileError(f"{path}: the profile cannot be written there: {error.strerror}; choose another place with -o") from error


def load_reference(path: Path, schema: Schema, delay_edges: Int64s) -> Reference:
    """The profile in a file, for a model configured like that, whose cohort panes have these delay bins.

    Its features are those of the schema, in the schema's order, or its own where the schema names none. A feature that the file lacks
    has one bin, no range and no counts: there is nothing to compare it with. Raises `ReferenceFileError`, which says what to do.
    """
    profile = _read(path)
    _check_model(path, profile, schema)
    features = _features(path, profile, schema)
    classes = Classes.of(schema)
    if profile.score_edges != tuple(classes.grid.edges.tolist()):
        raise ReferenceFileError(f"{path}: score_edges: written by a release with another score grid; {_AGAIN}")
    layout = layout_of(classes, features, delay_edges)
    try:
        counts = {name: described.counts for name, described in profile.features.items()}
        segments = {text: _inputs(layout.inputs, own.rows, own.features, own.scores) for text, own in profile.segments.items()}
        return Reference(
            model=profile.model,
            version=profile.model_version,
            created_from=profile.created_from,
            rows=profile.rows,
            edge_rows=profile.edge_rows,
            classes=classes,
            features=features,
            delay_edges=delay_edges,
            inputs=_inputs(layout.inputs, profile.rows - profile.edge_rows, counts, profile.scores),
            cohort=profile.outcomes.vector(layout.cohort),
            labels=np.array([profile.labels[name] for name in classes.names], dtype=np.int64),
            dimensions=profile.dimensions,
            segments=segments,
        )
    except ValueError as error:
        raise ReferenceFileError(f"{path}: {error}; {_AGAIN}") from error


class _Heading(BaseModel):
    """What any file of ours, of whatever version, begins with."""

    model_config = ConfigDict(strict=True)

    format: str
    version: int


def _read(path: Path) -> ProfileFile:
    try:
        with path.open("rb") as file:
            content = file.read(BYTES_LIMIT + 1)
    except OSError as error:
        raise ReferenceFileError(f"{path}: the reference profile cannot be read: {error.strerror}; {_AGAIN}") from error
    if len(content) > BYTES_LIMIT:
        raise ReferenceFileError(f"{path}: more than the {BYTES_LIMIT:,} bytes allowed: is this a reference profile?")
    try:
        heading = _Heading.model_validate_json(content)
    except ValidationError as error:
        if error.errors()[0]["type"] == "json_invalid":
            raise ReferenceFileError(f"{path}: not JSON, or cut short: {error.errors()[0]['ctx']['error']}; {_AGAIN}") from error
        expected = f'expected an object with "format": "{FORMAT}" and "version": {VERSION}'
        raise ReferenceFileError(f"{path}: not a reference profile: {expected}") from error
    if heading.format != FORMAT:
        raise ReferenceFileError(f'{path}: not a reference profile: expected "format": "{FORMAT}", not "{heading.format[:80]}"')
    if heading.version != VERSION:
        raise ReferenceFileError(f"{path}: version: written by another release: expected {VERSION}, not {heading.version}; {_AGAIN}")
    try:
        profile = ProfileFile.model_validate_json(content)
    except ValidationError as error:
        raise ReferenceFileError(_complaints(path, error)) from error
    if profile.digest != profile.own_digest():
        raise ReferenceFileError(f"{path}: digest: the file is not as it was written, so its counts cannot be trusted; {_AGAIN}")
    return profile


def _complaints(path: Path, error: ValidationError) -> str:
    details = error.errors(include_url=False)
    lines = []
    for detail in details[:_COMPLAINTS_SHOWN]:
        where = ".".join(str(part) for part in detail["loc"])
        lines.append(f"{path}: {where + ': ' if where else ''}{detail['msg'].removeprefix('Value error, ')}")
    if len(details) > _COMPLAINTS_SHOWN:
        lines.append(f"{path}: and {len(details) - _COMPLAINTS_SHOWN} more")
    return "\n".join([*lines, _AGAIN])


def _check_model(path: Path, profile: ProfileFile, schema: Schema) -> None:
    if profile.model != schema.name:
        raise ReferenceFileError(
            f'{path}: the reference of model "{profile.model}", not of "{schema.name}": correct `reference` of model {schema.name} '
            f"in the configuration, or {_AGAIN} --model {schema.name}"
        )
    positive = schema.classes[schema.positive] if schema.positive >= 0 else None
    parts = (
        ("task", profile.task.value, schema.task.value),
        ("classes", ", ".join(profile.classes), ", ".join(schema.classes)),
        ("positive_class", profile.positive_class, positive),
        ("threshold", *((profile.threshold, schema.threshold) if schema.task is Task.BINARY else (None, None))),
    )
    for key, built, configured in parts:
        if built != configured:
            raise ReferenceFileError(
                f"{path}: {key}: built for {built}, but model {schema.name} is configured with {configured}: its scores and classes "
                f"were counted in other cells; {_AGAIN}"
            )


def _features(path: Path, profile: ProfileFile, schema: Schema) -> dict[str, FeatureLayout]:
    """Layouts in the order of the schema, or of the file where the schema names no feature."""
    features: dict[str, FeatureLayout] = {}
    for name, kind in (schema.features or {name: FeatureKind(described.kind) for name, described in profile.features.items()}).items():
        described = profile.features.get(name)
        if described is None:
            features[name] = unknown_layout(kind)
        elif described.kind != kind:
            raise ReferenceFileError(
                f"{path}: features.{name}: built as {described.kind}, but model {schema.name} is configured with {kind}; "
                f"correct the configuration, or {_AGAIN}"
            )
        else:
            features[name] = described.layout()
    return features


def unknown_layout(kind: FeatureKind) -> FeatureLayout:
    """The layout of a feature that no reference knows."""
    return NumericLayout(np.empty(0, dtype=np.float64)) if kind is FeatureKind.NUMERIC else CategoricalLayout(())


def _inputs(layout: InputsLayout, rows: int, features: Mapping[str, FeatureCounts], scores: Scores) -> Int64s:
    inputs = np.zeros(layout.size, dtype=np.int64)
    inputs[0] = rows
    for name in layout.features:
        if name in features:
            counts = features[name].vector()
            part = inputs[layout.feature_slice(name)]
            if len(counts) != len(part):
                raise ValueError(f"features.{name}: expected {len(part)} cells, not {len(counts)}")
            part[:] = counts
    scores.fill(layout, inputs, "scores")
    return inputs


def _document_of(reference: Reference) -> dict[str, object]:
    classes, layout = reference.classes, reference.layout()

    def part(vector: Int64s, name: str) -> Int64s:
        return vector[layout.inputs.feature_slice(name)]

    segments = {
        text: Segment(
            rows=int(vector[0]),
            features={name: counts_of(own, part(vector, name)) for name, own in reference.features.items()},
            scores=Scores.of(layout.inputs, vector),
        )
        for text, vector in reference.segments.items()
    }
    unsigned = ProfileFile(
        model=reference.model,
        model_version=reference.version,
        created_from=reference.created_from,
        rows=reference.rows,
        edge_rows=reference.edge_rows,
        task=classes.task,
        classes=classes.names,
        positive_class=classes.names[classes.positive] if classes.positive >= 0 else None,
        threshold=classes.threshold,
        score_edges=tuple(classes.grid.edges.tolist()),
        features={name: profile_of(own, part(reference.inputs, name)) for name, own in reference.features.items()},
        scores=Scores.of(layout.inputs, reference.inputs),
        labels=dict(zip(classes.names, reference.labels.tolist(), strict=True)),
        outcomes=Outcomes.of(layout.cohort, reference.cohort),
        dimensions=reference.dimensions,
        segments=segments,
        digest="",
    )
    return unsigned.model_copy(update={"digest": unsigned.own_digest()}).model_dump(mode="json")


def _text(document: Mapping[str, object]) -> bytes:
    """JSON with a line a key, and a line an entry of those whose entries are many."""
    lines = []
    for key, value in document.items():
        if key in _A_LINE_EACH and isinstance(value, Mapping) and value:
            entries = ",\n".join(f"    {json.dumps(name, ensure_ascii=False)}: {_compact(entry)}" for name, entry in value.items())
            lines.append(f'  "{key}": {{\n{entries}\n  }}')
        else:
            lines.append(f'  "{key}": {_compact(value)}')
    return ("{\n" + ",\n".join(lines) + "\n}\n").encode()


def _compact(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
