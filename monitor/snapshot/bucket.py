"""Snapshots in an object store: Amazon S3 and what speaks like it (MinIO, Ceph, R2), Google Cloud Storage, Azure Blob Storage.

The client is obstore (Rust's object_store). Measured beside pyarrow.fs, which is installed anyway, and fsspec with s3fs: import and first
client .03 s, .12 s, .85 s; resident +13, +20 (on top of pyarrow), +59 MB; on disk 15, 0, 45 MB. What decided is an upload whose pieces end
in an error: the streams of pyarrow and fsspec publish what they have as they are closed (21 of 30 MB were there to read), and pyarrow's
cannot be aborted; obstore aborts. It also bounds every request in time, on Linux too and for all three kinds of store alike.

An object appears as its upload is completed, so a killed writer leaves none; the parts that it had uploaded are never seen, and stay until
the bucket's rule for incomplete uploads removes them. Credentials come from the environment or the platform (instance, pod, workload).
"""

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import PurePosixPath
from typing import Final
from urllib.parse import parse_qsl, urlsplit, urlunsplit

import obstore
from obstore.exceptions import BaseError, GenericError
from obstore.store import from_url

from monitor.errors import ConfigError

OPTIONS: Final[Mapping[str, Mapping[str, str]]] = {
    "s3": {"endpoint": "endpoint", "region": "region"},
    "gs": {"endpoint": "base_url"},
    "az": {"endpoint": "endpoint", "account": "account_name"},
    "abfs": {"endpoint": "endpoint", "account": "account_name"},
    "abfss": {"endpoint": "endpoint", "account": "account_name"},
}
"""By scheme: what a URL may say after its `?`, and what the client calls that. Whatever else it knows is for the environment to say."""

PIECE: Final = 8 << 20
"""Bytes of one request."""
AT_A_TIME: Final = 4
"""Requests under way: with `PIECE`, what a transfer holds in memory."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a store may take, in seconds: the worker stands still meanwhile, and has 30 s to stop when it is told to."""

    connect: float = 3
    request: float = 10
    """For one request, body included: a piece that moves at less than .8 MB/s is given up."""
    retries: int = 2
    retry: float = 10
    """A request that fails so long after its beginning is not tried again."""
    transfer: float = 15
    """For a file. At 17 MB/s it is enough for 5 M waiting predictions; a slower store is no quicker than a replay of the log."""
    rest: float = 120
    """A store that did not answer is not asked again for so long."""


class Bucket:
    """A `Place` under a prefix of a bucket (or container). Every replica sees what one writes."""

    is_shared: Final = True
    remedy: Final = "correct the URL, or let its credentials list, read, write and delete objects there"

    def __init__(self, url: str, limits: Limits | None = None, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Sends nothing yet. Raises `ConfigError` where the URL and the environment do not say enough."""
        self._limits = limits or Limits()
        self._monotonic = monotonic
        self._resting_until = -1.0
        parts = urlsplit(url)
        self._url = urlunsplit(parts._replace(query="")).rstrip("/")
        options = {OPTIONS[parts.scheme][option]: value for option, value in parse_qsl(parts.query)}
        try:
            self._store = from_url(
                self._url,
                config=options,  # type: ignore[call-overload]  # the keys of its scheme, by OPTIONS
                client_options={
                    "allow_http": True,  # for an endpoint that says so; without one it is HTTPS
                    "connect_timeout": timedelta(seconds=self._limits.connect),
                    "timeout": timedelta(seconds=self._limits.request),
                },
                retry_config={"max_retries": self._limits.retries, "retry_timeout": timedelta(seconds=self._limits.retry)},
            )
        except (BaseError, ValueError) as error:
            raise ConfigError(f"state.path: {self._url} cannot be used: {_reason(error)}") from error

    def __str__(self) -> str:
        return self._url

    def locate(self, name: str) -> str:
        return f"{self._url}/{name}"

    def names(self) -> list[str]:
        with self._asking():
            return [PurePosixPath(found["path"]).name for found in obstore.list_with_delimiter(self._store)["objects"]]

    def write(self, name: str, pieces: Iterable[bytes]) -> None:
        check = self._time_limit(f"{name} was not written")

        def in_time() -> Iterator[bytes]:
            for piece in pieces:
                check()
                yield piece

        with self._asking():
            obstore.put(self._store, name, in_time(), use_multipart=True, chunk_size=PIECE, max_concurrency=AT_A_TIME)

    def read(self, name: str, size: int | None = None) -> memoryview:
        check = self._time_limit(f"{name} was not read")
        with self._asking():
            found = obstore.get(self._store, name, options={"range": (0, PIECE if size is None else size)})
            beginning, length = memoryview(found.bytes()), found.meta["size"]
            if size is not None or length <= len(beginning):
                return beginning
            content = memoryview(bytearray(length))
            content[: len(beginning)] = beginning

            def fetch(start: int) -> None:
                check()
                end = min(start + PIECE, length)
                content[start:end] = memoryview(obstore.get_range(self._store, name, start=start, end=end))

            with ThreadPoolExecutor(AT_A_TIME, "snapshot") as pool:
                list(pool.map(fetch, range(len(beginning), length, PIECE)))
            return content

    def remove(self, name: str) -> None:
        with self._asking(), suppress(FileNotFoundError):
            obstore.delete(self._store, name)

    def _time_limit(self, what: str) -> Callable[[], None]:
        """Raises TimeoutError when it is called after the limit of a transfer that begins now."""
        end = self._monotonic() + self._limits.transfer

        def check() -> None:
            if self._monotonic() > end:
                raise TimeoutError(f"{what} within {self._limits.transfer:.0f} s")

        return check

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Makes an OSError of what the client raises, and lets a store that did not answer be for a while."""
        left = self._resting_until - self._monotonic()
        if left > 0:
            raise OSError(f"the store did not answer a moment ago and is not asked for the next {left:.0f} s")
        try:
            yield
        except (BaseError, OSError) as error:
            if isinstance(error, TimeoutError) or (isinstance(error, GenericError) and "status code: 4" not in str(error)):
                self._resting_until = self._monotonic() + self._limits.rest
            raise OSError(_reason(error)) from error


def _reason(error: Exception) -> str:
    """What the client says, on one line: what the store answered where it did, and no query, which may be a signature."""
    said = str(error).partition("\n\nDebug source")[0]
    answer = re.search(r"<Code>(.*?)</Code>\s*<Message>(.*?)</Message>", said, re.DOTALL)
    return re.sub(r"\?\S*", "", f"{answer[1]}: {answer[2]}" if answer else said).partition("\n")[0].rstrip(". ")
