"""`topics create` makes what is missing of Kafka's topics, `topics check` says what is not as it has to be."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from monitor.commands.options import config_file

if TYPE_CHECKING:
    from collections.abc import Sequence

    from monitor.log.kafka.connection import Connection
    from monitor.log.kafka.topics import TopicSpec


@click.group()
def command() -> None:
    """Create Kafka's topics, or check those that are there.

    \b
    predictions, labels   what comes in, kept for log.retention
    panes                 what `watch` counted, compacted
    dead-letters          what could not be used, with its reason

    Each name has log.topic_prefix before it, and all have log.partitions partitions: a prediction and its
    label meet because both are in the partition that the hash of their id names. Kafka 3.6 or newer.
    """


@command.command()
@config_file
@click.option(
    "--dry-run",
    is_flag=True,
    help="Print the commands of Kafka's own tools that do the same, and the ACLs each role needs. Connects to nothing.",
)
def create(config: Path | None, *, dry_run: bool) -> None:
    """Make the topics that are missing; leave those that are there, and check them.

    \b
    Run it as often as you like, also after models were added. Where you may not create topics, let whoever
    may run what this prints:

    \b
      model-monitor topics create --dry-run -c kafka.yaml > topics.sh
    """
    from monitor.commands.opening import connection_of, kafka_only, names_of
    from monitor.commands.topic_specs import specs_of
    from monitor.config import load

    settings = load(config, os.environ)
    log = kafka_only(settings, "topics create")
    specs = specs_of(settings, log)
    if dry_run:
        from monitor.log.kafka.acls import roles
        from monitor.log.kafka.shell import commands

        is_secured = log.security.tls is not None or log.security.sasl is not None
        for line in commands(log.bootstrap_servers, is_secured, specs, roles(names_of(log))):
            click.echo(line)
        return
    from monitor.log.kafka.provisioning import create_missing

    connection = connection_of(log)
    for name in create_missing(connection, specs):
        click.echo(f"{name}: created with {log.partitions} partitions", err=True)
    _report(connection, specs)


@command.command()
@config_file
def check(config: Path | None) -> None:
    """Say what is not as it has to be, each with its reason and its remedy; exit with 1 if any of it matters.

    \b
    Retention is held against what joining needs: a topic that keeps records for less than the horizon of
    any model and what `config check` adds to it loses events that may still be joined.
    """
    from monitor.commands.opening import connection_of, kafka_only
    from monitor.commands.topic_specs import specs_of
    from monitor.config import load

    settings = load(config, os.environ)
    log = kafka_only(settings, "topics check")
    _report(connection_of(log), specs_of(settings, log))


def _report(connection: "Connection", specs: "Sequence[TopicSpec]") -> None:
    """A line for each finding on standard output. Ends the process with 1 where one of them stops what we do."""
    from monitor.log.kafka.provisioning import compared

    found = compared(connection, specs)
    for finding in found:
        click.echo(f"{'wrong' if finding.stops else 'note'}  {finding}")
    if any(finding.stops for finding in found):
        raise SystemExit(1)
    click.echo(f"{', '.join(spec.name for spec in specs)}: nothing is wrong", err=True)
