"""The state of a partition is a function of its two logs: interleaving, batching, commits, kills and restores do not show in it."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monitor.codec import decode_labels, decode_predictions
from monitor.codec.identity import partitions_of
from monitor.counters import Counters
from monitor.events import LabelValues, Stream
from monitor.join import JoinTable
from monitor.log import TIME_MARK, Committed, Record
from monitor.pane_store import PaneStore
from monitor.panes import parse_key
from monitor.pipeline import Bounds, Pipeline
from tests.worlds import BINARY, BOUNDS, DAY, HOUR, MULTICLASS, START, label, pipeline, prediction, record

SCHEMAS = (BINARY, MULTICLASS)
SOURCES = (Stream.PREDICTIONS, Stream.LABELS)

ids = st.integers(0, 5)
times = st.integers(0, 9 * 24).map(lambda hours: START + hours * HOUR)
predictions = st.one_of(
    st.builds(
        lambda number, time, late, version, score, temp: prediction(
            number, time, arrival=time + late * HOUR, version=version, score=score, features={"temp": temp, "carrier": f"c{number}"}
        ),
        ids,
        times,
        st.integers(-3, 27),
        st.sampled_from(["1", "2"]),
        st.sampled_from([0.1, 0.5, 0.9, 1.5, None]),
        st.sampled_from([1.0, -40.0, 1e308, None, "warm"]),
    ),
    st.builds(
        lambda number, time, scores: prediction(number, time, model="kind", features={}, score=None, scores=scores),
        ids,
        times,
        st.sampled_from([{"c": 0.2, "a": 0.5, "b": 0.3}, {"c": 1.0}, {}]),
    ),
    st.sampled_from(
        [b"", b"{", b"[]", {"id": "id-1"}, {"id": "x", "time": START, "model": "nobody", "version": "1", "features": {}, "score": 1}]
    ),
)
labels = st.one_of(
    st.builds(
        lambda number, time, value, own, model: label(
            number, time, value, model=model, **({} if own is None else {"time": time - own * HOUR})
        ),
        ids,
        times,
        st.sampled_from(["late", "on_time", 1, 0]),
        st.sampled_from([None, 0, 1, 30, -2]),
        st.just("late"),
    ),
    st.builds(lambda number, time, value: label(number, time, value, model="kind"), ids, times, st.sampled_from(["a", "b", "c", 7])),
    st.sampled_from([b"null", {"id": "id-1"}, {"id": "id-1", "label": "late", "model": "nobody"}]),
)
marks = st.tuples(st.just("mark"), times)


def in_order(events: Sequence[Any]) -> list[Record]:
    """Records in an order that is mostly that of their arrival, as a log's is: by arrival, some moved."""

    def arrival(place: int) -> int:
        event = events[place]
        own = event[1] if isinstance(event, tuple) else event.get("arrival", START) if isinstance(event, dict) else START
        return int(own) + (place % 7 == 0) * 26 * HOUR

    ordered = sorted(range(len(events)), key=arrival)
    records = []
    for offset, place in enumerate(ordered):
        event = events[place]
        records.append(Record(offset, event[1], b"", TIME_MARK) if isinstance(event, tuple) else record(offset, event))
    return records


@dataclass
class Disk:
    """What outlives a killed worker: the log's committed side and one snapshot."""

    offsets: dict[Stream, int] = field(default_factory=lambda: dict.fromkeys(SOURCES, 0))
    state: bytes = b""
    panes: dict[bytes, bytes] = field(default_factory=dict)
    snapshot: tuple[dict[Stream, int], bytes] | None = None


def commit(worker: Pipeline, positions: dict[Stream, int], disk: Disk) -> None:
    made = worker.commit(positions)
    disk.offsets, disk.state = dict(made.offsets), made.state
    for key, value in made.panes.items():
        disk.panes.pop(key, None)
        if value:
            disk.panes[key] = value


def restore(disk: Disk, logs: dict[Stream, list[Record]], bounds: Bounds) -> Pipeline:
    worker = pipeline(bounds=bounds)
    table: JoinTable | None = None
    begin = dict.fromkeys(SOURCES, 0)
    if disk.snapshot is not None:
        begin, data = disk.snapshot
        table = worker.empty_join()
        table.load(data)
    worker.restore(Committed(0, disk.offsets, disk.state), disk.panes.items(), table)
    for stream in SOURCES:
        worker.replay(stream, logs[stream][begin[stream] : disk.offsets[stream]])
    worker.restored()
    return worker


def outcome_of(worker: Pipeline, positions: dict[Stream, int]) -> tuple[dict[bytes, bytes], Counters]:
    state = worker.commit(positions).state
    return dict(worker.panes.items()), Counters.from_bytes(state)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(
    st.lists(predictions | marks, max_size=14).map(in_order),
    st.lists(labels | marks, max_size=14).map(in_order),
    st.lists(
        st.tuples(st.sampled_from(SOURCES), st.integers(1, 6), st.sampled_from(["", "commit", "snapshot", "kill", "kill"])), max_size=16
    ),
    st.sampled_from([BOUNDS, BOUNDS, replace(BOUNDS, sample=0.5)]),
)
def test_interleaving_batches_commits_kills_and_restores_do_not_show(
    predicted: list[Record], labelled: list[Record], schedule: list[tuple[Stream, int, str]], bounds: Bounds
) -> None:
    logs = {Stream.PREDICTIONS: predicted, Stream.LABELS: labelled}
    ends = {stream: len(records) for stream, records in logs.items()}
    straight = pipeline(bounds=bounds)
    for stream in SOURCES:
        straight.take(stream, logs[stream])

    worker, positions, disk = pipeline(bounds=bounds), dict.fromkeys(SOURCES, 0), Disk()
    for stream, count, then in [*schedule, *((stream, ends[stream], "") for stream in SOURCES)]:
        worker.take(stream, logs[stream][positions[stream] : positions[stream] + count])
        positions[stream] = min(ends[stream], positions[stream] + count)
        if then in ("commit", "snapshot"):
            commit(worker, positions, disk)
        if then == "snapshot":
            disk.snapshot = (dict(positions), worker.join.to_bytes())
        if then == "kill":
            worker, positions = restore(disk, logs, bounds), dict(disk.offsets)
    for stream in SOURCES:
        worker.take(stream, logs[stream][positions[stream] :])

    assert outcome_of(worker, ends) == outcome_of(straight, ends)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.lists(predictions, max_size=16).map(in_order), st.lists(labels, max_size=16).map(in_order), st.integers(2, 4))
def test_a_split_over_partitions_gives_the_same_sums(predicted: list[Record], labelled: list[Record], partitions: int) -> None:
    """Where nothing is out of order, misrouted or undecodable: those are counted where they lie."""
    whole = pipeline()
    usable = {
        Stream.PREDICTIONS: [each for each in predicted if len(decode_predictions([each], SCHEMAS))],
        Stream.LABELS: [each for each in labelled if len(decode_labels([each], SCHEMAS, LabelValues.of(SCHEMAS), False))],
    }
    for stream, records in usable.items():
        whole.take(stream, records)
    expected, expected_counters = outcome_of(whole, dict.fromkeys(SOURCES, 0))
    if any(outcome == "out_of_order" for _, _, outcome in expected_counters.events):
        return

    # each partition sees every watermark of the whole, as it would where all of them are busy
    store, events = PaneStore(), Counter[Any]()
    for partition in range(partitions):
        worker = pipeline(partition=partition, partitions=partitions)
        for stream, records in usable.items():
            for each in records:
                if home(each, partitions) == partition:
                    worker.take(stream, [each])
                else:
                    worker.join.advance(stream, arrival_of(each))
        panes, counters = outcome_of(worker, dict.fromkeys(SOURCES, 0))
        events += counters.events
        for key, value in panes.items():
            store.put(partition, key, value)
    assert events == +expected_counters.events
    merged = PaneStore()
    for key, value in expected.items():
        merged.put(0, key, value)
    for series in {*store.series(), *merged.series()}:
        for start in {*store.starts(series), *merged.starts(series)}:
            there, here = (each.total(series, start, start + series.step, 100_000) for each in (merged, store))
            assert (there == here).all(), parse_key(series.key(start))


def home(each: Record, partitions: int) -> int:
    return int(partitions_of(pa.array([json.loads(each.value)["id"]]), partitions)[0])


def arrival_of(each: Record) -> int:
    return int(json.loads(each.value)["arrival"])


def test_freeing_by_watermark_bounds_what_is_held() -> None:
    worker = pipeline()
    for day in range(30):
        time = START + day * DAY
        worker.take(Stream.PREDICTIONS, [record(day, prediction(day, time))])
        worker.take(Stream.LABELS, [record(day, label(day, time + HOUR))])
        worker.commit({Stream.PREDICTIONS: day + 1, Stream.LABELS: day + 1})
    assert worker.join.predictions_held < 6
    assert worker.join.labels_held < 6
    starts = np.array([parse_key(key)[1] for key, _ in worker.panes.items()])
    assert starts.min() > START + 20 * DAY
