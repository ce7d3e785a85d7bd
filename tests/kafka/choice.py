"""Which Kafka the tests use: a broker that runs already, containers where a Docker engine answers, Java processes, or none.

A broker named by `MODEL_MONITOR_TEST_KAFKA=host:port` takes the place of the one that tests share, never of clusters that a test has
for itself. `MODEL_MONITOR_TEST_KAFKA=required` lets tests fail that would be skipped for want of a broker.
"""

import os
import warnings
from collections.abc import Callable, Sequence
from functools import cache
from typing import Final

from tests.kafka import java
from tests.kafka.runtime import Runtime, Unavailable

VARIABLE: Final = "MODEL_MONITOR_TEST_KAFKA"
REQUIRED: Final = "required"


def given() -> str | None:
    """The address of the broker that runs already."""
    address = os.environ.get(VARIABLE)
    return None if address == REQUIRED else address or None


def required() -> bool:
    """Whether a run without Kafka would prove too little, as in CI."""
    return os.environ.get(VARIABLE) == REQUIRED


@cache
def chosen() -> Callable[[Sequence[str]], Runtime]:
    """What runs brokers here, fetched and ready. Raises `Unavailable`, saying what to install, where nothing does."""
    from tests.kafka import containers

    if containers.engine_answers():
        try:
            containers.fetch()
        except Unavailable as reason:
            warnings.warn(f"Kafka runs as Java processes, not in containers: {reason}", stacklevel=2)
        else:
            return containers.ContainerRuntime
    java.jars()
    return java.JavaRuntime


def described() -> str:
    """The same for a reader, without fetching anything."""
    if address := given():
        return f"the broker at {address}"
    from tests.kafka import containers

    if containers.engine_answers():
        missing = containers.missing()
        return f"{containers.IMAGE} in containers" + (f", if {' and '.join(missing)} can be pulled" if missing else "")
    try:
        return f"Java processes, {java.foreseen()}"
    except Unavailable as reason:
        return f"none, {reason}"
