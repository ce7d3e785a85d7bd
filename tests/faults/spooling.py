"""A process that spools labels and predictions to a log that comes and goes, for tests that kill it: `python -m tests.faults.spooling`.

Its log is a file of one id a line. An id is printed once it is durable, so whatever was printed has to be in the log in the end.
"""

import os
import random
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import orjson

from monitor.clock import WallClock
from monitor.errors import LogAway
from monitor.events import Stream
from monitor.log import JSON, Message
from monitor.serving.outbox import Outbox
from monitor.serving.parcels import Parcel
from monitor.serving.spool.slots import Spool

WORKERS = 2
CLIENTS = 4
DURABLE = "durable "
"""What a line of an acknowledged id begins with."""
TURN_SECONDS = 0.05
STOP_SECONDS = 60.0
BYTES_LIMIT = 50_000_000


class FileLog:
    """Is away in some turns of the clock, and takes everything in others."""

    partitions = 3

    def __init__(self, path: Path, seed: int | None) -> None:
        self._file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        self._seed = seed

    def append(self, stream: Stream, messages: Sequence[Message]) -> list[int]:
        turn = int(time.monotonic() / TURN_SECONDS)
        if self._seed is not None and random.Random(self._seed * 1_000_003 + turn).random() < 0.7:
            raise LogAway("nobody answers")
        lines = "".join(f"{stream} {message.partition} {event['id']}\n" for message in messages for event in orjson.loads(message.value))
        os.write(self._file, lines.encode())
        return list(range(len(messages)))


def main(folder: Path, slot: int, life: int, *, alternates: bool) -> None:
    """Sends labels until it is killed; or, if the log is there all the time, sends on what was left and ends."""
    log = FileLog(folder / "log", life if alternates else None)
    workers = WORKERS if alternates else 1
    outbox = Outbox(log, Spool(folder / "spool", slot=slot, workers=workers, bytes_limit=BYTES_LIMIT, clock=WallClock()))
    outbox.start()
    if alternates:
        clients = [threading.Thread(target=send, args=(outbox, f"{life}-{client}"), daemon=True) for client in range(CLIENTS)]
        for client in clients:
            client.start()
        clients[0].join()
    outbox.stop(STOP_SECONDS)


def send(outbox: Outbox, name: str) -> None:
    for number in range(10**9):
        ids = [f"{name}-{number}-{row}" for row in range(1 + number % 5)]
        payload = orjson.dumps([{"id": row_id, "pad": "x" * (number % 400)} for row_id in ids])
        outbox.append(Stream.LABELS, JSON, payload, len(ids), 0)
        os.write(sys.stdout.fileno(), "".join(f"{DURABLE}{row_id}\n" for row_id in ids).encode())
        outbox.post(Stream.PREDICTIONS, [Parcel(JSON, payload, len(ids), 0)])


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), alternates=sys.argv[4] == "alternates")
