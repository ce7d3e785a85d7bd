"""One run of the real demo on its first weeks, from start to Ctrl-C, and everything that it showed on the way.

The run costs most of a minute, so it happens once a session; tests look at what it left and are free to run in any order.
"""

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pandas as pd

from tests.e2e.demos import STAYS_UP, Demo, demo, monitor, until
from tests.e2e.exposed import text_series
from tests.e2e.readings_oracle import DAY, HOUR, Span

END = "2013-04-03"
"""All of March and two days of April: the 28-day window has a past to leave out, and there are two calendar months."""
README = Path(__file__).parents[2] / "README.md"
OWN_FLIGHTS = ("my-flight", "readme-flight")
OPENMETRICS = {"Accept": "application/openmetrics-text; version=1.0.0"}
GONE_WITHIN_SECONDS = 10


@dataclass(frozen=True)
class Showing:
    """What the daemon showed at one moment; `ranges` are readings asked for by time."""

    text: str
    openmetrics: str
    readings: Mapping[str, Any]
    ranges: Mapping[Span, Mapping[str, Any]]

    @property
    def now(self) -> int:
        """The readings' clock, in milliseconds."""
        return round(datetime.fromisoformat(self.readings["now"]).timestamp() * 1_000)


@dataclass(frozen=True)
class Played:
    """The run: when the stream had ended, when flights of one's own had been sent too, and after Ctrl-C."""

    folder: Path
    stdout: str
    stderr: str
    stream_ended: Showing
    in_the_end: Showing
    answers: list[httpx.Response]
    page: str
    server_text: str
    exit_code: int
    survivors: list[str]
    once: Mapping[str, str]
    predictions: pd.DataFrame
    labels: pd.DataFrame


def play(folder: Path) -> Played:
    with demo(folder, "--until", END) as running:
        running.await_said(STAYS_UP)
        stream_ended = showing(running)
        answers = [perform(command) for command in printed_commands(running.stderr)]
        await_events(running, counted(stream_ended) + len(answers))
        answers += [perform(command) for command in readme_commands(running, stream_ended.now)]
        await_events(running, counted(stream_ended) + len(answers))
        in_the_end = showing(running)
        page, server_text = running.get("/").text, httpx.get(f"{running.server}/metrics").text
        running.interrupt()
        exit_code = running.wait()
        survivors = [str(process) for process in running.survivors(GONE_WITHIN_SECONDS)]
        stdout, stderr = running.stdout, running.stderr
    configuration = running.configuration
    return Played(
        folder,
        stdout,
        stderr,
        stream_ended,
        in_the_end,
        answers,
        page,
        server_text,
        exit_code,
        survivors,
        once={form: monitor("watch", "-c", configuration, "--once", "--format", form).stdout for form in ("json", "openmetrics", "table")},
        predictions=exported(configuration, "predictions", folder.parent),
        labels=exported(configuration, "labels", folder.parent),
    )


def exported(configuration: Path, stream: str, folder: Path) -> pd.DataFrame:
    """A stream of the log as a person would take it out."""
    path = folder / f"{stream}.parquet"
    monitor("log", "export", "-c", configuration, stream, path)
    return pd.read_parquet(path)


def showing(running: Demo) -> Showing:
    text, openmetrics = running.get("/metrics").text, httpx.get(f"{running.daemon}/metrics", headers=OPENMETRICS).text
    readings = running.get("/api/v1/readings").json()
    now = Showing(text, openmetrics, readings, {}).now
    ranges = {span: running.get("/api/v1/readings", **range_query(span)).json() for span in interesting_spans(now)}
    return Showing(text, openmetrics, readings, ranges)


def interesting_spans(now: int) -> Iterator[Span]:
    """The two months, every third day, and spans of the last days on the edges of finer panes."""
    yield from month_spans().values()
    first, last = milliseconds(datetime(2013, 3, 1, tzinfo=UTC)), now // DAY * DAY
    yield from (Span(day, day + DAY, DAY) for day in range(first, last + DAY, 3 * DAY))
    quarter, hour = now // (6 * HOUR) * 6 * HOUR, now // HOUR * HOUR
    yield Span(quarter - 30 * HOUR, quarter - 6 * HOUR, 6 * HOUR)
    yield from (Span(hour - hours * HOUR, hour - (hours - 2) * HOUR, HOUR) for hours in (5, 11, 17) if (hour - hours * HOUR) % (6 * HOUR))


def month_spans() -> dict[str, Span]:
    edges = [milliseconds(datetime(2013, month, 1, tzinfo=UTC)) for month in (3, 4, 5)]
    return {"2013-03": Span(edges[0], edges[1], DAY), "2013-04": Span(edges[1], edges[2], DAY)}


def range_query(span: Span) -> dict[str, str]:
    since, end = (datetime.fromtimestamp(time / 1_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") for time in (span.since, span.until))
    return {"model": "flights", "since": since, "until": end}


def milliseconds(moment: datetime) -> int:
    return round(moment.timestamp()) * 1_000


def counted(shown: Showing) -> int:
    """Events that the daemon has counted, of both streams."""
    return events_of(shown.text)


def events_of(text: str) -> int:
    return int(sum(value for name, _, value in text_series(text) if name == "events_total"))


def await_events(running: Demo, events: int) -> None:
    until(lambda: events_of(running.get("/metrics").text) >= events, f"{events} events counted")


Command = tuple[str, bytes, str]
"""URL, body and content type of a request."""


def printed_commands(stderr: str) -> list[Command]:
    """The requests that the demo suggests when the stream has ended."""
    return [curl(line) for line in stderr.splitlines() if line.strip().startswith("curl") and " -d " in line]


def readme_commands(running: Demo, now: int) -> list[Command]:
    """The README's, at this run's ports and date; the flight gets another id than the printed one's."""
    last = datetime.fromtimestamp(now / 1_000, UTC) + timedelta(hours=12)
    text = README.read_text().replace("my-flight", "readme-flight").replace("2013-12-31", last.strftime("%Y-%m-%d"))
    text = text.replace("127.0.0.1:8000", f"127.0.0.1:{running.serving_port}")
    return [curl(found) for found in re.findall(r"^curl -s [^']* -d '[^']*'", text, re.MULTILINE)]


def curl(command: str) -> Command:
    """What curl sends, form encoding being what it claims unless told otherwise."""
    words = shlex.split(command)
    assert words[:2] == ["curl", "-s"], command
    options = dict(zip(words[3::2], words[4::2], strict=True))
    content_type = options.get("-H", "content-type: application/x-www-form-urlencoded").partition(": ")[2]
    return words[2], options["-d"].encode(), content_type


def perform(command: Command) -> httpx.Response:
    url, body, content_type = command
    return httpx.post(url, content=body, headers={"content-type": content_type})
