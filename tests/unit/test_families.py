"""From a tick to samples: which series there are, with which labels, and which go when there is no room."""

import json
import math
import subprocess
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from shutil import which

import numpy as np
import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from monitor.events import Outcome, Schema, Task
from monitor.export import catalogue
from monitor.export.api import readings_json
from monitor.export.catalogue import METRICS, MetricDefinition
from monitor.export.exposition import OPENMETRICS_TYPE, Exposition
from monitor.export.families import Replica, Sample, Shown, replica_samples, samples
from monitor.export.series_text import TEXT_TYPE
from monitor.quality.drift import DriftScore, FeatureDrift, Method
from monitor.quality.readings import Freshness, Tick
from tests.committed import aggregate, commit, flat, tick, watched
from tests.worlds import BINARY, HOUR, MULTICLASS, START, label, model_of, prediction

ALL = Shown((Method.PSI,), 0.05)
WITHIN = ALL.within(5_000)
OWNED = frozenset({0})
REPLICA = Replica(is_ready=True, partitions=OWNED, tick_seconds=0.1, committed_at=START, commit_took=5, snapshots_at=START)
FIXED = {metric for metric in METRICS if metric.fixed}
OF_WINDOWS = {metric for metric in METRICS if {"model", "version", "segment", "window"} <= set(metric.labels)}


def a_tick(versions: Sequence[str] = ("1",), *, schema: Schema = BINARY) -> Tick:
    """An hour of predictions by these versions in turn, most of them labelled, beside a flat reference."""
    model = model_of(schema)
    binary = schema.task is Task.BINARY
    events = [
        prediction(
            number,
            START + number * 60_000,
            model=schema.name,
            version=versions[number % len(versions)],
            **({} if binary else {"score": None, "prediction": schema.classes[number % len(schema.classes)]}),
        )
        for number in range(60)
    ]
    classes = schema.classes
    labels = [label(number, START + 55 * 60_000, classes[number // 2 % len(classes)], model=schema.name) for number in range(50)]
    merged = aggregate(commit(events, labels, model=model), model=watched(model, flat(model.layout_of("1"))))
    return tick(merged, START + HOUR - 1)


def of(found: Sequence[Sample], metric: MetricDefinition, **labels: str) -> list[Sample]:
    """Those of a metric with these labels."""
    return [
        sample
        for sample in found
        if sample.metric is metric and labels.items() <= dict(zip(metric.labels, sample.labels, strict=True)).items()
    ]


def dropped(found: Sequence[Sample]) -> dict[str, float]:
    return {sample.labels[1]: sample.value for sample in of(found, catalogue.DROPPED_SERIES)}


def labels_on_the_wire(text: str) -> dict[str, set[frozenset[str]]]:
    """By metric, the sets of label names that its series have."""
    names: dict[str, set[frozenset[str]]] = {}
    for family in parse_text(text):
        for sample in family.samples:
            names.setdefault(sample.name, set()).add(frozenset(sample.labels))
    return names


def rendered(found: Sequence[Sample]) -> Exposition:
    exposition = Exposition()
    exposition.publish(found, lambda: True)
    return exposition


def own_text(found: Sequence[Sample]) -> str:
    return "".join(line for line in rendered(found).render("")[0].decode().splitlines(keepends=True) if "model_monitor_" in line)


def test_series_have_exactly_the_labels_of_the_catalogue() -> None:
    every = (*samples(a_tick(), Shown(tuple(Method), 0.05), OWNED), *replica_samples(REPLICA, "1.2.3"))
    found = labels_on_the_wire(own_text(every))
    expected = {}
    for metric in METRICS:
        labels = set(metric.labels)
        alternatives = labels & {"class", "average"}
        expected[metric.name] = {frozenset(labels - alternatives | {one}) for one in alternatives} or {frozenset(labels)}
    assert found == expected


def test_no_series_is_there_twice() -> None:
    found = Counter((sample.metric.name, sample.labels) for sample in samples(a_tick(("1", "2", "3")), ALL, OWNED))
    assert {series for series, count in found.items() if count > 1} == set()


def test_counters_are_there_from_zero_for_every_outcome() -> None:
    events = of(tuple(samples(a_tick(), ALL, OWNED)), catalogue.EVENTS, model="late")
    outcomes = {(sample.labels[0], sample.labels[3]): sample.value for sample in events}
    assert set(outcomes) == {(stream, outcome) for stream in ("predictions", "labels") for outcome in Outcome}
    assert (outcomes["predictions", "accepted"], outcomes["predictions", "misrouted"]) == (60, 0)
    assert of(tuple(samples(a_tick(), ALL, OWNED)), catalogue.EVENTS, model="", outcome="undecodable")[0].value == 0


def test_a_scrape_shows_the_two_newest_versions_and_all_pooled_and_once_shows_every_one() -> None:
    four = a_tick(("1", "2", "3", "4"))
    shown = {sample.labels[1] for sample in samples(four, WITHIN, OWNED) if sample.metric is catalogue.WINDOW_PREDICTIONS}
    assert shown == {"", "3", "4"}
    everything = {sample.labels[1] for sample in samples(four, ALL, OWNED) if sample.metric is catalogue.WINDOW_PREDICTIONS}
    assert everything == {"", "1", "2", "3", "4"}


@pytest.mark.parametrize("room", [0, 1, 150, 300, 700, 900])
def test_series_stay_within_the_budget_and_what_is_left_out_is_counted(room: int) -> None:
    wanted = [sample for sample in samples(a_tick(), ALL, OWNED) if sample.metric in OF_WINDOWS]
    limited = tuple(samples(a_tick(), ALL.within(room), OWNED))
    kept = [sample for sample in limited if sample.metric in OF_WINDOWS]
    assert len(kept) <= room
    assert len(kept) + sum(dropped(limited).values()) == len(wanted)


def groups(found: Sequence[Sample]) -> Mapping[tuple[str, str], int]:
    """Fixed series by segment and version."""
    return Counter((sample.labels[2], sample.labels[1]) for sample in found if sample.metric in OF_WINDOWS & FIXED)


def test_what_is_fixed_goes_last_and_in_whole_groups() -> None:
    everything = tuple(samples(a_tick(), ALL, OWNED))
    fixed = sum(groups(everything).values())
    without_extras = tuple(samples(a_tick(), ALL.within(fixed), OWNED))
    assert groups(without_extras) == groups(everything)
    assert dropped(without_extras)["fixed"] == 0
    assert dropped(without_extras)["extra"] > 0

    limited = tuple(samples(a_tick(), ALL.within(fixed - 1), OWNED))
    assert groups(limited).items() < groups(everything).items()
    assert ("", "") in groups(limited)
    assert not [sample for sample in limited if sample.metric in OF_WINDOWS - FIXED]


def test_the_whole_and_the_newest_version_are_the_last_to_go() -> None:
    everything = groups(tuple(samples(a_tick(("1", "2")), ALL, OWNED)))
    room = everything["", ""] + everything["", "2"]
    assert set(groups(tuple(samples(a_tick(("1", "2")), ALL.within(room), OWNED)))) == {("", ""), ("", "2")}


@pytest.mark.parametrize(("classes", "is_shown"), [(20, True), (21, False)])
def test_a_confusion_matrix_is_shown_up_to_twenty_classes(classes: int, is_shown: bool) -> None:
    schema = Schema("kind", Task.MULTICLASS, tuple(f"class {number}" for number in range(classes)), -1, 0.5, MULTICLASS.features, ())
    found = tuple(samples(a_tick(schema=schema), ALL, OWNED))
    readings = 2 * 2 * 2  # version, window, clock
    assert len(of(found, catalogue.CONFUSION)) == (readings * classes**2 if is_shown else 0)
    assert dropped(found)["classes"] == (0 if is_shown else readings * classes**2)
    assert len(of(found, catalogue.RECALL, version="", window="1h", clock="cohort", average="macro")) == 1


def test_an_undefined_ratio_has_no_sample() -> None:
    model = model_of(BINARY)
    merged = aggregate(commit([prediction(1, START, score=0.1)], [label(1, START, "on_time")], model=model), model=watched(model))
    found = tuple(samples(tick(merged, START), ALL, OWNED))
    place = {"version": "", "segment": "", "window": "1h", "clock": "cohort"}
    assert [sample.value for sample in of(found, catalogue.PRECISION, **place, **{"class": "on_time"})] == [1.0]
    assert of(found, catalogue.PRECISION, **place, **{"class": "late"}) == []
    assert of(found, catalogue.ROC_AUC) == []
    assert of(found, catalogue.DRIFT_SCORE) == []


def test_the_feedback_clock_has_no_predictions_and_no_maturity() -> None:
    found = tuple(samples(a_tick(), ALL, OWNED))
    assert of(found, catalogue.WINDOW_PREDICTIONS, clock="feedback") == of(found, catalogue.LABEL_MATURITY, clock="feedback") == []
    assert len(of(found, catalogue.WINDOW_LABELS, clock="feedback", segment="", version="", window="1h")) == 1


def test_drift_is_shown_for_the_whole_by_the_configured_methods() -> None:
    found = tuple(samples(a_tick(), Shown((Method.PSI, Method.KS), 0.05), OWNED))
    methods = {(sample.labels[4], sample.labels[5]) for sample in of(found, catalogue.DRIFT_SCORE)}
    assert methods == {(feature, "psi") for feature in ("temp", "carrier", "@score", "@prediction", "@label")} | {
        ("temp", "ks"),
        ("@score", "ks"),
    }
    assert {sample.labels[2] for sample in of(found, catalogue.DRIFT_SCORE)} == {""}


def test_a_score_without_a_bound_keeps_its_value_and_nothing_is_infinite() -> None:
    world = a_tick()
    unbounded = FeatureDrift(1, 1, {Method.PSI: DriftScore(0.5, math.inf), Method.KS: DriftScore(math.nan, 0.1)}, None)
    broken = replace(world, readings=tuple(replace(reading, drift={"temp": unbounded}) for reading in world.readings))
    found = tuple(samples(broken, Shown((Method.PSI, Method.KS), 0.05), OWNED))
    assert all(math.isfinite(sample.value) for sample in found)
    assert {sample.labels[5] for sample in of(found, catalogue.DRIFT_SCORE)} == {"psi"}
    document = json.dumps(readings_json(broken.now, broken.readings, {}, Freshness(is_stale=False)), allow_nan=False)
    assert '"drift": {"temp": {"rows": 1, "reference_rows": 1, "psi": 0.5, "errors": {"ks": 0.1}}}' in document


def test_both_formats_hold_the_same_series() -> None:
    exposition = rendered(tuple(samples(a_tick(), ALL, OWNED)))
    text, kind = exposition.render("text/plain")
    openmetrics, openmetrics_kind = exposition.render("application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
    assert (kind, openmetrics_kind) == (TEXT_TYPE, OPENMETRICS_TYPE)

    def ours(body: bytes) -> set[str]:
        return {line for line in body.decode().splitlines() if line.startswith("model_monitor_")}

    assert ours(text) == ours(openmetrics) == ours(exposition.openmetrics())
    families: Iterable[Metric] = parse_openmetrics(openmetrics.decode())  # type: ignore[no-untyped-call]  # its text twin is typed
    counted = [family for family in families if family.name == "model_monitor_events"]
    assert [family.type for family in counted] == ["counter"]
    assert [family.type for family in parse_text(text.decode()) if family.name == "model_monitor_events"] == ["counter"]
    assert openmetrics.endswith(b"# EOF\n")


def test_a_scrape_also_tells_what_the_process_uses() -> None:
    exposition = rendered(())
    for accept in ("", "application/openmetrics-text"):
        assert b"python_info{" in exposition.render(accept)[0]
    assert exposition.openmetrics() == b"# EOF\n"


@pytest.mark.parametrize("hostile", ['a"b', "a\\b", "a\nb", "é 漢", 'x"} 1\nmodel_monitor_build_info{version="', "<script>"])
def test_whatever_a_client_names_comes_back_whole(hostile: str) -> None:
    found = own_text([Sample(catalogue.LAST_PREDICTION, ("late", hostile), 1.5)])
    [family] = parse_text(found)
    assert [(sample.labels, sample.value) for sample in family.samples] == [({"model": "late", "version": hostile}, 1.5)]


def test_half_a_surrogate_pair_ends_no_scrape() -> None:
    assert b'version="\\ud800"' in rendered([Sample(catalogue.LAST_PREDICTION, ("late", "\ud800"), 1.5)]).render("")[0]


def test_values_are_in_full_precision() -> None:
    found = own_text([Sample(catalogue.CLOCK, (), 1_700_000_000.123), Sample(catalogue.TICK_DURATION, (), float(np.float64(0.1) + 0.2))])
    assert "model_monitor_clock_timestamp_seconds 1700000000.123\n" in found
    assert "model_monitor_tick_duration_seconds 0.30000000000000004\n" in found


def test_the_catalogue_is_fit_to_be_rendered() -> None:
    """Names in the manner of Prometheus; helps that need no escaping; units as OpenMetrics wants them."""
    assert len({metric.name for metric in METRICS}) == len(METRICS)
    for metric in METRICS:
        assert metric.name.startswith("model_monitor_")
        assert metric.name.endswith("_total") == (metric.kind is catalogue.Kind.COUNTER)
        assert metric.name.endswith(f"_{metric.unit}" if metric.unit else "")
        assert not set(metric.help) & set('\\\n"')
        assert metric.help.endswith(".")


@pytest.mark.skipif(which("promtool") is None, reason="promtool is not installed: apt-get install prometheus")
def test_promtool_accepts_the_text() -> None:
    text = rendered(tuple(samples(a_tick(("1", "2")), ALL, OWNED))).render("")[0]
    checked = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, b"")
