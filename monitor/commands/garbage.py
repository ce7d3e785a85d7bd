"""How often Python looks for cycles of dead objects in a process that takes events in.

A poll makes hundreds of thousands of objects that are alive together and in no cycle. By Python's defaults looking through them, and
through everything that was imported, costs a worker a quarter of its time on single JSON events (`tests/bench/kafka_worker`).
"""

import gc
from typing import Final

NEW_OBJECTS: Final = 50_000
"""Before the young ones are looked through: Python's own number is 700."""


def collect_seldom() -> None:
    """To be called once everything that lives as long as the process is there: it is not looked through any more."""
    gc.collect()
    gc.freeze()
    _, middle, old = gc.get_threshold()
    gc.set_threshold(NEW_OBJECTS, middle, old)
