"""The status page: what it shows of a tick, and that no name a client chose becomes markup."""

from html.parser import HTMLParser

from monitor.export.page import StatusPage
from monitor.quality.readings import Tick
from tests.committed import aggregate, commit, flat, tick, watched
from tests.worlds import BINARY, HOUR, START, label, model_of, prediction

PAGE = StatusPage("1.2.3", 5)
HOSTILE = "<script>alert('\"&')</script>"


class Document(HTMLParser):
    """The elements of a page, and its text."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.paths: list[str] = []
        self.words = ""
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.paths += [value or "" for name, value in attrs if tag == "path" and name == "d"]

    def handle_data(self, data: str) -> None:
        self.words += f" {data.strip()}"


def a_tick(version: str = "1", carrier: str = "UA") -> Tick:
    events = [
        prediction(number, START + number * 60_000, version=version, features={"temp": 1.0, "carrier": carrier}) for number in range(30)
    ]
    labels = [label(number, START + HOUR // 2, ("late", "on_time")[number % 2]) for number in range(20)]
    model = model_of(BINARY)
    return tick(aggregate(commit(events, labels, model=model), model=watched(model, flat(model.layout_of("1")))), START + HOUR - 1)


def test_it_shows_models_readings_drift_and_the_log() -> None:
    page = Document(PAGE.render(a_tick(), ready=True))
    for words in (
        "late",
        "binary · owner · versions 1",
        "last prediction 2023-11-14 00:29 UTC",
        "1h",
        "0.667",
        "PSI",
        "temp",
        "30 accepted",
        "1.2.3",
    ):
        assert words in page.words
    assert "Segments (1)" in page.words
    assert "restoring" not in page.words


def test_a_sparkline_runs_where_recall_is_defined() -> None:
    [hour, *_] = Document(PAGE.render(a_tick(), ready=True)).paths
    assert hour.count("M") == 1
    assert hour.count("L") == 9


def test_while_restoring_it_says_so() -> None:
    page = Document(PAGE.render(tick(aggregate(), None), ready=False))
    assert "restoring" in page.words
    assert "No predictions yet" in page.words


def test_names_that_clients_choose_are_text() -> None:
    source = PAGE.render(a_tick(version=HOSTILE, carrier=HOSTILE), ready=True)
    page = Document(source)
    assert "script" not in page.elements
    assert f"versions {HOSTILE}" in page.words
    assert "<script>alert" in page.words
    assert HOSTILE not in source
