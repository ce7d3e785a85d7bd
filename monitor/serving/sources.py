"""What the tap, the models, the proxy and the CloudEvents say of themselves, under the names of `series`: for `Meters.also`."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from monitor.clock import Clock, Milliseconds
from monitor.serving import series
from monitor.serving.accounts import LaneCounts, SpoolState
from monitor.serving.cloudevents.intake import IntakeCounts
from monitor.serving.proxy.proxy import ProxyCounts
from monitor.serving.tally import Tally
from monitor.serving.tap import TapCounts


class ModelNumbers(NamedTuple):
    """How one model version stands. `loaded_at` is None before its first load; `failed_loads` are those of all the model's versions."""

    model: str
    version: str
    ready: bool
    loaded_at: Milliseconds | None = None
    failed_loads: int | None = None


def of_models(numbers: Callable[[], Iterable[ModelNumbers]]) -> Callable[[Tally], None]:
    def add(tally: Tally) -> None:
        failed: dict[str, int] = {}
        for each in numbers():
            labels = (each.model, each.version)
            tally.add(series.MODEL_READY, labels, int(each.ready))
            if each.loaded_at is not None:
                tally.add(series.MODEL_LOADED, labels, each.loaded_at / 1_000)
            if each.failed_loads is not None:
                failed[each.model] = each.failed_loads
        for model, count in failed.items():
            tally.add(series.FAILED_LOADS, (model,), count)

    return add


def of_tap(counts: Callable[[], TapCounts], clock: Clock) -> Callable[[Tally], None]:
    def add(tally: Tally) -> None:
        tap = counts()
        tally.add(series.TAP_ACCEPTED, (), tap.accepted)
        tally.add(series.TAP_RECOVERED, (), tap.recovered)
        tally.add(series.TAP_WRITTEN, (), tap.written)
        tally.add(series.TAP_UNSAMPLED, (), tap.unsampled)
        for reason, rows in tap.lost.items():
            tally.add(series.TAP_LOST, (reason,), rows)
        tally.add(series.TAP_QUEUED_ROWS, (), tap.queued)
        tally.add(series.TAP_QUEUED_BYTES, (), tap.queued_bytes)
        tally.add(series.TAP_QUEUED_BYTES_LIMIT, (), tap.queued_bytes_limit)
        tally.add(series.TAP_SPOOLED_ROWS, (), tap.spooled)
        tally.add(series.TAP_SPOOLED_BYTES, (), tap.spooled_bytes)
        tally.add(series.TAP_SPOOLED_BYTES_LIMIT, (), tap.spool_bytes_limit)
        age = 0 if tap.oldest_spooled is None else max(0, clock.now() - tap.oldest_spooled)
        tally.add(series.TAP_SPOOLED_AGE, (), age / 1_000)
        for state in SpoolState:
            tally.add(series.TAP_SPOOL_STATE, (state.value,), int(state is tap.spool_state))

    return add


def of_labels(counts: Callable[[], LaneCounts]) -> Callable[[Tally], None]:
    def add(tally: Tally) -> None:
        labels = counts()
        tally.add(series.LABELS_SPOOLED_ROWS, (), labels.spooled)
        tally.add(series.LABELS_SPOOLED_BYTES, (), labels.spooled_bytes)

    return add


def of_proxy(counts: Callable[[], ProxyCounts]) -> Callable[[Tally], None]:
    def add(tally: Tally) -> None:
        proxy = counts()
        for reason, requests in proxy.untapped.items():
            tally.add(series.PROXY_UNTAPPED, (reason,), requests)
        for model, exchanges in proxy.unmapped.items():
            tally.add(series.UNMAPPED_EXCHANGES, (model,), exchanges)

    return add


def of_cloudevents(counts: Callable[[], IntakeCounts]) -> Callable[[Tally], None]:
    def add(tally: Tally) -> None:
        intake = counts()
        for outcome, events in intake.outcomes.items():
            tally.add(series.CLOUDEVENTS, (outcome,), events)
        tally.add(series.CLOUDEVENTS_WAITING, (), intake.waiting)
        for model, exchanges in intake.unmapped.items():
            tally.add(series.UNMAPPED_EXCHANGES, (model,), exchanges)

    return add
