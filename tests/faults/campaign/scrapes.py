"""What the fleet shows, read over HTTP about once a second as Prometheus would, from all members at the same time.

A round of scrapes is over before the next begins, so that whatever one shows is later than anything the one before it showed.
"""

import http.client
import json
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.faults.campaign.oracle import SeriesKey

PREFIX = "model_monitor_"
PERIOD_SECONDS = 0.7
ANSWERS_WITHIN_SECONDS = 1.0
MOST_MEMBERS = 8
_LABEL = re.compile(r'(\w+)="([^"]*)"')


@dataclass(frozen=True, slots=True)
class Scrape:
    """One answer of one member, or none. Times are seconds of the monotonic clock."""

    member: str
    began: float
    ended: float
    text: str | None

    def samples(self) -> Iterator[tuple[str, float]]:
        """Series as they are spelled, with their values."""
        for line in (self.text or "").splitlines():
            if line.startswith(PREFIX):
                series, _, value = line.rpartition(" ")
                yield series.removeprefix(PREFIX), float(value)


class Scraper:
    """Scrapes until it is closed. `addresses` tells whom, by name of the member."""

    def __init__(self, addresses: Callable[[], Mapping[str, int]]) -> None:
        self._addresses = addresses
        self._rounds: list[tuple[Scrape, ...]] = []
        self._pool = ThreadPoolExecutor(MOST_MEMBERS)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="scraper", daemon=True)
        self._thread.start()

    @property
    def rounds(self) -> Sequence[tuple[Scrape, ...]]:
        return self._rounds

    def latest(self) -> tuple[Scrape, ...]:
        return self._rounds[-1] if self._rounds else ()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self._pool.shutdown()

    def _run(self) -> None:
        while not self._stop.wait(PERIOD_SECONDS):
            addresses = self._addresses()
            self._rounds.append(tuple(self._pool.map(scrape, addresses.keys(), addresses.values())))


def scrape(member: str, port: int) -> Scrape:
    """One GET of /metrics; a member that is away, or does not answer in time, has no text."""
    began = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWERS_WITHIN_SECONDS)
    text = None
    try:
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        body = answer.read()
        text = body.decode() if answer.status == http.client.OK else None
    except (OSError, http.client.HTTPException):
        pass  # killed, stopped or starting: that is what a campaign is for
    finally:
        connection.close()
    return Scrape(member, began, time.monotonic(), text)


def parsed(spelled: str) -> SeriesKey:
    """A series by name and labels, the empty ones left out."""
    name, _, labels = spelled.partition("{")
    return name, frozenset((label, value) for label, value in _LABEL.findall(labels) if value)


def shown(scrapes: Iterable[Scrape]) -> dict[SeriesKey, float]:
    """Everything that the members show together."""
    return {parsed(series): value for scrape_ in scrapes for series, value in scrape_.samples()}


def write(path: Path, rounds: Iterable[Sequence[Scrape]]) -> None:
    """The scrape log, for people."""
    with path.open("w") as file:
        for number, round_ in enumerate(rounds):
            for one in round_:
                file.write(
                    json.dumps({"round": number, "member": one.member, "began": one.began, "ended": one.ended, "text": one.text}) + "\n"
                )
