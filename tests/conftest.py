"""What every test has: Kafka, Hypothesis without deadlines, since a slow machine is no failure, and laws that fail the same way twice."""

from hypothesis import settings

pytest_plugins = ["tests.kafka.fixtures"]

settings.register_profile("model-monitor", deadline=None, derandomize=True)
settings.load_profile("model-monitor")
