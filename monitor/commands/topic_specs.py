"""What Kafka's topics have to be for this configuration, and whether a daemon may start on those that are there."""

from collections.abc import Iterable, Iterator

from monitor.clock import Milliseconds
from monitor.commands.opening import connection_of, names_of
from monitor.commands.schemas import schema_of
from monitor.config import Model, Settings
from monitor.config.log import KafkaLogSettings
from monitor.errors import LogError
from monitor.events import Stream
from monitor.log.kafka.differences import Finding
from monitor.log.kafka.provisioning import compared, kept_for
from monitor.log.kafka.topics import Retention, TopicSpec, check_retention_reaches, largest_pane, required
from monitor.stats.delays import edges_up_to
from monitor.stats.layout import Classes, CohortLayout
from monitor.transfer.batches import Batch


def specs_of(settings: Settings, log: KafkaLogSettings) -> tuple[TopicSpec, ...]:
    """The topics as the configuration needs them; `log` is its section."""
    longest = max(settings.models, key=settings.retention_needed)
    retention = Retention(log.retention, settings.retention_needed(longest), settings.retention_arithmetic(longest))
    cells = max(_cohort_cells(model) for model in settings.models)
    return required(names_of(log), log.partitions, log.replication_factor, retention, largest_pane(cells))


def _cohort_cells(model: Model) -> int:
    """How many cells a pane of the model's largest block has."""
    return CohortLayout(Classes.of(schema_of(model, None)), edges_up_to(model.horizon)).size


def check_topics(settings: Settings, log: KafkaLogSettings) -> list[Finding]:
    """What is worth knowing about the topics. Raises `LogError` with all that would lose events or keep a daemon from its work."""
    found = compared(connection_of(log), specs_of(settings, log))
    wrong = [str(finding) for finding in found if finding.stops]
    if wrong:
        raise LogError("\n".join(["the topics are not as they have to be (`model-monitor topics check` says this again):", *wrong]))
    return [finding for finding in found if not finding.stops]


def only_what_is_kept(log: KafkaLogSettings, stream: Stream, batches: Iterable[Batch], now: Milliseconds) -> Iterator[Batch]:
    """The batches. Raises `LogError` before the first one with a record that is older than its topic keeps any."""
    topic = names_of(log).topic(stream)
    retention = kept_for(connection_of(log), topic)
    for batch in batches:
        if retention is not None and batch.messages:
            check_retention_reaches(topic, retention, min(message.timestamp for message in batch.messages), now)
        yield batch
