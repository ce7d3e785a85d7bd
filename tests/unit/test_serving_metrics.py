"""What the server counts about itself: the laws of its numbers, and the page that they become."""

import re
from collections.abc import Sequence
from types import ModuleType, SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from monitor.clock import ManualClock
from monitor.export.serving_metrics import as_markdown, render
from monitor.serving import series
from monitor.serving.accounts import SpoolState
from monitor.serving.gpus import Gpus
from monitor.serving.measured import Meters
from monitor.serving.process_use import ProcessUse
from monitor.serving.series import METRICS, Kind, Merging
from monitor.serving.sources import ModelNumbers, of_models, of_tap
from monitor.serving.tally import Labels, Numbers, Tally, merged
from monitor.serving.tap import TapCounts

PAGE = """\
# HELP model_monitor_serving_requests_total Requests answered, by status code (499: the client was gone first).
# TYPE model_monitor_serving_requests_total counter
model_monitor_serving_requests_total{code="200",endpoint="metadata",model="",version=""} 1.0
# HELP model_monitor_serving_queue_seconds Time that a request waited for its run.
# TYPE model_monitor_serving_queue_seconds histogram
model_monitor_serving_queue_seconds_bucket{le="0.0001",model="a\\"b",version="1"} 1.0
model_monitor_serving_queue_seconds_bucket{le="0.00025",model="a\\"b",version="1"} 2.0
"""


@st.composite
def tallies(draw: st.DrawFn) -> Tally:
    tally = Tally()
    for metric in draw(st.lists(st.sampled_from(METRICS), max_size=4)):
        labels = tuple(draw(st.sampled_from(["", "a", "b"])) for _ in metric.labels)
        numbers = [draw(st.integers(0, 1_000)) for _ in range(len(metric.bounds) + 2 if metric.bounds else 1)]
        tally.add(metric, labels, *numbers)
    return tally


@given(tallies(), tallies(), tallies())
def test_merging_is_associative_and_commutative_and_nothing_is_its_identity(one: Tally, two: Tally, three: Tally) -> None:
    assert merged([merged([one, two]), three]) == merged([one, merged([two, three])]) == merged([three, two, one])
    assert merged([one, Tally()]) == one


@given(tallies(), tallies())
def test_merging_leaves_what_it_merges_as_it_was(one: Tally, two: Tally) -> None:
    before = two.to_bytes()
    merged([one, two]).add(series.READY, (), 5)
    assert two.to_bytes() == before


@given(tallies())
def test_a_tally_is_the_same_after_a_round_trip(tally: Tally) -> None:
    assert Tally.from_bytes(tally.to_bytes()) == tally


@given(st.lists(st.tuples(st.sampled_from(["a", "b"]), st.floats(0, 10), st.integers(1, 50))), st.data())
def test_two_processes_count_what_one_would_have(runs: list[tuple[str, float, int]], data: st.DataObject) -> None:
    alone, shared = Meters(), [Meters(), Meters()]
    for model, seconds, rows in runs:
        for meters in (alone, data.draw(st.sampled_from(shared))):
            meters.runs(model, "1").waited(seconds)
            meters.runs(model, "1").ran(2, rows, seconds)
            meters.endpoint("infer", model, "1").observe(200, seconds)
    together, one = merged(meters.tally() for meters in shared), alone.tally()
    for metric, of_metric in one.items():
        assert together[metric] == {labels: pytest.approx(numbers) for labels, numbers in of_metric.items()}


def test_what_is_known_of_a_dead_process_are_its_counters_and_histograms() -> None:
    tally = Tally()
    for metric in METRICS:
        tally.add(metric, ("",) * len(metric.labels), *[1] * (len(metric.bounds) + 2 if metric.bounds else 1))
    assert {metric.kind for metric, _ in tally.counted().items()} == {Kind.COUNTER, Kind.HISTOGRAM}


def test_a_version_that_is_loaded_again_goes_on_with_its_meter() -> None:
    meters = Meters()
    meters.runs("m", "1").waited(0.1)
    meters.runs("m", "1").waited(0.1)
    assert meters.runs("m", "1") is meters.runs("m", "1")
    assert sum(meters.runs("m", "1").queue.buckets) == 2
    meters.endpoint("infer", "m", "1").observe(200, 0.1)
    assert meters.endpoint("infer", "m", "1").codes[200] == 1


def test_counters_are_there_before_anything_is_counted() -> None:
    meters = Meters()
    meters.endpoint("infer", "m", "1")
    meters.endpoint("labels")
    meters.runs("m", "1")
    page = render(meters.tally())[0].decode()
    for expected in (
        'requests_total{code="200",endpoint="infer",model="m",version="1"} 0.0',
        'requests_total{code="429",endpoint="infer",model="m",version="1"} 0.0',
        'requests_total{code="503",endpoint="labels",model="",version=""} 0.0',
        'refused_requests_total{model="m",reason="queue_full",version="1"} 0.0',
        'run_seconds_count{model="m",version="1"} 0.0',
    ):
        assert f"\nmodel_monitor_serving_{expected}\n" in page


def test_the_page_is_text_that_scrapers_read() -> None:
    meters = Meters()
    meters.endpoint("metadata").observe(200, 0.1)
    meters.runs('a"b', "1").waited(0.0001)
    meters.runs('a"b', "1").waited(0.0002)
    page, content_type = render(meters.tally())
    assert content_type == b"text/plain; version=0.0.4; charset=utf-8"
    lines = iter(page.decode().splitlines())
    assert all(line in lines for line in PAGE.splitlines()), page.decode()
    assert page.endswith(b"\n")


def test_a_scraper_finds_every_number() -> None:
    meters = Meters()
    meters.runs("m", "1").ran(requests=3, rows=20, seconds=0.003)
    meters.runs("m", "1").ran(requests=1, rows=1_000_000, seconds=100)
    meters.runs("m", "1").waited(0.25)
    meters.endpoint("infer", "m", "1").observe(200, 0.5)
    families = {family.name: family for family in text_string_to_metric_families(render(meters.tally())[0].decode())}
    samples = {(sample.name, sample.labels.get("le")): sample.value for sample in families["model_monitor_serving_run_rows"].samples}
    assert samples["model_monitor_serving_run_rows_bucket", "16.0"] == 0
    assert samples["model_monitor_serving_run_rows_bucket", "32.0"] == 1
    assert samples["model_monitor_serving_run_rows_bucket", "+Inf"] == samples["model_monitor_serving_run_rows_count", None] == 2
    assert samples["model_monitor_serving_run_rows_sum", None] == 1_000_020
    assert families["model_monitor_serving_run_seconds"].type == "histogram"
    sums = {sample.name: sample.value for family in families.values() for sample in family.samples if sample.name.endswith("_sum")}
    assert sums["model_monitor_serving_queue_seconds_sum"] == 0.25
    assert sums["model_monitor_serving_run_seconds_sum"] == 100.003
    assert sums["model_monitor_serving_run_requests_sum"] == 4
    assert sums["model_monitor_serving_request_seconds_sum"] == 0.5


def test_names_say_their_units_and_counters_that_they_count() -> None:
    assert len({metric.name for metric in METRICS}) == len(METRICS)
    for metric in METRICS:
        assert re.fullmatch(r"model_monitor_serving_[a-z_]+", metric.name)
        assert metric.name.endswith("_total") == (metric.kind is Kind.COUNTER)
        assert bool(metric.bounds) == (metric.kind is Kind.HISTOGRAM)
        assert metric.help.endswith(".")
        assert metric.kind is Kind.GAUGE or metric.merging is Merging.SUM
    table = as_markdown(METRICS)
    assert table.count("\n") == len(METRICS) + 2
    assert "| `model_monitor_serving_queue_seconds` | histogram | `model`, `version` | `nv_inference_queue_duration_us` |" in table


def numbers_of(tally: Tally) -> dict[tuple[str, Labels], Numbers]:
    return {
        (metric.name.removeprefix(series.PREFIX), labels): numbers for metric, each in tally.items() for labels, numbers in each.items()
    }


def test_the_tap_says_where_every_row_is() -> None:
    counts = TapCounts(
        accepted=10,
        recovered=1,
        written=3,
        lost={"queue_full": 2},
        unsampled=1,
        queued=1,
        queued_bytes=100,
        queued_bytes_limit=1_000,
        spooled=4,
        spooled_bytes=400,
        spool_bytes_limit=4_000,
        oldest_spooled=1_000,
        spool_state=SpoolState.HOLDING,
    )
    tally = Tally()
    add = of_tap(lambda: counts, ManualClock(3_500))
    add(tally)
    add(tally)
    shown = numbers_of(tally)
    assert shown["tap_accepted_rows_total", ()] == (20,)
    assert shown["tap_lost_rows_total", ("queue_full",)] == (4,)
    assert shown["tap_spooled_rows", ()] == (8,)
    # Two workers have one limit for their spools, and the older of two ages is the age.
    assert shown["tap_spooled_bytes_limit", ()] == (4_000,)
    assert shown["tap_spooled_age_seconds", ()] == (2.5,)
    assert shown["tap_spool_workers", ("holding",)] == (2,)
    assert shown["tap_spool_workers", ("failed",)] == (0,)


def test_a_model_is_ready_where_every_worker_has_it() -> None:
    ready, loading = Tally(), Tally()
    of_models(lambda: [ModelNumbers("m", "1", True, 5_000, 1), ModelNumbers("m", "2", True)])(ready)
    of_models(lambda: [ModelNumbers("m", "1", False, 9_000, 2), ModelNumbers("m", "2", True)])(loading)
    shown = numbers_of(merged([ready, loading]))
    assert shown == {
        ("model_ready", ("m", "1")): (0,),
        ("model_ready", ("m", "2")): (1,),
        ("model_loaded_timestamp_seconds", ("m", "1")): (9,),
        ("failed_loads_total", ("m",)): (3,),
    }


def test_a_process_tells_what_it_takes() -> None:
    tally = Tally()
    ProcessUse("3")(tally)
    shown = numbers_of(tally)
    assert shown["process_cpu_seconds_total", ("3",)] > (0,)
    assert shown["process_max_fds", ("3",)] > shown["process_open_fds", ("3",)] > (2,)
    assert shown["process_resident_memory_bytes", ("3",)] > (1e6,)


class NvmlError(Exception):
    pass


def nvml(devices: Sequence[SimpleNamespace]) -> ModuleType:
    """A library with these devices, as NVIDIA's answers where there are some: no GPU is needed to test what becomes of them."""
    module = ModuleType("pynvml")

    def utilisation(device: SimpleNamespace) -> SimpleNamespace:
        if device.percent is None:
            raise NvmlError("Not Supported")
        return SimpleNamespace(gpu=device.percent)

    vars(module).update(
        NVMLError=NvmlError,
        NVML_TEMPERATURE_GPU=0,
        nvmlInit=lambda: None,
        nvmlDeviceGetCount=lambda: len(devices),
        nvmlDeviceGetHandleByIndex=devices.__getitem__,
        nvmlDeviceGetMemoryInfo=lambda _device: SimpleNamespace(total=80_000, used=20_000),
        nvmlDeviceGetUtilizationRates=utilisation,
        nvmlDeviceGetTemperature=lambda _device, _sensor: 41,
        nvmlDeviceGetUUID=lambda device: device.uuid,
    )
    return module


def test_devices_are_shown_as_far_as_they_tell() -> None:
    read = Gpus()
    read.stop()
    read.read(nvml([SimpleNamespace(uuid="GPU-a", percent=25), SimpleNamespace(uuid="MIG-b", percent=None)]))
    tally = Tally()
    read(tally)
    shown = numbers_of(tally)
    assert shown["device_memory_used_bytes", ("0", "GPU-a")] == (20_000,)
    assert shown["device_utilisation_ratio", ("0", "GPU-a")] == (0.25,)
    assert shown["device_temperature_celsius", ("1", "MIG-b")] == (41,)
    assert ("device_utilisation_ratio", ("1", "MIG-b")) not in shown


def test_without_a_driver_there_is_nothing_of_devices() -> None:
    def no_driver() -> None:
        raise NvmlError("Driver Not Loaded")

    library = nvml([])
    vars(library).update(nvmlInit=no_driver)
    read, tally = Gpus(), Tally()
    read.read(library)
    read(tally)
    assert list(tally.items()) == []
