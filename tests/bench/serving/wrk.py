"""Debian's `wrk` as the client: what it is asked, and what it says in numbers.

A closed loop of so many connections, each asking again as soon as it is answered. It is written in C, so that the client is not what is
measured; `taskset` keeps it off the server's core.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

SCRIPT = """
local file = assert(io.open(os.getenv("WRK_BODY"), "rb"))
wrk.method, wrk.body = "POST", file:read("*a")
file:close()
for name, value in string.gmatch(os.getenv("WRK_HEADERS"), "([^:\\n]+): ([^\\n]*)") do wrk.headers[name] = value end
function done(summary, latency, requests)
  local errors = summary.errors
  print(string.format('{"requests": %d, "microseconds": %d, "refused": %d, "broken": %d, "p50": %f, "p99": %f}',
    summary.requests, summary.duration, errors.status, errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50), latency:percentile(99)))
end
"""


@dataclass(frozen=True)
class Load:
    """What one run of `wrk` came to. `refused` are answers that are no 2xx or 3xx."""

    requests: int
    seconds: float
    refused: int
    broken: int
    p50_ms: float
    p99_ms: float

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds


def ask(url: str, body: bytes, headers: Mapping[str, str], *, connections: int, seconds: float, cores: Sequence[int]) -> Load:
    """Posts `body` to `url` for that long. Ends the program where `wrk` is not installed."""
    if shutil.which("wrk") is None:
        sys.exit("wrk is not installed: apt-get install wrk (Debian, Ubuntu) or brew install wrk")
    with tempfile.TemporaryDirectory() as folder:
        script, sent = Path(folder) / "post.lua", Path(folder) / "body"
        script.write_text(SCRIPT)
        sent.write_bytes(body)
        command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "-s", str(script), url]
        if shutil.which("taskset"):
            command = ["taskset", "-c", ",".join(map(str, cores)), *command]
        said = "".join(f"{name}: {value}\n" for name, value in headers.items())
        environment = {"WRK_BODY": str(sent), "WRK_HEADERS": said, "PATH": os.environ["PATH"]}
        output = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    told = json.loads(output.strip().splitlines()[-1])
    return Load(told["requests"], told["microseconds"] / 1e6, told["refused"], told["broken"], told["p50"] / 1e3, told["p99"] / 1e3)
