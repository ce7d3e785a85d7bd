"""Snapshots in an object store keep the contract, over HTTP to a server that speaks S3; and what a network does to them."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from moto.server import ThreadedMotoServer

from monitor.config.places import OPTIONS as CONFIGURED_OPTIONS
from monitor.errors import ConfigError, SnapshotError
from monitor.snapshot.bucket import OPTIONS, PIECE, Bucket, Limits
from tests.contract.snapshot_contract import Kept, SnapshotContract

SECRET = "never-to-be-told"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "monitor", "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_DEFAULT_REGION": "eu-west-1"}
QUICK = Limits(connect=0.5, request=0.5, retries=0)

ENDLESS = """
import sys
from itertools import repeat
from monitor.snapshot.bucket import PIECE, Bucket

def pieces():
    for number, piece in enumerate(repeat(bytes(PIECE))):
        yield piece
        if number == 8:
            print("under way", flush=True)

Bucket(sys.argv[1]).write("endless", pieces())
"""


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def bucket(endpoint: str) -> str:
    name = f"bucket-{uuid4().hex}"
    httpx.put(f"{endpoint}/{name}").raise_for_status()
    return name


@pytest.fixture
def url(bucket: str, endpoint: str) -> str:
    return f"s3://{bucket}/join/snapshots?endpoint={endpoint}&region=eu-west-1"


def nobody() -> str:
    """An endpoint at which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        return f"http://127.0.0.1:{closed.getsockname()[1]}"


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


class TestSnapshotsInABucket(SnapshotContract):
    @pytest.fixture
    def place(self, url: str) -> Bucket:
        return Bucket(url)

    def test_every_replica_sees_it(self, kept: Kept) -> None:
        assert kept.store.is_shared

    def test_the_endpoint_may_come_from_the_environment(self, bucket: str, endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        kept = Kept(Bucket(f"s3://{bucket}"))
        kept.write(10)
        assert kept.newest() == (10, 10)

    def test_objects_lie_under_the_prefix(self, kept: Kept, bucket: str, endpoint: str) -> None:
        name = kept.write(10)
        assert httpx.head(f"{endpoint}/{bucket}/join/snapshots/{name}").is_success
        assert kept.place.locate(name) == f"s3://{bucket}/join/snapshots/{name}"

    def test_an_upload_that_ends_in_an_error_is_aborted(self, place: Bucket, bucket: str, endpoint: str) -> None:
        def pieces() -> Iterator[bytes]:
            yield bytes(2 * PIECE)
            raise RuntimeError("a bug of ours")

        with pytest.raises(RuntimeError, match="a bug of ours"):
            place.write("half", pieces())
        assert (place.names(), uploads(bucket, endpoint)) == ([], 0)

    def test_a_writer_that_is_killed_leaves_nothing_to_be_seen(self, place: Bucket, url: str, bucket: str, endpoint: str) -> None:
        writer = subprocess.Popen([sys.executable, "-c", ENDLESS, url], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2])
        with writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"under way\n"
            writer.kill()
        assert uploads(bucket, endpoint) == 1, "it was in the middle of one"
        assert place.names() == []

    def test_a_bucket_that_is_not_there_is_an_error_with_what_the_store_said(self, endpoint: str) -> None:
        kept = Kept(Bucket(f"s3://nowhere-at-all/x?endpoint={endpoint}"))
        assert kept.newest() is None
        with pytest.raises(SnapshotError, match=r"to s3://nowhere-at-all/x: NoSuchBucket: .*; correct the URL, or let its credentials"):
            kept.write(10)
        assert [where for where, _ in kept.skipped] == ["s3://nowhere-at-all/x"]


def uploads(bucket: str, endpoint: str) -> int:
    """How many were begun and neither completed nor aborted."""
    return httpx.get(f"{endpoint}/{bucket}?uploads").raise_for_status().text.count("<UploadId>")


def test_a_write_that_takes_too_long_is_given_up_and_aborted(url: str, bucket: str, endpoint: str) -> None:
    clock = Clock()
    place = Bucket(url, Limits(transfer=30), clock)

    def pieces() -> Iterator[bytes]:
        for _ in count():
            clock.now += 7
            yield bytes(PIECE)

    with pytest.raises(OSError, match="endless was not written within 30 s"):
        place.write("endless", pieces())
    clock.now += 1_000
    assert (place.names(), uploads(bucket, endpoint)) == ([], 0)


def test_a_read_that_takes_too_long_is_given_up(url: str) -> None:
    clock = Clock()
    place = Bucket(url, Limits(transfer=30), lambda: next(ticks) if reading else clock())
    ticks, reading = count(2_000, 20), False
    place.write("large", [bytes(PIECE)] * 6)
    reading = True
    with pytest.raises(OSError, match="large was not read within 30 s"):
        place.read("large")


def test_a_store_that_is_away_is_told_once_and_let_be_for_a_while() -> None:
    clock = Clock()
    kept = Kept(Bucket(f"s3://bucket/x?endpoint={nobody()}", Limits(retries=0, rest=120), clock))
    with pytest.raises(SnapshotError, match=r"cannot write a snapshot of partition 3 to s3://bucket/x: .*error sending request"):
        kept.write(10)
    clock.now += 119
    assert kept.newest() is None
    assert "did not answer a moment ago and is not asked for the next 1 s" in kept.skipped[-1][1]
    clock.now += 2
    assert kept.newest() is None
    assert "error sending request" in kept.skipped[-1][1]


@pytest.mark.timeout(15)
def test_a_store_that_never_answers_holds_nobody_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # connections are made; nobody takes them
        kept = Kept(Bucket(f"s3://bucket/x?endpoint=http://127.0.0.1:{silent.getsockname()[1]}", QUICK))
        with pytest.raises(SnapshotError):
            kept.write(10)
        assert kept.newest() is None


def test_what_the_store_refuses_is_no_reason_to_let_it_be(url: str) -> None:
    place = Bucket(url)
    with pytest.raises(OSError, match="NoSuchKey"):
        place.read("nothing")
    assert place.names() == []


def test_no_secret_is_ever_told() -> None:
    """Nor a query, which for some stores is the signature."""
    place = Bucket(f"s3://bucket/x?endpoint={nobody()}", QUICK)
    with pytest.raises(OSError, match="error sending request") as refused:
        place.names()
    told = f"{place} {place.locate('name')} {refused.value}"
    assert SECRET not in told
    assert "?" not in told


def test_a_store_that_cannot_be_made_is_an_error_of_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)
    with pytest.raises(ConfigError, match=r"state\.path: az://container/x cannot be used: .*[Aa]ccount"):
        Bucket("az://container/x")


@pytest.mark.parametrize(
    "url",
    [
        "s3://bucket/x?endpoint=http://127.0.0.1:9&region=eu-west-1",
        "gs://bucket/x?endpoint=http://127.0.0.1:9",
        "az://container/x?account=someone&endpoint=http://127.0.0.1:9/someone",
        "abfs://container@someone.dfs.core.windows.net/x",
        "abfss://container/x?account=someone",
    ],
)
def test_each_kind_of_store_can_be_named(url: str) -> None:
    assert str(Bucket(url)) == url.partition("?")[0]


def test_the_configuration_knows_the_same_stores_and_options() -> None:
    assert {scheme: set(options) for scheme, options in CONFIGURED_OPTIONS.items()} == {
        scheme: set(options) for scheme, options in OPTIONS.items()
    }
