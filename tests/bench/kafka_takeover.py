"""How long a model's series are away when the replica that shows them goes: killed, and restarted on purpose.

    python -m tests.bench.kafka_takeover [--session 10] [--rate 5000] [--kafka HOST:PORT]

Two `watch` on 4 partitions share a folder for snapshots, under a load of so many events a second. Both are scraped every 0.2 s; the gap is
the time between the last scrape in which one of them showed the model and the first in which one showed it again.
"""

import argparse
import json
import signal
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from itertools import count, pairwise
from pathlib import Path

import httpx
import numpy as np
import pyarrow as pa

from monitor.clock import WallClock
from monitor.codec.arrow import encode_labels, encode_predictions
from monitor.codec.identity import partitions_of
from monitor.events import Stream
from monitor.log import ARROW, Message
from monitor.log.kafka.connection import Connection
from monitor.log.kafka.log import KafkaLog
from monitor.log.kafka.names import Names
from tests.bench.kafka_worker import PARTITIONS, broker, identity
from tests.bench.pipeline import FEATURES
from tests.faults.campaign import topics
from tests.faults.campaign.fleet import Fleet, Member
from tests.faults.campaign.scrapes import scrape
from tests.kafka.topics import remove_topics

SHOWN = 'model_monitor_window_predictions{model="bench"'
SCRAPE_SECONDS = 0.2
SEND_SECONDS = 0.1
SETTLED_SECONDS = 3.0
"""So long one member has to show the model, and the other to be ready, before anything is done to them."""
WITHIN_SECONDS = 90.0
ALLOWED_BEYOND_SESSION = 5.0
FIRST_ROWS = 200_000
"""Predictions that wait for labels before anything starts, so that there is something to take over."""


def configuration(bootstrap: str, names: Names, session_seconds: int) -> str:
    """As JSON, which is YAML."""
    return json.dumps(
        {
            "log": {
                "kind": "kafka",
                "bootstrap_servers": [bootstrap],
                "topic_prefix": names.prefix,
                "partitions": PARTITIONS,
                "session_timeout": f"{session_seconds}s",
                "out_of_order": "30m",
            },
            "state": {"shared": True},
            "models": [
                {
                    "name": "bench",
                    "task": "binary",
                    "classes": ["no", "yes"],
                    "positive_class": "yes",
                    "features": dict.fromkeys(FEATURES, "numeric"),
                    "windows": ["1h", "1d"],
                    "labels": {"horizon": "2h"},
                }
            ],
        }
    )


class Load:
    """Predictions, and the labels of those before, until it is closed."""

    def __init__(self, log: KafkaLog) -> None:
        self._log = log
        self._rng = np.random.default_rng(0)
        self._numbers = count()
        self._waiting: list[tuple[Stream, Message]] = []
        self._stop = threading.Event()

    def send(self, rows: int) -> None:
        ids = [identity(next(self._numbers)) for _ in range(rows)]
        home, now = partitions_of(pa.array(ids), PARTITIONS), WallClock().now()
        labels = []
        for partition in range(PARTITIONS):
            own = [ids[place] for place in np.flatnonzero(home == partition).tolist()]
            moment, score = np.full(len(own), now), self._rng.random(len(own))
            features = {name: self._rng.normal(size=len(own)) for name in FEATURES}
            made = encode_predictions(model="bench", version="1", ids=own, time=moment, scores={"": score}, features=features)
            said = encode_labels(ids=own, label=np.where(score > self._rng.random(len(own)), "yes", "no").tolist(), model="bench")
            self._log.append(Stream.PREDICTIONS, [Message(partition, now, made, ARROW)])
            labels.append(Message(partition, now, said, ARROW))
        self._log.append(Stream.LABELS, labels)

    @contextmanager
    def steady(self, events_a_second: int) -> Iterator[None]:
        def run() -> None:
            due = time.monotonic()
            while not self._stop.wait(max(0.0, due - time.monotonic())):
                self.send(int(events_a_second * SEND_SECONDS / 2))
                due += SEND_SECONDS

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()


@dataclass(slots=True)
class Watched:
    """Who showed the model, scrape by scrape: (moment, names)."""

    fleet: Fleet
    seen: list[tuple[float, tuple[str, ...]]] = field(default_factory=list)
    _pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(4))

    def look(self) -> tuple[str, ...]:
        members = self.fleet.running()
        moment = time.monotonic()
        answers = self._pool.map(lambda member: scrape(member.name, member.port), members)
        shown = tuple(answer.member for answer in answers if SHOWN in (answer.text or ""))
        self.seen.append((moment, shown))
        time.sleep(max(0.0, moment + SCRAPE_SECONDS - time.monotonic()))
        return shown

    def settled(self) -> Member:
        """Waits until one member has shown the model for a while and all take part; that one."""
        began = since = time.monotonic()
        who: tuple[str, ...] = ()
        while time.monotonic() - since < SETTLED_SECONDS:
            now = self.look()
            if now != who or len(now) != 1 or not all(map(is_ready, self.fleet.running())):
                who, since = now, time.monotonic()
            ended = [member for member in self.fleet.members.values() if not (member.is_running or member.is_expected_to_end)]
            if ended:
                raise RuntimeError(f"{ended[0].name} ended by itself: {ended[0].said_at.read_text()[-2_000:]}")
            if time.monotonic() - began > WITHIN_SECONDS:
                raise TimeoutError(f"no replica shows the model and all are ready after {WITHIN_SECONDS:.0f} s; see {self.fleet.folder}")
        return self.fleet.members[who[0]]

    def gap(self, signalled: float) -> float:
        """Seconds without the model since about then: once it is shown again."""
        while not (self.look() and self.is_back(signalled)):
            if time.monotonic() - signalled > WITHIN_SECONDS:
                raise TimeoutError(f"the model is not shown again within {WITHIN_SECONDS:.0f} s; see {self.fleet.folder}")
        times = [moment for moment, shown in self.seen if shown]
        return max(later - earlier for earlier, later in pairwise(times) if later >= signalled)

    def is_back(self, signalled: float) -> bool:
        """Another one shows it, for long enough to tell that it stays."""
        recent = [shown for moment, shown in self.seen if moment > signalled][-5:]
        return len(recent) == 5 and len(set(recent)) == 1 and len(recent[0]) == 1


def is_ready(member: Member) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{member.port}/readyz", timeout=1.0).is_success
    except httpx.HTTPError:
        return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--session", type=int, default=10, metavar="SECONDS")
    parser.add_argument("--rate", type=int, default=5_000, metavar="EVENTS_A_SECOND")
    parser.add_argument("--kafka", metavar="HOST:PORT", help="a broker that runs already; default: one of its own")
    options = parser.parse_args()
    with ExitStack() as stack:
        bootstrap = options.kafka or stack.enter_context(broker())
        connection = Connection((bootstrap,))
        names = Names(f"bench-{uuid.uuid4().hex[:12]}-")
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        file = folder / "kafka.yaml"
        file.write_text(configuration(bootstrap, names, options.session))
        topics.create(file)
        stack.callback(remove_topics, connection, names)
        load = Load(stack.enter_context(closing(KafkaLog(connection, names, partitions=PARTITIONS, clock=WallClock()))))
        for _ in range(FIRST_ROWS // 2_000):
            load.send(2_000)
        fleet = Fleet(folder, file, shares_state=True, is_static=False)
        stack.callback(fleet.close)
        watched = Watched(fleet)
        stack.enter_context(load.steady(options.rate))
        fleet.add()
        watched.settled()
        fleet.add()
        for title, number, allowed in (
            ("SIGTERM", signal.SIGTERM, ALLOWED_BEYOND_SESSION),
            ("kill -9", signal.SIGKILL, options.session + ALLOWED_BEYOND_SESSION),
        ):
            shows = watched.settled()
            shows.is_expected_to_end = True
            signalled = time.monotonic()
            shows.process.send_signal(number)
            gap = watched.gap(signalled)
            twice = sum(len(shown) > 1 for _, shown in watched.seen)
            print(
                f"{title} of the replica that shows the model, {options.rate:,} events/s: gap {gap:5.1f} s   "
                f"session timeout {options.session} s, goal {allowed} s   shown twice in {twice} of {len(watched.seen)} scrapes",
                flush=True,
            )
            shows.process.wait()
            fleet.restart(shows)


if __name__ == "__main__":
    main()
