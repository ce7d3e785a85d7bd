"""The printed readings are for people and for scripts: columns by white space, figures from the readings."""

import pytest

from monitor.demo.asking import MonthReading
from monitor.demo.facts import Facts
from monitor.demo.story import explanation, table

FACTS = Facts(
    recipe=1,
    model_sha256="",
    reference_sha256="",
    validation_roc_auc=0.637,
    validation_precision=0.316,
    validation_recall=0.636,
    temp_coefficient=-0.029,
    temp_coefficient_february=0.012,
    temp_median=36.0,
    recall_with_temp_held={"2013-07": 0.617},
)


def month(name: str, recall: float | None, roc_auc: float | None = 0.65, late: int = 200, **drift: float) -> MonthReading:
    return MonthReading(
        month=name,
        predictions=1020,
        labels=1000,
        maturity=0.98,
        precision=0.4,
        recall=recall,
        f1=None,
        roc_auc=roc_auc,
        late=late,
        drift=drift,
    )


MARCH, JULY, DECEMBER = (
    month("2013-03", 0.633, 0.694),
    month("2013-07", 0.039, 0.676, late=322, temp=8.12, humid=0.45, dest=0.05),
    month("2013-12", 0.536),
)


def test_the_table_has_a_header_and_a_line_a_month_in_columns() -> None:
    assert table([MARCH, JULY]).splitlines() == [
        "month    predictions  labels  maturity  precision  recall  f1  roc_auc  drifted",
        "2013-03         1020    1000     0.980      0.400   0.633   -    0.694  -",
        "2013-07         1020    1000     0.980      0.400   0.039   -    0.676  temp=8.12,humid=0.45",
    ]


def test_the_story_goes_from_the_first_month_to_the_worst_and_the_last() -> None:
    story = explanation([MARCH, JULY, DECEMBER], FACTS)
    assert story.startswith("Recall of late flights fell from 0.633 in March to 0.039 in July (back at 0.536 in December), ")
    assert "the share of flights that came late went from 0.200 to 0.322" in story


def test_the_story_names_what_drifted_and_what_did_not() -> None:
    story = explanation([MARCH, JULY], FACTS)
    assert "temp had drifted most: PSI 8.1 in July" in story
    assert "destinations hardly moved (PSI 0.05 at most)" in story


def test_the_story_checks_its_cause() -> None:
    story = explanation([MARCH, JULY], FACTS)
    assert "-0.029 to the log-odds" in story
    assert "February alone gives +0.012" in story
    assert "would have found 0.617 of July's late flights" in story


def test_without_drift_of_temperature_no_cause_is_claimed() -> None:
    assert "The cause" not in explanation([MARCH, month("2013-07", 0.1, humid=2.0)], FACTS)


def test_a_quiet_span_is_called_quiet() -> None:
    assert explanation([MARCH, month("2013-04", 0.6)], FACTS).startswith("Quality did not change enough to speak of")


@pytest.mark.parametrize("months", [[], [month("2013-03", None)]])
def test_without_labels_nothing_is_said_of_quality(months: list[MonthReading]) -> None:
    assert explanation(months, FACTS) == "No label has come yet, so there is nothing to say about quality."
