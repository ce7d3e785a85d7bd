"""`model-monitor log export` and `log tail`: from the log to files and people."""

import json
import signal
import subprocess
import sys
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from monitor.clock import ManualClock
from monitor.codec.arrow import encode_labels, encode_predictions
from monitor.events import Stream
from monitor.log import ARROW, JSON, TIME_MARK, Commit, DeadLetter, Message
from monitor.log.memory import MemoryLog
from monitor.transfer.events import read_events
from tests.unit.log_commands import (
    MARCH,
    MARCH_MS,
    Run,
    events_in,
    exported,
    log_in,
    partition_of,
    prediction,
    runner,
    written,
)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return runner(tmp_path)


def test_an_export_gives_events_with_their_place_and_arrival(run: Run, tmp_path: Path) -> None:
    run("import", "predictions", written(tmp_path, [prediction("a"), prediction("b", arrival=MARCH_MS + 7)]))
    result = run("export", "predictions")
    assert result.stderr == "2 predictions exported\n"
    expected = [prediction("a", arrival=MARCH_MS), prediction("b", arrival=MARCH_MS + 7)]
    assert sorted(exported(result), key=lambda event: str(event["id"])) == [
        event | {"partition": partition_of(str(event["id"])), "offset": 0} for event in expected
    ]


def test_an_export_can_be_imported_again(run: Run, tmp_path: Path) -> None:
    run("import", "predictions", written(tmp_path, [prediction("a"), prediction("b", time=MARCH_MS + 7)]))
    first = run("export", "predictions").stdout
    (tmp_path / "data" / "log.db").unlink()
    run("import", "predictions", written(tmp_path, [first]))
    assert run("export", "predictions").stdout == first
    assert all(not {"partition", "offset"} & set(event) for event in events_in(tmp_path, Stream.PREDICTIONS))


def test_an_arrow_record_is_exported_in_the_shape_of_json_events(run: Run, tmp_path: Path) -> None:
    value = encode_predictions(
        model="flights",
        version="1",
        ids=["a", "b"],
        time=np.array([MARCH_MS, MARCH_MS + 1]),
        arrival=np.array([MARCH_MS + 2, MARCH_MS + 3]),
        prediction=["late", None],
        scores={"": np.array([0.25, 0.5])},
        features={"distance": np.array([1.0, 2.0]), "carrier": ["AA", None]},
        segments={"origin": ["JFK", "EWR"]},
    )
    with log_in(tmp_path) as log:
        log.append(Stream.PREDICTIONS, [Message(1, MARCH_MS + 3, value, ARROW), Message(1, MARCH_MS, b"", TIME_MARK)])
    place = {"model": "flights", "version": "1", "partition": 1, "offset": 0}
    assert exported(run("export", "predictions")) == [
        place
        | {"id": "a", "time": MARCH_MS, "arrival": MARCH_MS + 2, "prediction": "late", "score": 0.25}
        | {"features": {"distance": 1.0, "carrier": "AA"}, "segments": {"origin": "JFK"}},
        place
        | {"id": "b", "time": MARCH_MS + 1, "arrival": MARCH_MS + 3, "score": 0.5}
        | {"features": {"distance": 2.0}, "segments": {"origin": "EWR"}},
    ]


def test_since_and_until_choose_by_arrival(run: Run, tmp_path: Path) -> None:
    run("import", "labels", written(tmp_path, [{"id": f"{n}", "label": "x", "time": MARCH_MS + n * 1_000} for n in range(10)]))
    result = run("export", "labels", "--since", "2013-03-01T00:00:03Z", "--until", MARCH_MS + 6_000)
    assert sorted(str(event["id"]) for event in exported(result)) == ["3", "4", "5"]
    assert "'yesterday' is not a time" in run("export", "labels", "--since", "yesterday", exit_code=2).stderr


def test_events_that_came_after_the_end_was_taken_are_left_for_later() -> None:
    log = MemoryLog(partitions=1, clock=ManualClock())
    log.append(Stream.LABELS, [Message(0, 0, b'{"id": "%d"}' % number) for number in range(4)])
    assert [event["id"] for event in read_events(log, Stream.LABELS, 0, 1, 3)] == ["1", "2"]


def test_what_cannot_be_decoded_is_exported_as_it_is(run: Run, tmp_path: Path) -> None:
    with log_in(tmp_path) as log:
        log.append(Stream.LABELS, [Message(0, 5, b"{broken"), Message(0, 6, b"\xff\xfe"), Message(0, 7, b"ARROW1", ARROW)])
    text, binary, arrow = exported(run("export", "labels"))
    assert (text["value"], text["arrival"], text["offset"]) == ("{broken", 5, 0)
    assert "not JSON" in str(text["undecodable"])
    assert binary["value_base64"] == "//4="
    assert "Arrow" in str(arrow["undecodable"])


def test_parquet_export_has_a_column_for_everything_and_comes_back(run: Run, tmp_path: Path) -> None:
    events: list[Mapping[str, object] | str] = [
        prediction("a", features={"distance": 1, "carrier": "AA"}),
        prediction("b", features={"distance": "far", "more": [1]}),
        "{broken",
    ]
    run("import", "predictions", written(tmp_path, events))
    path = tmp_path / "out.parquet"
    assert run("export", "predictions", path).stderr == "3 predictions exported\n"
    table = pq.read_table(path).sort_by("id")
    assert table["feature.distance"].to_pylist() == ["1", "far", None]
    assert table["feature.more"].to_pylist() == [None, "[1]", None]
    assert table["arrival"].type == pa.timestamp("ms", "UTC")
    assert table["value"].to_pylist() == [None, None, "{broken"]
    run("import", "predictions", path)


# Dead letters and tail


def with_dead_letters(folder: Path) -> None:
    letters = [
        DeadLetter(Stream.LABELS, 4, MARCH_MS + n, "application/json", "undecodable", "not JSON", (0,), value)
        for n, value in enumerate([b"{x", b"\xff"])
    ]
    with log_in(folder) as log:
        owner = log.acquire()
        owner.commit([Commit(2, {}, {}, b"", letters)])
        owner.close()


@pytest.mark.parametrize("verb", ["tail", "export"])
def test_dead_letters_are_shown_with_reason_origin_and_bytes(run: Run, tmp_path: Path, verb: str) -> None:
    with_dead_letters(tmp_path)
    origin = {"stream": "labels", "partition": 2, "offset": 4, "rows": [0]}
    common: dict[str, object] = {"reason": "not JSON", "outcome": "undecodable", "content_type": "application/json", "partition": 2}
    assert exported(run(verb, "dead-letters")) == [
        common | {"origin": origin | {"time": "2013-03-01T00:00:00.000Z"}, "arrival": MARCH_MS, "value": "{x", "offset": 0},
        common | {"origin": origin | {"time": "2013-03-01T00:00:00.001Z"}, "arrival": MARCH_MS + 1, "value_base64": "/w==", "offset": 1},
    ]


def dead_letter(value: bytes, *rows: int, content_type: str = JSON, timestamp: int = MARCH_MS) -> DeadLetter:
    return DeadLetter(Stream.LABELS, 4, timestamp, content_type, "invalid", "id is nothing", rows, value)


def kept(folder: Path, letter: DeadLetter) -> None:
    with log_in(folder) as log:
        owner = log.acquire()
        owner.commit([Commit(0, {}, {}, b"", [letter])])
        owner.close()


@pytest.mark.parametrize(
    ("value", "content_type"),
    [
        (b'[{"id": "a"}, 7, {"id": 3}]', JSON),
        (encode_labels(ids=["a", "b", "c"], label=pa.array([None, "late", None])), ARROW),
    ],
)
def test_of_a_record_with_several_events_the_refused_ones_are_shown(run: Run, tmp_path: Path, value: bytes, content_type: str) -> None:
    kept(tmp_path, dead_letter(value, 0, 2, content_type=content_type))
    [shown] = exported(run("tail", "dead-letters"))
    assert [event["id"] for event in shown["events"]] == (["a", 3] if content_type == JSON else ["a", "c"])  # type: ignore[attr-defined]
    assert shown["value" if content_type == JSON else "value_base64"]


@pytest.mark.parametrize(
    "letter",
    [
        dead_letter(b'{"id": 3}', 0),
        dead_letter(b"", 0),
        dead_letter(b"***", 0, 7),
        dead_letter(b"***", 0, content_type=ARROW),
        dead_letter(b"***", 0, content_type="text/plain"),
        dead_letter(b"[1]", 5),
        dead_letter(b"[]", timestamp=-(2**62)),
    ],
)
def test_a_dead_letter_is_shown_whatever_became_of_its_bytes(run: Run, tmp_path: Path, letter: DeadLetter) -> None:
    """What removes personal data from it later may change them."""
    kept(tmp_path, letter)
    [shown] = exported(run("tail", "dead-letters"))
    assert (shown["reason"], shown["value"]) == ("id is nothing", letter.value.decode())
    assert not shown.get("events")


def test_tail_shows_the_newest_events_last(run: Run, tmp_path: Path) -> None:
    run("import", "labels", written(tmp_path, [{"id": f"{n}", "label": "x", "time": MARCH_MS + n} for n in range(50)]))
    assert [event["id"] for event in exported(run("tail", "labels", "-n", 3))] == ["47", "48", "49"]
    assert exported(run("tail", "labels", "-n", 0)) == []
    assert len(exported(run("tail", "labels"))) == 10


def test_tail_finds_the_newest_event_behind_offsets_that_hold_none(run: Run, tmp_path: Path) -> None:
    """Time marks here; on Kafka the marks of transactions too, which take an offset each."""
    with log_in(tmp_path) as log:
        log.append(Stream.LABELS, [Message(1, 5, b'{"id": "a"}'), *[Message(1, 6, b"", TIME_MARK)] * 9])
    assert [event["id"] for event in exported(run("tail", "labels", "-n", 1))] == ["a"]


def test_tail_of_an_empty_log_shows_nothing(run: Run) -> None:
    assert run("tail", "predictions").stdout == ""


def test_an_arrow_column_that_json_has_no_form_for_is_shown_as_text(run: Run, tmp_path: Path) -> None:
    value = encode_labels(ids=["a"], label=pa.array([Decimal("1.50")]))
    with log_in(tmp_path) as log:
        log.append(Stream.LABELS, [Message(0, 9, value, ARROW)])
    [shown] = exported(run("tail", "labels"))
    assert shown["label"] == "1.50"


def test_an_arrow_column_with_a_broken_name_does_not_stop_a_tail(run: Run, tmp_path: Path) -> None:
    value = encode_labels(ids=["a"], label=["late"]).replace(b"label", b"\xff\xfebel")
    with log_in(tmp_path) as log:
        log.append(Stream.LABELS, [Message(0, 9, value, ARROW)])
    [shown] = exported(run("tail", "labels"))
    assert "UTF-8" in str(shown["undecodable"])


def test_tail_shows_arrow_labels(run: Run, tmp_path: Path) -> None:
    with log_in(tmp_path) as log:
        log.append(Stream.LABELS, [Message(0, 9, encode_labels(ids=["a"], label=["late"], model="flights"), ARROW)])
    assert exported(run("tail", "labels")) == [{"id": "a", "label": "late", "model": "flights", "arrival": 9, "partition": 0, "offset": 0}]


def test_tail_follows_until_it_is_interrupted(run: Run, tmp_path: Path) -> None:
    run("import", "labels", written(tmp_path, [{"id": "old", "label": "x", "time": MARCH}]))
    arguments = ["log", "tail", "-c", str(tmp_path / "model-monitor.yaml"), "-f", "-n", "1", "labels"]
    with subprocess.Popen([sys.executable, "-m", "monitor", *arguments], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["id"] == "old"
        run("import", "labels", "-", stdin=json.dumps({"id": "new", "label": "x", "time": MARCH}))
        assert json.loads(process.stdout.readline())["id"] == "new"
        process.send_signal(signal.SIGINT)
        assert process.wait() == 0
