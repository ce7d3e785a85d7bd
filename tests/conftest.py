"""What every test has: Kafka, Hypothesis without deadlines, since a slow machine is no failure, and laws that fail the same way twice."""

from collections.abc import Callable

import pytest
from hypothesis import settings

pytest_plugins = ["tests.kafka.fixtures"]

settings.register_profile("model-monitor", deadline=None, derandomize=True)
settings.load_profile("model-monitor")


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> Callable[[], str]:
    """Everything that was logged: printed or, once some test of this process has configured it, through `logging`."""
    return lambda: "".join(capsys.readouterr()) + caplog.text
