"""Every count and ratio that the running demo showed, against pandas, scikit-learn and SciPy on the same rows."""

import json
import math
import re

import numpy as np
import pandas as pd
import pytest

from tests.e2e.drift_oracle import Profile, cells_of, counting_rows, drift_of_rows, reference_cells
from tests.e2e.exposed import Place, Series, Shown, in_readings, on_metrics, openmetrics_series, text_series
from tests.e2e.flights_truth import CATEGORICAL, CLASSES, NUMERIC, THRESHOLD, joined, milliseconds, scores_of
from tests.e2e.played import OWN_FLIGHTS, Played, Showing, month_spans
from tests.e2e.quality_oracle import decisions, ranking_of_rows
from tests.e2e.readings_oracle import (
    DAY,
    HOUR,
    TOLERANCE,
    cohort_rows,
    differences,
    expected,
    labelled,
    stands_in_json,
    stands_on_metrics,
    windows,
)

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def wanted(streamed: pd.DataFrame, profile: Profile, played: Played) -> Shown:
    """Everything that had to be shown when the stream had ended."""
    return expected(streamed, profile, windows(played.stream_ended.now))


@pytest.fixture(scope="module")
def wanted_in_the_end(rows: pd.DataFrame, profile: Profile, played: Played) -> Shown:
    """The same with the flights of one's own."""
    return expected(rows, profile, windows(played.in_the_end.now))


def test_the_log_holds_what_happened_and_what_the_model_says_of_it(played: Played, flights: pd.DataFrame) -> None:
    served = played.predictions[~played.predictions["id"].isin(OWN_FLIGHTS)]
    both = flights.merge(served, on="id", suffixes=("", "_logged"), validate="one_to_one")
    assert len(both) == len(flights) == len(served)
    assert (both["time"] == both["time_logged"]).all()
    assert (both["time"] == both["arrival"]).all()
    for name in NUMERIC:
        np.testing.assert_allclose(both[f"feature.{name}"], both[name], rtol=1e-6, err_msg=name)
    for name in CATEGORICAL:
        assert (both[f"feature.{name}"] == both[name]).all(), name
    np.testing.assert_allclose(both["score"], scores_of(played.folder / "models/flights/1/model.onnx", both), atol=1e-6)
    assert (both["prediction"] == np.where(both["score"] >= THRESHOLD, CLASSES[1], CLASSES[0])).all()


def test_every_label_came_when_its_flight_landed_and_the_last_one_is_true(played: Played, flights: pd.DataFrame) -> None:
    said = played.labels[~played.labels["id"].isin(OWN_FLIGHTS)].merge(flights, on="id", suffixes=("", "_true"), validate="many_to_one")
    assert set(said["id"]) == set(flights.loc[flights["label"].notna(), "id"])
    last = said.sort_values("time").groupby("id").tail(1)
    assert (last["label"] == last["label_true"]).all()
    corrected = said["id"].duplicated(keep=False)
    early = said["arrival"] < said["time_true"]
    assert (said["arrival"] == said["landed"])[~corrected & ~early].all()
    first = said[corrected].sort_values("time").groupby("id").head(1)
    assert (first["label"] != first["label_true"]).all()
    assert (first["arrival"] == first["landed"]).all()
    assert 0.001 < early.mean() < 0.01
    assert 0.001 < len(first) / len(said) < 0.01


def test_now_is_the_newest_arrival(played: Played) -> None:
    streams = [stream[~stream["id"].isin(OWN_FLIGHTS)] for stream in (played.predictions, played.labels)]
    assert played.stream_ended.now == max(milliseconds(stream["arrival"]).max() for stream in streams)


def test_metrics_show_what_the_oracles_say(played: Played, wanted: Shown) -> None:
    assert differences(on_metrics(text_series(played.stream_ended.text)), wanted, stands_on_metrics) == []


def test_the_readings_are_what_the_oracles_say(played: Played, wanted: Shown) -> None:
    assert differences(in_readings(played.stream_ended.readings), wanted, stands_in_json) == []


def test_a_flight_of_ones_own_moves_the_readings_as_the_oracles_say(played: Played, wanted_in_the_end: Shown, wanted: Shown) -> None:
    whole = Place("1", "", "365d", "feedback")
    assert wanted_in_the_end[whole]["labels"] == wanted[whole]["labels"] + len(OWN_FLIGHTS)
    assert differences(in_readings(played.in_the_end.readings), wanted_in_the_end, stands_in_json) == []
    assert differences(on_metrics(text_series(played.in_the_end.text)), wanted_in_the_end, stands_on_metrics) == []


def test_any_range_of_whole_panes_is_what_the_oracles_say(played: Played, streamed: pd.DataFrame, profile: Profile) -> None:
    spans = played.stream_ended.ranges
    assert {span.step for span in spans} == {HOUR, 6 * HOUR, DAY}
    for span, document in spans.items():
        wanted = expected(streamed, profile, {"": span})
        assert differences(in_readings(document), wanted, stands_in_json) == [], span


@pytest.mark.parametrize("form", ["json", "openmetrics"])
def test_watch_once_shows_the_same_as_the_daemon_did(played: Played, wanted_in_the_end: Shown, form: str) -> None:
    if form == "json":
        assert json.loads(played.once["json"]) == played.in_the_end.readings
        return
    once = openmetrics_series(played.once["openmetrics"])
    assert differences(on_metrics(once), wanted_in_the_end, stands_on_metrics) == []
    assert lasting(once) == lasting(openmetrics_series(played.in_the_end.openmetrics))


def lasting(series: list[Series]) -> set[tuple[str, frozenset[tuple[str, str]], float]]:
    """What does not differ from tick to tick, nor from process to process."""
    passing = ("tick_duration_seconds", "commit_duration_seconds", "last_commit_", "last_snapshot_", "process_", "python_")
    return {(name, frozenset(labels.items()), value) for name, labels, value in series if not name.startswith(passing)}


def test_both_formats_of_metrics_hold_the_same(played: Played) -> None:
    assert lasting(text_series(played.stream_ended.text)) == lasting(openmetrics_series(played.stream_ended.openmetrics))


@pytest.mark.parametrize("moment", ["stream_ended", "in_the_end"])
def test_scores_from_cells_are_within_their_bound_of_those_of_the_rows(
    played: Played, rows: pd.DataFrame, streamed: pd.DataFrame, profile: Profile, moment: str
) -> None:
    reference = counting_rows(pd.read_parquet(played.folder / "reference.parquet"))
    shown: Showing = getattr(played, moment)
    present = streamed if moment == "stream_ended" else rows
    readings = in_readings(shown.readings)
    judged = 0
    for window, span in windows(shown.now).items():
        inside = cohort_rows(present, span)
        exact = drift_of_rows(inside, reference, profile) | ranking_of_rows(labelled(inside))
        facts = readings[Place("1", "", window, "cohort")]
        for name, value in exact.items():
            bound = facts.get(error_of(name), 0.0)
            assert abs(facts[name] - value) <= bound + TOLERANCE, (window, name, facts[name], value, bound)
            judged += 1
    assert judged >= 3 * (2 * (len(NUMERIC) + 1) + 2)


def error_of(name: str) -> str:
    return name.replace("drift/", "drift_error/") if name.startswith("drift/") else f"{name}_error"


def test_the_reference_counts_are_those_of_its_rows(played: Played, profile: Profile) -> None:
    rows = counting_rows(pd.read_parquet(played.folder / "reference.parquet"))
    for segment in ("", "origin=EWR", "origin=JFK", "origin=LGA"):
        own = rows if not segment else rows[rows["origin"] == segment.removeprefix("origin=")]
        counted = profile.counted(segment)
        assert counted is not None
        for name, feature in profile.features.items():
            cells = reference_cells(feature, counted["features"][name])
            np.testing.assert_array_equal(cells_of(feature, own[name]), cells, f"{segment} {name}")
        by_class = profile.predicted_scores(counted)
        cell = np.searchsorted(profile.score_edges, own["score"].astype(float), side="right")
        pairs = np.stack([np.bincount(cell[own["prediction"] == name], minlength=by_class.shape[1]) for name in CLASSES])
        np.testing.assert_array_equal(pairs, by_class)
    np.testing.assert_array_equal([(rows["label"] == name).sum() for name in CLASSES], profile.labels())


def test_edges_are_quantiles_of_the_rows_that_are_not_counted(played: Played, profile: Profile) -> None:
    rows = pd.read_parquet(played.folder / "reference.parquet")
    choosing = rows.drop(counting_rows(rows).index)
    for name, feature in profile.features.items():
        if feature["kind"] == "numeric":
            values = choosing[name].dropna().astype(float)
            distinct = np.unique(values)
            edges = distinct if len(distinct) <= 32 else np.unique(np.quantile(values, np.arange(1, 32) / 32, method="inverted_cdf"))
            np.testing.assert_array_equal(feature["edges"], edges, name)
            assert (feature["low"], feature["high"]) == (rows[name].min(), rows[name].max())
        else:
            seen = choosing[name].astype(str).value_counts()
            kept = list(feature["kept"])
            assert len(kept) == min(50, len(seen))
            assert seen[kept].min() >= seen.drop(kept).max() or len(kept) == len(seen)


def test_received_is_the_sum_of_outcomes_on_both_streams(played: Played, flights: pd.DataFrame) -> None:
    """What was received is what the schedule had to send, by its own account, and what the log holds."""
    scheduled = re.search(r" of ([\d,]+) events", played.stderr)
    assert scheduled is not None
    labels = int(scheduled[1].replace(",", "")) - len(flights)
    assert counted_by_stream(played.stream_ended) == {"predictions": len(flights), "labels": labels}
    assert counted_by_stream(played.in_the_end) == {"predictions": len(played.predictions), "labels": len(played.labels)}
    assert len(played.labels) == labels + len(OWN_FLIGHTS)


def counted_by_stream(shown: Showing) -> dict[str, float]:
    counts = {"predictions": 0.0, "labels": 0.0}
    for name, labels, value in text_series(shown.text):
        if name == "events_total":
            counts[labels["stream"]] += value
    return counts


def test_every_event_was_accepted_and_every_pair_has_its_fate(played: Played, streamed: pd.DataFrame) -> None:
    labels = played.labels[~played.labels["id"].isin(OWN_FLIGHTS)]
    found = {
        (series.name, series.labels.get("stream") or series.labels["fate"], series.labels.get("outcome", "")): series.value
        for series in text_series(played.stream_ended.text)
        if series.name in ("events_total", "label_pairs") and series.value
    }
    assert found == {
        ("events_total", "predictions", "accepted"): len(streamed),
        ("events_total", "labels", "accepted"): len(labels),
        ("label_pairs", "joined", ""): labels["id"].nunique(),
        ("label_pairs", "replaced", ""): len(labels) - labels["id"].nunique(),
    }


def test_the_calendar_months_are_those_of_the_flights_themselves(played: Played, flights: pd.DataFrame) -> None:
    """From the package's files and the model alone, without the log."""
    scores = scores_of(played.folder / "models/flights/1/model.onnx", flights)
    predicted = np.where(scores >= THRESHOLD, CLASSES[1], CLASSES[0])
    truth = flights.assign(score=scores, prediction=predicted, month=flights["time"].dt.strftime("%Y-%m"))
    for month, span in month_spans().items():
        shown = in_readings(played.stream_ended.ranges[span])[Place("1", "", "", "cohort")]
        own = truth[truth["month"] == month]
        known = own[own["label"].notna()]
        counts = {"predictions": len(own), "labels": len(known), "maturity": len(known) / len(own)} | decisions(known)
        for name, value in counts.items():
            if not name.startswith("support@"):
                assert math.isclose(shown[name], value, rel_tol=TOLERANCE), (month, name)


def test_a_correction_moves_the_label_on_the_feedback_clock(played: Played, streamed: pd.DataFrame) -> None:
    """The winner's arrival counts: by first words the same days would have held other labels."""
    by_first_word = joined(played.predictions, played.labels.sort_values("time").groupby("id").head(1))
    days = [span for span in played.stream_ended.ranges if span.step == DAY and span.until == span.since + DAY]
    shown = {span: in_readings(played.stream_ended.ranges[span])[Place("1", "", "", "feedback")]["labels"] for span in days}
    assert shown == {span: span.of(streamed["answered"]).sum() for span in days}
    assert shown != {span: span.of(by_first_word["answered"]).sum() for span in days}
