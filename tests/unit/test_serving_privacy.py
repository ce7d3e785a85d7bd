"""What of a prediction may leave: by name, as a hash, and which predictions at all."""

import hashlib
from pathlib import Path

import pyarrow as pa
import pytest

from monitor.codec.json_frames import Event
from monitor.errors import ConfigError
from monitor.events import FeatureKind, Schema, Task
from monitor.serving.privacy import OPEN, Privacy, loggable, salt_of

SALT = b"sixteen bytes or more"


def hashing(*names: str, salt: bytes = SALT) -> Privacy:
    return Privacy(hashed=frozenset(names), salt=salt)


@pytest.mark.parametrize(
    ("rules", "kept"),
    [
        (OPEN, {"a", "b", "c"}),
        (Privacy(drop=frozenset({"a"})), {"b", "c"}),
        (Privacy(allow=frozenset({"a"})), {"a"}),
        (Privacy(allow=frozenset({"a", "b"}), drop=frozenset({"a"})), {"b"}),
        (Privacy(allow=frozenset()), set()),
    ],
)
def test_names_are_kept_by_the_lists(rules: Privacy, kept: set[str]) -> None:
    assert set(rules.columns({name: pa.array([1.0]) for name in "abc"})) == kept


def test_a_hash_is_keyed_with_the_salt_and_the_same_whichever_way_the_value_comes() -> None:
    expected = hashlib.blake2b(b"Ada", key=SALT, digest_size=16).hexdigest()
    columns = hashing("name").columns({"name": pa.array(["Ada", None, "Bob", "Ada"])})
    assert columns["name"].to_pylist()[:2] == [expected, None]
    assert columns["name"].to_pylist()[3] == expected
    assert hashing("name").event({"features": {"name": "Ada"}})["features"] == {"name": expected}
    assert hashing("name", salt=SALT + b"!").columns({"name": pa.array(["Ada"])})["name"].to_pylist() != [expected]


def test_a_salt_longer_than_a_key_counts_whole() -> None:
    long = b"x" * 100
    one, other = (hashing("a", salt=salt).columns({"a": pa.array(["v"])})["a"] for salt in (long, long + b"y"))
    assert one != other


def test_numbers_and_booleans_hash_as_the_texts_they_are_categories_by() -> None:
    def hashed(value: object) -> object:
        features = hashing("a").event({"features": {"a": value}})["features"]
        assert isinstance(features, dict)
        return features["a"]

    assert hashed(7) == hashed(7.0) == hashed("7")
    assert hashed(True) == hashed("true")
    assert hashed(None) is None
    assert hashed(["personal"]) is None
    assert hashed({"personal": 1}) is None


def test_an_event_keeps_its_own_fields_and_no_others() -> None:
    event: Event = {
        "id": "ada@example.org",
        "time": 1,
        "arrival": 2,
        "model": "flights",
        "version": "1",
        "score": 0.5,
        "comment": "personal",
        "features": {"distance": 1, "address": "personal"},
        "segments": {"address": "personal", "plan": "pro"},
    }
    assert Privacy(drop=frozenset({"address"})).event(event) == {
        "id": "ada@example.org",
        "time": 1,
        "arrival": 2,
        "model": "flights",
        "version": "1",
        "score": 0.5,
        "features": {"distance": 1},
        "segments": {"plan": "pro"},
    }
    assert OPEN.event(event) is event
    assert event["comment"] == "personal", "what the sender gave is not changed"


def test_a_sample_of_events_is_taken_by_id_of_those_models_that_have_one() -> None:
    events: list[Event] = [{"id": f"flight-{number}", "model": model} for number in range(500) for model in ("flights", "other")]
    (some, rows), (fewer, _) = (loggable(events, {"flights": Privacy(sample=share)}) for share in (0.5, 0.2))
    assert sum(event["model"] == "other" for event in some) == 500
    assert 200 < len(some) - 500 < 300
    assert 60 < len(fewer) - 500 < 140
    assert [event for event in fewer if event in some] == fewer, "a smaller sample lies within a greater one"
    assert [events[row] for row in rows.tolist()] == some
    assert loggable(events, {})[0] == events


def test_events_are_screened_by_the_rules_of_their_model() -> None:
    of_both: list[Event] = [{"id": "a", "model": model, "features": {"address": "personal"}} for model in ("flights", "other")]
    screened, _ = loggable(of_both, {"flights": Privacy(allow=frozenset())})
    assert screened == [{"id": "a", "model": "flights", "features": {}}, of_both[1]]


def test_a_number_cannot_be_hashed() -> None:
    kinds = {"distance": FeatureKind.NUMERIC, "carrier": FeatureKind.CATEGORICAL}
    of = Schema("flights", Task.BINARY, ("on_time", "late"), 1, 0.5, kinds)
    hashing("carrier").check(of)
    hashing("plan").check(of)
    with pytest.raises(ConfigError, match="distance is numeric, and only texts can be hashed: drop it instead"):
        hashing("carrier", "distance").check(of)


def test_a_salt_comes_from_a_file_and_is_never_shown(tmp_path: Path) -> None:
    file = tmp_path / "salt"
    file.write_bytes(SALT + b"\n")
    assert salt_of(file) == SALT
    assert "sixteen" not in repr(hashing("a", salt=salt_of(file)))
    file.write_bytes(b"short\n")
    with pytest.raises(ConfigError, match=r"salt: the salt has 5 bytes; expected at least 16, such as `openssl rand -hex 32` gives"):
        salt_of(file)
    with pytest.raises(ConfigError, match=r"nowhere: the salt_file of tap.hash cannot be read \(No such file or directory\)"):
        salt_of(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="hashing a needs a salt of at least 16 bytes: name"):
        Privacy(hashed=frozenset({"a"}))
