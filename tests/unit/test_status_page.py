"""The status page: what it shows of a tick, and that no name a client chose becomes markup."""

from html.parser import HTMLParser

from monitor.export.page import StatusPage
from monitor.quality.readings import Freshness, Tick
from tests.committed import aggregate, commit, flat, tick, watched
from tests.worlds import BINARY, HOUR, START, label, model_of, prediction

PAGE = StatusPage("1.2.3", 5)
CURRENT = Freshness(is_stale=False, known_at=START + HOUR)
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
    page = Document(PAGE.render(a_tick(), CURRENT, ready=True))
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
    assert "stale" not in page.words
    assert "covered" not in page.words


def test_a_sparkline_runs_where_recall_is_defined() -> None:
    [hour, *_] = Document(PAGE.render(a_tick(), CURRENT, ready=True)).paths
    assert hour.count("M") == 1
    assert hour.count("L") == 9


def test_while_restoring_it_says_so() -> None:
    page = Document(PAGE.render(tick(aggregate(), None), Freshness(is_stale=True), ready=False))
    assert "restoring" in page.words
    assert "No predictions yet" in page.words


def test_readings_that_may_be_behind_say_since_when() -> None:
    page = Document(PAGE.render(a_tick(), Freshness(is_stale=True, known_at=START + HOUR), ready=True))
    assert "stale since 2023-11-14 01:00 UTC" in page.words
    assert "0.667" in page.words


def test_partitions_that_nobody_works_on_show_in_the_coverage() -> None:
    merged = aggregate(commit([prediction(1, START)], partitions=2), commit([], partition=1, partitions=2), partitions=2)
    page = Document(PAGE.render(merged.tick(START, lag={}, live=frozenset({1})), CURRENT, ready=True))
    assert "50 % of the partitions covered" in page.words


def test_the_lag_of_another_replicas_partition_is_not_known_here() -> None:
    merged = aggregate(*(commit([], partition=partition, partitions=2) for partition in range(2)), partitions=2)
    page = Document(PAGE.render(tick(merged, START), CURRENT, ready=True))
    assert page.words.count("another replica's") == 2


def test_names_that_clients_choose_are_text() -> None:
    source = PAGE.render(a_tick(version=HOSTILE, carrier=HOSTILE), CURRENT, ready=True)
    page = Document(source)
    assert "script" not in page.elements
    assert f"versions {HOSTILE}" in page.words
    assert "<script>alert" in page.words
    assert HOSTILE not in source
