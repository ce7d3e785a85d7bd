"""Which of the workers this process is, and what outlives it: the numbers that were ever shown of it, in a folder that only they share.

A slot is a number from 0 on; a process that dies is followed in its slot by another one, which goes on counting where it stopped.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Self

from monitor.errors import MonitorError
from monitor.serving.tally import Tally
from monitor.serving.workers.crowd import Crowd

VARIABLE: Final = "_MODEL_MONITOR_WORKER"
"""Of the environment: set by the supervisor for its workers, and by nobody else. The underscore keeps it from being taken for a setting."""
LIFELINE: Final = 0
"""A worker's standard input: one end of a socket pair whose other end is the supervisor's. It ends with the supervisor, however that ends,
on every platform; PR_SET_PDEATHSIG is Linux's alone, and asks for the thread that forked to live on."""
READY: Final = b"r"
ORPHAN_GRACE_SECONDS: Final = 20.0
SOCKET_PATH_LIMIT: Final = 100
"""Of a Unix socket's path in bytes; macOS has room for 104 with the end, Linux for 108."""


@dataclass(frozen=True, slots=True)
class Slot:
    """Worker `number` of `workers`. Without a `folder` it is the command itself, alone."""

    number: int = 0
    workers: int = 1
    folder: str | None = None
    listener: int = -1
    """The file descriptor of the HTTP port's socket, inherited."""
    grpc_port: int | None = None
    """Where the workers' gRPC servers listen, each on a socket of its own; None where there is no gRPC, or no siblings."""

    @classmethod
    def inherited(cls, environment: Mapping[str, str]) -> Self | None:
        """What the supervisor made of this process; None where there is none."""
        text = environment.get(VARIABLE)
        return None if text is None else cls(**json.loads(text))

    def environment(self) -> dict[str, str]:
        """What makes a process this slot's."""
        return {VARIABLE: json.dumps(asdict(self))}

    def socket(self) -> socket.socket:
        """The HTTP port's socket, bound."""
        return socket.socket(fileno=self.listener)

    def live_with_supervisor(self) -> None:
        """From now on this process stops when the supervisor is gone: by SIGTERM, and after a grace time anyhow."""
        threading.Thread(target=self._follow, name="lifeline", daemon=True).start()

    def tell_ready(self) -> None:
        """Tells the supervisor that requests are answered."""
        if self.folder is not None:
            with contextlib.suppress(OSError):  # the supervisor is gone, which `live_with_supervisor` sees to
                os.write(LIFELINE, READY)

    def socket_path(self, number: int) -> Path:
        """Where slot `number` is asked by its siblings."""
        assert self.folder is not None
        return Path(self.folder, f"{number}.sock")

    def crowd(self) -> Crowd | None:
        """The workers' connections; None where this one is alone."""
        return None if self.folder is None else Crowd.shared(Path(self.folder, "crowd"), self.number, self.workers)

    def keep(self, tally: Tally) -> None:
        """Puts the numbers on record, whole or not at all. They need to outlive this process, not the machine."""
        if self.folder is not None:
            written = Path(self.folder, f"{self.number}.new")
            with contextlib.suppress(FileNotFoundError):  # the supervisor is gone, and the folder with it
                written.write_bytes(tally.to_bytes())
                written.replace(self._record(self.number))

    def kept(self, number: int) -> Tally:
        """What is on record of slot `number`, but for gauges, which nobody knows any more."""
        if self.folder is None:
            return Tally()
        try:
            return Tally.from_bytes(self._record(number).read_bytes()).counted()
        except FileNotFoundError:
            return Tally()

    def _record(self, number: int) -> Path:
        assert self.folder is not None
        return Path(self.folder, f"{number}.counts")

    def _follow(self) -> None:
        try:
            while os.read(LIFELINE, 1):
                pass
        except OSError:
            pass
        # The folder was the supervisor's to remove. Who still wants it is about to end as well.
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(ORPHAN_GRACE_SECONDS)
        os._exit(1)


def check_folder(folder: str) -> None:
    """Raises `MonitorError` where sockets cannot be made in it."""
    path = os.fsencode(Path(folder, "000.sock"))
    if len(path) > SOCKET_PATH_LIMIT:
        raise MonitorError(
            f"the temporary folder {folder} has too long a path for sockets ({len(path)} bytes, at most {SOCKET_PATH_LIMIT}): "
            "set TMPDIR to a shorter one, such as /tmp, or serving.workers to 1"
        )
