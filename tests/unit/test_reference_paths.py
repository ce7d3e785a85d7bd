"""Where the profile of a version lies."""

from pathlib import Path

import pytest

from monitor.reference.paths import all_references, find_reference, reference_path


@pytest.mark.parametrize(
    ("template", "version", "path"),
    [
        ("flights-{version}.reference", "7", "flights-7.reference"),
        ("flights-{version}.reference", "", "flights.reference"),
        ("{version}-flights.reference", "", "flights.reference"),
        ("refs/{version}/flights.reference", "", "refs/flights.reference"),
        ("refs/{version}/flights.reference", "2024.1", "refs/2024.1/flights.reference"),
        ("flights.reference", "7", "flights.reference"),
        ("flights.reference", "", "flights.reference"),
        ("a-{version}.reference", "1/2", "a-1%2F2.reference"),
        ("a-{version}.reference", "1_2", "a-1_2.reference"),
        ("a-{version}.reference", "ü%", "a-%C3%BC%25.reference"),
        ("{version}/a.reference", "..", "%2E./a.reference"),
        ("a-{version}.reference", "../../etc", "a-%2E.%2F..%2Fetc.reference"),
        ("a-{version}.reference", "x\0y", "a-x%00y.reference"),
    ],
)
def test_a_version_is_part_of_one_file_name(template: str, version: str, path: str) -> None:
    assert reference_path(template, version) == Path(path)


def test_a_long_version_ends_in_its_digest() -> None:
    names = {reference_path("{version}", "x" * 500 + end).name for end in ("a", "b")}
    assert len(names) == 2
    assert {len(name) for name in names} == {120}


def test_a_version_without_its_own_profile_takes_the_models(tmp_path: Path) -> None:
    template = tmp_path / "flights-{version}.reference"
    assert find_reference(template, "7") is None
    model = tmp_path / "flights.reference"
    model.touch()
    assert find_reference(template, "7") == find_reference(template, "") == model
    own = tmp_path / "flights-7.reference"
    own.touch()
    assert find_reference(template, "7") == own
    assert find_reference(template, "8") == model


def test_all_profiles_of_a_template_are_found_and_nothing_else(tmp_path: Path) -> None:
    for name in ("flights.reference", "flights-1.reference", "flights-2.reference", "other-1.reference"):
        (tmp_path / name).touch()
    (tmp_path / "flights-3.reference").mkdir()
    found = all_references(tmp_path / "flights-{version}.reference")
    assert [path.name for path in found] == ["flights-1.reference", "flights-2.reference", "flights.reference"]
