"""`log import` and `export` move events between files and the log; `log tail` shows what comes.

All three work beside a running server and daemon. Standard output holds events only.
"""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import closing, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from monitor.commands.options import config_file

if TYPE_CHECKING:
    from rich.progress import Progress

    from monitor.events import Stream
    from monitor.log import Log
    from monitor.transfer.arrivals import Arrivals
    from monitor.transfer.batches import Batch
    from monitor.transfer.events import Event

EVENT_STREAMS: Final = ("predictions", "labels")
STANDARD_STREAM: Final = Path("-")
PARQUET_MAGIC: Final = b"PAR1"
PARQUET_SUFFIXES: Final = (".parquet", ".pq")
FOLLOW_INTERVAL_S: Final = 0.5

_stream = click.argument("stream", type=click.Choice([*EVENT_STREAMS, "dead-letters"]))


@click.group()
def command() -> None:
    """Move events between files and the log."""


@command.command("import")
@config_file
@click.option(
    "--arrival",
    type=click.Choice(["original", "now"]),
    default="original",
    show_default=True,
    help="When events count as having arrived: at their own `arrival`, else `time`; or all of them at this moment.",
)
@click.argument("stream", type=click.Choice(EVENT_STREAMS))
@click.argument(
    "paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path)
)
def import_(config: Path | None, arrival: str, stream: str, paths: tuple[Path, ...]) -> None:
    """Append the events of files: JSON lines or Parquet; `-` is JSON lines from standard input.

    Returns when they are durable. Blank lines are skipped; a row that the daemon will refuse is appended too, and counted there.
    Events that are older than Kafka's topic keeps any are refused, since it would remove them at once.
    """
    from monitor.clock import WallClock
    from monitor.commands.opening import open_log
    from monitor.config import load
    from monitor.config.log import KafkaLogSettings
    from monitor.events import Stream
    from monitor.transfer.arrivals import Arrivals
    from monitor.transfer.importing import append_all, newest_in

    which, clock, settings = Stream(stream), WallClock(), load(config, os.environ)
    with closing(open_log(settings, clock)) as log, _progress() as progress:
        arrivals = Arrivals(which, clock, is_now=arrival == "now", last=newest_in(log, which))
        batches: Iterator[Batch] = (batch for path in paths for batch in _batches(path, arrivals, log.partitions, progress))
        if isinstance(settings.log, KafkaLogSettings):
            from monitor.commands.topic_specs import only_what_is_kept

            batches = only_what_is_kept(settings.log, which, batches, clock.now())
        count = append_all(log, which, batches)
    click.echo(f"{count:,} {stream} appended", err=True)


@command.command("export")
@config_file
@click.option("--since", metavar="TIME", help="Only what arrived then or later (RFC 3339 or epoch milliseconds).")
@click.option("--until", metavar="TIME", help="Only what arrived before.")
@_stream
@click.argument(
    "path", required=False, default=STANDARD_STREAM, type=click.Path(dir_okay=False, writable=True, allow_dash=True, path_type=Path)
)
def export(config: Path | None, since: str | None, until: str | None, stream: str, path: Path) -> None:
    """Write the log's events to a file: Parquet if its name says so, else JSON lines; to standard output without one.

    Each has its `arrival`, `partition` and `offset`, and can be imported again. What cannot be decoded is shown as it is.
    """
    from monitor.events import Stream
    from monitor.transfer.events import between
    from monitor.transfer.exporting import write_jsonl, write_parquet

    which, first, last = Stream(stream), _milliseconds("--since", since), _milliseconds("--until", until)
    with closing(_open(config)) as log, _progress() as progress:
        spans = [_span(log, which, partition, first) for partition in range(log.partitions)]
        if path.suffix in PARQUET_SUFFIXES:
            count = write_parquet(lambda: between(_read(log, which, spans, progress), first, last), path)
        else:
            with nullcontext(sys.stdout.buffer) if path == STANDARD_STREAM else path.open("wb") as file:
                count = write_jsonl(between(_read(log, which, spans, progress), first, last), file)
    click.echo(f"{count:,} {stream} exported", err=True)


@command.command("tail")
@config_file
@click.option("-n", "count", type=click.IntRange(min=0), default=10, show_default=True, help="How many of the newest to show.")
@click.option("-f", "follows", is_flag=True, help="Go on with what comes, until interrupted.")
@_stream
def tail(config: Path | None, count: int, follows: bool, stream: str) -> None:
    """Show the newest events as JSON lines, the latest last.

    A dead letter has its `reason` and `outcome`, its `origin` (stream, partition, offset, time, and the rows concerned within the record),
    and the record's own bytes: `value`, or `value_base64` where they are no text. Where the record holds several events, `events` are those
    concerned. `jq -r .value` gives what was sent; put right, it can be sent again, or appended by `log import`.
    """
    from monitor.events import Stream
    from monitor.transfer.events import newest, read_events
    from monitor.transfer.exporting import write_jsonl

    which = Stream(stream)
    with closing(_open(config)) as log:
        seen = [log.end_offset(which, partition) for partition in range(log.partitions)]
        write_jsonl(newest(log, which, seen, count), sys.stdout.buffer)
        sys.stdout.flush()
        with suppress(KeyboardInterrupt):
            while follows:
                for partition, offset in enumerate(seen):
                    seen[partition] = log.end_offset(which, partition)
                    write_jsonl(read_events(log, which, partition, offset, seen[partition]), sys.stdout.buffer)
                sys.stdout.flush()
                time.sleep(FOLLOW_INTERVAL_S)


def _open(config: Path | None) -> "Log":
    from monitor.clock import WallClock
    from monitor.commands.opening import open_log
    from monitor.config import load

    return open_log(load(config, os.environ), WallClock())


def _batches(path: Path, arrivals: "Arrivals", partitions: int, progress: "Progress") -> "Iterator[Batch]":
    """The batches of one file, with a bar that moves as they are appended."""
    from monitor.transfer.jsonl_import import read_jsonl
    from monitor.transfer.parquet_import import read_parquet, rows_in

    if path == STANDARD_STREAM:
        yield from _shown(read_jsonl(sys.stdin.buffer, "standard input", arrivals, partitions), "standard input", None, progress)
        return
    with path.open("rb") as file:
        if file.read(len(PARQUET_MAGIC)) == PARQUET_MAGIC:
            yield from _shown(read_parquet(path, arrivals, partitions), path.name, rows_in(path), progress)
        else:
            file.seek(0)
            yield from _shown(read_jsonl(file, str(path), arrivals, partitions), path.name, path.stat().st_size, progress)


def _shown(batches: "Iterator[Batch]", name: str, total: int | None, progress: "Progress") -> "Iterator[Batch]":
    task = progress.add_task(name, total=total)
    for batch in batches:
        yield batch
        progress.update(task, completed=batch.read)


def _span(log: "Log", stream: "Stream", partition: int, first: int | None) -> tuple[int, int]:
    begin = log.begin_offset(stream, partition) if first is None else log.offset_for_time(stream, partition, first)
    return begin, log.end_offset(stream, partition)


def _read(log: "Log", stream: "Stream", spans: list[tuple[int, int]], progress: "Progress") -> "Iterator[Event]":
    """The events of a span a partition, with a bar that moves by records."""
    from monitor.transfer.events import read_events

    task = progress.add_task(stream.value, total=sum(end - begin for begin, end in spans))
    for partition, (begin, end) in enumerate(spans):
        done = begin
        for event in read_events(log, stream, partition, begin, end):
            if event["offset"] >= done:
                progress.advance(task, event["offset"] + 1 - done)
                done = event["offset"] + 1
            yield event


def _progress() -> "Progress":
    """A bar on standard error, where a person looks at it."""
    from rich.console import Console
    from rich.progress import Progress

    return Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())


def _milliseconds(option: str, text: str | None) -> int | None:
    from monitor.codec.cells import Cells
    from monitor.codec.times import EXPECTED, times_of

    if text is None:
        return None
    times = times_of(Cells.of_values([int(text) if text.isdecimal() else text]))
    if times.malformed[0]:
        raise click.BadParameter(f"{text!r} is not a time; expected {EXPECTED}", param_hint=option)
    return int(times.milliseconds[0])
