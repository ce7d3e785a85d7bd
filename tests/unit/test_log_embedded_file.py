"""The embedded log's file: what it refuses to open, what damage looks like, and who may read it."""

import fcntl
import sqlite3
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from monitor.clock import ManualClock
from monitor.errors import LogError, LogFull
from monitor.events import Stream
from monitor.log import Commit, Message
from monitor.log.embedded import EmbeddedLog
from monitor.log.embedded_file import PAGE_BYTES, SCHEMA_VERSION, LogFile

ALL = 1 << 40


def open_log(path: Path, partitions: int = 2, max_bytes: int | None = None, retention_ms: int | None = None) -> EmbeddedLog:
    return EmbeddedLog(path, partitions=partitions, clock=ManualClock(), max_bytes=max_bytes, retention_ms=retention_ms, busy_wait_s=0.05)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


def with_records(path: Path, count: int = 50) -> None:
    log = open_log(path)
    log.append(Stream.LABELS, [Message(0, 0, b"%d " % number + b"x" * 3_000) for number in range(count)])
    log.close()


def test_missing_folders_are_made_and_the_files_are_the_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "log.db"
    log = open_log(path)
    log.append(Stream.LABELS, [Message(0, 0, b"")])
    owner = log.acquire()
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    owner.close()
    log.close()
    assert modes == dict.fromkeys(["log.db", "log.db-wal", "log.db-shm", "log.db.queue", "log.db.owner"], 0o600)


def test_another_number_of_partitions_is_refused_with_the_remedy(path: Path) -> None:
    open_log(path, partitions=2).close()
    with pytest.raises(LogError, match=r"log\.db was made with 2 partitions, but 3 are configured.*set `log\.partitions: 2`"):
        open_log(path, partitions=3)


def test_another_version_is_refused_with_the_remedy(path: Path) -> None:
    open_log(path).close()
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    connection.close()
    with pytest.raises(
        LogError, match=rf"is a log of version {SCHEMA_VERSION + 1}; this program reads version {SCHEMA_VERSION}\. Use the release"
    ):
        open_log(path)


def test_somebody_elses_database_is_left_alone(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE theirs (x)")
    connection.commit()
    before = path.read_bytes()
    with pytest.raises(LogError, match="not a log of the model monitor"):
        open_log(path)
    connection.close()
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"not a database at all, but long enough to be taken for one" * 100, b"short"])
def test_a_file_that_is_no_database_is_refused_by_name(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(LogError, match=r"log\.db: opening the log failed because the file is damaged or is no log at all"):
        open_log(path)
    assert path.read_bytes() == content


def test_a_damaged_header_is_refused_by_name(path: Path) -> None:
    with_records(path)
    path.write_bytes(b"\x00" * 100 + path.read_bytes()[100:])
    with pytest.raises(LogError, match=r"log\.db: opening the log failed because .* damaged.*put back a copy"):
        open_log(path)


def test_a_damaged_page_in_the_middle_is_an_error_that_says_what_to_do(path: Path) -> None:
    with_records(path)
    content = bytearray(path.read_bytes())
    middle = len(content) // PAGE_BYTES // 2 * PAGE_BYTES
    content[middle : middle + PAGE_BYTES] = b"\xa5" * PAGE_BYTES
    path.write_bytes(content)
    log = open_log(path)
    with pytest.raises(LogError, match=r"log\.db: reading labels-0 failed because the file is damaged.*move it away with its -wal"):
        log.read(Stream.LABELS, 0, 0, ALL)
    log.close()


def test_a_truncated_file_is_an_error_that_says_what_to_do(path: Path) -> None:
    with_records(path)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)
    with pytest.raises(LogError, match="damaged"):
        open_log(path).read(Stream.LABELS, 0, 0, ALL)


def test_a_folder_that_cannot_be_made_is_an_error_that_names_the_log(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(LogError, match=r"file/log\.db: the log cannot be made there"):
        open_log(tmp_path / "file" / "log.db")
    with pytest.raises(LogError, match="opening the log failed"):
        open_log(tmp_path)


def test_a_closed_log_is_an_error_and_closing_twice_is_none(path: Path) -> None:
    log = open_log(path)
    owner = log.acquire()
    log.close()
    log.close()
    for use in (
        lambda: log.read(Stream.LABELS, 0, 0, 1),
        lambda: log.append(Stream.LABELS, [Message(0, 0, b"")]),
        lambda: owner.commit([]),
    ):
        with pytest.raises(LogError, match="log"):
            use()
    owner.close()


def test_waiting_for_a_writer_that_hangs_is_bounded(path: Path) -> None:
    log = open_log(path)
    hanging = sqlite3.connect(path, isolation_level=None)
    hanging.execute("BEGIN IMMEDIATE")
    with pytest.raises(LogError, match="an append gave up waiting for another process that writes"):
        log.append(Stream.LABELS, [Message(0, 0, b"")])
    hanging.execute("ROLLBACK")
    log.append(Stream.LABELS, [Message(0, 0, b"")])
    hanging.close()
    log.close()


def test_waiting_in_the_writers_queue_is_bounded(path: Path) -> None:
    log = open_log(path)
    with Path(f"{path}.queue").open("rb") as queue:
        fcntl.flock(queue, fcntl.LOCK_EX)
        with pytest.raises(LogError, match=r"an append waited 0\.05 s for another process that writes.*fuser"):
            log.append(Stream.LABELS, [Message(0, 0, b"")])
    assert log.append(Stream.LABELS, [Message(0, 0, b"")]) == [0]
    log.close()


def test_readers_do_not_wait_for_a_writer(path: Path) -> None:
    with_records(path, 3)
    log = open_log(path)
    writing = sqlite3.connect(path, isolation_level=None)
    writing.execute("BEGIN IMMEDIATE")
    assert len(log.read(Stream.LABELS, 0, 0, ALL)) == 3
    writing.close()
    log.close()


def test_a_snapshot_stays_at_its_moment(path: Path) -> None:
    with_records(path, 3)
    log = open_log(path)
    file = LogFile(path, partitions=2, busy_wait_s=0.05)
    with file.snapshot("counting") as sql:
        before = sql.execute("SELECT count(*) FROM records").fetchone()
        log.append(Stream.LABELS, [Message(0, 0, b"")])
        assert sql.execute("SELECT count(*) FROM records").fetchone() == before == (3,)
    file.close()
    log.close()


def test_removed_records_make_room_in_the_file_again(path: Path) -> None:
    limit = 4_000_000
    log = open_log(path, max_bytes=limit)
    owner = log.acquire()
    for number in range(300):
        (offset,) = log.append(Stream.LABELS, [Message(0, number, b"x" * 60_000)])
        owner.commit([Commit(0, {Stream.LABELS: offset + 1}, {}, b"")])
    assert len(log.read(Stream.LABELS, 0, 0, ALL)) > 40
    owner.close()
    log.close()
    assert path.stat().st_size <= limit + 1_000_000


def test_commits_of_the_owner_apply_the_age_limit_as_they_go(path: Path) -> None:
    log = open_log(path, retention_ms=6_400)
    owner = log.acquire()
    for number in range(300):
        (offset,) = log.append(Stream.LABELS, [Message(0, number * 100 - 10**9, b"%d" % number)])
        owner.commit([Commit(0, {Stream.LABELS: offset + 1}, {}, b"")])
    kept = log.end_offset(Stream.LABELS, 0) - log.begin_offset(Stream.LABELS, 0)
    assert 64 <= kept <= 67
    owner.close()
    log.close()


def test_an_append_that_is_refused_does_not_take_its_neighbours_with_it(path: Path) -> None:
    log = open_log(path, max_bytes=1_000_000)
    with pytest.raises(LogFull, match=r"an append of 2000064 bytes to labels was refused: the log holds \d+ of at most 1000000 bytes"):
        log.append(Stream.LABELS, [Message(0, 0, b"x" * 2_000_000)])
    assert log.append(Stream.LABELS, [Message(0, 0, b"small")]) == [0]
    log.close()


def test_several_that_begin_a_log_at_the_same_moment_all_open_it(tmp_path: Path) -> None:
    """As `serve` and `watch` do at the first start."""
    together = Barrier(4)

    def begin(path: Path) -> str:
        together.wait()
        log = EmbeddedLog(path, partitions=1, clock=ManualClock())
        log.close()
        return log.identity

    with ThreadPoolExecutor(together.parties) as threads:
        for number in range(10):
            path = tmp_path / str(number) / "log.db"
            assert len(set(threads.map(begin, [path] * together.parties))) == 1
