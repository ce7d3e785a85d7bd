"""Workers that speak with each other, all in one process: what one answers for all, and what a follower goes on from."""

import asyncio
import json
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from functools import wraps
from pathlib import Path

import pytest

from monitor.errors import MonitorError
from monitor.serving import series
from monitor.serving.binding import bind
from monitor.serving.measured import Meters
from monitor.serving.refusals import BadRequest
from monitor.serving.workers import siblings as siblings_module
from monitor.serving.workers.siblings import SiblingFailed, Siblings
from monitor.serving.workers.slots import Slot, check_folder
from monitor.serving.workers.supervisor import Team, supervise

OK = ("infer", "m", "1", "200")


@pytest.fixture
def folder() -> Iterator[str]:
    # pytest's own have paths that are too long for sockets.
    made = tempfile.mkdtemp()
    yield made
    shutil.rmtree(made, ignore_errors=True)


def in_loop(test: Callable[..., Coroutine[None, None, None]]) -> Callable[..., None]:
    @wraps(test)
    def run(*arguments: object, **named: object) -> None:
        asyncio.run(asyncio.wait_for(test(*arguments, **named), 30))

    return run


class Worker:
    """One of several in a folder. It notes what it was told to do, and fails where it was told to before."""

    def __init__(self, folder: str | None, number: int = 0, workers: int = 2) -> None:
        self.meters = Meters()
        self.done: list[str] = []
        self.error: Exception | None = None
        self.slot = Slot(number, workers, folder)
        self.siblings = Siblings(self.slot, self.meters, {"load": self._load, "unload": self._unload})

    async def _load(self, name: str) -> None:
        if self.error is not None:
            raise self.error
        self.done.append(f"load {name}")

    async def _unload(self, name: str) -> None:
        self.done.append(f"unload {name}")

    def answer(self, times: int = 1) -> None:
        for _ in range(times):
            self.meters.endpoint("infer", "m", "1").observe(200, 0.001)

    async def answered(self) -> float:
        return (await self.siblings.tally())[series.REQUESTS][OK][0]

    async def workers(self) -> float:
        return (await self.siblings.tally())[series.WORKERS][()][0]


@asynccontextmanager
async def running(*workers: Worker) -> AsyncIterator[None]:
    for worker in workers:
        await worker.siblings.start()
    yield
    for worker in workers:
        await worker.siblings.stop(0)


@in_loop
async def test_alone_it_answers_for_itself_and_leaves_no_file() -> None:
    alone = Worker(None, workers=1)
    async with running(alone):
        alone.answer(3)
        assert await alone.answered() == 3
        await alone.siblings.everywhere("load", "flights")
        assert alone.done == ["load flights"]
        alone.error = BadRequest("not ONNX")
        with pytest.raises(BadRequest, match="not ONNX"):
            await alone.siblings.everywhere("load", "flights")


@in_loop
async def test_each_answers_for_all(folder: str) -> None:
    workers = [Worker(folder, number, 3) for number in range(3)]
    async with running(*workers):
        for number, worker in enumerate(workers):
            worker.answer(10**number)
        assert [await worker.answered() for worker in workers] == [111] * 3
        assert [await worker.workers() for worker in workers] == [3] * 3


@in_loop
async def test_a_follower_goes_on_from_what_was_shown_of_the_one_before_it(folder: str) -> None:
    first, second = Worker(folder, 0), Worker(folder, 1)
    first.answer()
    async with running(first):
        async with running(second):
            second.answer(5)
            assert await first.answered() == 6
        # It is gone, and nobody has followed it.
        assert (await first.answered(), await first.workers()) == (6, 1)
        follower = Worker(folder, 1)
        assert await first.answered() == 6
        async with running(follower):
            follower.answer(2)
            assert (await first.answered(), await first.workers()) == (8, 2)
            tally = await follower.siblings.tally()
            assert tally[series.WORKER_STARTS] == {("0",): (1,), ("1",): (2,)}


@in_loop
async def test_what_a_sibling_was_told_is_on_record_before_it_is_told(folder: str) -> None:
    first, second = Worker(folder, 0), Worker(folder, 1)
    async with running(first, second):
        second.answer(7)
        assert second.slot.kept(1)[series.REQUESTS] == {}
        await first.answered()
        assert first.slot.kept(1)[series.REQUESTS][OK] == (7,)


@in_loop
async def test_a_sibling_that_does_not_answer_in_time_counts_as_it_is_on_record(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(siblings_module, "ASK_SECONDS", 0.05)
    first, second = Worker(folder, 0), Worker(folder, 1)
    second.answer(4)
    second.siblings.record()
    never = asyncio.Event()

    async def hang(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await never.wait()
        writer.close()

    hung = await asyncio.start_unix_server(hang, second.slot.socket_path(1))
    async with running(first):
        first.answer()
        assert (await first.answered(), await first.workers()) == (5, 1)
    never.set()
    hung.close()


@pytest.mark.parametrize("answer", [b"", b"-the reason", b"+", b"+not JSON", b"+{}"])
@in_loop
async def test_a_sibling_that_answers_nonsense_does_not_fail_the_scrape(folder: str, answer: bytes) -> None:
    first = Worker(folder, 0)
    first.answer()

    async def babble(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        writer.close()

    babbling = await asyncio.start_unix_server(babble, first.slot.socket_path(1))
    async with running(first):
        assert await first.answered() == 1
    babbling.close()


@in_loop
async def test_a_command_is_done_here_first_and_then_by_all(folder: str) -> None:
    first, second = Worker(folder, 0), Worker(folder, 1)
    async with running(first, second):
        await second.siblings.everywhere("load", "flights")
        assert (first.done, second.done) == (["load flights"], ["load flights"])
        second.error = BadRequest("not ONNX")
        with pytest.raises(BadRequest, match=r"^not ONNX$"):
            await second.siblings.everywhere("load", "fraud")
        assert first.done == ["load flights"]


@in_loop
async def test_a_command_that_a_sibling_cannot_do_says_which_and_why(folder: str) -> None:
    first, second = Worker(folder, 0), Worker(folder, 1)
    async with running(first, second):
        for error, reason in ((BadRequest("not ONNX"), "not ONNX"), (ValueError("a bug"), "ValueError; its log has the details")):
            first.error = error
            with pytest.raises(SiblingFailed) as raised:
                await second.siblings.everywhere("load", "flights")
            assert str(raised.value) == f"load flights: done, but not by all workers: worker 0: {reason}"


@in_loop
async def test_a_follower_does_what_all_were_told_before_it_began(folder: str) -> None:
    first, second = Worker(folder, 0), Worker(folder, 1)
    async with running(first):
        for verb, name in (("load", "flights"), ("load", "fraud"), ("unload", "flights")):
            await first.siblings.everywhere(verb, name)
        async with running(second):
            assert sorted(second.done) == ["load fraud", "unload flights"]
    third = Worker(folder, 1)
    third.error = BadRequest("gone meanwhile")
    async with running(third):
        assert third.done == ["unload flights"]


@in_loop
async def test_commands_of_two_workers_are_done_by_all_in_one_order(folder: str) -> None:
    first, second = Worker(folder, 0), Worker(folder, 1)
    async with running(first, second):
        await asyncio.gather(
            *(worker.siblings.everywhere("load", f"{worker.slot.number}-{n}") for n in range(5) for worker in (first, second))
        )
        assert first.done == second.done
        assert len(first.done) == 10


def test_a_slot_is_handed_on_by_the_environment_and_by_nothing_else() -> None:
    slot = Slot(3, 8, "/tmp/x", 5, 8001)
    assert Slot.inherited(os.environ | slot.environment()) == slot
    assert Slot.inherited(os.environ) is None


def test_a_record_is_whole_or_the_one_before_it(folder: str) -> None:
    slot = Slot(0, 1, folder)
    assert list(slot.kept(0).items()) == []
    meters = Meters()
    meters.endpoint("infer", "m", "1").observe(200, 0.1)
    slot.keep(meters.tally())
    Path(folder, "0.new").write_bytes(b'{"half')
    assert slot.kept(0)[series.REQUESTS][OK] == (1,)
    assert json.loads(Path(folder, "0.counts").read_bytes())


def test_a_record_without_a_folder_any_more_is_no_error(folder: str) -> None:
    shutil.rmtree(folder)
    Slot(0, 2, folder).keep(Meters().tally())


def test_a_folder_with_too_long_a_path_is_told_with_the_remedy(monkeypatch: pytest.MonkeyPatch, folder: str) -> None:
    with pytest.raises(MonitorError, match="set TMPDIR to a shorter one, such as /tmp"):
        check_folder("/tmp/" + "x" * 100)
    long = Path(folder, "x" * 90)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with bind("127.0.0.1", 0) as bound, pytest.raises(MonitorError, match="too long a path"):
        supervise(Team(2, ["false"]), bound, {})
    assert list(long.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_told_with_the_remedy(monkeypatch: pytest.MonkeyPatch, folder: str) -> None:
    monkeypatch.setattr(tempfile, "tempdir", f"{folder}/none")
    with bind("127.0.0.1", 0) as bound, pytest.raises(MonitorError, match="set TMPDIR to a folder that can be written to"):
        supervise(Team(2, ["false"]), bound, {})


def test_the_worker_with_the_fewest_connections_takes_the_next(folder: str) -> None:
    first, second = (Slot(number, 2, folder).crowd() for number in range(2))
    assert first is not None
    assert second is not None
    assert not first.another_has_fewer(0)
    assert first.another_has_fewer(1)
    assert not second.another_has_fewer(1)
    second.tell(2)
    assert not first.another_has_fewer(2)
    # A follower begins with none.
    assert Slot(0, 2, folder).crowd() is not None
    assert second.another_has_fewer(2)
    assert Slot().crowd() is None
