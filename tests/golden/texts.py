"""What the golden files hold: everything that the exporter writes about one small world, which stands here in sight."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

from monitor.export.api import readings_json
from monitor.export.catalogue import as_markdown
from monitor.export.exposition import Exposition
from monitor.export.families import Replica, Shown, replica_samples, samples
from monitor.export.table import table
from monitor.quality.drift import Method
from monitor.quality.readings import Freshness, Tick
from tests.committed import aggregate, commit, flat, tick, watched
from tests.worlds import BINARY, HOUR, START, label, model_of, prediction

FOLDER: Final = Path(__file__).parent
REWRITE: Final = "python -m tests.golden"
MINUTE: Final = 60_000


def world() -> Tick:
    """Twelve predictions of two versions in an hour, eight labels of which one is a correction, and three events that are not counted."""
    model = model_of(BINARY)
    predictions = [
        *(prediction(number, START + number * MINUTE, version="1", features=features(number)) for number in range(8)),
        *(prediction(number, START + number * MINUTE, version="2", features=features(number)) for number in range(8, 12)),
        prediction(3, START + 3 * MINUTE),
        prediction(20, START + 12 * MINUTE, model="nobody"),
        b"{broken",
    ]
    labels = [
        *(label(number, START + 20 * MINUTE, ("on_time", "late")[number > 4]) for number in range(7)),
        label(6, START + 25 * MINUTE, "on_time"),
    ]
    baseline = flat(model.layout_of("1"))
    merged = aggregate(commit(predictions, labels, model=model), model=watched(model, baseline, {"1h": HOUR}))
    return tick(merged, START + 59 * MINUTE)


def features(number: int) -> dict[str, object]:
    """Temperatures from below the reference's range to above it, and one carrier, which is missing twice."""
    return {"temp": 4.0 * number - 8.0} | ({} if number in (2, 9) else {"carrier": "UA"})


def rounded(text: str) -> str:
    """To ten digits: the last ones of a logarithm depend on the processor."""
    return re.sub(r"\d+\.\d{10,}(e-\d+)?", lambda number: f"{float(number[0]):.10g}", text)


def metrics() -> str:
    """The text format, without what the process itself uses."""
    exposition = Exposition()
    owned = frozenset({0})
    replica = Replica(is_ready=True, partitions=owned, tick_seconds=0.25, committed_at=START + HOUR, commit_took=125, snapshots_at=START)
    found = (*samples(world(), Shown((Method.PSI,), 0.05).within(5_000), owned), *replica_samples(replica, "1.2.3"))
    exposition.publish(found, lambda: True)
    lines = exposition.render("text/plain")[0].decode().splitlines(keepends=True)
    return rounded("".join(line for line in lines if "model_monitor_" in line))


def readings() -> str:
    found = world()
    document = readings_json(found.now, found.readings, {"late": 1.0}, Freshness(is_stale=False))
    return rounded(json.dumps(document, indent=2, allow_nan=False) + "\n")


def terminal() -> str:
    return "".join(f"{line}\n" for line in table(world().readings))


TEXTS: Final[dict[str, Callable[[], str]]] = {
    "metrics.txt": metrics,
    "readings.json": readings,
    "table.txt": terminal,
    "catalogue.md": as_markdown,
}
"""By file name, what it has to hold."""
