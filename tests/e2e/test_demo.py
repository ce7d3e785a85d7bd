"""The demo as a person meets it: its table, its page, its suggestions; and what is left when it is interrupted or killed."""

import shutil
import signal
import socket
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from tests.e2e.demos import SENDING, STAYS_UP, Demo, copy_of, demo, until
from tests.e2e.drift_oracle import Profile
from tests.e2e.exposed import Place, text_series
from tests.e2e.flights_truth import served_flights
from tests.e2e.played import GONE_WITHIN_SECONDS, OWN_FLIGHTS, Played, events_of, month_spans
from tests.e2e.quality_oracle import Facts, ranking_of_rows
from tests.e2e.readings_oracle import expected, labelled

pytestmark = pytest.mark.e2e

COLUMNS = ["month", "predictions", "labels", "maturity", "precision", "recall", "f1", "roc_auc"]
ROUNDING = 0.0005 + 1e-9
FIRST_DAYS = "2013-03-03"
INTERRUPTED = 130


def table_of(stdout: str) -> dict[str, dict[str, str]]:
    """The lines of the months, by month and column."""
    header, *lines = [line.split() for line in stdout.partition("\n\n")[0].splitlines()]
    assert header[: len(COLUMNS)] == COLUMNS
    return {line[0]: dict(zip(header, line, strict=True)) for line in lines}


def check_line(line: dict[str, str], facts: Facts, auroc_of_rows: float) -> None:
    assert (int(line["predictions"]), int(line["labels"])) == (facts["predictions"], facts["labels"])
    ratios = {"maturity": facts["maturity"], "roc_auc": facts["roc_auc"]}
    ratios |= {name: facts[f"{name}/late"] for name in ("precision", "recall", "f1")}
    for name, value in ratios.items():
        assert line[name].startswith("0."), name
        assert abs(float(line[name]) - value) <= ROUNDING, name
    assert abs(float(line["roc_auc"]) - auroc_of_rows) <= facts["roc_auc_error"] + ROUNDING


def test_the_table_has_a_line_a_month_with_the_oracles_ratios(played: Played, streamed: pd.DataFrame, profile: Profile) -> None:
    wanted, table = expected(streamed, profile, month_spans()), table_of(played.stdout)
    assert list(table) == ["2013-03", "2013-04"]
    for month, span in month_spans().items():
        known = labelled(streamed[span.of(streamed["time"])])
        check_line(table[month], wanted[Place("1", "", month, "cohort")], ranking_of_rows(known)["roc_auc"])


def test_the_last_column_names_what_drifted_most(played: Played, streamed: pd.DataFrame, profile: Profile) -> None:
    for month, line in table_of(played.stdout).items():
        facts = expected(streamed, profile, month_spans())[Place("1", "", month, "cohort")]
        psi = {name: facts[f"drift/{name}/psi"] for name in profile.features}
        most = sorted((name for name, value in psi.items() if value >= 0.25), key=lambda name: -psi[name])[:3]
        assert line["drifted"] == ",".join(f"{name}={psi[name]:.2f}" for name in most)


def test_what_a_person_is_told_at_the_end_works(played: Played) -> None:
    """The requests that the demo prints and those of the README, as written: answered, and counted."""
    assert [answer.status_code for answer in played.answers] == [200, 202, 200, 202]
    assert [answer.json()["id"] for answer in played.answers if answer.status_code == 200] == list(OWN_FLIGHTS)
    assert events_of(played.in_the_end.text) == events_of(played.stream_ended.text) + len(played.answers)
    assert set(OWN_FLIGHTS) <= set(played.predictions["id"]) & set(played.labels["id"])


def test_the_page_shows_the_model(played: Played) -> None:
    assert "flights" in played.page
    assert "2013-04" in played.page


def test_the_server_counted_and_wrote_all_that_it_answered(played: Played) -> None:
    series = text_series(played.server_text)
    rows = {labels["endpoint"]: value for name, labels, value in series if name == "serving_rows_total"}
    assert (rows["infer"], rows["labels"]) == (len(played.predictions), len(played.labels))
    tapped = {name: value for name, _, value in series if name in ("serving_tap_accepted_rows_total", "serving_tap_written_rows_total")}
    assert set(tapped.values()) == {len(played.predictions)}
    assert not any(value for name, _, value in series if name == "serving_tap_lost_rows_total")


@pytest.mark.parametrize("source", ["text", "server"])
def test_promtool_accepts_the_metrics(played: Played, source: str) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed: Debian's package `prometheus` has it; CI installs it")
    text = played.in_the_end.text if source == "text" else played.server_text
    checked = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    # The exit code alone would do; what promtool says is for whoever reads a failure.
    assert (checked.returncode, checked.stderr) == (0, "")


def test_ctrl_c_stops_everything_when_all_is_said(played: Played) -> None:
    assert played.exit_code == 0
    assert played.survivors == []


def test_ctrl_c_in_the_middle_stops_everything(trained_folder: Path, tmp_path: Path) -> None:
    with demo(copy_of(trained_folder, tmp_path / "demo"), "--speed", 1) as running:
        running.await_said(SENDING)
        running.await_children()
        running.interrupt()
        assert running.wait() == INTERRUPTED
        assert running.survivors(GONE_WITHIN_SECONDS) == []
        assert running.stdout == ""
        assert "Traceback" not in running.stderr


def test_a_killed_demo_leaves_no_orphan(trained_folder: Path, tmp_path: Path) -> None:
    with demo(copy_of(trained_folder, tmp_path / "demo"), "--speed", 1) as running:
        running.await_said(SENDING)
        running.await_children()
        running.kill()
        assert running.wait() == -signal.SIGKILL
        assert running.survivors(GONE_WITHIN_SECONDS) == []


def test_an_interrupted_first_training_works_on_the_next_run(tmp_path: Path) -> None:
    """Killed first, whose training goes on for some seconds by itself; then interrupted; then left alone."""
    folder = tmp_path / "demo"
    options = ("--once", "--until", FIRST_DAYS)
    with demo(folder, *options) as killed:
        until_training(killed)
        killed.kill()
        killed.wait()
        with demo(folder, *options) as interrupted:
            until_training(interrupted)
            interrupted.interrupt()
            assert interrupted.wait() == INTERRUPTED
            assert interrupted.survivors(GONE_WITHIN_SECONDS) == []
        assert not (folder / "facts.json").exists()
        with demo(folder, *options) as left_alone:
            assert left_alone.wait() == 0, left_alone.stderr
            assert left_alone.survivors(GONE_WITHIN_SECONDS) == []
    flights = served_flights(FIRST_DAYS)
    (line,) = table_of(left_alone.stdout).values()
    assert (int(line["predictions"]), int(line["labels"])) == (len(flights), flights["label"].notna().sum())
    assert STAYS_UP not in left_alone.stderr


def until_training(running: Demo) -> None:
    running.await_said("Training")
    until(running.descendants, "the training's process")


@pytest.mark.parametrize("section", ["serving", "exporter"])
def test_a_port_in_use_is_named_before_anything_is_done(tmp_path: Path, section: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with demo(tmp_path / "demo", "--once", **{f"{section}_port": port}) as running:
            assert running.wait() == 1
    assert f"Port {port} on 127.0.0.1 is taken" in running.stderr
    assert f"MODEL_MONITOR_{section.upper()}__PORT" in running.stderr
    assert running.stdout == ""
    assert not (tmp_path / "demo" / "facts.json").exists()
