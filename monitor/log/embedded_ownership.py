"""Who may commit to an embedded log, and the commit itself.

Two guards: a lock on a file beside the log, held while the owner lives (the kernel frees it, also after `kill -9`), says whether there is
one; a number in the log that each acquiring raises, checked within every commit, refuses whoever was displaced.
"""

import fcntl
import json
import os
import socket
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from monitor.errors import Fenced, LogError, OwnedElsewhere
from monitor.events import SOURCES, Stream
from monitor.log import Commit, Committed, PaneKey
from monitor.log.dead_letters import to_message
from monitor.log.embedded_file import LogFile
from monitor.log.embedded_records import Layout, Slot, insert
from monitor.log.embedded_retention import Limits, remove_expired, trim_dead_letters
from monitor.log.own_changes import OwnChanges

SWEEP_SHARE = 64
"""Age is looked at when a slot's newest record moved on by this part of the age limit: seldom, and without asking a clock."""


class OwnerLock:
    """The lock that a live owner holds on `PATH.owner`; the file tells others who that is."""

    def __init__(self, log_path: Path) -> None:
        self._path = Path(f"{log_path}.owner")
        self._descriptor = -1

    def take(self, *, displace: bool) -> None:
        """Raises `OwnedElsewhere` while another has it, unless it is to be displaced."""
        try:
            descriptor = os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise LogError(f"{self._path}: the owner's lock cannot be made ({error.strerror}). Correct the folder of `log.path`") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(descriptor, 4096, 0)
            os.close(descriptor)
            if not displace:
                raise OwnedElsewhere(
                    f"{self._path}: another daemon holds this log ({_named(holder)}). Stop it, or give this one a `log.path` of its own"
                ) from error
            return
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode(), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _named(holder: bytes) -> str:
    with suppress(ValueError, KeyError, TypeError):
        named = json.loads(holder)
        return f"process {named['pid']} on {named['host']}"
    return "a process that is just starting"


class EmbeddedOwnership:
    """The right to commit for every partition of an embedded log; see `monitor.log.Ownership`."""

    def __init__(self, file: LogFile, layout: Layout, limits: Limits, *, displace: bool) -> None:
        self._file = file
        self._layout = layout
        self._limits = limits
        self._swept: dict[int, int] = {}
        self._changes = OwnChanges()
        self._has_told_what_it_found = False
        self._lock = OwnerLock(file.path)
        self._lock.take(displace=displace)
        try:
            with file.transaction("acquiring the log") as sql:
                (self._epoch,) = sql.execute("UPDATE log SET epoch = epoch + 1 RETURNING epoch").fetchone()
        except LogError:
            self._lock.release()
            raise

    @property
    def partitions(self) -> tuple[int, ...]:
        return tuple(range(self._layout.partitions))

    def refresh(self) -> int:
        """There is one assignment: every partition, from the acquiring on."""
        return 1

    def is_current(self, number: int) -> bool:
        """Nobody else can acquire while this one lives; whoever displaces it by force asks for what follows."""
        return bool(self._epoch >= 0)

    def is_unchanged(self, partition: int) -> bool:
        return True

    def live_partitions(self) -> frozenset[int]:
        return frozenset(self.partitions)

    def committed(self, partition: int) -> Committed:
        with self._file.snapshot("reading what was committed") as sql:
            offsets = {stream: Slot.load(sql, self._layout.slot(stream, partition)).committed for stream in SOURCES}
            row = sql.execute("SELECT state FROM states WHERE partition = ?", (partition,)).fetchone()
        return Committed(partition, offsets, row[0] if row else b"")

    def panes(self, partition: int) -> Iterator[tuple[PaneKey, bytes]]:
        self._layout.slot(Stream.PREDICTIONS, partition)
        with self._file.snapshot("reading panes") as sql:
            yield from sql.execute("SELECT key, value FROM panes WHERE partition = ?", (partition,))

    def commit(self, commits: Sequence[Commit]) -> None:
        with self._file.transaction("the commit") as sql:
            (epoch,) = sql.execute("SELECT epoch FROM log").fetchone()
            if epoch != self._epoch:
                raise Fenced(
                    f"{self._file.path}: another daemon acquired this log; what this one had not committed is discarded. Stop this one"
                )
            for commit in commits:
                partition = commit.partition
                self._layout.slot(Stream.PREDICTIONS, partition)
                sql.executemany(
                    "INSERT INTO panes VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
                    [(partition, key, value) for key, value in commit.panes.items() if value],
                )
                sql.executemany(
                    "DELETE FROM panes WHERE partition = ? AND key = ?",
                    [(partition, key) for key, value in commit.panes.items() if not value],
                )
                sql.execute("REPLACE INTO states VALUES (?, ?)", (partition, commit.state))
                for stream, offset in commit.offsets.items():
                    sql.execute(
                        "INSERT INTO slots (slot, committed) VALUES (?, ?) ON CONFLICT DO UPDATE SET committed = excluded.committed",
                        (self._layout.slot(stream, partition), offset),
                    )
                if commit.dead_letters:
                    letters = [to_message(partition, letter) for letter in commit.dead_letters]
                    insert(sql, self._layout, Stream.DEAD_LETTERS, letters)
                    while trim_dead_letters(sql, self._layout.slot(Stream.DEAD_LETTERS, partition), self._limits, self._layout.partitions):
                        pass
            self._remove_due(sql, [commit.partition for commit in commits])
        self._changes.committed(commits)

    def changes(self) -> Sequence[Commit]:
        if not self._has_told_what_it_found:
            self._changes.take()  # what was committed by now is found with the rest
            for partition in self.partitions:
                self._changes.found(self.committed(partition), self.panes(partition))
            self._has_told_what_it_found = True
        return self._changes.take()

    def close(self) -> None:
        """Another may acquire from here on; a commit of this one raises `Fenced`."""
        self._epoch = -1
        self._lock.release()

    def _remove_due(self, sql: sqlite3.Connection, partitions: Sequence[int]) -> None:
        """Age retention where it is due, as much as a commit can bear: one step of one slot, the rest with the next commits."""
        if self._limits.retention_ms is None:
            return
        for stream in Stream:
            for partition in partitions:
                slot = Slot.load(sql, self._layout.slot(stream, partition))
                swept = self._swept.get(slot.number)
                if slot.newest is None or (swept is not None and slot.newest < swept + self._limits.retention_ms // SWEEP_SHARE):
                    continue
                if remove_expired(sql, stream, slot.number, self._limits):
                    return
                self._swept[slot.number] = slot.newest
