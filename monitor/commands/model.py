"""`model forget`: removes what is kept about a model that is gone for good."""

import os
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from monitor.commands.options import config_file

if TYPE_CHECKING:
    from monitor.log import Log


@click.group()
def command() -> None:
    """Manage what is kept about a model."""


@command.command()
@click.argument("name")
@config_file
@click.option("--yes", is_flag=True, help="Do not ask.")
def forget(name: str, config: Path | None, *, yes: bool) -> None:
    """Remove the panes and counts of the model NAME. Take it out of the configuration first, and stop the daemon.

    Its events stay in the log until their retention is over.
    """
    from monitor.clock import WallClock
    from monitor.commands.opening import open_log
    from monitor.config import load
    from monitor.errors import ConfigError

    settings = load(config, os.environ)
    if any(model.name == name for model in settings.models):
        raise ConfigError(
            f"the model {name} is still configured: take it out of models first, or its readings would begin anew with the next event"
        )
    if not yes:
        click.confirm(f"Remove everything that was counted for {name}?", abort=True)
    with closing(open_log(settings, WallClock())) as log:
        click.echo(f"{_forget(log, name)} panes of {name} removed", err=True)


def _forget(log: "Log", name: str) -> int:
    """How many panes went. Raises `OwnedElsewhere` while any daemon runs."""
    from monitor.counters import Counters
    from monitor.log import Commit
    from monitor.panes import parse_key
    from monitor.stats.vector import EMPTY

    with closing(log.acquire(alone=True)) as ownership:
        commits = []
        for partition in ownership.partitions:
            committed = ownership.committed(partition)
            counters = Counters.from_bytes(committed.state)
            counters.forget(name)
            panes = {key: EMPTY for key, _ in ownership.panes(partition) if parse_key(key)[0].model == name}
            commits.append(Commit(partition, committed.offsets, panes, counters.to_bytes()))
        ownership.commit(commits)
        return sum(len(commit.panes) for commit in commits)
