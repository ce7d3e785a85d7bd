"""What the daemon shows, between the thread that works and the threads that answer: readings, metrics and the status page of one tick."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Lock

from monitor import __version__
from monitor.aggregate import Aggregate, RangeError
from monitor.clock import Milliseconds
from monitor.export import catalogue
from monitor.export.api import readings_json
from monitor.export.exposition import Exposition
from monitor.export.families import Sample, Shown, samples
from monitor.export.http import BadQuery, UnknownModel
from monitor.export.page import StatusPage
from monitor.log import Commit, Committed
from monitor.quality.readings import Tick
from monitor.worker import Worker


@dataclass(slots=True)
class Board:
    """What is shown: the worker's thread writes it, HTTP threads read it. The lock is the aggregate's; a tick is replaced whole."""

    aggregate: Aggregate
    exposition: Exposition
    page: StatusPage
    shown: Shown
    is_ready: bool = False
    _tick: Tick = field(init=False)
    _lock: Lock = field(default_factory=Lock)

    def __post_init__(self) -> None:
        """Until the first tick there is what the configuration alone tells."""
        self._tick = self.aggregate.tick(None, lag={}, pending={})
        self._publish(0.0)

    def update(self, worker: Worker, now: Milliseconds | None) -> Tick:
        """Computes the tick as of `now` and publishes it; None: as of no moment, before the first event."""
        began = time.perf_counter()
        lag, pending = worker.lag(), worker.pending()
        with self._lock:
            self._tick = self.aggregate.tick(now, lag=lag, pending=pending)
        self._publish(time.perf_counter() - began)
        return self._tick

    def _publish(self, tick_seconds: float) -> None:
        own = (Sample(catalogue.TICK_DURATION, (), tick_seconds), Sample(catalogue.BUILD_INFO, (__version__,), 1))
        self.exposition.publish((*samples(self._tick, self.shown), *own))

    def load(self, committed: Committed, panes: Sequence[tuple[bytes, bytes]]) -> None:
        """What a partition had committed when the daemon started: the worker's `on_state`."""
        with self._lock:
            self.aggregate.load(committed.partition, committed.state, panes)

    def apply(self, commit: Commit) -> None:
        """A commit that is durable now: the worker's `on_commit`."""
        with self._lock:
            self.aggregate.apply(commit)

    def readings(self, query: dict[str, str]) -> dict[str, object]:
        """`/api/v1/readings`: the latest tick's, or with `model`, `since` and `until` those of a range.

        Raises `BadQuery` or `UnknownModel`, which say what to ask instead.
        """
        tick, model = self._tick, query.get("model")
        unknown = sorted(set(query) - {"model", "since", "until"})
        if unknown:
            raise BadQuery(f"unknown parameter {unknown[0]!r}; there are model, since and until")
        if model is not None and model not in (state.model for state in tick.models):
            raise UnknownModel(f"the model {model!r} is not configured")
        if "since" not in query and "until" not in query:
            return readings_json(tick.now, [reading for reading in tick.readings if model in (None, reading.model)])
        if model is None or "since" not in query or "until" not in query:
            raise BadQuery("a range needs model, since and until")
        since, until = _moment(query, "since"), _moment(query, "until")
        try:
            with self._lock:
                return readings_json(tick.now, self.aggregate.between(model, since, until))
        except RangeError as error:
            raise BadQuery(str(error)) from error

    def render_page(self) -> str:
        return self.page.render(self._tick, ready=self.is_ready)


def _moment(query: dict[str, str], name: str) -> Milliseconds:
    try:
        moment = datetime.fromisoformat(query[name])
        in_utc = moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:  # the latter where an offset leaves the years 1 to 9999
        raise BadQuery(f"{name}={query[name]!r} is not RFC 3339, such as 2013-03-01T00:00:00Z") from error
    if moment.tzinfo is None:
        raise BadQuery(f"{name}={query[name]!r} has no offset; end it with Z for UTC")
    return round(in_utc.timestamp() * 1_000)
