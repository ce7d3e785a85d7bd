"""From the configuration to the log that it names. Only `app` and the commands call this; everything else is handed a `Log`."""

from monitor.clock import Clock
from monitor.config import Settings
from monitor.log.embedded import EmbeddedLog


def open_log(settings: Settings, clock: Clock) -> EmbeddedLog:
    """The log, made if it is not there. Raises `LogError`."""
    log = settings.log
    return EmbeddedLog(log.path, partitions=log.partitions, clock=clock, retention_ms=log.retention, max_bytes=log.max_bytes)
