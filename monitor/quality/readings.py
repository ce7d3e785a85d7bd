"""What a tick knows: every number with the counts it stands on. Plain data between the aggregate and whatever shows it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from monitor.clock import Milliseconds
from monitor.quality.drift import FeatureDrift
from monitor.quality.inputs import InputQuality
from monitor.quality.performance import Performance


class ClockName(StrEnum):
    """By which time a window counts: the prediction's, that shifted until labels are in, or the label's arrival."""

    COHORT = "cohort"
    MATURE = "mature"
    FEEDBACK = "feedback"


@dataclass(frozen=True, slots=True)
class Reading:
    """One model, version ("" is all pooled), segment ("" is everything), window and clock.

    The window is `[since, until)` in whole panes. `predictions` and `maturity` (labelled over all) are None on the feedback clock, where
    they have no meaning. `coverage` is the share of the window for which panes of the present layout can exist: below 1 after a change of
    layout or before the model's first event. `inputs` counts what arrived in place of usable values, by feature; `drift` is by feature
    (also `@score`, `@prediction`, `@label`), empty on the feedback clock or without a reference.
    """

    model: str
    version: str
    segment: str
    window: str
    clock: ClockName
    since: Milliseconds
    until: Milliseconds
    predictions: int | None
    labels: int
    maturity: float | None
    performance: Performance | None
    drift: Mapping[str, FeatureDrift] = field(default_factory=dict)
    inputs: Mapping[str, InputQuality] = field(default_factory=dict)
    coverage: float = 1.0


@dataclass(frozen=True, slots=True)
class PartitionState:
    """How far one partition of one stream has come. `lag` is records not yet committed, None where another replica works on the partition;
    the watermark is None before the first event."""

    stream: str
    partition: int
    lag: int | None
    watermark: Milliseconds | None


@dataclass(frozen=True, slots=True)
class EventCount:
    """Events received with one outcome, since the beginning. `model` is "" where unknown."""

    stream: str
    partition: int
    model: str
    outcome: str
    count: int


@dataclass(frozen=True, slots=True)
class PairCount:
    """Pairs of a prediction and a label by fate: joined, replaced, repeated, late, conflict.

    Beside them `orphaned` labels, which met no prediction, and `differing` predictions: repeated ones that said something else.
    """

    model: str
    fate: str
    count: int


@dataclass(frozen=True, slots=True)
class ModelState:
    """What a model's page begins with. `shown_class` is the positive class of a binary model, "" otherwise; `versions` are in the
    order of their first prediction, `last_predictions` is by version; `last_label` is None before the first one. `coverage` is the share
    of the partitions whose panes are in the readings and that somebody works on. Of several replicas the one that owns the predictions
    partition `home` exposes the model."""

    model: str
    home: int
    owner: str
    task: str
    shown_class: str
    versions: tuple[str, ...]
    windows: tuple[str, ...]
    last_predictions: Mapping[str, Milliseconds]
    last_label: Milliseconds | None
    pending: int
    coverage: float


@dataclass(frozen=True, slots=True)
class Freshness:
    """Whether readings may be behind what another replica knows, and the latest moment at which they were not (None: never yet)."""

    is_stale: bool
    known_at: Milliseconds | None = None


@dataclass(frozen=True, slots=True)
class Tick:
    """Everything that is exposed between two ticks, computed at one moment. `now` is the readings' clock, None before the first event."""

    now: Milliseconds | None
    readings: tuple[Reading, ...]
    models: tuple[ModelState, ...]
    partitions: tuple[PartitionState, ...]
    events: tuple[EventCount, ...]
    pairs: tuple[PairCount, ...]
    unknown_keys: Mapping[tuple[str, int], int]
    """By stream and partition, keys of events that no schema names."""
    log_partitions: Mapping[str, int]
    """Partitions of each stream."""
    history: Mapping[tuple[str, str], tuple[Reading, ...]] = field(default_factory=dict)
    """By (model, window): the window in up to 60 parts, oldest first, for sparklines; all versions and segments, cohort clock."""
