"""The embedded log's speed beside what the disk and SQLite alone can do: `python -m tests.bench.log [FOLDER]`.

Floors: the same bytes written to a plain file with an fsync each, and by bare SQLite (one executemany and commit each). Every row is
durable when it is counted. FOLDER must be on the disk that matters; the default is the present folder.
"""

import os
import sqlite3
import statistics
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.console import Console
from rich.table import Table

from monitor.clock import WallClock
from monitor.events import Stream
from monitor.log import ARROW, Commit, Log, Message
from monitor.log.embedded import EmbeddedLog

EVENTS_A_BATCH = 500
BATCH = os.urandom(60_000)
"""About what 500 predictions of 10 numeric features take in Arrow."""
BATCHES_AN_APPEND = 4
APPENDS = 200
EVENT = os.urandom(220)
EVENTS_AN_APPEND = 1_000
ALL = 1 << 40
GOAL_EVENTS_S = 200_000


def appended_to_a_file(folder: Path, value: bytes, per_append: int, appends: int) -> float:
    descriptor = os.open(folder / "floor", os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    began = time.perf_counter()
    for _ in range(appends):
        os.write(descriptor, value * per_append)
        os.fdatasync(descriptor)
    elapsed = time.perf_counter() - began
    os.close(descriptor)
    return elapsed


def appended_to_sqlite(folder: Path, value: bytes, per_append: int, appends: int) -> float:
    connection = sqlite3.connect(folder / "bare.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE records (position INTEGER PRIMARY KEY, value BLOB)")
    began = time.perf_counter()
    for number in range(appends):
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO records VALUES (?, ?)", [(number * per_append + row, value) for row in range(per_append)])
        connection.execute("COMMIT")
    elapsed = time.perf_counter() - began
    connection.close()
    return elapsed


def appended_to_the_log(log: Log, messages: list[Message], appends: int, threads: int, stream: Stream = Stream.PREDICTIONS) -> float:
    """Seconds for so many appends by so many threads that begin together."""
    together = threading.Barrier(threads + 1)

    def append() -> None:
        together.wait()
        for _ in range(appends // threads):
            log.append(stream, messages)

    with ThreadPoolExecutor(threads) as pool:
        waiting = [pool.submit(append) for _ in range(threads)]
        together.wait()
        began = time.perf_counter()
        for one in waiting:
            one.result()
    return time.perf_counter() - began


def read_back(log: EmbeddedLog) -> tuple[int, float]:
    began = time.perf_counter()
    count = offset = 0
    while records := log.read(Stream.PREDICTIONS, 0, offset, 16 * 1024 * 1024):
        count += len(records)
        offset = records[-1].offset + 1
    return count, time.perf_counter() - began


def commits(log: EmbeddedLog, rounds: int) -> list[float]:
    owner = log.acquire()
    keys = [os.urandom(60) for _ in range(5_000)]
    elapsed = []
    for number in range(rounds):
        panes = {key: os.urandom(5_000) for key in keys[number % 5 :: 5]}
        began = time.perf_counter()
        owner.commit([Commit(0, {Stream.PREDICTIONS: number}, panes, b"state")])
        elapsed.append(time.perf_counter() - began)
    owner.close()
    return elapsed


def main(parent: str = ".") -> None:
    table = Table("what", "rate", "against plain file", "against bare SQLite", title=f"embedded log, durable, in {Path(parent).resolve()}")

    def compared(name: str, value: bytes, per_append: int, appends: int, events: int, content_type: str) -> None:
        total = events * per_append * appends

        def row(what: str, elapsed: float) -> None:
            table.add_row(f"{name}: {what}", f"{total / elapsed:,.0f} events/s", f"{plain / elapsed:.2f}", f"{bare / elapsed:.2f}")

        with tempfile.TemporaryDirectory(dir=parent) as name_of_folder:
            folder = Path(name_of_folder)
            plain = appended_to_a_file(folder, value, per_append, appends)
            bare = appended_to_sqlite(folder, value, per_append, appends)
            row("plain file, fdatasync", plain)
            row("bare SQLite", bare)
            for threads in (1, 4):
                log = EmbeddedLog(folder / f"log{threads}.db", partitions=1, clock=WallClock())
                messages = [Message(0, 0, value, content_type)] * per_append
                row(f"the log, {threads} thread{'s' * (threads > 1)}", appended_to_the_log(log, messages, appends, threads))
                if threads == 1:
                    count, elapsed = read_back(log)
                    table.add_row(
                        f"{name}: read back",
                        f"{count * events / elapsed:,.0f} events/s",
                        "",
                        f"{count * len(value) / elapsed / 1e6:,.0f} MB/s",
                    )
                log.close()

    compared("Arrow, 4 x 500 events of 120 B", BATCH, BATCHES_AN_APPEND, APPENDS, EVENTS_A_BATCH, ARROW)
    compared("Arrow, 1 x 500 events of 120 B", BATCH, 1, APPENDS, EVENTS_A_BATCH, ARROW)
    compared("JSON, 1,000 single events of 220 B", EVENT, EVENTS_AN_APPEND, 100, 1, "application/json")
    compared("JSON, 1 single event of 220 B", EVENT, 1, 1_000, 1, "application/json")
    with tempfile.TemporaryDirectory(dir=parent) as folder:
        log = EmbeddedLog(Path(folder) / "log.db", partitions=1, clock=WallClock())
        elapsed = commits(log, 20)
        table.add_row(
            "commit of 1,000 panes of 5 KB",
            f"{statistics.median(elapsed) * 1e3:.0f} ms median, {max(elapsed) * 1e3:.0f} ms at most",
            "",
            "",
        )
        log.close()
    console = Console(width=140)
    console.print(table)
    console.print(f"Goal: {GOAL_EVENTS_S:,} events/s in Arrow micro-batches of 500.")


if __name__ == "__main__":
    main(*sys.argv[1:])
