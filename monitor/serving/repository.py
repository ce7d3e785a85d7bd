"""The model repository on disk: `<model>/<version>/model.onnx`, with an optional `config.yaml` beside the version or the model.

Finds and checks what is there; loads nothing.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from monitor.errors import ModelError

MODEL_FILE = "model.onnx"
CONFIG_FILE = "config.yaml"

_NAME = re.compile(r"(?!\.)[A-Za-z0-9._-]{1,128}")


@dataclass(frozen=True, slots=True)
class EntryConfig:
    """What a `config.yaml` adds to the graph.

    `inputs` names the feature in each column of an input (None: not a feature); `classes` is the order of the score columns where it is
    not that of the main configuration.
    """

    path: Path | None = None
    inputs: Mapping[str, tuple[str | None, ...]] = field(default_factory=dict)
    classes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Entry:
    """One model version on disk."""

    model: str
    version: str
    path: Path
    config: EntryConfig


def scan(root: Path) -> list[Entry]:
    """Every version of every model, by name, oldest version first. Raises `ModelError` for what cannot be meant."""
    if not root.is_dir():
        raise ModelError(f"serving.repository: {root} is not a folder; expected <model>/<version>/{MODEL_FILE} in it")
    entries = []
    for folder in sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")):
        _check_name(folder, "model")
        versions = [path for path in folder.iterdir() if (path / MODEL_FILE).is_file()]
        if not versions:
            raise ModelError(f"{folder}: no version in it; expected {folder / '1' / MODEL_FILE}, or remove the folder")
        for version in versions:
            _check_name(version, "version")
        names = [version.name for version in versions]
        entries += [
            Entry(folder.name, name, folder / name / MODEL_FILE, _config(folder, name)) for name in sorted(names, key=version_order)
        ]
    return entries


def version_order(version: str) -> tuple[bool, int, str]:
    """Sorts versions: numbers by size, above every other name; others by code point. The last one is what a URL without a version means."""
    return (True, int(version), version) if version.isascii() and version.isdigit() else (False, 0, version)


def newest(versions: Iterable[str]) -> str:
    """What a URL without a version means."""
    return max(versions, key=version_order)


def _check_name(path: Path, role: str) -> None:
    if not _NAME.fullmatch(path.name):
        raise ModelError(
            f"{path}: a {role} is named with letters, digits, '.', '_' and '-' (at most 128, not starting with '.'): rename the folder"
        )


def _config(folder: Path, version: str) -> EntryConfig:
    """The version's own file wins over the model's, as a whole."""
    for path in (folder / version / CONFIG_FILE, folder / CONFIG_FILE):
        if path.is_file():
            return _parse(path)
    return EntryConfig()


def _parse(path: Path) -> EntryConfig:
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ModelError(f"{path}: not YAML: {error}") from None
    if document is None:
        return EntryConfig(path)
    if not isinstance(document, dict) or set(document) - {"inputs", "classes"}:
        raise ModelError(
            f'{path}: expected the keys "inputs" (columns by input: a list of feature names, null for a column that is none) and "classes"'
        )
    inputs = document.get("inputs", {})
    if not isinstance(inputs, dict):
        raise ModelError(f'{path}: "inputs" must map an input to the list of its columns\' features')
    columns = {str(name): _names(path, f"inputs.{name}", value, optional=True) for name, value in inputs.items()}
    return EntryConfig(path, columns, tuple(str(name) for name in _names(path, "classes", document.get("classes", []), optional=False)))


def _names(path: Path, key: str, value: object, *, optional: bool) -> tuple[str | None, ...]:
    # One feature may stand for a list of one.
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(name, str) or (optional and name is None) for name in names):
        raise ModelError(f'{path}: "{key}" must be a list of names')
    return tuple(names)
