"""What a person sees while the year goes by: a bar on a terminal, a line every few seconds on a pipe. Always on stderr."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Final, Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from monitor.clock import Milliseconds

LINE_EVERY_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Scene:
    """One moment of the run. `lag` and `recall` are None where the daemon has not said (yet), or runs elsewhere."""

    due: Milliseconds
    events: int
    lag: int | None = None
    recall: float | None = None

    @property
    def date(self) -> str:
        return datetime.fromtimestamp(self.due / 1000, UTC).strftime("%Y-%m-%d") if self.due else "-"

    @property
    def daemon(self) -> str:
        lag = "" if self.lag is None else f"lag {self.lag:,} records"
        recall = "" if self.recall is None else f"recall (7d) {self.recall:.2f}"
        return " · ".join(part for part in (lag, recall) if part)


class Display(Protocol):
    """Shows scenes as they come; a context."""

    def show(self, scene: Scene) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...


def display(console: Console, total_events: int, monotonic: Callable[[], float] = time.monotonic) -> Display:
    """The one that fits where the console goes. `monotonic` tells seconds, for the lines."""
    return _Bar(console, total_events) if console.is_terminal else _Lines(console, total_events, monotonic)


class _Bar:
    def __init__(self, console: Console, total_events: int) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:,.0f} of {task.total:,.0f} events"),
            TextColumn("{task.fields[daemon]}"),
            TimeElapsedColumn(),
            console=console,
        )
        self._task = self._progress.add_task("-", total=total_events, daemon="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._progress.stop()

    def show(self, scene: Scene) -> None:
        self._progress.update(self._task, completed=scene.events, description=scene.date, daemon=scene.daemon)


class _Lines:
    def __init__(self, console: Console, total_events: int, monotonic: Callable[[], float]) -> None:
        self._console = console
        self._total_events = total_events
        self._monotonic = monotonic
        self._next = -math.inf

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        return

    def show(self, scene: Scene) -> None:
        now = self._monotonic()
        if now >= self._next:
            self._next = now + LINE_EVERY_SECONDS
            parts = (scene.date, f"{scene.events:,} of {self._total_events:,} events", scene.daemon)
            self._console.print(" · ".join(part for part in parts if part), soft_wrap=True, highlight=False)
