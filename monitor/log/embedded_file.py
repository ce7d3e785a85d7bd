"""The SQLite file under the embedded log: how it is made, opened, checked and written to, and what its errors mean.

Knows the tables but not what a stream, an owner or a limit is.
"""

import fcntl
import os
import sqlite3
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

from monitor.errors import LogDamaged, LogError, LogFull

SCHEMA_VERSION = 1
APPLICATION_ID = 0x4D6F4C67
"""Tells our files from other SQLite databases ("MoLg")."""

PAGE_BYTES = 8192
"""Measured: 1,000 panes of 5 KB commit in 15 to 50 ms (4 KB pages 25 to 75, 16 KB 25 to 65); records of 60 KB append alike."""

CHECKPOINT_PAGES = 16 * 1024 * 1024 // PAGE_BYTES
WAL_BYTES_KEPT = 64 * 1024 * 1024
TURN_POLL_S = 0.001

# `records.position` is slot << 40 | offset, so that reading a partition is one range scan, and `running_max` is the greatest timestamp
# of the slot so far: sorted, it finds an offset for a time by bisection, without an index that would double the cost of an append.
# `panes` is a rowid table although it has a key: large values in a WITHOUT ROWID table took two to three times as long to commit.
SCHEMA = """
CREATE TABLE log (identity TEXT NOT NULL, partitions INTEGER NOT NULL, epoch INTEGER NOT NULL);
CREATE TABLE slots (
    slot INTEGER PRIMARY KEY, next_offset INTEGER NOT NULL DEFAULT 0, committed INTEGER NOT NULL DEFAULT 0,
    running_max INTEGER, newest INTEGER, stored_bytes INTEGER NOT NULL DEFAULT 0);
CREATE TABLE records (
    position INTEGER PRIMARY KEY, timestamp INTEGER NOT NULL, running_max INTEGER NOT NULL,
    content_type TEXT NOT NULL, headers TEXT, value BLOB NOT NULL);
CREATE TABLE panes (partition INTEGER NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL, UNIQUE (partition, key));
CREATE TABLE states (partition INTEGER PRIMARY KEY, state BLOB NOT NULL);
"""

_FULL = ("SQLITE_FULL", "SQLITE_IOERR_WRITE", "SQLITE_IOERR_SHMSIZE", "SQLITE_IOERR_FSYNC")
_CORRUPT = ("SQLITE_CORRUPT", "SQLITE_NOTADB")


def explain(error: sqlite3.Error, path: Path, doing: str) -> LogError:
    """The error as one of ours: what was being done, to which file, and what to do about it."""
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith(_FULL):
        return LogFull(
            f"{path}: {doing} failed because nothing more can be written there ({error}): the disk is full, a quota or file size "
            "limit is reached, or the disk is failing. Nothing of it was kept; free space, and it can be repeated"
        )
    if name.startswith(_CORRUPT):
        return LogDamaged(
            f"{path}: {doing} failed because the file is damaged or is no log at all ({error}). Stop everything that uses it, then put "
            f"back a copy, or try `sqlite3 {path} .recover`, or move it away with its -wal and -shm files to begin an empty log"
        )
    if name.startswith("SQLITE_BUSY"):
        return LogError(
            f"{path}: {doing} gave up waiting for another process that writes ({error}). See which one holds the file (`fuser {path}`)"
        )
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_AUTH")):
        return LogError(
            f"{path}: {doing} failed ({error}). The file and its folder must be readable and writable by this user, "
            "and a local file system that supports memory-mapped files"
        )
    return LogError(f"{path}: {doing} failed ({error})")


class LogFile:
    """One SQLite database in WAL mode, made if it is not there, for any number of threads and processes at once.

    Raises `LogError` where the file is of another version, another number of partitions, damaged, or cannot be made.
    """

    def __init__(self, path: Path, partitions: int, busy_wait_s: float) -> None:
        self.path = path
        self.identity = ""
        self._busy_wait_s = busy_wait_s
        self._queue = self._make_files()
        # Waiting writers of this process stand in `_asking`, the one that writes holds `_writing`: see `transaction`.
        self._asking = threading.Lock()
        self._writing = threading.Lock()
        self._reading = threading.Lock()
        with ExitStack() as opened, self._explained("opening the log"):
            opened.callback(os.close, self._queue)
            with self._turn("opening the log"):  # connecting reads the file already, which another may be making
                self._writer = opened.enter_context(closing(self._connect(wait_s=busy_wait_s)))
                self._reader = opened.enter_context(closing(self._connect(wait_s=busy_wait_s)))
                self._open(partitions)
            self._writer.execute("PRAGMA busy_timeout = 0")  # from here on writers wait in `_begin`
            self._opened = opened.pop_all()

    @contextmanager
    def transaction(self, doing: str) -> Iterator[sqlite3.Connection]:
        """A durable transaction: committed on leaving, undone by an exception. Writers get their turn in the order of asking.

        SQLite alone lets the one that just wrote begin again at once, while the others sleep: with two busy appenders beside it a small
        writer waited 133 ms at the median and 1.5 s at most. Whoever waits holds the queue's lock, which stops the one that just wrote:
        44 and 156 ms, on the same machine when it was far busier.
        """
        with self._explained(doing):
            with self._asking:
                self._writing.acquire()
                try:
                    with self._turn(doing):
                        self._begin()
                except BaseException:
                    self._writing.release()
                    raise
            try:
                yield self._writer
                self._writer.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):  # a failed COMMIT may have rolled back already; the first error is the one to tell
                    self._writer.execute("ROLLBACK")
                raise
            finally:
                self._writing.release()

    @contextmanager
    def reading(self, doing: str) -> Iterator[sqlite3.Connection]:
        """The connection that reads; every statement sees what was committed before it."""
        with self._explained(doing), self._reading:
            yield self._reader

    @contextmanager
    def snapshot(self, doing: str) -> Iterator[sqlite3.Connection]:
        """A connection of its own that sees one moment however long it is used."""
        with self._explained(doing), closing(self._connect(wait_s=self._busy_wait_s)) as connection:
            connection.execute("BEGIN")
            yield connection

    def close(self) -> None:
        """Waits for a transaction under way, then lets go of the file."""
        with self._explained("closing the log"), self._asking, self._writing, self._reading:
            self._queue = -1
            self._opened.close()

    def _make_files(self) -> int:
        """Makes what is missing, readable by the owner alone (SQLite gives -wal and -shm files the same mode); the queue's descriptor."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError):
                os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
                folder = os.open(self.path.parent, os.O_RDONLY)
                os.fsync(folder)
                os.close(folder)
            return os.open(f"{self.path}.queue", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise LogError(
                f"{self.path}: the log cannot be made there ({error.strerror}). Choose another `log.path` or correct its folder"
            ) from error

    def _connect(self, wait_s: float) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=wait_s, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA synchronous = FULL")
        return connection

    def _open(self, partitions: int) -> None:
        (application,) = self._writer.execute("PRAGMA application_id").fetchone()
        (version,) = self._writer.execute("PRAGMA user_version").fetchone()
        (tables,) = self._writer.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if (application, version, tables) == (0, 0, 0):
            self._create(partitions)
        elif application != APPLICATION_ID:
            raise LogError(f"{self.path} is an SQLite database, but not a log of the model monitor. Choose another `log.path`")
        elif version != SCHEMA_VERSION:
            raise LogError(
                f"{self.path} is a log of version {version}; this program reads version {SCHEMA_VERSION}. "
                "Use the release that wrote it, or begin a new log at another `log.path`"
            )
        self._writer.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        self._writer.execute(f"PRAGMA journal_size_limit = {WAL_BYTES_KEPT}")
        self.identity, made_with = self._writer.execute("SELECT identity, partitions FROM log").fetchone()
        if made_with != partitions:
            raise LogError(
                f"{self.path} was made with {made_with} partitions, but {partitions} are configured. A log keeps its number of partitions: "
                f"set `log.partitions: {made_with}`, or begin a new log at another `log.path` (`log export` and `log import` move events)"
            )

    def _create(self, partitions: int) -> None:
        self._writer.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        (mode,) = self._writer.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise LogError(
                f"{self.path}: its file system does not support SQLite's WAL mode (it offers {mode!r}). Choose a local disk for `log.path`"
            )
        self._begin()
        for statement in SCHEMA.split(";"):
            self._writer.execute(statement)
        self._writer.execute("INSERT INTO log VALUES (?, ?, 0)", (uuid.uuid4().hex, partitions))
        self._writer.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        self._writer.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        self._writer.execute("COMMIT")

    @contextmanager
    def _turn(self, doing: str) -> Iterator[None]:
        """Holds the queue's lock. The kernel frees it when its holder dies."""
        if self._queue < 0:
            raise LogError(f"{self.path}: {doing} came after the log was closed")
        deadline = time.monotonic() + self._busy_wait_s
        while True:
            try:
                fcntl.flock(self._queue, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise LogError(
                        f"{self.path}: {doing} waited {self._busy_wait_s:g} s for another process that writes. "
                        f"See which one hangs (`fuser {self.path}.queue`)"
                    ) from None
                time.sleep(TURN_POLL_S)
            except OSError as error:
                raise LogError(
                    f"{self.path}: {doing} needs a file system with file locks ({error.strerror}). Choose a local disk"
                ) from error
        try:
            yield
        finally:
            fcntl.flock(self._queue, fcntl.LOCK_UN)

    def _begin(self) -> None:
        deadline = time.monotonic() + self._busy_wait_s
        while True:
            try:
                self._writer.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if not error.sqlite_errorname.startswith("SQLITE_BUSY") or time.monotonic() > deadline:
                    raise
                time.sleep(TURN_POLL_S)
            else:
                return

    @contextmanager
    def _explained(self, doing: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise explain(error, self.path, doing) from error
