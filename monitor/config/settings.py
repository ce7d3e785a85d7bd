"""The whole configuration: one class a section, and the checks that need more than one of them."""

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import Field, field_validator, model_validator

from monitor.config.log import LogSettings
from monitor.config.models import Model
from monitor.config.places import Place
from monitor.config.serving import Port, ServingSettings
from monitor.strict_yaml.quantities import Bytes, Duration, Lenient, Share, Text, duration_ms, duration_text
from monitor.strict_yaml.section import Complaint, Disagreement, Section

PREDICTION_AHEAD_MS: Final = duration_ms("1h")
"""How far a prediction's own time may lie after its arrival; outside [-1 h, D] it is `bad_time`."""


class ClockKind(StrEnum):
    """What readings take for now: the wall clock, or the newest record (replays, the demo)."""

    WALL = "wall"
    WATERMARK = "watermark"


DriftMethod = Literal["psi", "ks", "js", "wasserstein", "hellinger", "chi2", "tv"]


class StateSettings(Section):
    """Where the daemon keeps its join snapshots."""

    path: Place = Path("data/state")
    """A folder, or an object store: `s3://bucket/prefix?endpoint=http://minio:9000&region=eu-west-1`, `gs://`, `az://container/prefix`, `abfs://`.

    Credentials come from the environment or the platform, never from here.
    """
    shared: bool = False
    """The folder is on storage that every replica sees; an object store always is."""
    snapshot_every: Duration = Field(default="60s", validate_default=True)
    """How much of the log a restart may have to read again. Writing one of 5 M waiting predictions takes about a second."""

    def relative_to(self, folder: Path) -> Self:
        """The same with a relative folder taken from `folder`."""
        return self.model_copy(update={"path": folder / self.path}) if isinstance(self.path, Path) else self


class ExporterSettings(Section):
    """What the daemon shows, and how often it is computed."""

    host: Text = "127.0.0.1"
    port: Port = 9464
    max_series_per_model: int = Field(default=5_000, ge=1)
    invalid_events_limit: Share = 0.05
    """The share of a stream's events that may be refused before the alert speaks."""
    tick: Duration = Field(default="5s", validate_default=True)
    drift_methods: Annotated[tuple[DriftMethod, ...], Lenient, Field(min_length=1)] = ("psi",)
    """Those on /metrics; the page and the API know every one."""


class AlarmSettings(Section):
    """How often an alarm may be wrong."""

    alpha: float = Field(default=0.01, gt=0.0, lt=0.5)
    """Share of windows, per model version, in which a verdict may be wrong with nothing changed."""


class JoinSettings(Section):
    """Bounds of the table that predictions and labels meet in."""

    early: Duration = Field(default="24h", validate_default=True)
    """E: how long before its prediction a label may arrive."""
    rows_limit: int = Field(default=10_000_000, ge=1)
    """Predictions that may wait at a time; a new one beyond it is counted `over_limit`."""
    sample: float = Field(default=1.0, gt=0.0, le=1.0)
    """The share of ids that are joined, chosen by their hash; memory shrinks with it. A label outside it is counted `unsampled`.

    Inputs and drift still count every prediction. Precision and the like are unbiased; supports and confusions are counts of the sample.
    Another share begins outcomes anew.
    """


class WorkerSettings(Section):
    """How the worker reads and commits."""

    tick: Duration = Field(default="2s", validate_default=True)
    """Time between two commits."""
    poll_bytes: Bytes = Field(default="16MB", validate_default=True)
    """How much of the log is taken at a time."""


class Settings(Section):
    """The configuration as a whole; `monitor.config.load` makes one from a file and the environment."""

    log: LogSettings = Field(examples=["{kind: embedded, path: data/log.db}"])
    state: StateSettings = Field(default_factory=StateSettings)
    serving: ServingSettings = Field(default_factory=ServingSettings)
    exporter: ExporterSettings = Field(default_factory=ExporterSettings)
    clock: Annotated[ClockKind, Lenient] = ClockKind.WALL
    alarms: AlarmSettings = Field(default_factory=AlarmSettings)
    join: JoinSettings = Field(default_factory=JoinSettings)
    worker: WorkerSettings = Field(default_factory=WorkerSettings)
    labels_without_model: bool = False
    """Allows labels that name no model although several are configured."""
    models: Annotated[
        tuple[Model, ...],
        Lenient,
        Field(min_length=1, examples=["[{name: flights, task: binary, classes: [on_time, late], positive_class: late}]"]),
    ]

    @field_validator("models")
    @classmethod
    def _models_differ(cls, models: tuple[Model, ...]) -> tuple[Model, ...]:
        names = [model.name for model in models]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"the name {name} is used twice; rename one")
        return models

    @model_validator(mode="after")
    def _times_agree(self) -> Self:
        Disagreement.check(complaint for index, model in enumerate(self.models) for complaint in self._time_complaints(index, model))
        return self

    def _time_complaints(self, index: int, model: Model) -> Iterator[Complaint]:
        horizon, late = duration_text(model.horizon), duration_text(self.log.out_of_order)
        if model.horizon < self.log.out_of_order:
            why = f"{horizon} is shorter than log.out_of_order ({late}): an event that late would be accepted and could not join any more"
            yield ("models", index, "labels", "horizon"), f"{why}; lengthen the one or shorten the other"
        if self.log.retention is not None and self.log.retention < self.retention_needed(model):
            why = f"is too short for the model {model.name}, which needs {self.retention_arithmetic(model)}"
            remedy = f"lengthen it, or shorten models[{index}].labels.horizon"
            yield ("log", "retention"), f"{duration_text(self.log.retention)} {why}; {remedy}"

    def retention_needed(self, model: Model) -> int:
        """How far back, in milliseconds, the log has to reach for a restart without a snapshot to find every row that may still join.

        A prediction waits until the watermark passes time + H + D, and arrives at most an hour before its time; a label waits until
        arrival + E + 2D.
        """
        late = self.log.out_of_order
        return max(model.horizon + late + PREDICTION_AHEAD_MS, self.join.early + 2 * late)

    def retention_arithmetic(self, model: Model) -> str:
        """The sum behind `retention_needed`, for people: `14d horizon + 1d out_of_order + 1h = 361h`."""
        needed = self.retention_needed(model)
        late, early = duration_text(self.log.out_of_order), duration_text(self.join.early)
        if needed == self.join.early + 2 * self.log.out_of_order:
            return f"{early} early + 2 x {late} out_of_order = {duration_text(needed)}"
        ahead = duration_text(PREDICTION_AHEAD_MS)
        return f"{duration_text(model.horizon)} horizon + {late} out_of_order + {ahead} = {duration_text(needed)}"

    def relative_to(self, folder: Path) -> Self:
        """The same with every relative path taken from `folder`."""
        return self.model_copy(
            update={
                "log": self.log.relative_to(folder),
                "state": self.state.relative_to(folder),
                "serving": self.serving.relative_to(folder),
                "models": tuple(model.relative_to(folder) for model in self.models),
            }
        )
