"""The models that this process serves, found by their paths. `loading` makes them; a gateway, which has none, needs no runtime."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from monitor.serving.protocol import Codec
from monitor.serving.repository import newest
from monitor.serving.tap import Tapped

if TYPE_CHECKING:
    from monitor.serving.model import Model


@dataclass(frozen=True, slots=True)
class Served:
    """One model version: how to read its requests, run it, and log what came of it (`tapped` is None where nothing is logged)."""

    model: "Model"
    codec: Codec
    tapped: Tapped | None


@dataclass(frozen=True, slots=True)
class ServedModels:
    """Every model by name and version. The path without a version is the newest one's."""

    versions: Mapping[str, Mapping[str, Served]]

    def newest(self, model: str) -> Served:
        return self.versions[model][newest(self.versions[model])]

    def paths(self) -> Iterator[tuple[str, Served]]:
        """Each served model version under each of its paths below `/v2/models/`."""
        for name, versions in self.versions.items():
            yield name, self.newest(name)
            for version, served in versions.items():
                yield f"{name}/versions/{version}", served


NO_MODELS = ServedModels({})
"""What an ingest gateway serves."""
