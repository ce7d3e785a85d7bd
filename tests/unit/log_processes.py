"""What other processes do to an embedded log in its tests: `python -m tests.unit.log_processes VERB PATH …`.

Every line on standard output is a fact that the test relies on: a record that was acknowledged, a lock that is held.
"""

import resource
import sys
from collections.abc import Callable
from pathlib import Path

from monitor.clock import WallClock
from monitor.errors import LogFull
from monitor.events import Stream
from monitor.log import Message
from monitor.log.embedded import EmbeddedLog

PARTITIONS = 2


def open_log(path: str) -> EmbeddedLog:
    return EmbeddedLog(Path(path), partitions=PARTITIONS, clock=WallClock())


def append(path: str, name: str, count: str) -> None:
    """Appends `count` records (0: for ever) two at a time, one a partition, and prints the number of each pair once it is durable."""
    log = open_log(path)
    number = 0
    while int(count) == 0 or number < int(count):
        value = f"{name} {number}".encode() + b" " * 5_000
        log.append(Stream.PREDICTIONS, [Message(partition, 1_000, value) for partition in range(PARTITIONS)])
        print(number, flush=True)
        number += 1
    log.close()


def own(path: str) -> None:
    """Owns the log until it is killed or told to stop."""
    owner = open_log(path).acquire()
    print("owned", flush=True)
    sys.stdin.readline()
    owner.close()


def fill(path: str, file_bytes: str) -> None:
    """Appends until nothing more can be written; with `file_bytes`, no file may grow past that, until one more append at the end."""
    log = open_log(path)
    if int(file_bytes):
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(file_bytes), resource.RLIM_INFINITY))
    kept = 0
    try:
        while kept < 10_000:
            log.append(Stream.PREDICTIONS, [Message(0, 1_000, b"x" * 20_000)])
            kept += 1
    except LogFull as error:
        print(error, flush=True)
    print(kept, len(log.read(Stream.PREDICTIONS, 0, 0, 1 << 40)), flush=True)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    if int(file_bytes):
        print(log.append(Stream.PREDICTIONS, [Message(0, 1_000, b"resumed")])[0], flush=True)
    log.close()


if __name__ == "__main__":
    verbs: dict[str, Callable[..., None]] = {"append": append, "own": own, "fill": fill}
    verbs[sys.argv[1]](*sys.argv[2:])
