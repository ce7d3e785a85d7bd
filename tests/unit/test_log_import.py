"""`model-monitor log import`: from files to the log, with the arrivals that the events had."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from monitor.clock import WallClock
from monitor.events import Stream
from monitor.log import ARROW
from tests.unit.log_commands import (
    FUTURE_MS,
    MARCH,
    MARCH_MS,
    Run,
    events_in,
    log_in,
    partition_of,
    prediction,
    records_in,
    runner,
    written,
)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return runner(tmp_path)


def test_every_row_goes_to_the_partition_of_its_id_with_its_time_as_arrival(run: Run, tmp_path: Path) -> None:
    events = [prediction(f"id-{number}", time=MARCH_MS + number) for number in range(1_200)]
    result = run("import", "predictions", written(tmp_path, events))
    assert (result.stdout, result.stderr) == ("", "1,200 predictions appended\n")
    found = records_in(tmp_path, Stream.PREDICTIONS)
    rows = [(partition, record, event) for partition, record in found for event in json.loads(record.value)]
    assert all(partition == partition_of(event["id"]) for partition, _, event in rows)
    assert sorted((event for _, _, event in rows), key=lambda event: event["time"]) == [
        event | {"arrival": event["time"]} for event in events
    ]
    assert all(record.timestamp == max(event["arrival"] for event in json.loads(record.value)) for _, record in found)
    assert len(found) < 10  # gathered


def test_blank_lines_are_skipped_and_the_last_needs_no_newline(run: Run, tmp_path: Path) -> None:
    path = written(tmp_path, ["", json.dumps(prediction("a")), "   ", json.dumps(prediction("b"))])
    assert run("import", "predictions", path).stderr == "2 predictions appended\n"


def test_an_empty_file_appends_nothing(run: Run, tmp_path: Path) -> None:
    assert run("import", "labels", written(tmp_path, [])).stderr == "0 labels appended\n"


def test_standard_input_and_several_files_are_read(run: Run, tmp_path: Path) -> None:
    path = written(tmp_path, [prediction("file")])
    run("import", "predictions", path, "-", stdin=json.dumps(prediction("stdin")))
    assert {event["id"] for event in events_in(tmp_path, Stream.PREDICTIONS)} == {"file", "stdin"}


def test_an_array_on_a_line_is_its_events(run: Run, tmp_path: Path) -> None:
    assert run("import", "predictions", written(tmp_path, [json.dumps([prediction("a"), prediction("b")])])).stderr.startswith("2 ")
    assert {event["id"] for event in events_in(tmp_path, Stream.PREDICTIONS)} == {"a", "b"}


def test_an_arrival_of_its_own_wins_and_the_bytes_stay_as_they_were(run: Run, tmp_path: Path) -> None:
    line = f'{{"id": "a", "time": {MARCH_MS},  "arrival": {MARCH_MS + 5}, "model": "m", "big": 1.10}}'
    run("import", "predictions", written(tmp_path, [line, f'{{"id": "a", "time": {MARCH_MS}}}']))
    ((_, record),) = records_in(tmp_path, Stream.PREDICTIONS)
    assert record.value.decode() == f'[{line},{{"id": "a", "time": {MARCH_MS},"arrival":{MARCH_MS}}}]'
    assert record.timestamp == MARCH_MS + 5


@pytest.mark.parametrize("line", ["{not json", "[]", "5", '"text"', "null", "[1]"])
def test_a_line_that_is_no_event_is_appended_by_itself_where_the_lines_around_it_arrived(run: Run, tmp_path: Path, line: str) -> None:
    path = written(tmp_path, [prediction("a", time=MARCH_MS), line, prediction("b", time=MARCH_MS + 1)])
    assert run("import", "predictions", path).stderr == "3 predictions appended\n"
    raw = [record for _, record in records_in(tmp_path, Stream.PREDICTIONS) if not record.value.startswith(b"[{")]
    assert [(record.value, record.timestamp) for record in raw] == [
        (json.dumps(json.loads(line)[0]).encode() if line == "[1]" else line.encode(), MARCH_MS)
    ]


@pytest.mark.parametrize(
    "bad",
    [
        {"id": None},
        {"id": 5},
        {"id": ""},
        {"id": "x" * 100_000},
        {"id": {}},
        {"time": "2013-03-01T00:00:00"},
        {"time": None},
        {"time": 1.5},
    ],
    ids=str,
)
def test_a_row_that_the_daemon_will_refuse_is_appended_too(run: Run, tmp_path: Path, bad: dict[str, object]) -> None:
    refused = prediction("bad") | bad
    run("import", "predictions", written(tmp_path, [prediction("good"), refused]))
    (appended,) = [event for event in events_in(tmp_path, Stream.PREDICTIONS) if event["id"] != "good"]
    appended.pop("arrival", None)
    assert appended == refused


def test_bad_rows_alone_do_not_bring_the_present_into_an_old_log(run: Run, tmp_path: Path) -> None:
    run("import", "labels", written(tmp_path, [{"id": "a", "label": "late", "time": MARCH}]))
    run("import", "labels", written(tmp_path, ["broken"]))
    assert {record.timestamp for _, record in records_in(tmp_path, Stream.LABELS)} == {MARCH_MS}


def test_a_bad_row_at_the_head_of_a_file_arrives_with_the_row_before_it(run: Run, tmp_path: Path) -> None:
    first = written(tmp_path, [prediction("a", time=MARCH_MS)], "first.jsonl")
    second = written(tmp_path, ["broken", prediction("b", time=MARCH_MS + 9_000)], "second.jsonl")
    run("import", "predictions", first, second)
    (broken,) = [record for _, record in records_in(tmp_path, Stream.PREDICTIONS) if record.value == b"broken"]
    assert broken.timestamp == MARCH_MS


def test_a_label_without_a_time_names_its_line_and_the_remedy(run: Run, tmp_path: Path) -> None:
    path = written(tmp_path, [{"id": "a", "label": "late", "time": MARCH}, "", {"id": "b", "label": "late"}])
    result = run("import", "labels", path, exit_code=1)
    assert result.stderr.startswith(f"Error: {path}:3: this label has neither `arrival` nor `time`")
    assert "--arrival now" in result.stderr
    assert records_in(tmp_path, Stream.LABELS) == []


def test_arrival_now_stamps_every_row_with_the_present(run: Run, tmp_path: Path) -> None:
    before = WallClock().now()
    run(
        "import",
        "--arrival",
        "now",
        "labels",
        written(tmp_path, [{"id": "a", "label": "late"}, {"id": "a", "label": "x", "arrival": 5, "time": 7}]),
    )
    events = events_in(tmp_path, Stream.LABELS)
    assert all(before <= int(str(event.pop("arrival"))) <= WallClock().now() for event in events)
    assert events == [{"id": "a", "label": "late"}, {"id": "a", "label": "x", "time": 7}]


def test_a_row_from_the_future_names_its_line(run: Run, tmp_path: Path) -> None:
    path = written(tmp_path, [prediction("a"), prediction("b", time=FUTURE_MS)])
    result = run("import", "predictions", path, exit_code=1)
    assert result.stderr.startswith(f"Error: {path}:2: this event arrives ")
    assert "after the present" in result.stderr


def test_an_import_that_cannot_go_on_says_what_is_in_the_log(run: Run, tmp_path: Path) -> None:
    path = written(tmp_path, [*(prediction(f"{number}") for number in range(5_000)), prediction("late", time=FUTURE_MS)])
    assert "The 5,000 events before it are in the log; import the rest only" in run("import", "predictions", path, exit_code=1).stderr


def test_an_import_works_beside_an_owner(run: Run, tmp_path: Path) -> None:
    with log_in(tmp_path) as log:
        owner = log.acquire()
        run("import", "predictions", written(tmp_path, [prediction("a")]))
        assert log.end_offset(Stream.PREDICTIONS, partition_of("a")) == 1
        owner.close()


def test_a_large_line_is_imported(run: Run, tmp_path: Path) -> None:
    run("import", "predictions", written(tmp_path, [prediction("a", features={"carrier": "x" * 10_000_000}), prediction("b")]))
    assert len(events_in(tmp_path, Stream.PREDICTIONS)) == 2


# Parquet


def parquet(folder: Path, columns: dict[str, object], metadata: dict[str, str] | None = None) -> Path:
    path = folder / "events.parquet"
    pq.write_table(pa.table(columns, metadata=metadata), path)
    return path


def tables_in(folder: Path, stream: Stream) -> pa.Table:
    found = [(partition, pa.ipc.open_stream(record.value).read_all()) for partition, record in records_in(folder, stream)]
    for partition, table in found:
        assert all(identity is None or partition_of(identity) == partition for identity in table["id"].to_pylist())
    return pa.concat_tables([table for _, table in found]).combine_chunks()


def test_parquet_becomes_arrow_messages_with_arrivals(run: Run, tmp_path: Path) -> None:
    count = 5_000
    times = pa.array(np.arange(count) * 1_000 + MARCH_MS).cast(pa.timestamp("ms", "UTC")).cast(pa.timestamp("us", "UTC"))
    columns = {
        "id": [f"id-{n}" for n in range(count)],
        "time": times,
        "score": np.linspace(0, 1, count),
        "feature.distance": np.arange(count),
    }
    result = run("import", "predictions", parquet(tmp_path, columns, {"model": "flights", "version": "1", "pandas": "{}"}))
    assert result.stderr == "5,000 predictions appended\n"
    assert all(record.content_type == ARROW for _, record in records_in(tmp_path, Stream.PREDICTIONS))
    table = tables_in(tmp_path, Stream.PREDICTIONS).sort_by("time")
    assert table["arrival"].cast(pa.int64()).to_pylist() == [MARCH_MS + n * 1_000 for n in range(count)]
    assert table["feature.distance"].to_pylist() == list(range(count))
    assert table.schema.metadata == {b"schema_version": b"1", b"model": b"flights", b"version": b"1"}


def test_parquet_rows_that_the_daemon_will_refuse_are_kept(run: Run, tmp_path: Path) -> None:
    run("import", "labels", parquet(tmp_path, {"id": ["a", None, "x" * 600], "label": ["late", "late", "late"], "time": [MARCH_MS, 5, 6]}))
    assert sum(pa.ipc.open_stream(record.value).read_all().num_rows for _, record in records_in(tmp_path, Stream.LABELS)) == 3


def test_a_parquet_label_without_a_time_names_its_row(run: Run, tmp_path: Path) -> None:
    path = parquet(tmp_path, {"id": ["a", "b"], "label": [1, 0], "time": [MARCH_MS, None]})
    assert f"{path}: row 2: this label has neither" in run("import", "labels", path, exit_code=1).stderr


@pytest.mark.parametrize(
    ("columns", "complaint"),
    [
        ({"label": [1]}, "has no column `id`; labels need id, label. Its columns are label"),
        ({"id": ["a"]}, "has no column `label`"),
        ({"id": ["a"], "label": [1], "time": pa.array([0], pa.timestamp("ms"))}, "the column `time` has no time zone (timestamp[ms])"),
    ],
)
def test_a_parquet_file_that_cannot_be_used_says_why(run: Run, tmp_path: Path, columns: dict[str, object], complaint: str) -> None:
    assert complaint in run("import", "labels", parquet(tmp_path, columns), exit_code=1).stderr


def test_a_truncated_parquet_file_says_so(run: Run, tmp_path: Path) -> None:
    path = parquet(tmp_path, {"id": ["a"], "label": [1]})
    path.write_bytes(path.read_bytes()[:-10])
    assert "not a Parquet file that can be read" in run("import", "labels", path, exit_code=1).stderr


def test_decimals_become_numbers_and_nested_columns_are_left_out(run: Run, tmp_path: Path) -> None:
    columns = {"id": ["a"], "time": [MARCH_MS], "feature.price": pa.array([1]).cast(pa.decimal128(21, 2)), "feature.list": [[1, 2]]}
    run("import", "predictions", parquet(tmp_path, columns))
    table = tables_in(tmp_path, Stream.PREDICTIONS)
    assert table["feature.price"].to_pylist() == [1.0]
    assert "feature.list" not in table.column_names
