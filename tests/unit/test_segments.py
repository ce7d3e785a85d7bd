"""Codes for segments and versions keep their meaning."""

import numpy as np
import pytest

from monitor.events import TextColumn
from monitor.segments import NO_ROOM, VALUES_LIMIT, VERSIONS_LIMIT, SegmentDictionary, VersionDictionary, segment_text


def column(*values: str | None) -> TextColumn:
    categories = tuple(sorted({value for value in values if value is not None}))
    return TextColumn(np.array([-1 if value is None else categories.index(value) for value in values], dtype=np.int32), categories)


def test_pairs_of_dimensions_are_told_apart_and_named() -> None:
    dictionary = SegmentDictionary(("carrier", "origin"))
    segment = dictionary.encode({"carrier": column("UA", "DL", None), "origin": column("JFK", "JFK", "EWR")}, 3)
    names = [dictionary.text(part, ("carrier", "origin")) for part in dictionary.project(segment, ("carrier", "origin")).tolist()]
    assert names == ["carrier=UA,origin=JFK", "carrier=DL,origin=JFK", "carrier=missing,origin=EWR"]
    assert dictionary.text(int(dictionary.project(segment, ("origin",))[2]), ("origin",)) == "origin=EWR"
    assert dictionary.project(segment, ()).tolist() == [0, 0, 0]


def test_values_are_numbered_in_the_order_of_their_rows_after_those_of_the_reference() -> None:
    dictionary = SegmentDictionary(("carrier",), {"carrier": ["ZZ"]})
    dictionary.encode({"carrier": column("UA", "AA", "UA")}, 3)
    assert dictionary.values == {"carrier": ["ZZ", "UA", "AA"]}


def test_values_beyond_the_bound_are_other_and_the_kept_ones_stay() -> None:
    dictionary = SegmentDictionary(("carrier",))
    dictionary.encode({"carrier": column(*(f"{number:03}" for number in range(VALUES_LIMIT + 5)))}, VALUES_LIMIT + 5)
    segment = dictionary.encode({"carrier": column("000", "054", "new")}, 3)
    assert [dictionary.text(part, ("carrier",)) for part in segment.tolist()] == ["carrier=000", "carrier=other", "carrier=other"]


@pytest.mark.parametrize(("value", "text"), [("a=b", r"d=a\=b"), ("a,b", r"d=a\,b"), ("a\\b", r"d=a\\b"), ("", "d=")])
def test_segment_texts_cannot_be_confused(value: str, text: str) -> None:
    assert segment_text(["d"], [value]) == text


def test_a_version_keeps_its_code_and_versions_are_bounded_by_model() -> None:
    versions = VersionDictionary()
    assert [versions.encode("m", "1"), versions.encode("m", "2"), versions.encode("m", "1")] == [0, 1, 0]
    for number in range(VERSIONS_LIMIT):
        versions.encode("m", f"v{number}")
    assert versions.encode("m", "one more") == NO_ROOM
    assert versions.encode("m", "1") == 0
    assert versions.encode("other", "1") == len(versions.entries) - 1
