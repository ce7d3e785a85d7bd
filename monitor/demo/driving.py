"""The hours of the demo: the load runs, the children are looked after, the daemon is asked how far it is, a person is shown it."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final

from monitor.clock import Milliseconds
from monitor.demo.asking import Address, MonthReading, Position, Unanswered, month_reading, months_between, position
from monitor.demo.load import Progress
from monitor.demo.progress import Display, Scene
from monitor.errors import MonitorError

GLANCE_SECONDS: Final = 0.25
ASK_EVERY_SECONDS: Final = 2.0
STILL_SECONDS: Final = 20.0
"""A daemon commits every second. One that stands still this long will not go on."""
AWAY_SECONDS: Final = 60.0
"""One that is started again reads its state, and on Kafka it waits for the session of the one before to end."""


@dataclass(frozen=True, slots=True)
class Audience:
    """Who looks on while events are sent: the daemon that is asked (None: it runs elsewhere), the display, and the children's keeper.

    `attend` is called a few times a second and raises to end it all.
    """

    daemon: Address | None
    display: Display
    attend: Callable[[], None]


async def drive(load: Coroutine[Any, Any, None], progress: Progress, audience: Audience) -> None:
    """Runs the load, which counts in `progress`, to its end, and shows how far it is."""
    seen = _Seen()
    tasks = [loading := asyncio.create_task(load)]
    if audience.daemon is not None:
        tasks.append(asyncio.create_task(seen.follow(audience.daemon)))
    try:
        while not loading.done():
            await asyncio.wait({loading}, timeout=GLANCE_SECONDS)
            audience.attend()
            audience.display.show(Scene(progress.due, progress.events, seen.lag, seen.recall))
        loading.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def await_settled(daemon: Address, progress: Progress, audience: Audience) -> Position:
    """Returns when the daemon has committed all that was sent, or stands still with nothing before it (a killed server lost the rest).

    Raises `MonitorError` where it stands still with records before it, or stays away.
    """
    latest: Position | None = None
    since = time.monotonic()
    while True:
        audience.attend()
        now = _position(daemon)
        if now is not None and now.lag == 0 and now.events >= progress.events:
            return now
        if now != latest:
            latest, since = now, time.monotonic()
        elif time.monotonic() - since > (AWAY_SECONDS if latest is None else STILL_SECONDS):
            if latest is None:
                raise MonitorError(f"The daemon has not told for {AWAY_SECONDS:.0f} seconds how far it is: see watch.log.")
            if latest.lag == 0:
                return latest
            raise MonitorError(
                f"The daemon has stood still for {STILL_SECONDS:.0f} seconds, {latest.lag} records before it: see watch.log."
            )
        audience.display.show(Scene(progress.due, progress.events, None if now is None else now.lag))
        time.sleep(GLANCE_SECONDS)


def _position(daemon: Address) -> Position | None:
    """None while the daemon is away."""
    try:
        return position(daemon)
    except Unanswered:
        return None


def months_read(daemon: Address, first: Milliseconds, last: Milliseconds, predictions: int) -> list[MonthReading]:
    """The months' readings once they account for that many predictions, or as they are after a while: they follow a commit by a tick."""
    deadline = time.monotonic() + STILL_SECONDS
    while True:
        try:
            readings = [month_reading(daemon, start, end) for start, end in months_between(first, last)]
        except Unanswered as error:
            if time.monotonic() > deadline:
                raise MonitorError(f"The daemon does not tell its readings: {error}.") from error
            readings = []
        months = [reading for reading in readings if reading is not None]
        if sum(month.predictions for month in months) >= predictions or (months and time.monotonic() > deadline):
            return months
        time.sleep(GLANCE_SECONDS)


class _Seen:
    """What the daemon said last; None until it says something, and while it is away."""

    def __init__(self) -> None:
        self.lag: int | None = None
        self.recall: float | None = None

    async def follow(self, daemon: Address) -> None:
        """Asks now and then, in a thread, so that a slow answer never holds the load up."""
        while True:
            try:
                now = await asyncio.to_thread(position, daemon)
                self.lag, self.recall = now.lag, now.recall
            except Unanswered:
                self.lag = self.recall = None
            await asyncio.sleep(ASK_EVERY_SECONDS)
