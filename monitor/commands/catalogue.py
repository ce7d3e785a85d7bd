"""`catalogue`: every metric with its labels and meaning, from the one place that defines them."""

import json
from dataclasses import asdict
from typing import Literal

import click


@click.command()
@click.option("--format", "form", type=click.Choice(["markdown", "json"]), default="markdown", show_default=True, help="How it is printed.")
def command(form: Literal["markdown", "json"]) -> None:
    """Print every metric of the daemon with its type, labels and meaning."""
    from monitor.export.catalogue import METRICS, as_markdown

    if form == "json":
        click.echo(json.dumps([asdict(metric) for metric in METRICS], indent=2))
    else:
        click.echo(as_markdown(), nl=False)
