"""Every error the monitor raises on purpose.

A message names what was wrong, where (file and key, topic-partition-offset, feature), what was expected, and what to do
about it; the command line prints it as it stands and exits with `exit_code`.
"""


class MonitorError(Exception):
    """The root of the hierarchy: anything below it is explained, not a bug."""

    exit_code = 1


class ConfigError(MonitorError):
    """The configuration file, an override or a combination of keys cannot be used."""

    exit_code = 2


class DecodeError(MonitorError):
    """Bytes from the log or a door that are not what their content type promises."""


class ReferenceFileError(MonitorError):
    """A reference profile that cannot be built, read, or used with this model."""


class SnapshotError(MonitorError):
    """A join snapshot that is truncated, corrupt, or of another layout."""


class LogError(MonitorError):
    """The durable log refused an operation or cannot be read."""


class LogAway(LogError):
    """Nobody answers where the log is; it may be back by itself."""


class LogFull(LogError):
    """An append would exceed the log's size limit, and nothing committed can be removed to make room."""


class LogDamaged(LogError):
    """What the log holds is not what was written; trying again will not help."""


class MessageRefused(LogError):
    """A message that the log will never take as it is: trying again will not help, the messages beside it are in order."""


class FutureTimestamp(MessageRefused):
    """A message's timestamp lies further ahead of the clock than the log accepts."""


class Fenced(LogError):
    """The commit of a worker that no longer owns the partition; everything it had not committed is to be discarded."""


class Reassigned(LogError):
    """A commit that came while the partitions were given out anew; the next assignment tells which of them go on."""


class OwnedElsewhere(LogError):
    """Another live daemon holds the same state."""


class ModelError(MonitorError):
    """A model file or repository entry that cannot be loaded or served."""


class AddressInUse(MonitorError):
    """A port that something else listens on already."""
