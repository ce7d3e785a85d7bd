"""Writing and reading back a snapshot, in a folder and in object stores, beside the same client moving as many bytes in one go.

`python -m tests.bench.snapshots [--pending N] [URL ...]`: an URL as `state.path` has it, credentials in the environment; without one, a
server that speaks S3 is started (moto: Python, in memory). Memory is what the peak grew by while it ran; the table restored is in it.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import numpy as np

from monitor.events import Stream
from monitor.snapshot import Folder, Place, SnapshotStore
from monitor.snapshot.bucket import Bucket
from tests.bench.join import filled, seconds, table

MOTO = """
from threading import Event
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print(*server.get_host_and_port(), flush=True)
Event().wait()
"""
"""A process of its own, so that it does not run on the memory and the interpreter lock that are measured."""


@contextmanager
def moto_bucket() -> Iterator[str]:
    with subprocess.Popen([sys.executable, "-c", MOTO], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout is not None
        host, port = server.stdout.readline().split()
        httpx.put(f"http://{host}:{port}/snapshots").raise_for_status()
        yield f"s3://snapshots/bench?endpoint=http://{host}:{port}&region=us-east-1"
        server.kill()


def peak_growth(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds, and by how many MB the process was larger meanwhile than before, at its largest."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from now on
    before = peak()
    return seconds(work), peak() - before


def peak() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1e3


def measured(place: Place, pending: int) -> Iterator[tuple[str, str]]:
    joined = filled(pending)
    store = SnapshotStore(place, print)
    offsets = {Stream.PREDICTIONS: pending, Stream.LABELS: 0}
    writing, held = peak_growth(lambda: store.write(0, offsets, joined, "bench"))
    size = sum(len(place.read(name)) for name in place.names())
    yield f"write {size / 1e6:.0f} MB", f"{writing:.2f} s, {size / writing / 1e6:.0f} MB/s, memory +{held:.0f} MB"
    found = []
    restoring, held = peak_growth(lambda: found.append(store.newest(0, offsets, "bench", table)))
    assert found[0] is not None
    assert found[0][1].predictions_held == pending
    yield "restore", f"{restoring:.2f} s, {size / restoring / 1e6:.0f} MB/s, memory +{held:.0f} MB"
    content = np.random.default_rng(1).bytes(size)
    putting = seconds(lambda: place.write("bare", [content]))
    getting = seconds(lambda: zlib.crc32(place.read("bare")))  # each byte looked at once, which a mapped file needs to be read at all
    place.remove("bare")
    yield "  beside the bytes alone, written", f"{putting:.2f} s; with the table {writing / putting:.2f} × that"
    yield "  beside the bytes alone, read", f"{getting:.2f} s; with the table {restoring / getting:.2f} × that"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pending", type=int, default=5_000_000)
    parser.add_argument("urls", nargs="*")
    arguments = parser.parse_args()
    with ExitStack() as stack:
        urls = arguments.urls
        if not urls:
            for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
                os.environ.setdefault(name, "anything")
            urls = [stack.enter_context(moto_bucket())]
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        places: list[Place] = [Folder(folder), *map(Bucket, urls)]
        for place in places:
            print(f"{place}, {arguments.pending:,} predictions pending")
            for what, figure in measured(place, arguments.pending):
                print(f"  {what:<40}{figure}")
            for name in place.names():
                place.remove(name)


if __name__ == "__main__":
    main()
