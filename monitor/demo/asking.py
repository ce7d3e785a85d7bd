"""What the demo asks of the server and the daemon over HTTP: are you ready, how far are you, what do you read.

The one place that knows the shape of `/api/v1/readings` and the two families of `/metrics` that it needs.
"""

import http.client
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlencode

from monitor.clock import Milliseconds
from monitor.demo.recipe import MODEL, MODEL_VERSION, POSITIVE_CLASS

TIMEOUT_SECONDS: Final = 10.0


class Unanswered(Exception):
    """Nobody there, not ready yet, or too slow: to be asked again."""


@dataclass(frozen=True, slots=True)
class Address:
    """A process of the demo on this machine. Asked directly: a proxy from the environment has no business here."""

    host: str
    port: int

    @classmethod
    def of(cls, bound_host: str, port: int) -> "Address":
        """Where to reach what is bound to `bound_host`, which may be every interface."""
        return cls({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(bound_host, bound_host), port)  # noqa: S104  compared, not bound

    def __str__(self) -> str:
        return f"http://[{self.host}]:{self.port}" if ":" in self.host else f"http://{self.host}:{self.port}"

    def answers(self, path: str) -> bool:
        """Whether a health path says 200."""
        try:
            self.get(path)
        except Unanswered:
            return False
        return True

    def get(self, path: str) -> bytes:
        """The body of a 200. Raises `Unanswered`."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=TIMEOUT_SECONDS)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise Unanswered(f"{self}{path}: {error}") from error
        finally:
            connection.close()
        if response.status != http.HTTPStatus.OK:
            raise Unanswered(f"{self}{path} answered {response.status}")
        return body


@dataclass(frozen=True, slots=True)
class Position:
    """How far the daemon's last commit is, and what it reads.

    `lag` counts the records that it does not account for, `events` the events that it does, `accepted_predictions` those of them;
    `recall` is that of late flights over the last seven days, None where it is undefined.
    """

    lag: int
    events: int
    accepted_predictions: int
    recall: float | None = None


@dataclass(frozen=True, slots=True)
class MonthReading:
    """One month on the cohort clock. A ratio is None where it is undefined; `late` counts the labelled predictions that were late."""

    month: str
    predictions: int
    labels: int
    maturity: float | None
    precision: float | None
    recall: float | None
    f1: float | None
    roc_auc: float | None
    late: int
    drift: Mapping[str, float]


def position(daemon: Address) -> Position:
    """From `/metrics`. Raises `Unanswered`."""
    return position_of(daemon.get("/metrics").decode())


def position_of(exposition: str) -> Position:
    """The same from the text of `/metrics`. Raises `Unanswered` where that shows no partition: the daemon has not been given any yet."""
    lag: float | None = None
    events = accepted = 0.0
    recall = None
    for line in exposition.splitlines():
        series, _, value = line.rpartition(" ")
        if series.startswith("model_monitor_lag_records{"):
            lag = (lag or 0.0) + float(value)
        elif series.startswith("model_monitor_events_total{"):
            events += float(value)
            if 'stream="predictions"' in series and 'outcome="accepted"' in series:
                accepted += float(value)
        elif series.startswith("model_monitor_recall_ratio{") and all(label in series for label in _RECENT_RECALL):
            recall = float(value)
    if lag is None:
        raise Unanswered("the daemon shows no partition")
    return Position(int(lag), int(events), int(accepted), recall)


_RECENT_RECALL: Final = (
    f'model="{MODEL}"',
    f'version="{MODEL_VERSION}"',
    'segment=""',
    'window="7d"',
    'clock="cohort"',
    f'class="{POSITIVE_CLASS}"',
)


def month_reading(daemon: Address, first: datetime, end: datetime) -> MonthReading | None:
    """The month from `first` to `end` (UTC), None where it has no predictions. Raises `Unanswered`."""
    span = {"since": first.strftime("%Y-%m-%dT%H:%M:%SZ"), "until": end.strftime("%Y-%m-%dT%H:%M:%SZ")}
    readings = [reading for reading in _readings(daemon, {"model": MODEL, **span}) if _is_whole(reading)]
    if not readings or not readings[0].get("predictions"):
        return None
    reading = readings[0]
    return MonthReading(
        month=first.strftime("%Y-%m"),
        predictions=reading["predictions"],
        labels=reading["labels"],
        maturity=reading.get("maturity"),
        precision=_late(reading, "precision"),
        recall=_late(reading, "recall"),
        f1=_late(reading, "f1"),
        roc_auc=reading.get("roc_auc"),
        late=int(_late(reading, "support") or 0),
        drift={name: scores["psi"] for name, scores in (reading.get("drift") or {}).items() if scores.get("psi") is not None},
    )


def _readings(daemon: Address, query: Mapping[str, str]) -> list[dict[str, Any]]:
    readings: list[dict[str, Any]] = json.loads(daemon.get(f"/api/v1/readings?{urlencode(query)}"))["readings"]
    return readings


def _is_whole(reading: Mapping[str, Any]) -> bool:
    """Not a segment, not pooled over versions, by the time of the prediction."""
    return (reading["version"], reading["segment"], reading["clock"]) == (MODEL_VERSION, "", "cohort")


def _late(reading: Mapping[str, Any], metric: str) -> float | None:
    """A metric that exists by class, of the late flights."""
    value: float | None = (reading.get(metric) or {}).get(POSITIVE_CLASS)
    return value


def milliseconds(moment: datetime) -> Milliseconds:
    """Of an aware moment on a whole second."""
    return int(moment.timestamp()) * 1000


def months_between(first: Milliseconds, last: Milliseconds) -> Iterator[tuple[datetime, datetime]]:
    """The calendar months, by UTC, that hold [first, last], each as its first moment and that of the next."""
    moment = datetime.fromtimestamp(first / 1000, UTC)
    start = datetime(moment.year, moment.month, 1, tzinfo=UTC)
    while milliseconds(start) <= last:
        end = datetime(start.year + start.month // 12, start.month % 12 + 1, 1, tzinfo=UTC)
        yield start, end
        start = end
