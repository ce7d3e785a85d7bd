"""The model repository on disk: `<model>/<version>/model.onnx`, with an optional `config.yaml` beside the version or the model.

Finds what is there, tells what changed, and loads nothing. What cannot be meant is found too, with the reason. Names that begin with a dot
are nobody's models. Symbolic links are followed within the repository only: volumes of Kubernetes and git-sync are made of them.
"""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from monitor.errors import ModelError
from monitor.serving import entry_config
from monitor.serving.entry_config import NO_CONFIG, EntryConfig
from monitor.serving.versions import in_order

MODEL_FILE: Final = "model.onnx"
CONFIG_FILE: Final = "config.yaml"

_NAME: Final = re.compile(r"(?!\.)[A-Za-z0-9._-]{1,128}")
_DEEPEST: Final = 8
"""Folders in folders of a version; links in a circle end there."""

Stamp = tuple[tuple[str, int, int, int], ...]
"""What a change shows in: each file's path, size, time of change in ns, and inode (a copy that keeps the time has another)."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One model version on disk. `stamp` covers every file in its folder, external data too, and the `config.yaml` that counts for it.

    `path` is the model file with no link in it. `problem` says why this version cannot be loaded; "" where nothing is known against it.
    """

    model: str
    version: str
    path: Path
    stamp: Stamp
    config: EntryConfig = NO_CONFIG
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """A model's folder. `versions` are in their order, `folders` also those without a model file in them.

    `config` is that of the model itself, of which `stamp` tells a change. `problem` says why none of it can be loaded.
    """

    model: str
    versions: Mapping[str, Entry] = field(default_factory=dict)
    folders: frozenset[str] = frozenset()
    config: EntryConfig = NO_CONFIG
    stamp: Stamp = ()
    problem: str = ""


def scan(root: Path) -> dict[str, Found]:
    """Every model by name, in order. Raises `ModelError` where the repository itself cannot be read."""
    try:
        real = root.resolve(strict=True)
        folders = sorted(_folders(real))
    except OSError as error:
        expected = f"expected a folder with <model>/<version>/{MODEL_FILE} in it"
        raise ModelError(f"serving.repository: {root} cannot be read: {error.strerror}; {expected}") from None
    return {name: _model(real, real / name) for name in folders}


def _model(root: Path, folder: Path) -> Found:
    name = folder.name
    if problem := _wrong_name(folder, "model") or _outside(folder, root):
        return Found(name, problem=problem)
    config_path = folder / CONFIG_FILE
    try:
        stamp = _stamp_of(config_path)
        config = _config(config_path, root)
        folders = frozenset(_folders(folder))
        versions = {version: _version(root, folder / version, config, stamp) for version in in_order(folders) if _is_one(folder / version)}
    except ModelError as error:
        return Found(name, problem=str(error))
    except OSError as error:
        # It may be on its way out or in; where it stays, the next look finds it.
        return Found(name, problem=f"{error.filename}: cannot be read: {error.strerror}")
    problem = "" if versions else f"{folder}: no version in it; expected {folder / '1' / MODEL_FILE}, or remove the folder"
    return Found(name, versions, folders, config, stamp, problem)


def _version(root: Path, folder: Path, config: EntryConfig, config_stamp: Stamp) -> Entry:
    model, version, path = folder.parent.name, folder.name, folder / MODEL_FILE
    if problem := _wrong_name(folder, "version") or _outside(path, root):
        return Entry(model, version, path, (), problem=problem)
    stamp = tuple(_stamps(folder, root))
    try:
        own = _config(folder / CONFIG_FILE, root)
    except ModelError as error:
        return Entry(model, version, path.resolve(), stamp, problem=str(error))
    if own is NO_CONFIG:
        return Entry(model, version, path.resolve(), (*config_stamp, *stamp), config)
    # It counts as a whole, so that nobody has to know two files to understand one; but the versions are chosen among by one file.
    elsewhere = f"{own.path}: versions: which of them are served stands in {folder.parent / CONFIG_FILE}: move it there"
    return Entry(model, version, path.resolve(), stamp, own, "" if own.versions is None else elsewhere)


def _folders(folder: Path) -> Iterator[str]:
    with os.scandir(folder) as entries:
        yield from (entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir())


def _is_one(version: Path) -> bool:
    """Whether it is a version at all. A link counts where it leads nowhere too, so that the reason is told."""
    path = version / MODEL_FILE
    return path.exists() or path.is_symlink()


def _wrong_name(path: Path, role: str) -> str:
    if _NAME.fullmatch(path.name):
        return ""
    return f"{path}: a {role} is named with letters, digits, '.', '_' and '-' (at most 128, not starting with '.'): rename the folder"


def _outside(path: Path, root: Path) -> str:
    try:
        place = path.resolve(strict=True)
    except (OSError, RuntimeError):  # 3.11 raises RuntimeError for links in a circle
        return f"{path}: a link that leads nowhere: point it at what it was to stand for"
    return "" if place.is_relative_to(root) else f"{path}: a link that leads to {place}, outside the repository {root}: copy it into it"


def _config(path: Path, root: Path) -> EntryConfig:
    if not path.is_symlink() and not path.exists():
        return NO_CONFIG
    if problem := _outside(path, root):
        raise ModelError(problem)
    return entry_config.read(path)


def _stamps(folder: Path, root: Path, within: str = "", depth: int = 0) -> Iterator[tuple[str, int, int, int]]:
    """Every file below a version's folder. Where a link leads out of the repository, that link."""
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.name.startswith("."):
                continue
            name = f"{within}{entry.name}"
            is_inside = not entry.is_symlink() or Path(entry.path).resolve().is_relative_to(root)
            if is_inside and entry.is_dir() and depth < _DEEPEST:
                yield from _stamps(Path(entry.path), root, f"{name}/", depth + 1)
            else:
                yield _stamp(name, Path(entry.path), follow=is_inside and Path(entry.path).exists())


def _stamp_of(path: Path) -> Stamp:
    return (_stamp(path.name, path, follow=True),) if path.exists() else ()


def _stamp(name: str, path: Path, *, follow: bool) -> tuple[str, int, int, int]:
    status = path.stat(follow_symlinks=follow)
    return name, status.st_size, status.st_mtime_ns, status.st_ino
