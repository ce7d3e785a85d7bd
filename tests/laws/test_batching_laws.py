"""Whatever arrives when, ends when and goes away: each answer is what its request gets alone, in order, and no bound is passed."""

from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.serving.batching import Batching
from monitor.serving.refusals import DeadlineExceeded, TooBusy
from monitor.serving.run_cost import RunCost
from tests.unit.batching_parts import NOT_WORTH_SHARING, SLOW, WORTH_SHARING, Bench, ManualLoop, loaded, request, run_in_loop, ticks

MODEL = loaded(
    "(float[N, W] x) => (float[N, W] twice, float[N] first) { twice = Add(x, x)  zero = Constant <value_int = 0> ()"
    "  first = Gather <axis = 1> (x, zero) }"
)
"""Exact in floating point, so that answers can be compared bit by bit."""


@dataclass(frozen=True)
class Arrival:
    rows: int
    width: int
    timeout: float


@dataclass(frozen=True)
class Tick:
    """The event loop goes round a few times."""


@dataclass(frozen=True)
class End:
    """One of the runs under way ends."""

    place: int


@dataclass(frozen=True)
class Pass:
    seconds: float


@dataclass(frozen=True)
class Go:
    """One of the clients goes away."""

    place: int


Step = Arrival | Tick | End | Pass | Go

arrivals = st.builds(Arrival, st.integers(1, 5), st.integers(1, 2), st.sampled_from((0.0, 0.0, 0.0, 0.15)))
steps = st.lists(
    st.one_of(
        arrivals,
        arrivals,
        arrivals,
        st.builds(Tick),
        st.builds(End, st.integers(0, 3)),
        st.builds(Pass, st.sampled_from((0.05, 0.1, 0.2))),
        st.builds(Go, st.integers(0, 20)),
    ),
    max_size=40,
)
policies = st.builds(
    Batching,
    max_rows=st.sampled_from((1, 2, 4, 64)),
    preferred_rows=st.sampled_from(((), (2,), (3, 4))),
    delay_seconds=st.sampled_from((0.0, 0.0, 0.1)),
    queue_rows=st.sampled_from((3, 8, 4_096)),
    concurrency=st.integers(1, 3),
)
costs = st.sampled_from((SLOW, WORTH_SHARING, NOT_WORTH_SHARING))
quick_rows = st.sampled_from((0, 2, 100))


@dataclass
class Story:
    """What happened: requests in the order of their arrival, each told apart by the number in its rows."""

    bench: Bench
    asked: list[Arrival] = field(default_factory=list)
    limits_held: bool = True

    def arrive(self, arrival: Arrival) -> None:
        number = len(self.asked)
        self.asked.append(arrival)
        self.bench.ask(request(*[[number] * arrival.width] * arrival.rows, timeout=arrival.timeout))

    def look(self, policy: Batching) -> None:
        self.limits_held &= 0 <= self.bench.batcher.queued_rows <= policy.queue_rows
        self.limits_held &= len(self.bench.threads.held) <= policy.concurrency

    def expected(self, number: int) -> list[Any]:
        arrival = self.asked[number]
        return [output.tolist() for output in MODEL.run(request(*[[number] * arrival.width] * arrival.rows).feeds)]

    @property
    def begun(self) -> list[tuple[int, int]]:
        """(width, number) of requests in the order in which their runs began."""
        return [(len(rows[0]), int(rows[0][0])) for run in self.bench.runs for rows in run]


async def play(loop: ManualLoop, story: Story, policy: Batching, happened: list[Step]) -> None:
    for step in happened:
        match step:
            case Arrival():
                story.arrive(step)
            case Tick():
                await ticks()
            case End(place) if place < len(story.bench.threads.held):
                story.bench.threads.finish(place)
            case Pass(seconds):
                loop.now += seconds
            case Go(place) if place < len(story.bench.tasks):
                story.bench.tasks[place].cancel()
            case _:
                pass
        story.look(policy)
    # Whatever waits is waited for: runs end, delays pass.
    while not all(task.done() for task in story.bench.tasks):
        await story.bench.finish_all()
        story.look(policy)
        loop.now += 1.0


def told(policy: Batching, cost: RunCost, quick: int, happened: list[Step]) -> Story:
    story = Story(Bench(MODEL, policy, cost=cost, inline_rows=quick))

    async def scenario(loop: ManualLoop) -> None:
        await play(loop, story, policy, happened)

    run_in_loop(scenario)
    return story


@settings(deadline=None, max_examples=150)
@given(policies, costs, quick_rows, steps)
def test_each_request_gets_what_it_gets_alone_or_a_reason(policy: Batching, cost: RunCost, quick: int, happened: list[Step]) -> None:
    story = told(policy, cost, quick, happened)
    for number, task in enumerate(story.bench.tasks):
        if task.cancelled():
            continue
        if task.exception() is None:
            assert task.result() == story.expected(number)
        else:
            assert isinstance(task.exception(), TooBusy | DeadlineExceeded)
            assert number not in [begun for _, begun in story.begun]


@settings(deadline=None, max_examples=150)
@given(policies, costs, quick_rows, steps)
def test_no_bound_is_passed_and_nothing_is_left(policy: Batching, cost: RunCost, quick: int, happened: list[Step]) -> None:
    story = told(policy, cost, quick, happened)
    bench = story.bench
    assert story.limits_held
    for run in bench.runs:
        assert len(run) == 1 or sum(len(rows) for rows in run) <= policy.max_rows
        assert len({len(rows[0]) for rows in run}) == 1
    assert (bench.batcher.queued_rows, bench.meter.queued_rows, bench.meter.in_flight) == (0, 0, 0)
    refused = bench.meter.refused
    assert sum(refused.values()) == sum(not task.cancelled() and task.exception() is not None for task in bench.tasks)
    assert sum(bench.meter.queue.buckets) == bench.meter.run_requests.sum == len(story.begun)


@settings(deadline=None, max_examples=150)
@given(policies, costs, quick_rows, steps)
def test_runs_begin_in_the_order_of_arrival(policy: Batching, cost: RunCost, quick: int, happened: list[Step]) -> None:
    story = told(policy, cost, quick, happened)
    for width in (1, 2):
        numbers = [number for of_width, number in story.begun if of_width == width]
        assert numbers == sorted(numbers)
    if not policy.delay_seconds:
        # A batch is that of the oldest request of all; only younger ones of its width go with it before older ones of another.
        oldest = [int(run[0][0][0]) for run in story.bench.runs]
        assert oldest == sorted(oldest)
