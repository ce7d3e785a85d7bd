"""A series as Prometheus writes it, of the daemon's page and of the server's. Knows no client library: a gateway imports none."""

from collections.abc import Iterable
from typing import Final

TEXT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_ESCAPES: Final = str.maketrans({"\\": "\\\\", "\n": "\\n", '"': '\\"'})


def series_text(name: str, labels: Iterable[tuple[str, str]]) -> str:
    """`name{label="value",…}`, or the name alone where there are no labels."""
    pairs = ",".join([f'{label}="{value.translate(_ESCAPES)}"' for label, value in labels])
    return f"{name}{{{pairs}}}" if pairs else name
