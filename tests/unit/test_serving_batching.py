"""Requests that wait at the same time share a run, in their order and within bounds; a quick run alone is made at once."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from monitor.serving.batching import Batcher, Batching, least_that_gain
from monitor.serving.measured import Meters
from monitor.serving.refusals import BadRequest, DeadlineExceeded, InferenceFailed, TooBusy
from monitor.serving.run_cost import RunCost
from monitor.serving.running import Feeds
from monitor.serving.shared_runs import KEPT_BYTES, run_together
from monitor.serving.tensors import Tensor
from tests.unit.batching_parts import (
    ECHO,
    LOOK_UP,
    NOT_WORTH_SHARING,
    TEXT,
    WORTH_SHARING,
    Bench,
    ManualLoop,
    loaded,
    refusal,
    request,
    run_in_loop,
    ticks,
)

MODEL = loaded(ECHO)


def test_requests_of_one_tick_share_a_run_and_get_their_own_rows() -> None:
    async def scenario(_loop: ManualLoop) -> None:
        bench = Bench(MODEL)
        one, two = bench.ask(request([1, 2])), bench.ask(request([3, 4], [5, 6]))
        await bench.finish_all()
        assert bench.runs == [[[[1, 2]], [[3, 4], [5, 6]]]]
        assert (one.result(), two.result()) == ([[[1, 2]]], [[[3, 4], [5, 6]]])

    run_in_loop(scenario)


def test_what_arrives_during_a_run_shares_the_next_one() -> None:
    async def scenario(_loop: ManualLoop) -> None:
        bench = Bench(MODEL)
        for value in range(3):
            bench.ask(request([value]))
            await ticks()
        assert bench.batcher.queued_rows == 2
        await bench.finish_all()
        assert bench.runs == [[[[0]]], [[[1]], [[2]]]]

    run_in_loop(scenario)


def test_a_quick_run_that_comes_alone_does_not_wait_for_the_tick_to_end() -> None:
    async def scenario(_loop: ManualLoop) -> None:
        bench = Bench(MODEL, cost=WORTH_SHARING, inline_rows=100)
        coroutine = bench.batcher.run(request([1]))
        with pytest.raises(StopIteration) as returned:
            coroutine.send(None)
        assert returned.value.value[0].tolist() == [[1]]

    run_in_loop(scenario)


def test_after_a_busy_tick_quick_runs_are_shared_until_a_quiet_one() -> None:
    async def scenario(_loop: ManualLoop) -> None:
        bench = Bench(MODEL, cost=WORTH_SHARING, inline_rows=100)
        for tick in range(3):
            for place in range(3):
                bench.ask(request([10 * tick + place]))
            await ticks()
        assert [len(run) for run in bench.runs] == [1, 1, 1, 3, 3]
        for value in (77, 78):
            bench.ask(request([value]))
            await ticks()
        assert [len(run) for run in bench.runs[5:]] == [1, 1]
        with pytest.raises(StopIteration):
            bench.batcher.run(request([9])).send(None)

    run_in_loop(scenario)


@pytest.mark.parametrize("at_once", range(2, 11))
@pytest.mark.parametrize("quiet", range(20, 28))
def test_busy_ticks_are_noticed_whatever_was_before_and_however_many_they_bring(at_once: int, quiet: int) -> None:
    async def scenario(_loop: ManualLoop) -> None:
        bench = Bench(MODEL, cost=WORTH_SHARING, inline_rows=100)
        for _ in range(quiet):
            bench.ask(request([0]))
            await ticks()
        for _ in range(20):
            for _ in range(at_once):
                bench.ask(request([1]))
            await ticks()
        assert len(bench.runs[-1]) == at_once

    run_in_loop(scenario)


def test_runs_too_quick_to_gain_from_it_are_never_shared() -> None:
    async def scenario(_loop: ManualLoop) -> None:
        bench = Bench(MODEL, cost=NOT_WORTH_SHARING, inline_rows=100)
        for _ in range(5):
            for place in range(20):
                bench.ask(request([place]))
            await ticks()
        assert {len(run) for run in bench.runs} == {1}

    run_in_loop(scenario)


@pytest.mark.parametrize(
    ("cost", "requests"),
    [(RunCost(24e-6, 4e-6), 2), (RunCost(6.4e-6, 0.6e-6), 4), (RunCost(104e-6, 100e-6), None), (RunCost(2e-6, 0), None)],
)
def test_sharing_gains_from_as_many_requests_on_as_save_more_than_their_waiting_costs(cost: RunCost, requests: int | None) -> None:
    least = least_that_gain(cost)
    assert (least if least < 1_000 else None) == requests


def test_batches_have_at_most_max_rows_and_a_greater_request_runs_whole() -> None:
    async def scenario(_loop: ManualLoop) -> None:
        bench = Bench(MODEL, Batching(max_rows=4))
        for count in (1, 2, 2, 5, 1):
            bench.ask(request(*[[count]] * count))
        await bench.finish_all()
        assert [[len(rows) for rows in run] for run in bench.runs] == [[1, 2], [2], [5], [1]]

    run_in_loop(scenario)


def test_batches_are_cut_at_the_greatest_preferred_size_that_is_full() -> None:
    async def scenario(_loop: ManualLoop) -> None:
        bench = Bench(MODEL, Batching(max_rows=8, preferred_rows=(2, 4)))
        for _ in range(7):
            bench.ask(request([0]))
        await bench.finish_all()
        assert [len(run) for run in bench.runs] == [4, 2, 1]

    run_in_loop(scenario)


def test_a_delay_lets_a_batch_that_is_not_full_wait_for_more_and_no_longer() -> None:
    async def scenario(loop: ManualLoop) -> None:
        bench = Bench(MODEL, Batching(max_rows=3, delay_seconds=0.5), cost=WORTH_SHARING, inline_rows=100)
        bench.ask(request([1]))
        await ticks()
        loop.now = 0.4
        bench.ask(request([2]))
        await ticks()
        assert bench.runs == []
        loop.now = 0.5
        await ticks()
        assert bench.runs == [[[[1]], [[2]]]]
        for value in (3, 4, 5):
            bench.ask(request([value]))
        await ticks()
        assert bench.runs[1:] == [[[[3]], [[4]], [[5]]]]

    run_in_loop(scenario)


def test_a_preferred_size_does_not_wait_for_the_delay() -> None:
    async def scenario(_loop: ManualLoop) -> None:
        bench = Bench(MODEL, Batching(max_rows=8, preferred_rows=(2,), delay_seconds=0.5), cost=WORTH_SHARING, inline_rows=100)
        for _ in range(3):
            bench.ask(request([0]))
        await ticks()
        assert [len(run) for run in bench.runs] == [2]
        assert bench.batcher.queued_rows == 1
        bench.tasks[-1].cancel()
        await ticks()

    run_in_loop(scenario)


def test_another_width_forms_another_batch_and_the_oldest_goes_first() -> None:
    async def scenario(_loop: ManualLoop) -> None:
        bench = Bench(MODEL)
        for rows in ([1], [2, 2], [3], [4, 4], [5]):
            bench.ask(request(rows))
        await bench.finish_all()
        assert bench.runs == [[[[1]], [[3]], [[5]]], [[[2, 2]], [[4, 4]]]]

    run_in_loop(scenario)


def test_text_shares_runs_too() -> None:
    async def scenario(_loop: ManualLoop) -> None:
        bench = Bench(loaded(TEXT))
        bench.ask(request(["a"], dtype=object))
        bench.ask(request(["ü"], ["c"], dtype=object))
        await bench.finish_all()
        assert len(bench.runs) == 1
        assert [task.result() for task in bench.tasks] == [[[["a"]]], [[["ü"], ["c"]]]]

    run_in_loop(scenario)


@pytest.mark.parametrize(
    "graph",
    [
        "(float[2, W] x) => (float[2, W] y) { y = Identity(x) }",
        "(float[N, W] x, float[1] t) => (float[N, W] y) { y = Mul(x, t) }",
        "(float[N, W] x) => (float[K, W] y) { y = ReduceSum <keepdims = 1> (x) }",
        "(float[N, W] x) => (float y) { y = ReduceMax <keepdims = 0> (x) }",
        "(float[N, W] x) => (float[N, W] y) { y = Softmax <axis = 0> (x) }",
    ],
    ids=["a fixed batch", "an input without rows", "an output of one row", "a scalar", "rows that depend on each other"],
)
def test_a_model_whose_rows_are_not_each_its_own_never_shares_a_run(graph: str) -> None:
    assert not loaded(graph).shares_runs


def test_a_model_that_never_shares_runs_its_requests_in_their_order() -> None:
    async def scenario(_loop: ManualLoop) -> None:
        bench = Bench(loaded("(float[N, W] x) => (float[N, W] y) { y = Softmax <axis = 0> (x) }"))
        for value in range(3):
            bench.ask(request([value]))
        await bench.finish_all()
        assert bench.runs == [[[[0]]], [[[1]]], [[[2]]]]
        assert [task.result() for task in bench.tasks] == [[[[1]]]] * 3

    run_in_loop(scenario)


def test_a_full_queue_refuses_with_the_time_that_it_takes_to_empty() -> None:
    async def scenario(_loop: ManualLoop) -> None:
        bench = Bench(MODEL, Batching(max_rows=2, queue_rows=3), cost=RunCost(1.0, 2.5))
        bench.ask(request([0], [0]))
        await ticks()
        waiting = bench.ask(request([1], [1]))
        refused = bench.ask(request([2], [2]))
        await ticks()
        error = refusal(refused)
        assert isinstance(error, TooBusy)
        assert error.headers == ((b"retry-after", b"5"),)
        assert "2 rows wait for a run already, and batching.queue_rows allows 3: send this again in 5 s" in str(error)
        assert bench.meter.refused["queue_full"] == 1
        await bench.finish_all()
        assert waiting.result() == [[[1], [1]]]

    run_in_loop(scenario)


def test_a_request_greater_than_the_queue_is_run_where_it_need_not_wait() -> None:
    async def scenario(_loop: ManualLoop) -> None:
        bench = Bench(MODEL, Batching(max_rows=64, queue_rows=2))
        whole = bench.ask(request([0], [0], [0]))
        await ticks()
        assert bench.batcher.queued_rows == 0
        await bench.finish_all()
        assert whole.result() == [[[0], [0], [0]]]

    run_in_loop(scenario)


def test_a_request_whose_deadline_passes_in_the_queue_is_told_so_then_and_never_run() -> None:
    async def scenario(loop: ManualLoop) -> None:
        bench = Bench(MODEL)
        bench.ask(request([0]))
        await ticks()
        late, patient = bench.ask(request([1], timeout=0.2)), bench.ask(request([2], timeout=5.0))
        await ticks()
        loop.now = 0.2
        await ticks()
        assert isinstance(refusal(late), DeadlineExceeded)
        assert "timeout of 0.2 s passed before its run began" in str(refusal(late))
        await bench.finish_all()
        assert bench.runs == [[[[0]]], [[[2]]]]
        assert patient.result() == [[[2]]]
        assert bench.meter.refused["deadline"] == 1

    run_in_loop(scenario)


def test_a_deadline_that_passes_as_a_run_ends_is_kept() -> None:
    async def scenario(loop: ManualLoop) -> None:
        bench = Bench(MODEL)
        bench.ask(request([0]))
        await ticks()
        late = bench.ask(request([1], timeout=0.2))
        await ticks()
        bench.threads.finish()
        loop.now = 0.3
        await ticks()
        assert isinstance(refusal(late), DeadlineExceeded)
        assert bench.runs == [[[[0]]]]

    run_in_loop(scenario)


def test_a_request_whose_client_is_gone_leaves_the_queue() -> None:
    async def scenario(_loop: ManualLoop) -> None:
        bench = Bench(MODEL)
        bench.ask(request([0]))
        await ticks()
        gone, stays = bench.ask(request([1], timeout=1.0)), bench.ask(request([2]))
        await ticks()
        gone.cancel()
        await ticks()
        assert bench.batcher.queued_rows == bench.meter.queued_rows == 1
        await bench.finish_all()
        assert bench.runs == [[[[0]]], [[[2]]]]
        assert stays.result() == [[[2]]]

    run_in_loop(scenario)


def test_a_client_that_goes_during_the_run_disturbs_nobody() -> None:
    async def scenario(_loop: ManualLoop) -> None:
        bench = Bench(MODEL)
        gone, stays = bench.ask(request([1])), bench.ask(request([2]))
        await ticks()
        gone.cancel()
        await bench.finish_all()
        assert gone.cancelled()
        assert stays.result() == [[[2]]]

    run_in_loop(scenario)


def test_only_the_guilty_one_of_a_shared_run_is_refused() -> None:
    async def scenario(_loop: ManualLoop) -> None:
        bench = Bench(loaded(LOOK_UP))
        for index in (2, 7, 0):
            bench.ask(request(index, dtype=np.int64))
        await bench.finish_all()
        first, guilty, last = bench.tasks
        assert isinstance(refusal(guilty), BadRequest | InferenceFailed)
        assert (first.result(), last.result()) == ([[[20, 21]]], [[[0, 1]]])
        assert bench.runs == [[[2], [7], [0]], [[2]], [[7]], [[0]]]

    run_in_loop(scenario)


def test_quick_runs_wait_behind_those_in_threads() -> None:
    async def scenario(_loop: ManualLoop) -> None:
        bench = Bench(MODEL, cost=WORTH_SHARING, inline_rows=1)
        bench.ask(request([1], [1]))
        bench.ask(request([2]))
        await ticks()
        assert bench.batcher.queued_rows == 0
        later = bench.ask(request([3]))
        await ticks()
        assert not later.done()
        await bench.finish_all()
        assert bench.runs == [[[[1], [1]], [[2]]], [[[3]]]]

    run_in_loop(scenario)


def test_no_more_runs_than_configured_at_a_time() -> None:
    async def scenario(_loop: ManualLoop) -> None:
        bench = Bench(MODEL, Batching(max_rows=1, concurrency=2))
        for value in range(4):
            bench.ask(request([value]))
        await ticks()
        assert len(bench.threads.held) == bench.meter.in_flight == 2
        bench.threads.finish(1)
        await ticks()
        assert len(bench.threads.held) == 2
        assert bench.tasks[1].done()
        await bench.finish_all()
        assert [task.result() for task in bench.tasks] == [[[[value]]] for value in range(4)]
        assert bench.meter.in_flight == 0

    run_in_loop(scenario)


def test_a_bug_reaches_everyone_who_waits() -> None:
    def broken(_parts: object, /) -> list[np.ndarray]:
        raise ZeroDivisionError

    async def scenario(_loop: ManualLoop) -> None:
        bench = Bench(replace(MODEL, runs=broken))
        for _ in range(2):
            bench.ask(request([0]))
        await bench.finish_all()
        assert [type(task.exception()) for task in bench.tasks] == [ZeroDivisionError] * 2

    run_in_loop(scenario)


def test_every_run_and_every_wait_is_counted() -> None:
    async def scenario(_loop: ManualLoop) -> None:
        bench = Bench(MODEL, cost=WORTH_SHARING, inline_rows=1)
        await bench.batcher.run(request([0]))
        for _ in range(3):
            bench.ask(request([0], [0]))
        await bench.finish_all()
        meter = bench.meter
        assert (meter.run_rows.sum, meter.run_requests.sum) == (7, 4)
        assert sum(meter.run_rows.buckets) == sum(meter.compute.buckets) == 2
        assert sum(meter.queue.buckets) == 4

    run_in_loop(scenario)


def test_two_batchers_of_a_version_that_is_loaded_again_add_up_in_its_meter() -> None:
    async def scenario(_loop: ManualLoop) -> None:
        meter = Meters().runs("m", "1")
        old, new = Bench(MODEL, meter=meter), Bench(MODEL, meter=meter)
        for bench in (old, new):
            bench.ask(request([0]))
            await ticks()
            bench.ask(request([1]))
        await ticks()
        assert (meter.queued_rows, meter.in_flight) == (2, 2)
        await old.finish_all()
        assert (meter.queued_rows, meter.in_flight) == (1, 1)
        await new.finish_all()
        assert (meter.queued_rows, meter.in_flight) == (0, 0)

    run_in_loop(scenario)


@pytest.mark.parametrize(("width", "kept"), [(4, True), (KEPT_BYTES // 4, False)])
def test_a_share_of_a_large_output_does_not_keep_all_of_it_in_memory(width: int, kept: bool) -> None:
    ran = run_together(MODEL, [request([1] * width), request([2] * width)])
    (share,), _ = ran.outcomes  # type: ignore[misc]  # an outcome that is no exception
    assert share.tolist() == [[1] * width]
    assert (share.base is not None) is kept


def test_one_request_is_run_as_it_came() -> None:
    asked = request([1, 2])
    seen: list[object] = []

    def watched(parts: Sequence[Feeds], /) -> list[Tensor]:
        seen.extend(parts)
        return MODEL.runs(parts)

    run_together(replace(MODEL, runs=watched), [asked])
    assert seen[0] is asked.feeds


def test_real_threads_hand_their_outcomes_to_the_loop() -> None:
    async def answers(batcher: Batcher) -> list[object]:
        outcomes = await asyncio.gather(*[batcher.run(request([value])) for value in range(200)])
        return [outputs[0].tolist() for outputs in outcomes]

    with ThreadPoolExecutor(2) as threads:
        batcher = Batcher(replace(MODEL, inline_rows=0), Batching(max_rows=8, concurrency=2), threads, Meters().runs("m", "1"))
        assert asyncio.run(answers(batcher)) == [[[value]] for value in range(200)]


def test_a_batcher_serves_one_loop_after_another() -> None:
    bench = Bench(MODEL, cost=WORTH_SHARING, inline_rows=100)
    for _ in range(3):
        assert asyncio.run(_first(bench.batcher)) == [[4]]


async def _first(batcher: Batcher) -> object:
    return (await batcher.run(request([4])))[0].tolist()
