"""What the daemon shows, between the thread that works and the threads that answer: readings, metrics and the status page of one tick."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Lock

from monitor import __version__
from monitor.aggregate import Aggregate, RangeError
from monitor.clock import Clock, Milliseconds
from monitor.export.api import readings_json
from monitor.export.exposition import Exposition
from monitor.export.families import Replica, Shown, replica_samples, samples
from monitor.export.http import BadQuery, UnknownModel
from monitor.export.page import StatusPage
from monitor.log import Commit, Ownership
from monitor.quality.readings import Freshness, Reading, Tick
from monitor.worker import Worker


def _never() -> bool:
    return False


@dataclass(frozen=True, slots=True)
class _Posted:
    """A tick, and what is to be asked whenever it is shown."""

    tick: Tick
    is_current: Callable[[], bool] = _never
    """Whether it was made under the present assignment, and nobody else can have been given the partitions since."""
    is_ready: Callable[[], bool] = _never
    """Whether that assignment is worked on as a whole."""
    known_at: Milliseconds | None = None
    """When a tick was last known to be current."""


@dataclass(slots=True)
class Board:
    """What is shown: the worker's thread writes it, HTTP threads read it. The lock is the aggregate's; a tick is replaced whole.

    Readings are those of the whole fleet, on every replica: it follows everybody's commits.
    """

    aggregate: Aggregate
    exposition: Exposition
    page: StatusPage
    shown: Shown
    clock: Clock
    _posted: _Posted = field(init=False)
    _lock: Lock = field(default_factory=Lock)

    def __post_init__(self) -> None:
        """Until the first tick there is what the configuration alone tells."""
        self._post(_Posted(self.aggregate.tick(None, lag={}, live=frozenset())), Replica(False, frozenset(), 0.0))

    def follow(self, commits: Iterable[Commit]) -> None:
        """Takes on what became durable, here or elsewhere: `Ownership.changes`."""
        for commit in commits:
            with self._lock:
                self.aggregate.apply(commit)

    def update(self, worker: Worker, ownership: Ownership, now: Milliseconds | None) -> Tick:
        """Computes the tick as of `now` and posts it; None: as of no moment, before the first event."""
        began = time.perf_counter()
        assignment, partitions = worker.assignment, frozenset(ownership.partitions)

        def is_current() -> bool:
            return ownership.is_current(assignment)

        with self._lock:
            tick = self.aggregate.tick(now, lag=worker.lag(), live=ownership.live_partitions())
        posted = _Posted(
            tick,
            is_current,
            is_ready=lambda: worker.is_restored and worker.assignment == assignment,
            known_at=self.clock.now() if is_current() else self._posted.known_at,
        )
        done = worker.progress
        self._post(
            posted,
            Replica(
                worker.is_restored,
                partitions,
                time.perf_counter() - began,
                done.committed_at,
                done.commit_took,
                done.snapshots_at,
                done.unsaved_partitions,
            ),
        )
        return tick

    def _post(self, posted: _Posted, replica: Replica) -> None:
        found = (*samples(posted.tick, self.shown, replica.partitions), *replica_samples(replica, __version__))
        self._posted = posted
        self.exposition.publish(found, posted.is_current)

    @property
    def is_ready(self) -> bool:
        """Whether every partition that is assigned at this moment is worked on, and shown."""
        return self._posted.is_ready()

    def readings(self, query: dict[str, str]) -> dict[str, object]:
        """`/api/v1/readings`: the latest tick's, or with `model`, `since` and `until` those of a range.

        Raises `BadQuery` or `UnknownModel`, which say what to ask instead.
        """
        posted, model = self._posted, query.get("model")
        tick = posted.tick
        unknown = sorted(set(query) - {"model", "since", "until"})
        if unknown:
            raise BadQuery(f"unknown parameter {unknown[0]!r}; there are model, since and until")
        coverage = {state.model: state.coverage for state in tick.models if model in (None, state.model)}
        if not coverage:
            raise UnknownModel(f"the model {model!r} is not configured")
        if "since" not in query and "until" not in query:
            found: Sequence[Reading] = [reading for reading in tick.readings if reading.model in coverage]
        else:
            found = self._between(model, query)
        return readings_json(tick.now, found, coverage, _freshness(posted))

    def _between(self, model: str | None, query: dict[str, str]) -> Sequence[Reading]:
        if model is None or "since" not in query or "until" not in query:
            raise BadQuery("a range needs model, since and until")
        since, until = _moment(query, "since"), _moment(query, "until")
        try:
            with self._lock:
                return self.aggregate.between(model, since, until)
        except RangeError as error:
            raise BadQuery(str(error)) from error

    def render_page(self) -> str:
        posted = self._posted
        return self.page.render(posted.tick, _freshness(posted), ready=posted.is_ready())


def _freshness(posted: _Posted) -> Freshness:
    return Freshness(not posted.is_current(), posted.known_at)


def _moment(query: dict[str, str], name: str) -> Milliseconds:
    try:
        moment = datetime.fromisoformat(query[name])
        in_utc = moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:  # the latter where an offset leaves the years 1 to 9999
        raise BadQuery(f"{name}={query[name]!r} is not RFC 3339, such as 2013-03-01T00:00:00Z") from error
    if moment.tzinfo is None:
        raise BadQuery(f"{name}={query[name]!r} has no offset; end it with Z for UTC")
    return round(in_utc.timestamp() * 1_000)
