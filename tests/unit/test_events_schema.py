"""The published JSON Schema of the events: it is what is committed, and it says what the codec does, as far as JSON Schema can say it."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pytest
from click.testing import CliRunner
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from monitor.app import cli
from monitor.codec import arrow_stream, decode_labels, decode_predictions, labels, predictions
from monitor.codec.arrow_frames import SCHEMA_VERSION
from monitor.codec.identity import partition_hash, partition_of
from monitor.codec.json_frames import EVENTS_LIMIT
from monitor.codec.json_schema import as_text, json_schema
from monitor.codec.times import LAST_MILLISECOND
from monitor.events import Labels, Outcome, Predictions, Rejection, Stream
from monitor.log import ARROW, CLOUDEVENTS, JSON, TIME_MARK
from tests.unit.codec_events import SCHEMAS, VALUES, Event, json_record, label, prediction

FOLDER = Path(__file__).parents[2] / "deploy/events"
STREAMS = (Stream.PREDICTIONS, Stream.LABELS)
VALIDATORS = {stream: Draft202012Validator(json_schema(stream)) for stream in STREAMS}


def is_valid(stream: Stream, value: object) -> bool:
    return bool(VALIDATORS[stream].is_valid(value))


def decoded(stream: Stream, value: object) -> Predictions | Labels:
    record = json_record(orjson.dumps(value))
    if stream is Stream.PREDICTIONS:
        return decode_predictions([record], SCHEMAS)
    return decode_labels([record], SCHEMAS, VALUES, model_required=False)


@pytest.mark.parametrize("stream", STREAMS)
def test_what_is_committed_is_what_the_command_prints(stream: Stream) -> None:
    file = FOLDER / f"{stream}.schema.json"
    printed = CliRunner().invoke(cli, ["events", "schema", stream.value]).stdout
    assert printed == as_text(stream)
    assert file.read_text() == printed, f"run `model-monitor events schema {stream} > deploy/events/{file.name}` and read the difference"


@pytest.mark.parametrize("stream", STREAMS)
def test_the_schemas_are_schemas(stream: Stream) -> None:
    Draft202012Validator.check_schema(json_schema(stream))


@pytest.mark.parametrize(("stream", "fields"), [(Stream.PREDICTIONS, predictions.FIELDS), (Stream.LABELS, labels.FIELDS)])
def test_every_key_that_the_codec_reads_is_described(stream: Stream, fields: frozenset[str]) -> None:
    definitions: Any = json_schema(stream)["$defs"]
    described = definitions[stream.removesuffix("s")]["properties"]
    assert described.keys() == fields
    for name, found in described.items():
        assert "description" in found or "description" in definitions[found["$ref"].rpartition("/")[2]], name


@pytest.mark.parametrize("stream", STREAMS)
def test_the_examples_validate(stream: Stream) -> None:
    examples: Any = json_schema(stream)["examples"]
    assert len(examples) > 1
    assert all(is_valid(stream, each) for each in examples)


def test_no_more_events_fit_an_array_than_the_codec_takes() -> None:
    whole: Any = json_schema(Stream.LABELS)["anyOf"]
    assert whole[1]["maxItems"] == EVENTS_LIMIT
    too_many = decoded(Stream.LABELS, [{}] * (EVENTS_LIMIT + 1))
    assert len(too_many.rejected) == 1


# The codec takes an event and uses all of it ⇔ the schema takes it

TEXT = st.text(st.characters(codec="ascii"), max_size=6)
TEXTS = TEXT | st.sampled_from([length * "x" for length in (128, 129, 512, 513)])
NUMBERS = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=4,
)
DIGITS = st.from_regex(
    r"(19|20|99)[0-9][0-9]-[01][0-9]-[0-3][0-9][Tt ][0-2][0-9]:[0-6][0-9]:[0-6][0-9](\.[0-9]{1,9})?([Zz]|[+-][0-2][0-9]:[0-6][0-9])?",
    fullmatch=True,
)
TIMES = DIGITS | st.integers(-2, 253_402_300_800_001) | st.sampled_from([1.5e12, 1.5, 0, 253_402_300_799_999])
CLASSES = st.sampled_from(["late", "on_time", "zero", 0, 1, 2, 1.0, 0.5, True, False])
ENTRIES = st.dictionaries(st.sampled_from(["distance", "carrier", "ink", "late", "on_time", "origin", "other"]), JSON_VALUES, max_size=3)
SCORES = st.dictionaries(st.sampled_from(["late", "on_time"]), st.none() | NUMBERS | JSON_VALUES, max_size=2)
SHARED = {"id": TEXTS | JSON_VALUES, "time": TIMES | JSON_VALUES, "arrival": TIMES | JSON_VALUES, "note": JSON_VALUES}
PREDICTION_KEYS = SHARED | {
    "model": st.sampled_from(["flights", "nobody"]) | JSON_VALUES,
    "version": TEXTS | JSON_VALUES,
    "features": ENTRIES | JSON_VALUES,
    "segments": ENTRIES | JSON_VALUES,
    "prediction": CLASSES | JSON_VALUES,
    "score": NUMBERS | JSON_VALUES,
    "scores": SCORES | JSON_VALUES,
}
LABEL_KEYS = SHARED | {"model": st.sampled_from(["flights", "digits"]) | JSON_VALUES, "label": CLASSES | JSON_VALUES}


@st.composite
def changed(draw: st.DrawFn, good: Event, keys: Mapping[str, st.SearchStrategy[object]]) -> Event:
    """A good event with a few keys changed or taken out."""
    event = dict(good)
    for name in draw(st.lists(st.sampled_from(sorted(keys)), max_size=3)):
        event[name] = draw(keys[name])
    for name in draw(st.lists(st.sampled_from(sorted(keys)), max_size=2)):
        event.pop(name, None)
    return event


def is_scalar(value: object) -> bool:
    return value is None or isinstance(value, str | int | float | bool)


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_all_used(event: Event) -> bool:
    """Whether nothing that the codec leaves out in silence stands under a known key of a prediction it accepted."""
    scores = event.get("scores")
    return (
        all(is_scalar(value) for value in event["features"].values())
        and all(is_scalar(value) for value in (event.get("segments") or {}).values())
        and (event.get("score") is None or is_number(event["score"]))
        and (scores is None or (isinstance(scores, dict) and all(value is None or is_number(value) for value in scores.values())))
    )


def is_beyond_the_schema(event: Event, rejection: Rejection) -> bool:
    """Whether JSON Schema has no words for why this event was refused: the calendar, the clock, and what is configured."""
    if rejection.outcome in (Outcome.BAD_TIME, Outcome.UNKNOWN_MODEL):
        return True
    if "neither a prediction nor a score" in rejection.reason:
        return not (event.get("scores") or {}).keys() <= {"late", "on_time"}  # scores of what is no class
    name, _, why = rejection.reason.partition(" is ")
    value = event.get(name)
    is_whole = isinstance(value, float) and value.is_integer()
    if "no class of" in why or "understand differently" in why:
        return isinstance(value, str | int) or is_whole
    return (name in ("time", "arrival") and isinstance(value, str)) or (name == "version" and is_whole)  # 1.0 and 1 are one number there


@settings(max_examples=400, deadline=None)
@given(changed(prediction(), PREDICTION_KEYS))
@example(prediction(prediction=..., score=None, scores={"late": None}))
@example(prediction(prediction=None, score=..., scores={"on_time": 0.25}))
@example(prediction(prediction=["late"]))
@example(prediction(score="0.5"))
@example(prediction(features=None))
@example(prediction(version=2**63))
@example(prediction(time=LAST_MILLISECOND + 1))
@example(prediction(time="2013-01-01 10:00:00z"))
@example(prediction(time="2013-01-01T10:00:00"))
def test_a_prediction_validates_exactly_where_the_codec_takes_all_of_it(event: Event) -> None:
    batch = decoded(Stream.PREDICTIONS, event)
    if batch.rejected:
        assert not is_valid(Stream.PREDICTIONS, event) or is_beyond_the_schema(event, batch.rejected[0]), batch.rejected[0].reason
    else:
        assert is_valid(Stream.PREDICTIONS, event) == is_all_used(event)


@settings(max_examples=400, deadline=None)
@given(changed(label(), LABEL_KEYS))
@example(label(time=None, arrival=None, model=None))
@example(label(label=None))
@example(label(label=["late"]))
@example(label(label=0.5))
@example(label(label=""))
@example(label(time="2013-01-01t10:00:00.1234567+01:00"))
def test_a_label_validates_exactly_where_the_codec_takes_it(event: Event) -> None:
    batch = decoded(Stream.LABELS, event)
    if batch.rejected:
        assert not is_valid(Stream.LABELS, event) or is_beyond_the_schema(event, batch.rejected[0]), batch.rejected[0].reason
    else:
        assert is_valid(Stream.LABELS, event)


@given(st.one_of(JSON_VALUES, st.lists(st.sampled_from([label(), label(id=1), 7]), max_size=3)))
def test_a_record_validates_where_each_event_of_it_does(value: object) -> None:
    batch = decoded(Stream.LABELS, value)
    assert is_valid(Stream.LABELS, value) == (len(batch) > 0 and not batch.rejected)


# The guide beside the schemas says the same


GUIDE = (FOLDER / "README.md").read_text()


def test_the_guide_names_every_content_type() -> None:
    assert all(f"| `{name}` |" in GUIDE for name in (JSON, ARROW, CLOUDEVENTS, TIME_MARK))


def test_the_guide_s_events_validate() -> None:
    found = [orjson.loads(block) for block in re.findall(r"```json\n(.*?)```", GUIDE, re.DOTALL)]
    assert [is_valid(Stream.PREDICTIONS, found[0]), is_valid(Stream.LABELS, found[1])] == [True, True]


def test_the_guide_lists_every_column_of_an_arrow_message() -> None:
    rows = re.findall(r"^\| `([\w.]+)` \| (both|predictions|labels) \|", GUIDE, re.MULTILINE)
    groups = {"features": "feature.NAME", "segments": "segment.NAME", "scores": "score.CLASS"}
    for stream, fields in ((Stream.PREDICTIONS, predictions.FIELDS), (Stream.LABELS, labels.FIELDS)):
        assert {column for column, of in rows if of in ("both", stream)} == {groups.get(name, name) for name in fields}


def test_the_guide_s_limits_are_those_of_the_codec() -> None:
    words = f"at most {arrow_stream.ROWS_LIMIT:,} rows, {arrow_stream.COLUMNS_LIMIT:,} columns and {arrow_stream.MESSAGES_LIMIT:,} messages"
    assert words in GUIDE
    assert f"an array of at most {EVENTS_LIMIT:,}," in GUIDE
    assert f"`schema_version`, which is `{SCHEMA_VERSION}`" in GUIDE


def test_the_guide_s_hashes_are_the_partitioner_s() -> None:
    rows = re.findall(r"^\| `(.+)` \| (\d+) \| (\d+) \|$", GUIDE, re.MULTILINE)
    assert len(rows) == 4
    for name, number, partition in rows:
        assert (int(partition_hash(pa.array([name]))[0]), partition_of(name, 12)) == (int(number), int(partition))
