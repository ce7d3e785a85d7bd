"""`watch`: the daemon's command line. What it runs is in `watching`."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from monitor.commands.options import config_file

if TYPE_CHECKING:
    from monitor.commands.watching import Format


@click.command()
@config_file
@click.option(
    "--once",
    is_flag=True,
    help="Read the log to its present end, print the readings as of its newest record, and exit. Binds no port; no daemon may run.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json", "openmetrics"]),
    default="table",
    show_default=True,
    help="How --once prints the readings.",
)
def command(config: Path | None, *, once: bool, form: "Format") -> None:
    """Join predictions with their late labels, keep the readings, and show them.

    Runs until SIGTERM or Ctrl-C: metrics at /metrics, a status page at /, JSON at /api/v1/readings, all on port 9464 unless the
    configuration says otherwise. It goes on where the last commit left off, also after a crash.

    On Kafka any number of them share the partitions out, up to one each: every replica shows all readings on its page, and each series of
    /metrics is that of one replica.
    """
    from monitor.commands import watching
    from monitor.config import load

    settings = load(config, os.environ)
    if once:
        watching.once(settings, form)
    else:
        watching.run(settings)
