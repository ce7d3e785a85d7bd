"""`group remove`: lets go of a member of the consumer group that is gone for good."""

import os
from pathlib import Path

import click

from monitor.commands.options import config_file


@click.group()
def command() -> None:
    """Manage the consumer group that `watch` replicas share the partitions in."""


@command.command()
@click.argument("instance_id", metavar="ID")
@config_file
def remove(instance_id: str, config: Path | None) -> None:
    """Remove the member whose log.instance_id is ID, and give its partitions to the others now.

    \b
    A replica with an instance id keeps its partitions while it restarts, so when it is gone for good, as
    after a scale-down, they wait until log.session_timeout is over. This ends the wait. Such a member that
    is alive all the same is fenced: it gives up, and has to be started again. Replicas without an instance
    id leave by themselves.
    """
    from monitor.commands.opening import connection_of, kafka_only, names_of
    from monitor.config import load
    from monitor.log.kafka.members import remove_static_member

    log = kafka_only(load(config, os.environ), "group remove")
    group_id = names_of(log).group_id
    remove_static_member(connection_of(log), group_id, instance_id)
    click.echo(f"{instance_id} removed from the group {group_id}", err=True)
