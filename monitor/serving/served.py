"""What answers for one loaded model version, and all of them as they are found: by name and version, or by the path of a request."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from monitor.serving.protocol import Codec
from monitor.serving.tap import Tapped
from monitor.serving.versions import newest

if TYPE_CHECKING:
    from monitor.serving.batching import Batcher, Batching
    from monitor.serving.model import Model


@dataclass(frozen=True, slots=True, eq=False)
class Loaded:
    """A model version that has been read and run: how to read its requests, and how to log what came of them.

    `tapped` is None where nothing is logged.
    """

    model: "Model"
    codec: Codec
    tapped: Tapped | None
    batching: "Batching"


@dataclass(frozen=True, slots=True, eq=False)
class Served:
    """A loaded model version with its queue, as requests hold it: what is replaced meanwhile stays whole for them.

    `shadows` run on the same requests, and are logged with the same ids; nothing of them is answered, and their failures are their own.
    """

    model: "Model"
    codec: Codec
    tapped: Tapped | None
    batcher: "Batcher"
    shadows: tuple["Served", ...] = ()


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model's versions, oldest first. A path without a version means `newest`, the last that is no shadow; None: there is none."""

    versions: Mapping[str, Served]
    newest: Served | None


def served_model(versions: Mapping[str, Served], shadows: Collection[str]) -> ServedModel:
    """`versions` in their order, of which `shadows` are meant by nobody who names none."""
    answering = [version for version in versions if version not in shadows]
    return ServedModel(versions, versions[newest(answering)] if answering else None)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Every model that is served, at one moment. Replaced as a whole."""

    models: Mapping[str, ServedModel] = field(default_factory=dict)
    infer_paths: Mapping[str, Served] = field(default_factory=dict)


NOTHING: Final = Catalogue()


def catalogue(models: Mapping[str, ServedModel]) -> Catalogue:
    paths = {}
    for name, model in models.items():
        if model.newest is not None:
            paths[f"/v2/models/{name}/infer"] = model.newest
        for version, served in model.versions.items():
            paths[f"/v2/models/{name}/versions/{version}/infer"] = served
    return Catalogue(models, paths)
