"""How one model stands: which of its versions are to be loaded next, which are served, and why others are not.

Decides, and neither loads nor waits: it is told what was found on disk and what became of each attempt. A version that fails leaves the one
before it, or an older one, in its place. For one thread.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, NamedTuple

import structlog

from monitor.errors import ModelError
from monitor.serving.repository import CONFIG_FILE, MODEL_FILE, Entry, Found, Stamp
from monitor.serving.served import Served, ServedModel, served_model
from monitor.serving.tensors import ANY, TensorSpec
from monitor.serving.versions import Latest, VersionPolicy, chosen, in_order

_logger = structlog.get_logger(__name__)

_STILL_ANSWERS: Final = " (what was loaded before still answers)"


class State(StrEnum):
    """The protocol's words for it."""

    READY = "READY"
    LOADING = "LOADING"
    UNAVAILABLE = "UNAVAILABLE"


class IndexEntry(NamedTuple):
    """A line of the repository's index. `reason` says why a version is not ready, or why it is still the one that was loaded before."""

    name: str
    version: str
    state: State
    reason: str


@dataclass(slots=True)
class _Version:
    """`tried` is the stamp of what was last loaded, or failed to with `failure`; `served` is what answers, from then or before."""

    tried: Stamp | None = None
    served: Served | None = None
    shadows: tuple[str, ...] = ()
    is_loading: bool = False
    failure: str = ""
    reason: str = ""

    @property
    def state(self) -> State:
        if self.served is not None:
            return State.READY
        return State.LOADING if self.is_loading else State.UNAVAILABLE


class Standing:
    """One model. A look at the disk is `see`, then `next_to_load` and `keep` until nothing is left to load, then `settle`."""

    def __init__(self, name: str, policy: VersionPolicy) -> None:
        self.name = name
        self._default_policy = policy
        self._found = Found(name)
        self._versions: dict[str, _Version] = {}
        self._is_off = False
        self._warned: frozenset[str] = frozenset()

    def see(self, found: Found, folders: Collection[str]) -> None:
        """What is on disk now. `folders` are those of versions that count as there, even where they were found empty."""
        if found.problem:
            # What is served stays: a folder that cannot be read has not been removed.
            self._found = replace(self._found, problem=found.problem)
            return
        self._found = found
        for version in self._versions.keys() - folders:
            del self._versions[version]
        for version in found.versions:
            self._versions.setdefault(version, _Version())

    def next_to_load(self, may_load: Collection[str]) -> Entry | None:
        """The version to load now, newest first; None where all are that should be. Others than `may_load` are left as they are."""
        if self._found.problem or self._is_off:
            return None
        usable = [version for version, entry in self._found.versions.items() if self._is_usable(entry, may_load)]
        for version in reversed(in_order(chosen(self._policy, usable, self._shadows()))):
            entry = self._found.versions[version]
            if version in may_load and self._versions[version].tried != entry.stamp:
                self._versions[version].is_loading = True
                return entry
        return None

    def keep(self, entry: Entry, outcome: Served | ModelError) -> None:
        """What became of an attempt to load. A failure keeps what was there."""
        version = self._versions[entry.version]
        version.tried, version.is_loading = entry.stamp, False
        if isinstance(outcome, Served):
            version.served, version.shadows, version.failure = outcome, entry.config.shadows, ""
            return
        version.failure = f"{outcome}{_STILL_ANSWERS if version.served is not None else ''}"
        _logger.error("not loaded", model=self.name, version=entry.version, reason=version.failure)

    def settle(self) -> ServedModel:
        """What is served from now on."""
        if self._is_off:
            return served_model({}, ())
        shadows = self._shadows()
        keeps = chosen(self._policy, [name for name, version in self._versions.items() if version.served is not None], shadows)
        wanted = chosen(self._policy, self._found.versions, shadows)
        for name, version in self._versions.items():
            version.reason = version.failure or self._reason(name, is_served=name in keeps, is_wanted=name in wanted)
            if version.served is not None and name not in keeps:
                version.served, version.tried = None, None
                _logger.info("unloaded", model=self.name, version=name, reason=version.reason)
        self._miss_configured()
        return self._with_shadows(shadows)

    def forget_attempts(self) -> None:
        """Everything is loaded again, also what has not changed, and what was unloaded."""
        self._is_off = False
        for version in self._versions.values():
            version.tried, version.failure = None, ""

    def unload(self) -> None:
        """Nothing of it is served until attempts are forgotten."""
        self._is_off = True
        for version in self._versions.values():
            version.served, version.tried, version.failure, version.reason = None, None, "", "unloaded"

    @property
    def problems(self) -> list[str]:
        """Why something that should be served is not, or not as it is on disk."""
        problems = [self._found.problem] if self._found.problem else []
        return problems + [version.failure for version in self._versions.values() if version.failure]

    def index(self) -> Iterable[IndexEntry]:
        if not self._versions:
            yield IndexEntry(self.name, "", State.UNAVAILABLE, self._found.problem)
        for name in in_order(self._versions):
            version = self._versions[name]
            yield IndexEntry(self.name, name, version.state, version.reason or self._found.problem)

    @property
    def _policy(self) -> VersionPolicy:
        return self._found.config.versions or self._default_policy

    def _is_usable(self, entry: Entry, may_load: Collection[str]) -> bool:
        known = self._versions[entry.version]
        return known.served is not None or (entry.version in may_load and known.tried != entry.stamp)

    def _shadows(self) -> frozenset[str]:
        """Versions that are scored beside others; one that names itself is none."""
        configured = {version: entry.config.shadows for version, entry in self._found.versions.items()}
        return frozenset(shadow for version, shadows in configured.items() for shadow in shadows if shadow != version)

    def _miss_configured(self) -> None:
        """Versions that the model's own `config.yaml` names, and that are not there."""
        config = self._found.config
        if isinstance(config.versions, tuple):
            for name in set(config.versions) - self._versions.keys():
                failure = f"{config.path}: versions: {self.name} has no version {name}; it has {', '.join(self._found.versions)}"
                self._versions[name] = _Version(failure=failure, reason=failure)

    def _reason(self, version: str, *, is_served: bool, is_wanted: bool) -> str:
        if is_served:
            is_gone = version not in self._found.versions and not self._found.problem
            return f"its folder has no {MODEL_FILE} any more{_STILL_ANSWERS}" if is_gone else ""
        if is_wanted:
            return "its files changed since the last look: it is loaded when they are the same in two"
        match self._policy:
            case Latest(count):
                which = f"{{latest: {count}}}"
            case tuple() as names:
                which = f"[{', '.join(names)}]"
            case _:
                which = "all"
        source = f"{self._found.config.path}: " if self._found.config.versions else "serving."
        return f"not among those that are served ({source}versions: {which})"

    def _with_shadows(self, shadows: Collection[str]) -> ServedModel:
        plain = {version: known.served for version in in_order(self._versions) if (known := self._versions[version]).served is not None}
        warnings = set()
        versions = {}
        for version, served in plain.items():
            beside = []
            # A shadow has none itself.
            for name in () if version in shadows else self._versions[version].shadows:
                if name == version:
                    continue
                problem = "it is not loaded" if name not in plain else _unlike(served, plain[name])
                if problem:
                    warnings.add(f"version {name} is no shadow of version {version}: {problem}")
                else:
                    beside.append(plain[name])
            versions[version] = replace(served, shadows=tuple(beside)) if beside else served
        for warning in sorted(warnings - self._warned):
            _logger.warning(warning, model=self.name, file=CONFIG_FILE)
        self._warned = frozenset(warnings)
        return served_model(versions, shadows)


def _unlike(served: Served, shadow: Served) -> str:
    """Why a shadow cannot take the requests of another version; "" where it can."""
    if shadow.tapped is None:
        return "nothing of it would be logged, since `models` in the configuration does not name the model"
    taken = {spec.name: spec for spec in shadow.codec.inputs}
    given = {spec.name: spec for spec in served.codec.inputs}
    if taken.keys() == given.keys() and all(_fits(spec, taken[name]) for name, spec in given.items()):
        return ""
    return f"it takes {_listed(taken)}, not {_listed(given)}"


def _fits(given: TensorSpec, taken: TensorSpec) -> bool:
    if given.datatype != taken.datatype or len(given.shape) != len(taken.shape):
        return False
    return all(want in (size, ANY) for size, want in zip(given.shape, taken.shape, strict=True))


def _listed(specs: Mapping[str, TensorSpec]) -> str:
    return ", ".join(f"{spec.name} {spec.datatype} {list(spec.shape)}" for spec in specs.values())
