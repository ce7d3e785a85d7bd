"""The models that this process serves: found by name, loaded and replaced while requests go on.

Sessions are made in a thread; what is served changes by one assignment in the event loop's thread, between two requests. A request holds
the version that it began with, and the last one that does releases its session. Each worker process has a registry of its own.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import structlog

from monitor.errors import ModelError
from monitor.serving.refusals import BadRequest, NotFound, NotReady
from monitor.serving.repository import Entry, Found, scan
from monitor.serving.served import NOTHING, Loaded, Served, ServedModel, catalogue
from monitor.serving.standing import IndexEntry, Standing, State
from monitor.serving.versions import VersionPolicy

if TYPE_CHECKING:
    from monitor.serving.loading import Loader

_logger = structlog.get_logger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Source:
    """Where models come from. `threads` load them, one after the other or as many at a time as it has."""

    root: Path
    loader: "Loader"
    threads: Executor
    versions: VersionPolicy = "all"


class Registry:
    """For the event loop's thread, and before there is one for `start`. Without a `source` it serves nothing: a gateway's."""

    def __init__(self, source: Source | None = None) -> None:
        self._source = source
        self._standings: dict[str, Standing] = {}
        self._models: dict[str, ServedModel] = {}
        self._catalogue = NOTHING
        self._seen: Mapping[str, Found] = {}
        self._unreadable = ""
        self._changing = asyncio.Lock()

    @property
    def infer_paths(self) -> Mapping[str, Served]:
        """By the exact path of a request, with and without a version. Another mapping after each change."""
        return self._catalogue.infer_paths

    def start(self, *, all_must_load: bool) -> None:
        """Loads everything, here and now. Raises `ModelError` with every reason where nothing, or where all must, not all could be."""
        if self._source is None:
            return
        self._seen = scan(self._source.root)
        for found in self._seen.values():
            standing = self._standing(found)
            while (entry := standing.next_to_load(found.versions)) is not None:
                self._keep(standing, entry, self._try(entry))
            self._settle(standing)
        problems = [problem for standing in self._standings.values() for problem in standing.problems]
        if problems and (all_must_load or not self._catalogue.models):
            raise ModelError("\n".join(problems))
        if not self._catalogue.models:
            raise ModelError(f"serving.repository: {self._source.root} has no model in it; expected <model>/<version>/model.onnx")

    async def look(self) -> None:
        """Serves what has changed on disk since the last look and is the same in two looks, so that nothing is taken half-written."""
        if self._source is None:
            return
        async with self._changing:
            try:
                now, before = await self._in_thread(scan, self._source.root), self._seen
                self._unreadable = ""
            except ModelError as error:
                # Nobody removes a repository to unload its models: it is being replaced, or its disk is away.
                if str(error) != self._unreadable:
                    _logger.warning("the model repository cannot be read; what is loaded is served on", reason=str(error))
                    self._unreadable = str(error)
                return
            self._seen = now
            for name in self._standings.keys() - now.keys() - before.keys():
                self._drop(name)
            for name, found in now.items():
                old = before.get(name, Found(name))
                if found.stamp == old.stamp:
                    await self._update(found, found.folders | old.folders, _unchanged(old, found))

    async def load(self, model: str) -> None:
        """Reads a model's folder again, all of it. Raises `NotFound`, or `BadRequest` with what failed and was kept as it was."""
        # Whoever asked may go away; what was begun is finished.
        await asyncio.shield(self._load(model))

    async def unload(self, model: str) -> None:
        """Answers no more requests for it from now on; those that run are finished. Raises `NotFound`."""
        async with self._changing:
            if model not in self._standings:
                raise NotFound(self._unknown(model))
            self._standings[model].unload()
            self._settle(self._standings[model])
            _logger.info("unloaded", model=model, reason="asked to")

    def find(self, model: str, version: str = "") -> Served:
        """Raises `NotFound` for what is not in the repository, `NotReady` for what is, and is not loaded."""
        served = self._served(model, version)
        if served is None:
            raise self._not_served(model, version)
        return served

    def is_ready(self, model: str, version: str = "") -> bool:
        """Whether `find` finds it."""
        return self._served(model, version) is not None

    def names(self) -> list[str]:
        """Of models that are served."""
        return list(self._catalogue.models)

    def versions(self, model: str) -> list[str]:
        """That are served of it, oldest first; none of a model that is not."""
        served = self._models.get(model)
        return [] if served is None else list(served.versions)

    def index(self, *, ready_only: bool = False) -> list[IndexEntry]:
        """Everything in the repository, by name and version."""
        entries = (entry for name in sorted(self._standings) for entry in self._standings[name].index())
        return [entry for entry in entries if entry.state is State.READY or not ready_only]

    def _served(self, model: str, version: str) -> Served | None:
        served = self._models.get(model)
        if served is None:
            return None
        return served.versions.get(version) if version else served.newest

    async def _load(self, model: str) -> None:
        async with self._changing:
            # By what was found, so that no name that a client sent is ever part of a path.
            found = None if self._source is None else (await self._in_thread(scan, self._source.root)).get(model)
            if found is None:
                self._drop(model)
                raise NotFound(self._unknown(model))
            standing = self._standing(found)
            standing.forget_attempts()
            await self._update(found, found.folders, found.versions)
            if standing.problems:
                raise BadRequest("\n".join(standing.problems))

    async def _update(self, found: Found, folders: Collection[str], may_load: Collection[str]) -> None:
        standing = self._standing(found, folders)
        while (entry := standing.next_to_load(may_load)) is not None:
            self._keep(standing, entry, await self._in_thread(self._try, entry))
        self._settle(standing)

    def _standing(self, found: Found, folders: Collection[str] | None = None) -> Standing:
        assert self._source is not None
        standing = self._standings.setdefault(found.model, Standing(found.model, self._source.versions))
        standing.see(found, found.folders if folders is None else folders)
        return standing

    def _try(self, entry: Entry) -> Loaded | ModelError:
        """In a thread. Whatever a file does to a library, the others are served."""
        assert self._source is not None
        try:
            return self._source.loader.load(entry)
        except ModelError as error:
            return error
        except Exception as error:
            _logger.exception("a model file made its loading fail in a way that nobody foresaw", file=str(entry.path))
            return ModelError(f"{entry.path}: {type(error).__name__}: {error}")

    def _keep(self, standing: Standing, entry: Entry, outcome: Loaded | ModelError) -> None:
        assert self._source is not None
        standing.keep(entry, self._source.loader.serve(outcome) if isinstance(outcome, Loaded) else outcome)

    def _settle(self, standing: Standing) -> None:
        self._models[standing.name] = standing.settle()
        self._publish()

    def _drop(self, model: str) -> None:
        if self._standings.pop(model, None) is not None:
            del self._models[model]
            self._publish()
            _logger.info("unloaded", model=model, reason="its folder is gone from the repository")

    def _publish(self) -> None:
        self._catalogue = catalogue({name: served for name, served in sorted(self._models.items()) if served.versions})

    async def _in_thread(self, call: Callable[..., T], *arguments: object) -> T:
        assert self._source is not None
        return await asyncio.get_running_loop().run_in_executor(self._source.threads, call, *arguments)

    def _not_served(self, model: str, version: str) -> NotFound | NotReady:
        standing = self._standings.get(model)
        if standing is None:
            return NotFound(self._unknown(model))
        entries = [entry for entry in standing.index() if version in ("", entry.version)]
        if not entries:
            known = ", ".join(entry.version for entry in standing.index() if entry.version) or "none"
            return NotFound(f'model "{model}" has no version "{version[:80]}"; it has {known}')
        reasons = "; ".join(dict.fromkeys(entry.reason or entry.state.lower() for entry in entries))
        return NotReady(f'model "{model}"{f" version {version}" if version else ""} is not ready: {reasons}')

    def _unknown(self, model: str) -> str:
        return f'unknown model "{model[:80]}"; this server has {", ".join(self.names()) or "none"}'


def _unchanged(before: Found, now: Found) -> set[str]:
    """Versions whose files are what they were."""
    return {name for name, entry in now.versions.items() if name in before.versions and before.versions[name].stamp == entry.stamp}
