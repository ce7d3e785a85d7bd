"""A configuration that changes between two runs: what began anew counts what comes after, and takes out nothing that it did not put in."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from monitor.beginnings import EVER, Beginnings
from monitor.events import Stream
from monitor.join import Corrections
from monitor.log import Committed, Record
from monitor.panes import parse_key
from monitor.pipeline import Model, Pipeline
from monitor.segments import segment_text
from monitor.stats.layout import Block
from monitor.stats.vector import unpack
from tests.worlds import BINARY, DAY, HOUR, MULTICLASS, START, label, model_of, pipeline, prediction, record

PREDICTIONS, LABELS = Stream.PREDICTIONS, Stream.LABELS
LOGS: dict[Stream, list[Record]] = {
    PREDICTIONS: [record(number, prediction(number, START + number * HOUR, score=0.6)) for number in range(6)],
    LABELS: [record(number, label(number, START + (number + 1) * HOUR, "on_time")) for number in range(6)],
}
RENAMED = replace(BINARY, classes=("on_time", "delayed"))
TWO_DIMENSIONS = replace(BINARY, dimensions=("carrier", "temp"))


class Disk:
    """What outlives a process."""

    def __init__(self) -> None:
        self.state = b""
        self.panes: dict[bytes, bytes] = {}

    def commit(self, worker: Pipeline) -> None:
        made = worker.commit({PREDICTIONS: 6, LABELS: 6})
        self.state = made.state
        self.panes = {key: value for key, value in (self.panes | dict(made.panes)).items() if value}

    def restored(self, *models: Model) -> Pipeline:
        """A worker of this configuration, its join table replayed from the log."""
        worker = pipeline(*models)
        worker.restore(Committed(0, {PREDICTIONS: 6, LABELS: 6}, self.state), self.panes.items(), None)
        for stream, records in LOGS.items():
            worker.replay(stream, records)
        worker.restored()
        return worker

    def amounts(self, block: Block, *, segment: str = "", step: int = HOUR) -> Iterator[int]:
        for key, value in self.panes.items():
            series, _ = parse_key(key)
            if (series.block, series.segment, series.step) == (block, segment, step):
                yield from unpack(value)[1].tolist()


def ran(*models: Model) -> Disk:
    disk, worker = Disk(), pipeline(*models)
    for stream, records in LOGS.items():
        worker.take(stream, records)
    disk.commit(worker)
    return disk


def corrected(disk: Disk, *models: Model, value: str = "late") -> None:
    """The next run of these models: a correction of the first prediction, and a commit."""
    worker = disk.restored(*models)
    worker.take(LABELS, [record(6, label(0, START + 20 * HOUR, value))])
    disk.commit(worker)


def present(disk: Disk, model: Model) -> int:
    """The pairs in feedback panes of this model's present layout, each of which has to hold more than nothing."""
    digest = model.layout_of("1").digest(Block.FEEDBACK)
    held = [
        amount
        for key, value in disk.panes.items()
        if (series := parse_key(key)[0]).block is not Block.INPUTS and series.layout in (digest, model.layout_of("1").cohort.digest)
        for amount in unpack(value)[1].tolist()
    ]
    assert min(held, default=1) > 0
    return sum(disk.amounts(Block.FEEDBACK))


@pytest.mark.parametrize(
    ("changed", "value"),
    [
        (model_of(replace(BINARY, threshold=0.7)), "late"),
        (model_of(RENAMED), "delayed"),
        (model_of(BINARY, horizon=2 * DAY), "late"),
        (model_of(BINARY, corrections=Corrections.CONFLICT), "late"),
    ],
    ids=["threshold", "class", "horizon", "corrections"],
)
def test_outcomes_of_another_meaning_begin_anew(changed: Model, value: str) -> None:
    disk = ran(model_of(BINARY))
    assert present(disk, model_of(BINARY)) == 6
    corrected(disk, changed, value=value)
    assert present(disk, changed) == (0 if changed.rules.corrections is Corrections.CONFLICT else 1)


def test_what_began_anew_is_corrected_exactly_from_then_on() -> None:
    changed = model_of(replace(BINARY, threshold=0.7))
    disk = ran(model_of(BINARY))
    corrected(disk, changed)
    worker = disk.restored(changed)
    worker.take(LABELS, [record(6, label(0, START + 20 * HOUR, "late"))])  # the log's, read up to the offsets before
    worker = disk.restored(changed)
    worker.replay(LABELS, [record(6, label(0, START + 20 * HOUR, "late"))])
    worker.take(LABELS, [record(7, label(0, START + 21 * HOUR, "on_time"))])
    disk.commit(worker)
    assert present(disk, changed) == 1
    assert list(disk.amounts(Block.FEEDBACK)) == [1]


def test_a_configuration_that_stays_goes_on() -> None:
    disk = ran(model_of(BINARY))
    corrected(disk, model_of(BINARY))
    assert present(disk, model_of(BINARY)) == 6
    assert sum(disk.amounts(Block.FEEDBACK, segment="carrier=UA")) == 2


def test_a_new_segment_begins_alone() -> None:
    before = replace(model_of(BINARY), segments=())
    disk = ran(before)
    corrected(disk, model_of(BINARY))
    assert sum(disk.amounts(Block.FEEDBACK)) == 6
    assert list(disk.amounts(Block.FEEDBACK, segment="carrier=UA")) == [1]


def test_a_window_that_reads_at_another_step_begins_alone() -> None:
    disk = ran(model_of(BINARY, windows=(DAY,)))
    changed = model_of(BINARY, windows=(DAY, 7 * DAY))
    corrected(disk, changed)
    assert sum(disk.amounts(Block.FEEDBACK)) == 6
    assert list(disk.amounts(Block.FEEDBACK, step=6 * HOUR)) == [1]
    assert present(disk, changed) == 6


def test_panes_of_a_step_that_no_window_reads_are_removed() -> None:
    disk = ran(model_of(BINARY, windows=(DAY, 7 * DAY)))
    corrected(disk, model_of(BINARY, windows=(DAY,)))
    assert {parse_key(key)[0].step for key in disk.panes} == {HOUR}


def test_a_model_that_is_new_counts_what_comes_after() -> None:
    disk = ran(model_of(MULTICLASS))
    corrected(disk, model_of(MULTICLASS), model_of(BINARY))
    assert present(disk, model_of(BINARY)) == 1


def test_a_model_that_was_left_out_for_a_while_begins_anew() -> None:
    disk = ran(model_of(BINARY), model_of(MULTICLASS))
    disk.commit(disk.restored(model_of(MULTICLASS)))
    assert sum(disk.amounts(Block.FEEDBACK)) == 6  # kept until it is forgotten
    corrected(disk, model_of(BINARY), model_of(MULTICLASS))
    assert present(disk, model_of(BINARY)) == 1


def test_a_new_dimension_takes_the_values_of_the_reference_first() -> None:
    disk = ran(model_of(BINARY))
    changed = replace(model_of(TWO_DIMENSIONS), first_values={"carrier": ("DL",), "temp": ("7", "8")})
    worker = disk.restored(changed)
    disk.commit(worker)
    assert worker.counters.segments["late"]["temp"][:2] == ["7", "8"]
    assert worker.counters.segments["late"]["carrier"][0] == "UA"


@pytest.mark.parametrize("value", ["UA", "a=b", "a,b", "a\\b", "", "two\nlines"])
def test_a_segments_kind_is_told_whatever_its_values(value: str) -> None:
    known = Beginnings.of("x", [HOUR], [("car=r,ier", "\\b"), ()], {}, None).since
    began = Beginnings.of("x", [HOUR], [("car=r,ier", "\\b"), ()], known, START)
    assert began.go_on(segment_text(("car=r,ier", "\\b"), (value, value)), HOUR)
    assert not began.go_on(segment_text(("carrier",), (value,)), HOUR)
    assert began.go_on("", HOUR)
    assert set(began.since.values()) == {EVER}
