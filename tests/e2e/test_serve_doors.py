"""The doors of a real server: streams of any size, tokens that are rotated, and what hostile JSON gets."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from monitor.clock import WallClock
from monitor.events import Stream
from monitor.log.embedded import EmbeddedLog
from tests.e2e.fuzzed import TOKEN, Fuzzed, serving

LINES = {"Content-Type": "application/x-ndjson"}
BODY_LIMIT = 1_000_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("doors")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Fuzzed]:
    with serving(folder) as running:
        yield running


def posted(server: Fuzzed, content: bytes | Iterator[bytes], *, token: str = TOKEN, lines: bool = False) -> httpx.Response:
    headers = {"Authorization": f"bearer {token}"} | (LINES if lines else {})
    return httpx.post(f"{server.url}/v1/labels", content=content, headers=headers, timeout=30)


def label(number: int) -> bytes:
    return b'{"id": "flight-%d", "label": "late"}\n' % number


def test_a_stream_larger_than_a_body_may_be_is_taken_and_one_with_a_fault_goes_on_behind_it(server: Fuzzed, folder: Path) -> None:
    stream = [label(number) for number in range(100_000)]
    assert sum(map(len, stream)) > 3 * BODY_LIMIT
    assert posted(server, b"".join(stream)).status_code == 413
    stream[60_000] = b'{"id": "flight-60000", "label": "lost"}\n'
    refused = posted(server, b"".join(stream), lines=True)
    accepted = refused.json()["accepted"]
    assert refused.status_code == 400
    assert "event 60000: label is 'lost'" in refused.json()["error"]
    assert 30_000 < accepted <= 60_000
    stream[60_000] = label(60_000)
    rest = posted(server, (line for line in [b"".join(stream[accepted:])]), lines=True)
    assert (rest.status_code, rest.json()) == (202, {"accepted": 100_000 - accepted})
    with closing(EmbeddedLog(folder / "data" / "log.db", partitions=1, clock=WallClock())) as log:
        values = b"".join(record.value for record in log.read(Stream.LABELS, 0, 0, 1_000_000_000))
    assert [values.count(b'"id":"flight-%d"' % number) for number in (0, accepted - 1, accepted, 60_000, 99_999)] == [1] * 5


def test_a_token_is_rotated_without_a_restart(server: Fuzzed, folder: Path) -> None:
    other = "another-token-for-the-same-doors"
    assert [posted(server, label(1), token=token).status_code for token in (TOKEN, other)] == [202, 401]
    for token, expected in ((other, [401, 202]), (TOKEN, [202, 401])):
        (folder / "new").write_text(token)
        (folder / "new").replace(folder / "token")
        assert [posted(server, label(1), token=each).status_code for each in (TOKEN, other)] == expected


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"[" * 500_000, "not JSON"),
        (b'{"id": "a", "label": "late", "deep": ' + b'{"a":' * 900 + b"1" + b"}" * 901, "nest it less"),
        (b'{"id": "a", ' + b", ".join(b'"k%d": 0' % number for number in range(70_000)) + b"}", "label is missing"),
        (b'{"id": "\\udc00", "label": "late"}', "not JSON"),
        (b'{"id": "%b", "label": "late"}' % (b"x" * 100_000), "expected a text of 1 to 512 bytes"),
        (b'{"id": "a", "label": 1%b}' % (b"0" * 100_000), "number is infinity"),
        (b'{"id": "a", "label": "late", "time": -9223372036854775808}', "expected RFC 3339"),
        (b'{"id": "a", "label": "late", "time": 9223372036854775807}', "expected RFC 3339"),
        (b"\x00" * 1_000, "not JSON"),
        (b"\xff\xfe", "not JSON"),
    ],
)
def test_what_json_can_be_made_to_hold_is_told_clearly(server: Fuzzed, body: bytes, told: str) -> None:
    for lines in (False, True):
        answer = posted(server, body, lines=lines)
        assert answer.status_code == 400
        assert told in answer.json()["error"]
        assert len(answer.content) < 1_000
        assert answer.json()["accepted"] == 0
