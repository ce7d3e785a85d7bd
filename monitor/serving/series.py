"""Every metric of the inference server, once: name, type, labels, help, how the numbers of several workers merge, and what Triton calls it.

Base units; counters start at 0 with the first scrape where their labels are known by then. Triton's durations are counters in microseconds:
the sum of the histogram here times 10⁶; its `nv_inference_exec_count` is the `_count` of `run_seconds`.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final

PREFIX: Final = "model_monitor_serving_"

LATENCY_BOUNDS_SECONDS: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
"""A tiny model answers within 100 µs; a label waits for the disk."""
SIZE_BOUNDS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096)


class Kind(Enum):
    """A metric's type, as the exposition format spells it."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Merging(Enum):
    """What becomes of a series that several workers have."""

    SUM = "sum"
    MAX = "max"
    MIN = "min"


@dataclass(frozen=True, slots=True, eq=False)
class Metric:
    """One metric. `name` is as exposed, a counter's with its `_total`. Equal to itself alone: there is one of each."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    help: str
    triton: str = ""
    """Its closest relative among Triton's metrics; "" where there is none."""
    merging: Merging = Merging.SUM
    bounds: tuple[float, ...] = ()
    """A histogram's buckets."""


def _counter(name: str, labels: tuple[str, ...], description: str, triton: str = "") -> Metric:
    return Metric(f"{PREFIX}{name}_total", Kind.COUNTER, labels, description, triton)


def _gauge(name: str, labels: tuple[str, ...], description: str, triton: str = "", merging: Merging = Merging.SUM) -> Metric:
    return Metric(PREFIX + name, Kind.GAUGE, labels, description, triton, merging)


def _histogram(name: str, labels: tuple[str, ...], description: str, bounds: tuple[float, ...], triton: str = "") -> Metric:
    return Metric(PREFIX + name, Kind.HISTOGRAM, labels, description, triton, bounds=bounds)


_VERSION: Final = ("model", "version")
_ENDPOINT: Final = ("endpoint", *_VERSION)

READY: Final = _gauge("ready", (), "1 while the server answers, 0 while it starts or stops.", merging=Merging.MAX)
WORKERS: Final = _gauge("workers", (), "Worker processes whose numbers of this very moment are in this page.")
WORKERS_CONFIGURED: Final = _gauge("workers_configured", (), "Worker processes that there should be.", merging=Merging.MAX)
WORKER_STARTS: Final = _counter("worker_starts", ("worker",), "Processes that have been this worker: more than one, and some have died.")

REQUESTS: Final = _counter(
    "requests",
    (*_ENDPOINT, "code"),
    "Requests answered, by status code (499: the client was gone first).",
    "nv_inference_request_success, nv_inference_request_failure",
)
ROWS: Final = _counter("rows", _ENDPOINT, "Rows inferred, and events accepted at the doors.", "nv_inference_count")
REQUEST_SECONDS: Final = _histogram(
    "request_seconds", _ENDPOINT, "Time from a request's head to its answer.", LATENCY_BOUNDS_SECONDS, "nv_inference_request_duration_us"
)
REFUSED_REQUESTS: Final = _counter(
    "refused_requests", (*_VERSION, "reason"), "Requests that were in order and never ran.", "nv_inference_request_failure{reason}"
)
QUEUED_ROWS: Final = _gauge("queued_rows", _VERSION, "Rows that wait for a run.", "nv_inference_pending_request_count")
IN_FLIGHT_REQUESTS: Final = _gauge("in_flight_requests", _VERSION, "Requests whose run has begun.")
QUEUE_SECONDS: Final = _histogram(
    "queue_seconds", _VERSION, "Time that a request waited for its run.", LATENCY_BOUNDS_SECONDS, "nv_inference_queue_duration_us"
)
RUN_SECONDS: Final = _histogram(
    "run_seconds",
    _VERSION,
    "Time of one run of the model.",
    LATENCY_BOUNDS_SECONDS,
    "nv_inference_compute_infer_duration_us, nv_inference_exec_count",
)
RUN_ROWS: Final = _histogram("run_rows", _VERSION, "Rows of one run.", SIZE_BOUNDS)
RUN_REQUESTS: Final = _histogram("run_requests", _VERSION, "Requests that shared one run.", SIZE_BOUNDS)

MODEL_READY: Final = _gauge("model_ready", _VERSION, "1 where every worker has this version loaded, else 0.", merging=Merging.MIN)
MODEL_LOADED: Final = _gauge(
    "model_loaded_timestamp_seconds", _VERSION, "When this version was last loaded.", "nv_model_load_duration_secs", Merging.MAX
)
FAILED_LOADS: Final = _counter("failed_loads", ("model",), "Loads that failed; what was served before still is. Each worker tries.")

TAP_ACCEPTED: Final = _counter("tap_accepted_rows", (), "Predictions handed to the tap.")
TAP_RECOVERED: Final = _counter("tap_recovered_rows", (), "Predictions that an earlier run had left on disk.")
TAP_WRITTEN: Final = _counter("tap_written_rows", (), "Predictions that are durable in the log.")
TAP_UNSAMPLED: Final = _counter("tap_unsampled_rows", (), "Predictions that the sampling left out.")
TAP_LOST: Final = _counter("tap_lost_rows", ("reason",), "Predictions that never reached the log, by reason.")
TAP_QUEUED_ROWS: Final = _gauge("tap_queued_rows", (), "Predictions in memory that wait for the log, or for the disk.")
TAP_QUEUED_BYTES: Final = _gauge("tap_queued_bytes", (), "What the tap's queues hold, estimated.")
TAP_QUEUED_BYTES_LIMIT: Final = _gauge("tap_queued_bytes_limit", (), "What they may hold before loss is counted.")
TAP_SPOOLED_ROWS: Final = _gauge("tap_spooled_rows", (), "Predictions on disk that wait for the log.")
TAP_SPOOLED_BYTES: Final = _gauge("tap_spooled_bytes", (), "What they take.")
TAP_SPOOLED_BYTES_LIMIT: Final = _gauge(
    "tap_spooled_bytes_limit", (), "What all workers' may take before loss is counted.", merging=Merging.MAX
)
TAP_SPOOLED_AGE: Final = _gauge(
    "tap_spooled_age_seconds", (), "How long the oldest of them has waited; 0: none waits.", merging=Merging.MAX
)
TAP_SPOOL_STATE: Final = _gauge("tap_spool_workers", ("state",), "Workers whose spool is in this state.")

LABELS_SPOOLED_ROWS: Final = _gauge("labels_spooled_rows", (), "Labels on disk that wait for the log, where labels_durable is spool.")
LABELS_SPOOLED_BYTES: Final = _gauge("labels_spooled_bytes", (), "What they take.")

PROXY_UNTAPPED: Final = _counter(
    "proxy_untapped_requests", ("reason",), "Requests that the upstream answered and that were not logged, by reason."
)
UNMAPPED_EXCHANGES: Final = _counter(
    "unmapped_exchanges", ("model",), "Exchanges with other servers whose tensors are no features or scores as configured."
)
CLOUDEVENTS: Final = _counter("cloudevents", ("outcome",), "CloudEvents by what became of them.")
CLOUDEVENTS_WAITING: Final = _gauge("cloudevents_waiting", (), "CloudEvents that wait for their other half.")

CONNECTIONS: Final = _gauge("connections", (), "Connections that are open.")
CONNECTIONS_LIMIT: Final = _gauge("connections_limit", (), "Connections that may be open; one more is told 503 and closed.")
ACTIVE_REQUESTS: Final = _gauge("active_requests", (), "Requests that have come whole and are not answered yet.")

_DEVICE: Final = ("device", "uuid")
DEVICE_MEMORY_USED: Final = _gauge(
    "device_memory_used_bytes", _DEVICE, "Memory of the device in use, by whomever.", "nv_gpu_memory_used_bytes", Merging.MAX
)
DEVICE_MEMORY: Final = _gauge("device_memory_bytes", _DEVICE, "Memory of the device.", "nv_gpu_memory_total_bytes", Merging.MAX)
DEVICE_UTILISATION: Final = _gauge(
    "device_utilisation_ratio", _DEVICE, "Share of the time in which the device computed.", "nv_gpu_utilization", Merging.MAX
)
DEVICE_TEMPERATURE: Final = _gauge("device_temperature_celsius", _DEVICE, "The device's temperature.", merging=Merging.MAX)

_WORKER: Final = ("worker",)
CPU_SECONDS: Final = _counter("process_cpu_seconds", _WORKER, "CPU time of the worker, user and system.", "nv_cpu_utilization")
RESIDENT_BYTES: Final = _gauge("process_resident_memory_bytes", _WORKER, "Memory that the worker holds.", "nv_cpu_memory_used_bytes")
OPEN_FILES: Final = _gauge("process_open_fds", _WORKER, "File descriptors that the worker has open.")
OPEN_FILES_LIMIT: Final = _gauge("process_max_fds", _WORKER, "File descriptors that it may have open.")
STARTED: Final = _gauge("process_start_timestamp_seconds", _WORKER, "When the worker's process began.", merging=Merging.MAX)

METRICS: Final = tuple(value for value in list(globals().values()) if isinstance(value, Metric))
"""All of them, in the order above."""
