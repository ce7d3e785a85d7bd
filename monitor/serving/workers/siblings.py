"""How workers speak: any of them answers for all, and what is done in one is done in all.

Each listens on a Unix socket in the folder that they share; a question is one line, its answer all that follows. Whoever is scraped asks
the others, and takes from their records what those say who do not answer in time. A command stands: a process that follows a dead one does
what its siblings were told before it.
"""

import asyncio
import fcntl
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import IO, Final

import structlog

from monitor.errors import MonitorError
from monitor.serving import series
from monitor.serving.measured import Meters
from monitor.serving.process_use import ProcessUse
from monitor.serving.refusals import Unavailable
from monitor.serving.tally import Tally, merged
from monitor.serving.workers.slots import Slot

_logger = structlog.get_logger(__name__)

ASK_SECONDS: Final = 1.0
"""For a sibling's numbers; a scrape has ten seconds as a rule."""
COMMAND_SECONDS: Final = 600.0
"""For a sibling to do what it is told, such as to load a large model."""
RECORD_SECONDS: Final = 1.0
_TURN_SECONDS: Final = 0.05
_TALLY: Final = "tally"
_DONE: Final = b"+"
_FAILED: Final = b"-"

Command = Callable[[str], Awaitable[object]]


class SiblingFailed(Unavailable):
    """Another worker did not do what all were told; those that did are not undone."""


class Siblings:
    """This worker among the others. `commands` are what `everywhere` can be asked for, by name; doing one twice must be harmless."""

    def __init__(self, slot: Slot, meters: Meters, commands: Mapping[str, Command] | None = None) -> None:
        self._slot = slot
        self._meters = meters
        self._commands = commands or {}
        self._before = slot.kept(slot.number)
        self._others = [number for number in range(slot.workers) if number != slot.number]
        self._server: asyncio.Server | None = None
        self._recording: asyncio.Task[None] | None = None
        meters.also(self._add_to)
        meters.also(ProcessUse(str(slot.number)))

    async def start(self) -> None:
        """Listens, then does the commands that stand. What fails of them is logged: the others of this worker's models are served."""
        if self._slot.folder is None:
            return
        path = self._slot.socket_path(self._slot.number)
        path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._answer, path)
        self._recording = asyncio.create_task(self._record())
        for argument, verb in self._standing().items():
            try:
                await self._commands[verb](argument)
            except MonitorError as error:
                _logger.warning("a command that stands failed here", verb=verb, argument=argument, reason=str(error))

    async def stop(self, _grace_seconds: float) -> None:
        """Answers no more. Nothing waits for it."""
        if self._recording is not None:
            self._recording.cancel()
        if self._server is not None:
            self._server.close()

    def record(self) -> None:
        """The last numbers, once nothing counts any more."""
        self._own()

    async def tally(self) -> Tally:
        """The numbers of all workers, never less than what was shown before."""
        own = self._own()
        asked = await asyncio.gather(*map(self._tally_of, self._others))
        by_number = {self._slot.number: own, **dict(zip(self._others, asked, strict=True))}
        return merged(by_number[number] for number in sorted(by_number))

    async def everywhere(self, verb: str, argument: str) -> None:
        """Does a command here, then in all the others. Raises what it raises here; `SiblingFailed` where it failed in others."""
        async with self._turn():
            await self._commands[verb](argument)
            if self._slot.folder is not None:
                self._keep_standing(self._standing() | {argument: verb})
            failures = await asyncio.gather(*(self._tell(number, verb, argument) for number in self._others))
        if reasons := [reason for reason in failures if reason]:
            raise SiblingFailed(f"{verb} {argument}: done, but not by all workers: {'; '.join(reasons)}")

    def _add_to(self, tally: Tally) -> None:
        tally.add(series.WORKERS, (), 1)
        tally.add(series.WORKERS_CONFIGURED, (), self._slot.workers)
        tally.add(series.WORKER_STARTS, (str(self._slot.number),), 1)

    def _own(self) -> Tally:
        """This slot's numbers, on record before anybody sees them."""
        own = merged((self._before, self._meters.tally()))
        self._slot.keep(own)
        return own

    async def _tally_of(self, number: int) -> Tally:
        try:
            async with asyncio.timeout(ASK_SECONDS):
                return Tally.from_bytes(await self._ask(number, _TALLY, ""))
        except (OSError, TimeoutError, SiblingFailed, ValueError):
            return self._slot.kept(number)

    async def _tell(self, number: int, verb: str, argument: str) -> str | None:
        """Why it did not do it; None where it did, or is not there: its follower will."""
        try:
            async with asyncio.timeout(COMMAND_SECONDS):
                await self._ask(number, verb, argument)
        except SiblingFailed as error:
            return f"worker {number}: {error}"
        except TimeoutError:
            return f"worker {number}: no answer within {COMMAND_SECONDS:.0f} s"
        except OSError:
            return None
        return None

    async def _ask(self, number: int, verb: str, argument: str) -> bytes:
        reader, writer = await asyncio.open_unix_connection(self._slot.socket_path(number))
        try:
            writer.write(json.dumps([verb, argument]).encode() + b"\n")
            answer = await reader.read(-1)
        finally:
            writer.close()
        if answer[:1] == _DONE:
            return answer[1:]
        if not answer:
            raise ConnectionError
        raise SiblingFailed(answer[1:].decode())

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            verb, argument = json.loads(await reader.readline())
            writer.write(await self._done(verb, argument))
            await writer.drain()
        except (OSError, ValueError):
            # The one that asked is gone.
            pass
        finally:
            writer.close()

    async def _done(self, verb: str, argument: str) -> bytes:
        if verb == _TALLY:
            return _DONE + self._own().to_bytes()
        try:
            await self._commands[verb](argument)
        except MonitorError as error:
            return _FAILED + str(error).encode()
        except Exception as error:
            _logger.exception("a command failed", verb=verb, argument=argument)
            return _FAILED + f"{type(error).__name__}; its log has the details".encode()
        return _DONE

    async def _record(self) -> None:
        while True:
            await asyncio.sleep(RECORD_SECONDS)
            self._own()

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """One command at a time among all workers, so that all do them in the same order. A process that dies gives up its turn."""
        if self._slot.folder is None:
            yield
            return
        with Path(self._slot.folder, "turn").open("w") as turn:  # noqa: ASYNC230  # in the machine's memory, and empty
            async with asyncio.timeout(COMMAND_SECONDS):
                while not _is_locked(turn):  # noqa: ASYNC110  # by another process
                    await asyncio.sleep(_TURN_SECONDS)
            yield

    def _standing(self) -> dict[str, str]:
        """The last command for each argument that was done so far."""
        assert self._slot.folder is not None
        with suppress(FileNotFoundError):
            standing: dict[str, str] = json.loads(Path(self._slot.folder, "standing").read_bytes())
            return standing
        return {}

    def _keep_standing(self, standing: Mapping[str, str]) -> None:
        assert self._slot.folder is not None
        written = Path(self._slot.folder, "standing.new")
        written.write_text(json.dumps(standing))
        written.replace(Path(self._slot.folder, "standing"))


def _is_locked(file: IO[str]) -> bool:
    """Whether this process has the file for itself now."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
