"""The join's rules one at a time, with times small enough to read: D = 10, E = 20, H = 100 unless a test says otherwise."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from monitor.errors import ConfigError, SnapshotError
from monitor.events import ANY_MODEL, Stream
from monitor.join import OUTCOMES, Corrections, JoinRules, JoinTable, LabelRows, PairChanges, PredictionRows

CLASS_INDEX = np.array([[0, 1, -1], [2, -1, 0]], dtype=np.int32)
D, E, H = 10, 20, 100
EXPIRY = H + D
"""Of a prediction made at 0."""


def table(corrections: Corrections = Corrections.LAST_WINS, *, rows_limit: int = 1000, score_width: int = 0) -> JoinTable:
    rules = (JoinRules(H, corrections), JoinRules(2 * H, corrections))
    return JoinTable(rules, CLASS_INDEX, out_of_order=D, early=E, rows_limit=rows_limit, score_width=score_width, tolerance=5)


def ids(numbers: Sequence[int]) -> np.ndarray[tuple[int, int], np.dtype[np.uint64]]:
    return np.array([(number, number) for number in numbers], dtype=np.uint64).reshape(-1, 2)


def predictions(*rows: tuple[int, int], arrival: int | None = None, model: int = 0, identity: int = 0, content: int = 1) -> PredictionRows:
    """Rows of (id, time), which arrive when they are made."""
    n = len(rows)
    time = np.array([time for _, time in rows], dtype=np.int64)
    return PredictionRows(
        ids=ids([number for number, _ in rows]),
        time=time,
        arrival=time if arrival is None else np.full(n, arrival),
        identity=np.full(n, identity, dtype=np.int32),
        model=np.full(n, model, dtype=np.int16),
        predicted=np.ones(n, dtype=np.int16),
        score=np.full(n, 0.75),
        scores=None,
        segment=np.full(n, 7, dtype=np.int32),
        content=np.full(n, content, dtype=np.uint64),
    )


def labels(*rows: tuple[int, int, int], time: int | None = None, model: int = ANY_MODEL) -> LabelRows:
    """Rows of (id, arrival, value), whose time is their arrival."""
    arrival = np.array([arrival for _, arrival, _ in rows], dtype=np.int64)
    return LabelRows(
        ids=ids([number for number, _, _ in rows]),
        time=arrival if time is None else np.full(len(rows), time),
        arrival=arrival,
        model=np.full(len(rows), model, dtype=np.int16),
        value=np.array([value for _, _, value in rows], dtype=np.int32),
    )


def signs(changes: PairChanges) -> list[tuple[int, int, int]]:
    """(sign, actual, label arrival) of each change."""
    return list(zip(changes.sign.tolist(), changes.actual.tolist(), changes.label_arrival.tolist(), strict=True))


def outcomes(codes: np.ndarray[tuple[int], np.dtype[np.int8]]) -> list[str]:
    return [str(OUTCOMES[code]) for code in codes]


def test_a_label_after_its_prediction_adds_one_pair() -> None:
    joined = table()
    assert len(joined.add_predictions(predictions((1, 0))).changes) == 0
    changes = joined.add_labels(labels((1, 50, 1))).changes
    assert signs(changes) == [(+1, 1, 50)]
    assert (changes.model[0], changes.identity[0], changes.segment[0], changes.time[0]) == (0, 0, 7, 0)
    assert (changes.predicted[0], changes.score[0], changes.scores) == (1, 0.75, None)


def test_a_prediction_after_its_label_adds_the_same_pair() -> None:
    joined = table()
    assert len(joined.add_labels(labels((1, 50, 1))).changes) == 0
    assert signs(joined.add_predictions(predictions((1, 0))).changes) == [(+1, 1, 50)]


def test_a_corrected_label_takes_the_old_pair_out_and_puts_the_new_one_in() -> None:
    joined = table()
    joined.add_predictions(predictions((1, 0)))
    joined.add_labels(labels((1, 50, 1)))
    assert signs(joined.add_labels(labels((1, 60, 0))).changes) == [(-1, 1, 50), (+1, 0, 60)]
    assert (joined.counts.joined[0], joined.counts.replaced[0], joined.counts.repeated[0]) == (1, 1, 0)


def test_a_correction_with_an_older_time_of_its_own_changes_nothing() -> None:
    joined = table()
    joined.add_predictions(predictions((1, 0)))
    joined.add_labels(labels((1, 50, 1)))
    assert signs(joined.add_labels(labels((1, 60, 0), time=40)).changes) == []


def test_first_wins_keeps_the_first_label() -> None:
    joined = table(Corrections.FIRST_WINS)
    joined.add_predictions(predictions((1, 0)))
    joined.add_labels(labels((1, 50, 1)))
    assert signs(joined.add_labels(labels((1, 60, 0))).changes) == []


def test_labels_that_disagree_set_a_prediction_aside_under_conflict() -> None:
    joined = table(Corrections.CONFLICT)
    joined.add_predictions(predictions((1, 0)))
    joined.add_labels(labels((1, 50, 1)))
    assert signs(joined.add_labels(labels((1, 60, 0))).changes) == [(-1, 1, 50)]
    assert signs(joined.add_labels(labels((1, 70, 0))).changes) == []
    counts = joined.counts
    assert (counts.joined[0], counts.conflict[0], counts.replaced[0], counts.repeated[0]) == (0, 1, 0, 0)


def test_labels_that_agree_under_conflict_are_repeats_of_the_greatest() -> None:
    joined = table(Corrections.CONFLICT)
    joined.add_predictions(predictions((1, 0)))
    assert signs(joined.add_labels(labels((1, 50, 1), (1, 60, 1))).changes) == [(+1, 1, 60)]
    assert joined.counts.repeated[0] == 1


def test_several_labels_of_one_batch_leave_one_pair() -> None:
    joined = table()
    joined.add_predictions(predictions((1, 0)))
    assert signs(joined.add_labels(labels((1, 50, 1), (1, 55, 0), (1, 52, 0))).changes) == [(+1, 0, 55)]


def test_a_label_answers_every_version_also_one_that_comes_later() -> None:
    joined = table()
    joined.add_predictions(predictions((1, 0), identity=0))
    joined.add_labels(labels((1, 50, 1)))
    changes = joined.add_predictions(predictions((1, 3), identity=4)).changes
    assert (signs(changes), changes.identity.tolist()) == ([(+1, 1, 50)], [4])


def test_a_label_that_names_a_model_answers_only_that_model() -> None:
    joined = table()
    joined.add_predictions(predictions((1, 0), model=0, identity=0))
    joined.add_predictions(predictions((1, 0), model=1, identity=1))
    changes = joined.add_labels(labels((1, 50, 0), model=1)).changes
    assert (changes.model.tolist(), changes.actual.tolist()) == ([1], [2])


def test_a_value_that_is_no_class_of_the_model_is_no_label_of_it() -> None:
    joined = table()
    joined.add_predictions(predictions((1, 0)))
    assert signs(joined.add_labels(labels((1, 50, 2))).changes) == []
    assert joined.pending(0) == 1


@pytest.mark.parametrize(("arrival", "pairs"), [(H, 1), (H + 1, 0), (-E, 1), (-E - 1, 0)])
def test_a_label_is_on_time_from_the_early_bound_to_the_horizon_both_included(arrival: int, pairs: int) -> None:
    joined = table()
    joined.add_predictions(predictions((1, 0)))
    assert len(joined.add_labels(labels((1, arrival, 1))).changes) == pairs


@pytest.mark.parametrize(("ahead", "late"), [(EXPIRY, 1), (EXPIRY + 1, 0)])
def test_a_late_label_counts_while_the_watermark_has_not_passed_the_expiry(ahead: int, late: int) -> None:
    joined = table()
    joined.add_predictions(predictions((1, 0)))
    joined.advance(Stream.LABELS, ahead)
    added = joined.add_labels(labels((1, H + 1, 1)))
    assert (outcomes(added.outcomes), len(added.changes), joined.counts.late[0]) == (["accepted"], 0, late)


def test_a_prediction_too_old_or_from_the_future_has_a_bad_time() -> None:
    joined = table()
    rows = predictions((1, 100 - D - 1), (2, 100 - D), (3, 105), (4, 106), arrival=100)
    assert outcomes(joined.add_predictions(rows).outcomes) == ["bad_time", "accepted", "accepted", "bad_time"]


def test_a_label_may_be_timed_after_its_arrival_within_the_tolerance() -> None:
    joined = table()
    assert outcomes(joined.add_labels(labels((1, 50, 1), time=55)).outcomes) == ["accepted"]
    assert outcomes(joined.add_labels(labels((1, 50, 1), time=56)).outcomes) == ["bad_time"]


def test_the_watermark_moves_row_by_row_also_by_rows_that_are_refused() -> None:
    joined = table()
    rows = replace(predictions((1, 50), (2, 0), (3, 60 - D - 1), (4, 60 - D)), arrival=np.array([50, 60, 60 - D - 1, 60 - D]))
    assert outcomes(joined.add_predictions(rows).outcomes) == ["accepted", "bad_time", "out_of_order", "accepted"]
    assert (joined.watermark(Stream.PREDICTIONS), joined.watermark(Stream.LABELS)) == (60, None)


def test_a_repeated_prediction_is_a_duplicate_and_one_that_says_something_else_is_told_apart() -> None:
    joined = table()
    joined.add_predictions(predictions((1, 0), content=1))
    added = joined.add_predictions(predictions((1, 5), content=2))
    assert (outcomes(added.outcomes), added.differing.tolist()) == (["duplicate"], [True])
    added = joined.add_predictions(predictions((1, 5), content=1))
    assert (outcomes(added.outcomes), added.differing.tolist()) == (["duplicate"], [False])
    assert joined.counts.differing[0] == 1


def test_a_repeat_within_one_batch_is_a_duplicate() -> None:
    joined = table()
    added = joined.add_predictions(predictions((1, 0), (2, 0), (1, 1)))
    assert outcomes(added.outcomes) == ["accepted", "accepted", "duplicate"]
    assert (joined.predictions_held, added.differing.tolist()) == (2, [False, False, False])


def test_a_repeat_is_a_duplicate_up_to_the_expiry_and_a_prediction_of_its_own_after_it() -> None:
    joined = table()
    joined.add_predictions(predictions((1, 0)))
    rows = predictions((1, EXPIRY), (1, EXPIRY + 1), (1, EXPIRY + 2))
    assert outcomes(joined.add_predictions(rows).outcomes) == ["duplicate", "accepted", "duplicate"]
    assert joined.predictions_held == 2


def test_a_prediction_can_be_found_as_long_as_a_repeat_of_it_is_a_duplicate() -> None:
    joined = table()
    joined.add_predictions(predictions((2, -1), (1, 0)))
    for stream in (Stream.PREDICTIONS, Stream.LABELS):
        joined.advance(stream, EXPIRY)
    joined.sweep()
    assert joined.predictions_held == 1
    assert outcomes(joined.add_predictions(predictions((1, EXPIRY), (2, EXPIRY))).outcomes) == ["duplicate", "accepted"]


def test_a_label_that_was_there_first_also_stays_while_its_prediction_can_change() -> None:
    joined = table()
    joined.add_labels(labels((1, 50, 1)))
    joined.add_predictions(predictions((1, 50)))
    joined.advance(Stream.PREDICTIONS, 1000)
    joined.sweep()
    assert signs(joined.add_labels(labels((1, 60, 0))).changes) == [(-1, 1, 50), (+1, 0, 60)]


def test_a_repeat_with_the_same_value_moves_the_pair_on_the_feedback_clock() -> None:
    joined = table()
    joined.add_predictions(predictions((1, 0)))
    joined.add_labels(labels((1, 50, 1)))
    assert signs(joined.add_labels(labels((1, 60, 1))).changes) == [(-1, 1, 50), (+1, 1, 60)]


def test_of_two_predictions_of_one_identity_the_later_is_the_one_that_repeats_are_held_against() -> None:
    joined = table()
    joined.add_predictions(predictions((1, 0), content=1))
    joined.add_predictions(predictions((1, EXPIRY + 1), content=2))
    added = joined.add_predictions(predictions((1, EXPIRY + 2), content=2))
    assert (outcomes(added.outcomes), added.differing.tolist()) == (["duplicate"], [False])


def test_predictions_that_a_sweep_leaves_go_with_a_later_one() -> None:
    joined = table()
    joined.add_predictions(predictions((1, 0), (2, 10)))
    held = []
    for watermark in (EXPIRY + 1, EXPIRY + 11):
        for stream in (Stream.PREDICTIONS, Stream.LABELS):
            joined.advance(stream, watermark)
        joined.sweep()
        held.append(joined.predictions_held)
    assert held == [1, 0]


def test_labels_that_a_sweep_leaves_go_with_a_later_one() -> None:
    joined = table()
    joined.add_labels(labels((3, 20, 1), (4, 30, 1)))
    held = []
    for arrival in (20, 30):
        joined.advance(Stream.PREDICTIONS, arrival + E + 2 * D + 1)
        joined.sweep()
        held.append(joined.labels_held)
    assert held == [1, 0]


def test_a_prediction_is_freed_when_both_watermarks_have_passed_its_expiry() -> None:
    joined = table()
    joined.add_predictions(predictions((1, 0)))
    joined.advance(Stream.PREDICTIONS, EXPIRY + 1)
    joined.sweep()
    assert (joined.predictions_held, joined.pending(0)) == (1, 1)
    joined.advance(Stream.LABELS, EXPIRY + 1)
    joined.sweep()
    assert (joined.predictions_held, joined.pending(0)) == (0, 0)


def test_a_label_stays_while_a_prediction_that_it_met_can_still_change() -> None:
    joined = table()
    joined.add_predictions(predictions((1, 0)))
    joined.add_labels(labels((1, 50, 1)))
    joined.advance(Stream.PREDICTIONS, 1000)
    joined.advance(Stream.LABELS, EXPIRY)
    joined.sweep()
    assert joined.labels_held == 1
    assert signs(joined.add_labels(labels((1, H, 0))).changes) == [(-1, 1, 50), (+1, 0, H)]
    joined.sweep()
    assert joined.labels_held == 2
    joined.advance(Stream.LABELS, EXPIRY + 1)
    joined.sweep()
    assert (joined.labels_held, joined.counts.orphaned.tolist()) == (0, [0, 0, 0])


def test_a_label_for_nobody_is_an_orphan_once_no_prediction_of_it_can_come() -> None:
    joined = table()
    joined.add_labels(labels((3, 49, 1), model=0))
    joined.add_labels(labels((1, 50, 1)))
    joined.add_labels(labels((2, 50, 1), model=1))
    joined.advance(Stream.PREDICTIONS, 50 + E + 2 * D)
    joined.sweep()
    assert joined.counts.orphaned.tolist() == [1, 0, 0]
    joined.advance(Stream.PREDICTIONS, 50 + E + 2 * D + 1)
    joined.sweep()
    assert (joined.labels_held, joined.counts.orphaned.tolist()) == (0, [1, 1, 1])


def test_a_late_label_is_no_orphan() -> None:
    joined = table()
    joined.add_predictions(predictions((1, 0)))
    joined.add_labels(labels((1, H + 1, 1)))
    for stream in (Stream.PREDICTIONS, Stream.LABELS):
        joined.advance(stream, 1000)
    joined.sweep()
    assert (joined.labels_held, joined.counts.late[0], joined.counts.orphaned.sum()) == (0, 1, 0)


def test_pending_counts_the_predictions_without_a_label_by_model() -> None:
    joined = table()
    joined.add_labels(labels((3, 10, 1)))
    joined.add_predictions(predictions((1, 0), (2, 0), (3, 0)))
    joined.add_predictions(predictions((1, 0), model=1, identity=1))
    joined.add_labels(labels((1, 20, 1), model=0))
    assert [joined.pending(model) for model in (0, 1)] == [1, 1]


def test_a_full_table_refuses_predictions_and_their_repeats_and_never_joins_them() -> None:
    joined = table(rows_limit=2)
    added = joined.add_predictions(predictions((1, 0), (2, 0), (1, 0), (3, 0), (3, 0)))
    assert outcomes(added.outcomes) == ["accepted", "accepted", "duplicate", "over_limit", "over_limit"]
    assert len(joined.add_labels(labels((3, 10, 1))).changes) == 0


def test_a_full_table_frees_what_has_expired_before_it_refuses_anything() -> None:
    joined = table(rows_limit=1)
    joined.add_predictions(predictions((1, 0)))
    for stream in (Stream.PREDICTIONS, Stream.LABELS):
        joined.advance(stream, EXPIRY + 1)
    assert outcomes(joined.add_predictions(predictions((2, EXPIRY))).outcomes) == ["accepted"]


def test_a_full_table_refuses_labels() -> None:
    joined = table(rows_limit=1)
    joined.add_predictions(predictions((2, 0)))
    added = joined.add_labels(labels((1, 0, 1), (2, 0, 1)))
    assert (outcomes(added.outcomes), len(added.changes)) == (["accepted", "over_limit"], 0)


def test_scores_of_every_class_come_back_with_the_pair() -> None:
    joined = table(score_width=3)
    scores = np.array([[0.5, 0.25, 0.25]], dtype=np.float32)
    joined.add_predictions(replace(predictions((1, 0), model=1), scores=scores))
    joined.add_predictions(predictions((2, 0)))
    changes = joined.add_labels(labels((1, 10, 0), (2, 10, 0))).changes
    assert changes.scores is not None
    of_first, of_second = changes.scores[np.argsort(-changes.model)]
    assert of_first.tolist() == [0.5, 0.25, 0.25]
    assert np.isnan(of_second).all()


def test_empty_batches_change_nothing() -> None:
    joined = table()
    assert len(joined.add_predictions(predictions()).outcomes) == 0
    assert len(joined.add_labels(labels()).outcomes) == 0
    joined.sweep()
    assert (joined.watermark(Stream.PREDICTIONS), joined.predictions_held, joined.labels_held) == (None, 0, 0)


def test_a_million_predictions_take_at_most_64_bytes_each() -> None:
    joined = table(rows_limit=2_000_000)
    n = 1_000_000
    numbers = np.arange(n, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    one = predictions((1, 0))
    rows = PredictionRows(
        ids=np.stack((numbers, numbers), axis=1),
        **{
            name: np.repeat(getattr(one, name), n)
            for name in ("time", "arrival", "identity", "model", "predicted", "score", "segment", "content")
        },
        scores=None,
    )
    joined.add_predictions(rows)
    assert joined.predictions_held == n
    assert joined.nbytes / n <= 64


def test_counts_can_be_taken_over_from_before_a_replay() -> None:
    joined, other = table(), table()
    joined.add_predictions(predictions((1, 0)))
    joined.add_labels(labels((1, 50, 1), (1, 60, 1)))
    other.resume(joined.counts)
    assert (other.counts.joined.tolist(), other.counts.repeated.tolist()) == ([1, 0], [1, 0])


def test_counts_are_a_copy() -> None:
    joined = table()
    joined.counts.joined[:] = 5
    assert joined.counts.joined.tolist() == [0, 0]


def test_bytes_cut_short_or_too_long_are_refused() -> None:
    joined = table()
    joined.add_predictions(predictions((1, 0)))
    data = joined.to_bytes()
    for damaged in (b"", data[:40], data[:-1], data + b"x"):
        with pytest.raises(SnapshotError, match="bytes of a join table"):
            table().load(damaged)


def test_rules_that_differ_have_another_digest() -> None:
    assert table().rules_digest == table(rows_limit=5).rules_digest
    others = [table(Corrections.CONFLICT), table(Corrections.FIRST_WINS), table(score_width=1)]
    assert len({joined.rules_digest for joined in (table(), *others)}) == 4


def test_a_disorder_bound_that_does_not_fit_a_row_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"log\.out_of_order"):
        JoinTable((JoinRules(1 << 40, Corrections.LAST_WINS),), CLASS_INDEX[:1], out_of_order=1 << 32, early=0, rows_limit=1)
