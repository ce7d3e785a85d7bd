"""Options that several commands take, so that they are spelled and explained alike."""

from pathlib import Path

import click

config_file = click.option(
    "-c", "--config", "config", type=click.Path(path_type=Path), help="Configuration file.  [default: model-monitor.yaml]"
)
"""Its value, `config`, is what `monitor.config.load` takes: a path, or None for the default."""
