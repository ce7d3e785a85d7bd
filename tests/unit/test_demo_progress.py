"""What is shown while the year goes by, on a terminal and on a pipe."""

import io

from rich.console import Console

from monitor.demo.progress import Scene, display

JULY_MS = 1_373_760_000_000


def test_a_pipe_gets_a_line_with_date_events_lag_and_recall() -> None:
    output = io.StringIO()
    with display(Console(file=output), total_events=563_021) as shown:
        shown.show(Scene(JULY_MS, 250_000, lag=1_234, recall=0.0391))
    assert output.getvalue() == "2013-07-14 · 250,000 of 563,021 events · lag 1,234 records · recall (7d) 0.04\n"


def test_a_pipe_gets_no_line_more_often_than_every_few_seconds() -> None:
    moments = iter([0.0, 1.0, 4.9, 5.0])
    output = io.StringIO()
    with display(Console(file=output), total_events=10, monotonic=lambda: next(moments)) as shown:
        for events in (1, 2, 3, 4):
            shown.show(Scene(JULY_MS, events))
    assert output.getvalue() == "2013-07-14 · 1 of 10 events\n2013-07-14 · 4 of 10 events\n"


def test_a_terminal_gets_a_bar_with_the_same() -> None:
    output = io.StringIO()
    with display(Console(file=output, force_terminal=True, width=140, color_system=None), total_events=563_021) as shown:
        shown.show(Scene(JULY_MS, 250_000, lag=1_234, recall=0.0391))
    last = output.getvalue()
    assert "2013-07-14" in last
    assert "250,000 of 563,021 events lag 1,234 records · recall (7d) 0.04" in last
