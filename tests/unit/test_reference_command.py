"""`reference build` and `reference show`, run as the command line runs them."""

from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner, Result

from monitor.app import cli
from tests.unit.reference_rows import flights, parquet

CONFIG = """
log: {kind: embedded, path: log.db}
models:
  - name: flights
    task: binary
    classes: [on_time, late]
    positive_class: late
    threshold: 0.235
    reference: refs/flights-{version}.reference
    segments: [carrier]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mm.yaml").write_text(CONFIG, encoding="utf-8")
    parquet(flights(2_000), tmp_path / "rows.parquet")
    return tmp_path


def run(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["reference", arguments[0], "-c", str(folder / "mm.yaml"), *arguments[1:]])


def test_building_writes_where_the_configuration_says(folder: Path) -> None:
    built = run(folder, "build", "--model", "flights", str(folder / "rows.parquet"))
    assert (built.exit_code, built.stdout) == (0, "")
    assert (folder / "refs" / "flights.reference").is_file()
    assert "note: columns left out" in built.stderr
    assert "flights.reference: 2,000 rows, 7 features" not in built.stderr
    assert "flights.reference: 2,000 rows, 6 features" in built.stderr


def test_a_version_has_a_file_of_its_own(folder: Path) -> None:
    assert run(folder, "build", "--model", "flights", "--model-version", "1/2", str(folder / "rows.parquet")).exit_code == 0
    assert [path.name for path in (folder / "refs").iterdir()] == ["flights-1%2F2.reference"]


def test_output_goes_where_it_is_asked_for(folder: Path) -> None:
    assert run(folder, "build", "--model", "flights", str(folder / "rows.parquet"), "-o", str(folder / "mine.reference")).exit_code == 0
    assert (folder / "mine.reference").is_file()
    assert not (folder / "refs").exists()


def test_showing_prints_a_line_a_feature(folder: Path) -> None:
    run(folder, "build", str(folder / "rows.parquet"))
    shown = run(folder, "show", "--model", "flights")
    assert (shown.exit_code, shown.stderr) == (0, "")
    heading, names, *lines = shown.stdout.splitlines()
    assert "flights, every version: 2,000 rows of rows.parquet, 400 of them for the edges" in heading
    assert "under 2,000 counted rows some references mislead" in heading
    assert names.split() == ["feature", "kind", "cells", "missing", "holds", "flags"]
    rows = {line.split()[0]: line for line in lines}
    assert list(rows) == ["temp", "hour", "constant", "carrier", "origin", "tail", "@score", "@prediction", "@label"]
    assert rows["constant"].endswith("constant")
    assert rows["hour"].split()[1:7] == ["numeric", "25", "0.0%", "0", "to", "23;"]
    assert "late" in rows["@label"]


def test_showing_falls_back_to_the_profiles_of_versions(folder: Path) -> None:
    for version in ("1", "2"):
        run(folder, "build", "--model-version", version, str(folder / "rows.parquet"))
    shown = run(folder, "show")
    assert [line.split(":")[1] for line in shown.stdout.splitlines() if "every version" in line or ", version" in line] == [
        " flights, version 1",
        " flights, version 2",
    ]
    assert " flights, version 2" in run(folder, "show", "--model-version", "2").stdout


def test_showing_takes_the_path_of_a_profile(folder: Path) -> None:
    run(folder, "build", str(folder / "rows.parquet"), "-o", str(folder / "mine.reference"))
    assert run(folder, "show", str(folder / "mine.reference")).stdout.startswith(f"{folder / 'mine.reference'}: flights")


@pytest.mark.parametrize(
    ("arguments", "exit_code", "says"),
    [
        (("build",), 2, "Missing PATH"),
        (("build", "absent.parquet"), 1, "absent.parquet: there is no such file"),
        (("build", "--from-log", "--since", "2024-01-01T00:00:00Z"), 1, "--from-log comes with a later release"),
        (("build", "--model", "trains", "x.csv"), 2, "no model 'trains' is configured; expected one of flights"),
        (("show",), 1, "flights.reference: there is no such reference profile; build it with"),
        (("show", "absent.reference"), 1, "absent.reference: the reference profile cannot be read"),
    ],
)
def test_what_cannot_be_done_is_explained_on_stderr(folder: Path, arguments: tuple[str, ...], exit_code: int, says: str) -> None:
    ran = run(folder, *arguments)
    assert (ran.exit_code, ran.stdout) == (exit_code, "")
    assert says in ran.stderr


def test_rows_that_cannot_be_used_leave_no_file(folder: Path) -> None:
    parquet(pd.DataFrame({"temp": [1.0]}), folder / "few.parquet")
    assert "1 rows; expected at least 10" in run(folder, "build", str(folder / "few.parquet")).stderr
    assert not (folder / "refs").exists()


@pytest.mark.parametrize(("arguments", "says"), [(("build", "rows.parquet"), "or with -o"), (("show",), "or as PATH")])
def test_a_model_without_a_reference_is_told_how_to_name_one(folder: Path, arguments: tuple[str, ...], says: str) -> None:
    (folder / "mm.yaml").write_text(CONFIG.replace("    reference: refs/flights-{version}.reference\n", ""), encoding="utf-8")
    ran = run(folder, *arguments)
    assert (ran.exit_code, ran.stdout) == (2, "")
    assert f"the configuration names no file; name it there, {says}" in ran.stderr
