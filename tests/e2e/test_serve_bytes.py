"""Requests with their bytes changed do no harm; `python -m tests.e2e.mutated` is the same for as long as is wanted."""

import asyncio
from collections.abc import Iterator

import pytest

from tests.e2e.mutated import ALLOWED, GOOD, mutated, run, send
from tests.e2e.servers import Serve, launch, ready

MUTATIONS = 3_000


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    folder = tmp_path_factory.mktemp("bytes")
    running = launch(folder, serving="model_control: explicit", log=folder / "log")
    try:
        yield ready(running)
    finally:
        running.kill()


@pytest.mark.parametrize("number", range(len(GOOD)))
def test_what_is_mutated_was_good(serve: Serve, number: int) -> None:
    assert asyncio.run(send(serve, [GOOD[number]]))[9:12] in (b"200", b"202", b"100"), GOOD[number]


def test_mutations_repeat_themselves_and_differ() -> None:
    assert mutated(1, 5) == mutated(1, 5)
    assert len({b"".join(mutated(seed, number)) for seed in range(2) for number in range(500)}) > 950


def test_no_mutation_is_a_500_or_a_hang_or_the_end_of_the_server(serve: Serve) -> None:
    assert asyncio.run(run(serve, 0, range(MUTATIONS))) == MUTATIONS
    assert serve.process.poll() is None
    # Nothing that was logged is an exception.
    assert "Traceback" not in (serve.folder / "log").read_text()
    assert 500 not in ALLOWED
