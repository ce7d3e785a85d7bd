"""Starts the workers, starts them again when they die, and stops them. It holds the port's socket, and does nothing else that could fail.

Worker 0 starts first and the others once it is ready: what is wrong with all of them is told once, and what the first one prepares (page
cache, compiled engines) is there for the rest. A start that fails ends everything where no worker is ready; else it is tried again.
"""

import asyncio
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import structlog

from monitor.errors import MonitorError
from monitor.serving.workers.slots import READY, Slot, check_folder

_logger = structlog.get_logger(__name__)

GRACE_SECONDS: Final = 18.0
"""What workers get to stop, within the 20 s that are promised."""
LOADING_SECONDS: Final = 1.0
"""What those get that are not ready, and so have nothing to end."""
BACKOFF_FIRST_SECONDS: Final = 0.1
BACKOFF_LAST_SECONDS: Final = 30.0
STEADY_SECONDS: Final = 60.0
"""A worker that lived this long died of something else than its predecessor."""


@dataclass(frozen=True, slots=True)
class Team:
    """How many workers, and what to run as each of them; `grpc_port` is theirs to share."""

    workers: int
    command: Sequence[str]
    grpc_port: int | None = None
    grace_seconds: float = GRACE_SECONDS


def same_command() -> list[str]:
    """What this process was started with, to be started once more."""
    return [sys.executable, *sys.orig_argv[1:]]


def supervise(team: Team, bound: socket.socket, environment: Mapping[str, str]) -> None:
    """Returns after SIGTERM or SIGINT, once all have stopped. Raises `MonitorError` where none can start, or one had to be killed."""
    try:
        folder = tempfile.mkdtemp(prefix="monitor-")
    except OSError as error:
        raise MonitorError(
            f"no temporary folder can be made ({error.strerror}); several workers need one: set TMPDIR to a folder that can be written to, "
            "or serving.workers to 1"
        ) from None
    try:
        check_folder(folder)
        asyncio.run(_Supervisor(team, bound, environment, folder).run())
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class _Supervisor:
    def __init__(self, team: Team, bound: socket.socket, environment: Mapping[str, str], folder: str) -> None:
        self._team = team
        self._bound = bound
        self._environment = environment
        self._folder = folder
        self._processes: dict[int, asyncio.subprocess.Process] = {}
        self._ready: set[int] = set()
        self._first_ready = asyncio.Event()
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop)
        stopping = asyncio.create_task(self._stopping.wait())
        keeping = {asyncio.create_task(self._keep(0))}
        try:
            first_ready = asyncio.create_task(self._first_ready.wait())
            await asyncio.wait({stopping, first_ready, *keeping}, return_when=asyncio.FIRST_COMPLETED)
            first_ready.cancel()
            if self._ready and not self._stopping.is_set():
                keeping |= {asyncio.create_task(self._keep(number)) for number in range(1, self._team.workers)}
            ended, _ = await asyncio.wait({stopping, *keeping}, return_when=asyncio.FIRST_COMPLETED)
            for each in ended - {stopping}:
                await each
        finally:
            self._stopping.set()
            stopping.cancel()
            await self._end(keeping)

    def _stop(self) -> None:
        """Begins the stop; called again, hurries the workers."""
        if self._stopping.is_set():
            self._terminate(self._processes)
        self._stopping.set()

    def _terminate(self, slots: Iterable[int]) -> None:
        for number in slots:
            if self._processes[number].returncode is None:
                self._processes[number].terminate()

    async def _end(self, keeping: set[asyncio.Task[None]]) -> None:
        # While any process has the port's socket open, the kernel lets clients in. Those that would not answer them go first.
        loading = self._processes.keys() - self._ready
        self._terminate(loading)
        if loading:
            await asyncio.wait([asyncio.create_task(self._processes[number].wait()) for number in loading], timeout=LOADING_SECONDS)
        self._bound.close()
        self._terminate(self._ready - loading)
        _, alive = await asyncio.wait(keeping, timeout=self._team.grace_seconds)
        if alive:
            slots = sorted(number for number, process in self._processes.items() if process.returncode is None)
            for number in slots:
                self._processes[number].kill()
            await asyncio.wait(alive)
            raise MonitorError(f"workers {slots} had not stopped after {self._team.grace_seconds:g} s and were killed")

    async def _keep(self, number: int) -> None:
        """Has a process in the slot until the stop. Raises `MonitorError` for a start that fails while no worker is ready."""
        failures = 0
        while not self._stopping.is_set():
            lived = await self._live(number)
            if self._stopping.is_set():
                return
            code = self._processes[number].returncode
            failures = 0 if lived > STEADY_SECONDS else failures + 1
            ending = _ending(code)
            if not lived and not self._ready:
                raise MonitorError(f"worker {number} {ending} before it was ready, and no other one is; what it said is above")
            backoff = min(BACKOFF_FIRST_SECONDS * 2 ** (failures - 1), BACKOFF_LAST_SECONDS) if failures else 0.0
            _logger.error("a worker died and is started again", worker=number, ending=ending, exit_code=code, after_seconds=backoff)
            with suppress(TimeoutError):
                async with asyncio.timeout(backoff):
                    await self._stopping.wait()

    async def _live(self, number: int) -> float:
        """One process, from start to end. How many seconds it was ready; 0.0 where it never was."""
        slot = Slot(number, self._team.workers, self._folder, self._bound.fileno(), self._team.grpc_port)
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        loop = asyncio.get_running_loop()
        with ours:
            with theirs:
                # In a session of its own, so that Ctrl-C reaches the supervisor alone.
                process = await asyncio.create_subprocess_exec(
                    *self._team.command,
                    stdin=theirs.fileno(),
                    pass_fds=(slot.listener,),
                    env={**self._environment, **slot.environment()},
                    start_new_session=True,
                )
            self._processes[number] = process
            if self._stopping.is_set():
                process.terminate()
            ready_at = None
            if await _read(loop, ours) == READY:
                ready_at = loop.time()
                self._ready.add(number)
                self._first_ready.set()
            await process.wait()
            self._ready.discard(number)
            return 0.0 if ready_at is None else max(loop.time() - ready_at, 1e-9)


async def _read(loop: asyncio.AbstractEventLoop, ours: socket.socket) -> bytes:
    try:
        return await loop.sock_recv(ours, 1)
    except OSError:
        return b""


def _ending(code: int | None) -> str:
    return f"was killed by {signal.Signals(-code).name}" if code is not None and code < 0 else f"ended with exit code {code}"
