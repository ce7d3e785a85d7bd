"""One round: a seed, a folder, a fleet in trouble, and what was wrong at the end."""

import random
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from tests.faults.campaign import checks, faults, scrapes, sent, shown, topics
from tests.faults.campaign.faults import Arena
from tests.faults.campaign.fleet import Fleet
from tests.faults.campaign.oracle import SeriesKey, Truth
from tests.faults.campaign.scrapes import Scraper
from tests.faults.campaign.setting import HOUR, Pace, configuration, models_of
from tests.faults.campaign.sinks import EmbeddedSink, Feeding, KafkaSink, Sink
from tests.faults.campaign.stream import stream
from tests.kafka.brokers import Cluster

PARTITIONS = 4
_BROKER_IN_TROUBLE = Lock()
SESSION_SECONDS = 4.0
BEGAN_BEFORE_NOW = 7 * HOUR
"""A story takes less, and brokers refuse what lies ahead of their clock."""
SETTLED_WITHIN_SECONDS = 120.0
STANDING_STILL_SECONDS = 30.0
"""What is wrong and has not changed for so long will not: longer than any take-over."""
LOOK_AFTER_SECONDS = 0.2
INTO_THE_WORK = 0.7
"""The share of faults that wait until somebody works; the others may meet a fleet that has not come up, or recovered, yet."""
BROKERS = {"transaction.abort.timed.out.transaction.cleanup.interval.ms": "500"}
"""Of the cluster: a transaction that a killed daemon left open is ended when its time is over, not up to ten seconds later."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much a round has of everything."""

    requests: int = 1_400
    feeding_seconds: float = 6.0
    faults: tuple[int, int] = (3, 5)


@dataclass(frozen=True, slots=True)
class Report:
    """What a round came to. `problems` is empty where all was well; `folder` is kept otherwise."""

    seed: int
    folder: Path
    happened: Sequence[str]
    problems: Sequence[str]
    events: int
    scrape_rounds: int
    seconds: float

    def lines(self) -> list[str]:
        """For people."""
        verdict = "failed" if self.problems else "ok"
        head = f"seed {self.seed}: {verdict}, {self.events} events, {self.scrape_rounds} scrape rounds, {self.seconds:.1f} s: "
        told = [head + "; ".join(self.happened)]
        return told + [f"  {problem}" for problem in self.problems] + ([f"  kept in {self.folder}"] if self.problems else [])


class Round:
    """Plays one seed. `cluster` is None for the embedded log."""

    def __init__(self, seed: int, folder: Path, cluster: Cluster | None, size: Size, *, brokers: int = 1, keeps_all: bool = False) -> None:
        self._seed = seed
        self._folder = folder
        self._cluster = cluster
        self._brokers = range(1, brokers + 1)
        self._keeps_all = keeps_all
        self._size = size
        self._draw = random.Random(f"round {seed}")
        self._models = models_of(self._draw)
        self._prefix = f"round-{seed}-{time.time_ns() % 10**9}-"
        self._happened: list[str] = []
        self._problems: list[str] = []

    def play(self) -> Report:
        began = time.monotonic()
        self._folder.mkdir(parents=True)
        records = self._written_stream()
        truth = Truth.of(records, self._models, PARTITIONS)
        expected = shown.series(truth)
        in_a_group = self._cluster is not None
        shares_state = in_a_group and self._draw.random() < 0.6
        is_static = in_a_group and self._draw.random() < 0.4
        fleet = Fleet(self._folder, self._configured(shares_state), shares_state=shares_state, is_static=is_static)
        scraper = Scraper(lambda: {member.name: member.port for member in fleet.running()})
        try:
            self._trouble(fleet, records)
            self._await_truth(fleet, scraper, expected)
            self._end(fleet)
        finally:
            fleet.close()
            scraper.close()
        self._judge(fleet, scraper, records, truth)
        if not (self._problems or self._keeps_all):
            shutil.rmtree(self._folder)
        count = sum(truth.events.values())
        return Report(self._seed, self._folder, self._happened, self._problems, count, len(scraper.rounds), time.monotonic() - began)

    def _written_stream(self) -> list[sent.Sent]:
        """What will be sent, as it is in the file: the oracle sees nothing else."""
        begins = (time.time_ns() // 1_000_000 - BEGAN_BEFORE_NOW) // HOUR * HOUR
        path = self._folder / "sent.jsonl"
        sent.write(path, stream(self._seed, self._models, begins, PARTITIONS, self._size.requests))
        return sent.read(path)

    def _configured(self, shares_state: bool) -> Path:
        """The configuration's file, once the log that it names is there."""
        path = self._folder / "model-monitor.yaml"
        path.write_text(configuration(self._models, self._log(), Pace(), shares_state=shares_state))
        if self._cluster is not None:
            # A broker that another round has killed would refuse.
            with _BROKER_IN_TROUBLE:
                topics.create(path)
        return path

    def _log(self) -> Mapping[str, Any]:
        if self._cluster is None:
            return {"kind": "embedded", "path": "log.db", "partitions": PARTITIONS}
        return {
            "kind": "kafka",
            "bootstrap_servers": self._cluster.bootstrap.split(","),
            "topic_prefix": self._prefix,
            "partitions": PARTITIONS,
            "session_timeout": f"{SESSION_SECONDS * 1_000:.0f}ms",
        }

    def _sink(self) -> Sink:
        if self._cluster is None:
            return EmbeddedSink(self._folder / "log.db", PARTITIONS)
        return KafkaSink(self._cluster.bootstrap, self._prefix)

    def _trouble(self, fleet: Fleet, records: Sequence[sent.Sent]) -> None:
        """Sends everything while faults happen, and heals them all."""
        in_a_group = self._cluster is not None
        for _ in range(self._draw.randint(2, faults.MOST_MEMBERS) if in_a_group else 1):
            fleet.add()
        arena = Arena(self._draw, fleet, SESSION_SECONDS, self._cluster, self._brokers, _BROKER_IN_TROUBLE, f"{self._prefix}panes")
        count = self._draw.randint(*self._size.faults)
        planned = [(fault, self._draw.random() < INTO_THE_WORK) for fault in faults.chosen(self._draw, in_a_group=in_a_group, count=count)]
        feeding = Feeding(self._sink(), records, self._size.feeding_seconds)
        if planned[0][1]:
            arena.await_work()
        feeding.start()
        for fault, into_the_work in planned:
            if into_the_work:
                arena.await_work()
            arena.sleep(0.0, self._size.feeding_seconds / count)
            self._happened.append(fault(arena))
            fleet.look_after()
        feeding.join()
        if feeding.error is not None:
            self._problems.append(f"sending failed, which is the campaign's own fault: {feeding.error!r}")

    def _await_truth(self, fleet: Fleet, scraper: Scraper, expected: Mapping[SeriesKey, float]) -> None:
        """Returns when what is shown is what was sent, or when it has had time enough to be."""
        healed = changed = time.monotonic()
        looked_at = 0
        wrong = ["nothing was scraped"]
        while wrong and time.monotonic() < min(healed + SETTLED_WITHIN_SECONDS, changed + STANDING_STILL_SECONDS):
            time.sleep(LOOK_AFTER_SECONDS)
            fleet.look_after()
            if len(scraper.rounds) > looked_at:
                looked_at, before = len(scraper.rounds), wrong
                wrong = checks.differences(expected, scrapes.shown(scraper.latest()))
                changed = changed if wrong == before else time.monotonic()
        self._happened.append(f"settled after {time.monotonic() - healed:.1f} s")
        self._problems += checks.cut(wrong)

    def _end(self, fleet: Fleet) -> None:
        """As at the end of a deployment: all at once."""
        running = fleet.running()
        for member in running:
            member.terminate()
        for member in running:
            fleet.reap(member)

    def _judge(self, fleet: Fleet, scraper: Scraper, records: Sequence[sent.Sent], truth: Truth) -> None:
        self._problems += fleet.troubles
        self._problems += checks.cut(checks.doubled(scraper.rounds))
        self._problems += checks.cut(checks.backwards(scraper.rounds))
        if self._cluster is not None:
            self._problems += topics.sent_otherwise(self._cluster.bootstrap, self._prefix, records)
            letters = topics.dead_letters(self._cluster.bootstrap, f"{self._prefix}dead-letters")
            self._problems += checks.cut(checks.letters_differ(truth.dead, letters))
        if self._problems or self._keeps_all:
            scrapes.write(self._folder / "scrapes.jsonl", scraper.rounds)
