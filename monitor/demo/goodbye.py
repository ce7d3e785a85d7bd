"""What a person can do with the demo once the year is in: pages to open, and requests to try."""

import json
from datetime import UTC, datetime, timedelta

from monitor.clock import Milliseconds
from monitor.demo import recipe
from monitor.demo.asking import Address

_NUMBERS = {
    "sched_hour": 12.5,
    "weekday": 2,
    "distance": 2475,
    "temp": 33.1,
    "humid": 61.0,
    "wind_speed": 9.2,
    "precip": 0,
    "pressure": 1019.4,
    "visib": 10,
}
_NAMES = {"carrier": "DL", "origin": "JFK"}


def how_to_go_on(server: Address, daemon: Address, newest: Milliseconds) -> str:
    """URLs and a flight of one's own, right after the newest one: the demo's clock is its events'."""
    departure = datetime.fromtimestamp(newest / 1000, UTC).replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    inputs = [{"name": name, "shape": [1, 1], "datatype": "FP32", "data": [value]} for name, value in _NUMBERS.items()]
    inputs += [{"name": name, "shape": [1, 1], "datatype": "BYTES", "data": [value]} for name, value in _NAMES.items()]
    flight = {
        "parameters": {"ids": ["my-flight"], "times": [_text(departure)], "features": {"dest": ["LAX"]}},
        "inputs": inputs,
    }
    label = {"id": "my-flight", "label": recipe.POSITIVE_CLASS, "time": _text(departure + timedelta(hours=7))}
    return "\n".join(
        (
            "",
            "Everything stays up until Ctrl-C:",
            f"  status page  {daemon}/",
            f"  metrics      {daemon}/metrics",
            f"  readings     {daemon}/api/v1/readings",
            f"  inference    {server}/v2/models/{recipe.MODEL}/infer",
            "",
            "A flight of your own, and how it ended (a few seconds later both are counted):",
            f"  curl -s {server}/v2/models/{recipe.MODEL}/infer -d '{json.dumps(flight)}'",
            f"  curl -s {server}/v1/labels -H 'content-type: application/json' -d '{json.dumps(label)}'",
            f'  curl -s {daemon}/metrics | grep \'model="{recipe.MODEL}",outcome="accepted"\'',
        )
    )


def _text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
