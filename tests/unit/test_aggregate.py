"""What the committed panes of all partitions are read as: windows, versions, segments, ranges; one fact a test."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from monitor.aggregate import RangeError
from monitor.model_readings import Span
from monitor.pipeline import Model
from monitor.quality.readings import ClockName, Reading
from monitor.reference.profile import layout_of
from monitor.stats.delays import edges_up_to
from monitor.stats.features import CategoricalLayout, FeatureLayout, NumericLayout
from monitor.stats.layout import Classes, ModelLayout
from tests.committed import LABELS, PREDICTIONS, aggregate, commit, confusion, flat, reading, tick, watched, with_layouts
from tests.worlds import BINARY, DAY, HOUR, START, label, model_of, pipeline, prediction, record

MINUTE = 60_000
STEP = 2 * MINUTE
"""Of the window of an hour."""


def other_layout(model: Model) -> ModelLayout:
    """One whose inputs do not add up with the model's own."""
    features: dict[str, FeatureLayout] = {"temp": NumericLayout(np.array([5.0])), "carrier": CategoricalLayout(("UA",))}
    return layout_of(Classes.of(model.schema), features, edges_up_to(3 * DAY))


def numbers(found: Reading) -> tuple[int | None, int, list[list[int]] | None]:
    return found.predictions, found.labels, confusion(found)


EVENTS = [prediction(number, START + number * MINUTE) for number in range(30)]
ANSWERS = [label(number, START + 40 * MINUTE, ("late", "on_time")[number % 2]) for number in range(20)]


def test_partitions_add_up_to_what_one_would_have_counted() -> None:
    one = tick(aggregate(commit(EVENTS, ANSWERS)), START + HOUR - 1)
    parts = [commit(EVENTS, ANSWERS, partition=partition, partitions=3) for partition in range(3)]
    three = tick(aggregate(*parts, partitions=3), START + HOUR - 1)
    assert numbers(reading(one.readings))[:2] == (30, 20)
    assert [numbers(found) for found in three.readings] == [numbers(found) for found in one.readings]
    assert [found.inputs for found in three.readings] == [found.inputs for found in one.readings]


def test_the_order_of_commits_is_no_matter_and_a_later_one_replaces_the_partitions_former() -> None:
    first, second = (commit(EVENTS, ANSWERS, partition=partition, partitions=2) for partition in range(2))
    forth, back = tick(aggregate(first, second, partitions=2), START), tick(aggregate(second, first, second, partitions=2), START)
    assert [numbers(found) for found in forth.readings] == [numbers(found) for found in back.readings]


@pytest.mark.parametrize(("live", "coverage"), [((), 0.0), ((1,), 0.5), ((1, 2), 0.5), ((0, 1), 1.0)])
def test_a_model_is_covered_by_the_partitions_that_have_committed_and_are_worked_on(live: tuple[int, ...], coverage: float) -> None:
    merged = aggregate(*(commit(EVENTS, ANSWERS, partition=partition, partitions=2) for partition in range(2)), partitions=2)
    found = merged.tick(START + HOUR, lag={}, live=frozenset(live))
    assert found.models[0].coverage == coverage
    assert reading(found.readings, "1d").predictions == 30  # what was counted stays counted


def test_a_partition_that_has_not_committed_covers_nothing() -> None:
    found = tick(aggregate(commit(EVENTS, partitions=2), partitions=2), START)
    assert found.models[0].coverage == 0.5


def test_a_model_is_at_home_where_kafka_would_put_its_name() -> None:
    """The murmur2 of "late" is 239603867 without its sign."""
    homes = [tick(aggregate(partitions=partitions), None).models[0].home for partitions in (1, 2, 7, 12)]
    assert homes == [239603867 % partitions for partitions in (1, 2, 7, 12)]


def test_what_was_read_before_a_commit_is_read_anew_after_it() -> None:
    merged = aggregate(commit(EVENTS[:10]))
    assert reading(tick(merged, START + 30 * MINUTE).readings).predictions == 10
    assert reading(tick(merged, START + 30 * MINUTE).readings).predictions == 10
    merged.apply(commit(EVENTS))
    found = tick(merged, START + 30 * MINUTE)
    assert reading(found.readings).predictions == sum(point.predictions or 0 for point in found.history["late", "1h"]) == 30
    merged.apply(commit(EVENTS, ANSWERS))
    assert reading(tick(merged, START + 45 * MINUTE).readings).labels == 20


def test_a_window_is_whole_panes_up_to_the_end_of_the_step_that_holds_now() -> None:
    events = [prediction(number, START + number * STEP) for number in range(40)]
    merged = aggregate(commit(events))
    for now in (START + 34 * STEP, START + 35 * STEP - 1):
        found = reading(tick(merged, now).readings)
        assert (found.since, found.until) == (START + 5 * STEP, START + 35 * STEP)
        assert found.predictions == 30


def test_a_window_without_events_is_there_and_undefined_is_absent() -> None:
    found = reading(tick(aggregate(commit(EVENTS, ANSWERS)), START + 10 * DAY).readings)
    assert (found.predictions, found.labels, found.maturity, found.performance, found.drift) == (0, 0, None, None, {})


def test_a_ratio_of_nothing_is_absent() -> None:
    found = reading(tick(aggregate(commit([prediction(1, START, score=0.1)], [label(1, START, "on_time")])), START).readings)
    assert found.performance is not None
    on_time, late = found.performance.by_class
    assert (on_time.precision, late.precision, late.recall, late.f1) == (1.0, None, None, None)
    assert found.performance.roc_auc is None


def test_before_the_first_event_there_is_no_reading() -> None:
    empty = tick(aggregate(), None)
    assert (empty.now, empty.readings, empty.history) == (None, (), {})
    assert empty.models[0].versions == ()
    assert tick(aggregate(), START).readings == ()


def test_maturity_is_labelled_over_all_and_the_feedback_clock_has_none() -> None:
    readings = tick(aggregate(commit(EVENTS, ANSWERS)), START + 45 * MINUTE).readings
    assert reading(readings).maturity == pytest.approx(20 / 30)
    feedback = reading(readings, clock=ClockName.FEEDBACK)
    assert (feedback.predictions, feedback.maturity, feedback.labels) == (None, None, 20)


def test_versions_are_in_the_order_of_their_first_prediction() -> None:
    events = [prediction(1, START + HOUR, version="a"), prediction(2, START, version="b"), prediction(3, START + 2 * HOUR, version="b")]
    state = tick(aggregate(commit(events)), START + 2 * HOUR).models[0]
    assert state.versions == ("b", "a")
    assert state.last_predictions == {"b": START + 2 * HOUR, "a": START + HOUR}


def test_each_version_has_readings_and_pooled_ones_are_their_sum() -> None:
    events = [prediction(number, START, version=str(number % 2)) for number in range(10)]
    readings = tick(aggregate(commit(events, ANSWERS)), START + 45 * MINUTE).readings
    apart = [confusion(reading(readings, version=version)) for version in ("0", "1")]
    assert None not in apart
    assert confusion(reading(readings)) == np.sum(np.array(apart), axis=0).tolist()
    assert reading(readings).inputs["temp"].rows == 10


def test_a_single_version_is_also_the_pooled_one() -> None:
    readings = tick(aggregate(commit(EVENTS, ANSWERS)), START + 45 * MINUTE).readings
    assert replace(reading(readings, version="1"), version="") == reading(readings)


def test_pooled_drift_is_there_only_where_layouts_agree() -> None:
    model = model_of(BINARY)
    own = model.layout_of("1")
    events = [prediction(1, START, version="1"), prediction(2, START + 1, version="2")]
    alike = aggregate(commit(events), model=watched(model, flat(own)))
    assert set(reading(tick(alike, START).readings).drift) == {"temp", "carrier", "@score", "@prediction"}

    mixed = with_layouts(model, {"1": other_layout(model), "2": own})
    readings = tick(aggregate(commit(events, model=mixed), model=watched(mixed, flat(own))), START).readings
    pooled = reading(readings)
    assert (pooled.predictions, pooled.drift, pooled.inputs) == (2, {}, {})
    assert reading(readings, version="2").inputs["temp"].rows == 1


def test_quality_is_pooled_over_versions_whose_inputs_are_laid_out_differently() -> None:
    model = model_of(BINARY)
    mixed = with_layouts(model, {"1": other_layout(model), "2": model.layout_of("2")})
    events = [prediction(1, START, version="1", score=0.9), prediction(2, START + 1, version="2", score=0.9)]
    merged = aggregate(commit(events, [label(1, START), label(2, START)], model=mixed), model=watched(mixed))
    assert numbers(reading(tick(merged, START).readings)) == (2, 2, [[0, 0], [0, 2]])


def test_a_new_layout_begins_the_inputs_anew_and_shows_it() -> None:
    model = model_of(BINARY)
    changed = with_layouts(model, {"1": other_layout(model)})
    before = commit(EVENTS, ANSWERS, model=model)
    after = commit([prediction(100, START + 50 * MINUTE)], model=changed)
    merged = aggregate(replace(after, panes={**before.panes, **after.panes}), model=watched(changed))
    found = reading(tick(merged, START + HOUR - 1).readings)
    assert (found.predictions, found.labels, found.maturity) == (1, 20, None)
    assert found.coverage == pytest.approx(10 / 60)


def test_coverage_is_the_share_of_the_window_since_the_first_event() -> None:
    merged = aggregate(commit(EVENTS, ANSWERS))
    readings = tick(merged, START + HOUR - 1).readings
    assert reading(readings).coverage == 1.0
    assert reading(readings, clock=ClockName.FEEDBACK).coverage == pytest.approx(20 / 60)
    assert reading(readings, "1d").coverage == pytest.approx(1 / 24)


def test_segments_have_readings_where_there_is_something_to_tell() -> None:
    readings = tick(aggregate(commit(EVENTS, ANSWERS)), START + HOUR - 1).readings
    assert reading(readings, segment="carrier=UA").predictions == 8
    assert {found.segment for found in readings} == {"", "carrier=UA", "carrier=DL", "carrier=AA", "carrier=XX"}
    later = tick(aggregate(commit(EVENTS, ANSWERS)), START + 3 * HOUR).readings
    assert {found.segment for found in later if found.window == "1h"} == {""}
    assert "carrier=UA" in {found.segment for found in later if found.window == "1d"}


def test_a_segment_is_compared_with_its_own_reference_by_the_methods_asked_for() -> None:
    model = model_of(BINARY)
    readings = tick(aggregate(commit(EVENTS), model=watched(model, flat(model.layout_of("1")))), START + HOUR - 1).readings
    assert set(reading(readings, segment="carrier=UA").drift["temp"].scores) == {"psi"}
    assert reading(readings, segment="carrier=DL").drift == {}
    assert len(reading(readings).drift["temp"].scores) == 7


def test_a_segment_of_one_version_is_pooled_from_that_one() -> None:
    events = [prediction(4, START, version="1"), prediction(5, START, version="2")]
    readings = tick(aggregate(commit(events)), START).readings
    assert reading(readings, segment="carrier=UA").predictions == 1
    assert {found.version for found in readings if found.segment == "carrier=UA"} == {"1", ""}


def test_history_is_a_reading_a_pane_oldest_first() -> None:
    merged = aggregate(commit(EVENTS, ANSWERS))
    points = tick(merged, START + HOUR - 1).history["late", "1h"]
    assert [point.predictions for point in points] == [2] * 15 + [0] * 15
    assert [point.labels for point in points] == [2] * 10 + [0] * 20
    assert (points[0].since, points[-1].until) == (START, START + HOUR)
    assert {point.version for point in points} == {""}


@pytest.mark.parametrize(("days", "count"), [(7, 28), (60, 60), (61, 31), (365, 53)])
def test_history_has_at_most_sixty_points_that_fill_the_window(days: int, count: int) -> None:
    points = list(Span.ending("", days * DAY, START).points())
    assert len(points) == count
    assert points[0].since == points[-1].until - days * DAY
    assert all(left.until == right.since for left, right in pairwise(points))


def test_a_range_is_read_from_whole_panes() -> None:
    merged = aggregate(commit(EVENTS, ANSWERS))
    found = reading(merged.between("late", START + 10 * MINUTE, START + 20 * MINUTE), "")
    assert numbers(found)[:2] == (10, 10)
    assert reading(merged.between("late", START, START + DAY), "").predictions == 30


@pytest.mark.parametrize(("since", "until"), [(START, START), (START + HOUR, START), (START + 1, START + HOUR), (START, START + MINUTE)])
def test_a_range_that_no_whole_panes_fill_is_refused_with_their_widths(since: int, until: int) -> None:
    with pytest.raises(RangeError, match=r"late are 60 min, 2 min wide"):
        aggregate(commit(EVENTS)).between("late", since, until)


def test_a_range_of_an_unknown_model_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        aggregate().between("nobody", START, START + HOUR)


def test_the_newest_event_is_that_of_any_partition_and_stream() -> None:
    merged = aggregate(commit(EVENTS, ANSWERS), partitions=2)
    assert merged.newest() == START + 40 * MINUTE
    assert aggregate().newest() is None


def test_counts_are_by_partition_and_pairs_over_all() -> None:
    parts = [commit(EVENTS, ANSWERS, partition=partition, partitions=2) for partition in range(2)]
    found = aggregate(*parts, partitions=2).tick(START, lag={(PREDICTIONS, 0): 3, (LABELS, 1): 4}, live=frozenset({0, 1}))
    for partition in range(2):
        received = [event.count for event in found.events if (event.stream, event.partition) == ("predictions", partition)]
        assert sum(received) == len(EVENTS)
    assert {pair.fate: pair.count for pair in found.pairs if pair.model == "late"}["joined"] == 20
    lags = [(state.stream, state.partition, state.lag) for state in found.partitions]
    assert lags == [("predictions", 0, 3), ("labels", 0, None), ("predictions", 1, None), ("labels", 1, 4)]
    assert found.partitions[1].watermark == START + 40 * MINUTE
    assert found.models[0].pending == 10  # as of the commits


@pytest.mark.parametrize("model", ["late", None])
def test_the_last_label_is_the_newest_that_can_answer_the_model(model: str | None) -> None:
    answer = {"id": "id-1", "label": "late", "arrival": START + HOUR} | ({} if model is None else {"model": model})
    of_two_models = pipeline()
    of_two_models.take(LABELS, [record(0, answer)])
    merged = aggregate(of_two_models.commit({PREDICTIONS: 0, LABELS: 1}))
    assert tick(merged, START).models[0].last_label == START + HOUR
